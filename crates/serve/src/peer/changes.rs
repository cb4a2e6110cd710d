//! `GET …/changes?updates=N[&decisions=M][&wait=S][&marks=1]`: how far this server has come, at once or when it goes
//! on; with `marks` also the marks that these numbers have in its history, those that are known after `updates_mark`
//! and `decisions_mark`.
//!
//! **Invariant:** an answer comes within [`LONGEST`], whatever happens; those who wait are counted and woken by
//! the catalog, nobody polls. It never says what changed.

use std::net::IpAddr;
use std::time::Duration;

use super::refusal::{LATER, Refused, message};
use super::service::Service;
use crate::http::Response;
use tailwater_catalog::{Catalog, Snapshot};
use tailwater_domain::{Limit, limits};
use tailwater_wire::peer::Numbers;

/// The longest wait: what stands in between gives up after a minute.
const LONGEST: Duration = Duration::from_secs(55);

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST: "The wait for changes" => "it is answered without news",
];

/// What happens together is told together.
const SETTLE: Duration = Duration::from_millis(200);

/// What a child knows and how long it waits.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    updates: u64,
    /// `None`: decisions do not matter to it.
    decisions: Option<u64>,
    /// The marks that came with the numbers, where they did.
    updates_mark: Option<u64>,
    decisions_mark: Option<u64>,
    /// Whether the answer is to have them.
    marks: bool,
    wait: Duration,
}

impl Asked {
    fn read(query: &str) -> Option<Self> {
        let mut asked = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value: u64 = value.parse().ok()?;
            match name {
                "updates" => asked.updates = value,
                "decisions" => asked.decisions = Some(value),
                "updates_mark" => asked.updates_mark = Some(value),
                "decisions_mark" => asked.decisions_mark = Some(value),
                "marks" => asked.marks = value > 0,
                "wait" => asked.wait = Duration::from_secs(value).min(LONGEST),
                _ => {}
            }
        }
        Some(asked)
    }

    fn is_news(&self, numbers: Numbers) -> bool {
        numbers.updates != self.updates
            || self.updates_mark.is_some_and(|mark| mark != numbers.updates_mark)
            || self.decisions.is_some_and(|decisions| decisions != numbers.decisions)
            || self.decisions_mark.is_some_and(|mark| mark != numbers.decisions_mark)
    }
}

/// How far a snapshot has come.
pub(super) fn numbers(catalog: &Catalog, snapshot: &Snapshot) -> Numbers {
    let (updates, decisions) = (snapshot.updates_number(), snapshot.change_number());
    let mark =
        |change| Some(catalog.place(change)).filter(|place| place.change == change).map_or(0, |it| it.mark);
    Numbers { updates, decisions, updates_mark: mark(updates), decisions_mark: mark(decisions) }
}

impl Service {
    pub(super) async fn changes(&self, from: IpAddr, query: &str) -> Result<Response, Refused> {
        let asked = Asked::read(query).ok_or(Refused::NotFound)?;
        let mut changed = self.0.catalog.subscribe();
        let now = || numbers(&self.0.catalog, &self.0.catalog.snapshot());
        if !asked.is_news(now()) && !asked.wait.is_zero() {
            let place = self.0.work.waiting.try_take(from, 1);
            let _place = place.map_err(|_full| Refused::Busy { retry_after: LATER })?;
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
        let Numbers { updates, decisions, updates_mark, decisions_mark } = now();
        let marks = if asked.marks { format!(" {updates_mark} {decisions_mark}") } else { String::new() };
        Ok(message(format!("{updates} {decisions}{marks}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_is_known_and_how_long_to_wait() {
        let asked = Asked::read("updates=7&decisions=9&wait=999&x=1").unwrap();
        assert_eq!(asked, Asked { updates: 7, decisions: Some(9), wait: LONGEST, ..Asked::default() });
        let numbers = |updates, decisions| Numbers { updates, decisions, updates_mark: 3, decisions_mark: 4 };
        assert!(!asked.is_news(numbers(7, 9)));
        assert!(asked.is_news(numbers(8, 9)));
        assert!(asked.is_news(numbers(7, 8)));
        let marked = |updates, decisions| {
            let query = format!("updates=7&decisions=9&updates_mark={updates}&decisions_mark={decisions}");
            Asked::read(&query).unwrap().is_news(numbers(7, 9))
        };
        assert_eq!([marked(3, 4), marked(2, 4), marked(3, 5)], [false, true, true]);
        let autonomous = Asked::read("updates=7").unwrap();
        assert!(!autonomous.is_news(numbers(7, 99)));
        assert!(Asked::read("updates=-1").is_none());
        assert!(Asked::read("").unwrap().is_news(numbers(1, 0)));
    }
}
