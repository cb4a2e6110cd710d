//! Waiting for the upstream to change: one request that it answers when it does, and a small synchronisation then.
//!
//! **Invariant:** at most one request waits, over the limited link like everything else; an upstream that does not
//! answer is asked less and less often, up to [`LONGEST_PAUSE`]. It never starts a first synchronisation: that is for
//! the schedule or a person.

use std::fmt::Write as _;
use std::time::Duration;

use super::client::numbers;
use super::exchange::PeerError;
use crate::client::chance;
use crate::config::Mode;
use crate::config::PeerUse;
use crate::error::SyncError;
use crate::handle::Upstream;
use crate::mark::Mark;
use crate::report::{Outcome, SyncOptions, Trigger};
use tailwater_domain::{Limit, limits};
use tailwater_wire::peer::Numbers;

/// How long the upstream may let us wait, in seconds.
const WAIT_SECONDS: u32 = 50;
/// An upstream that answers sooner without news is not asked again at once.
const LEAST_WAIT: Duration = Duration::from_secs(5);
/// The wait before a request that failed is sent again; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);
/// Children that hear of a change at once begin within this time.
const SPREAD: Duration = Duration::from_millis(1_500);
/// The pause after a synchronisation that brought nothing; doubles with each in a row.
const FIRST_REST: Duration = Duration::from_millis(500);
/// The longest: it is what a change waits at most at each level.
const LONGEST_REST: Duration = Duration::from_secs(10);

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST_PAUSE: "The pause before changes are waited for again after a failure" => "it grows no further",
    LONGEST_REST: "The pause after synchronisations that brought nothing" => "it grows no further",
];

// not a limit: LEAST_WAIT: an upstream that answers early is not asked at once

/// How a round of following ended.
enum Round {
    /// The wait was over without news.
    Quiet,
    /// There was news, and it brought something here.
    Brought,
    /// There was news, of nothing that concerns us.
    Nothing,
    /// It could not be asked, or what it has is not available.
    Failed,
}

impl Upstream {
    /// Starts the worker that waits for the upstream to change. It does nothing while the upstream is no tailwater.
    pub fn start_following(&self) {
        if self.0.config.peer != PeerUse::Follow {
            return;
        }
        let upstream = self.clone();
        self.0.tasks.spawn("waiting for changes upstream", async move { upstream.follow().await });
    }

    async fn follow(&self) {
        let stopping = self.0.tasks.stopping();
        let mut marks = self.0.peer.mark.subscribe();
        let (mut failures, mut nothings) = (0, 0);
        loop {
            let mark = marks.borrow_and_update().clone();
            let round = match mark.filter(|_| self.0.is_peer()) {
                None => tokio::select! {
                    // told by the next synchronisation
                    _ = marks.changed() => continue,
                    () = stopping.cancelled() => return,
                },
                Some(mark) => tokio::select! {
                    round = self.wait(&mark) => round,
                    () = stopping.cancelled() => return,
                },
            };
            failures = if matches!(round, Round::Failed) { failures + 1 } else { 0 };
            nothings = if matches!(round, Round::Nothing) { nothings + 1 } else { 0 };
            let pause = match round {
                Round::Quiet | Round::Brought => Duration::ZERO,
                Round::Nothing => doubled(FIRST_REST, nothings, LONGEST_REST),
                Round::Failed => doubled(FIRST_PAUSE, failures, LONGEST_PAUSE).mul_f64(0.5 + chance()),
            };
            tokio::select! {
                () = self.0.clock.sleep(pause) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    /// Waits for news of what is not known yet, and fetches it.
    async fn wait(&self, mark: &Mark) -> Round {
        let Ok(session) = self.0.session().await else { return Round::Failed };
        let replica = self.0.config.mode == Mode::Replica;
        let Numbers { updates, updates_mark, .. } = mark.numbers;
        let mut path =
            format!("/changes?updates={updates}&updates_mark={updates_mark}&marks=1&wait={WAIT_SECONDS}");
        if replica {
            let known = mark.decisions.unwrap_or_default();
            let _ = write!(path, "&decisions={known}&decisions_mark={}", mark.decisions_branch);
        }
        let began = self.0.clock.instant();
        let now = match numbers(&session, &path).await {
            Ok(now) => now,
            Err(PeerError::Strange(reason)) => {
                tracing::debug!(reason, "waiting for changes upstream failed");
                return Round::Failed;
            }
            Err(PeerError::Failed(_)) => return Round::Failed,
        };
        // a synchronisation may have heard of it while this one waited
        let mark = self.0.peer.mark.borrow().clone().unwrap_or_default();
        if mark.knows_updates(&now) && (!replica || mark.knows_decisions(&now)) {
            let waited = self.0.clock.instant().saturating_duration_since(began);
            return if waited >= LEAST_WAIT { Round::Quiet } else { Round::Nothing };
        }
        self.0.clock.sleep(SPREAD.mul_f64(chance())).await;
        match self.run(SyncOptions::default(), Trigger::Notice).await {
            Ok(report) => match report.outcome {
                Outcome::Complete | Outcome::Partial | Outcome::Held
                    if report.activated.is_some() || report.decided.is_some_and(|decided| decided > 0) =>
                {
                    Round::Brought
                }
                _ => Round::Nothing,
            },
            // it may have begun before the news
            Err(SyncError::AlreadyRunning) => Round::Nothing,
            Err(_) => Round::Failed,
        }
    }
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.saturating_sub(1).min(16)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let seconds = |times| doubled(FIRST_PAUSE, times, LONGEST_PAUSE).as_secs();
        assert_eq!([1, 2, 3, 7, 8, 99].map(seconds), [1, 2, 4, 64, 120, 120]);
    }
}
