//! `GET …/changes?updates=N[&decisions=M][&wait=S]`: how far this server has come, at once or when it goes on.
//!
//! **Invariant:** an answer comes within [`LONGEST`], whatever happens; those who wait are counted and woken by
//! the catalog, nobody polls. It never says what changed.

use std::time::Duration;

use super::{LATER, Refused, Response, Service, message};
use crate::catalog::Snapshot;
use crate::wire::peer::Numbers;

/// The longest wait: what stands in between gives up after a minute.
const LONGEST: Duration = Duration::from_secs(55);
/// What happens together is told together.
const SETTLE: Duration = Duration::from_millis(200);

/// What a child knows and how long it waits.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    updates: u64,
    /// `None`: decisions do not matter to it.
    decisions: Option<u64>,
    wait: Duration,
}

impl Asked {
    fn read(query: &str) -> Option<Self> {
        let mut asked = Self { updates: 0, decisions: None, wait: Duration::ZERO };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value: u64 = value.parse().ok()?;
            match name {
                "updates" => asked.updates = value,
                "decisions" => asked.decisions = Some(value),
                "wait" => asked.wait = Duration::from_secs(value).min(LONGEST),
                _ => {}
            }
        }
        Some(asked)
    }

    fn is_news(&self, numbers: Numbers) -> bool {
        numbers.updates != self.updates
            || self.decisions.is_some_and(|decisions| decisions != numbers.decisions)
    }
}

/// How far a snapshot has come.
pub(super) fn numbers(snapshot: &Snapshot) -> Numbers {
    Numbers { updates: snapshot.updates_number(), decisions: snapshot.change_number() }
}

impl Service {
    pub(super) async fn changes(&self, query: &str) -> Result<Response, Refused> {
        let asked = Asked::read(query).ok_or(Refused::NotFound)?;
        let mut changed = self.0.catalog.subscribe();
        let now = || numbers(&self.0.catalog.snapshot());
        if !asked.is_news(now()) && !asked.wait.is_zero() {
            let _place =
                self.0.waiting.try_acquire().map_err(|_full| Refused::Busy { retry_after: LATER })?;
            let stopping = self.0.tasks.stopping();
            let over = self.0.clock.sleep(asked.wait);
            tokio::pin!(over);
            loop {
                tokio::select! {
                    () = &mut over => break,
                    () = stopping.cancelled() => break,
                    changed = changed.changed() => {
                        if changed.is_err() || asked.is_news(now()) {
                            self.0.clock.sleep(SETTLE).await;
                            break;
                        }
                    }
                }
            }
        }
        let Numbers { updates, decisions } = now();
        Ok(message(format!("{updates} {decisions}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_is_known_and_how_long_to_wait() {
        let asked = Asked::read("updates=7&decisions=9&wait=999&x=1").unwrap();
        assert_eq!(asked, Asked { updates: 7, decisions: Some(9), wait: LONGEST });
        assert!(!asked.is_news(Numbers { updates: 7, decisions: 9 }));
        assert!(asked.is_news(Numbers { updates: 8, decisions: 9 }));
        assert!(asked.is_news(Numbers { updates: 7, decisions: 8 }));
        let autonomous = Asked::read("updates=7").unwrap();
        assert!(!autonomous.is_news(Numbers { updates: 7, decisions: 99 }));
        assert!(Asked::read("updates=-1").is_none());
        assert!(Asked::read("").unwrap().is_news(Numbers { updates: 1, decisions: 0 }));
    }
}
