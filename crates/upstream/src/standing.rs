//! How synchronisation stands: when it last succeeded, since when it fails and why, and the next step.
//!
//! **Invariant:** the reason is one of a fixed set of words, so that it can label a metric; texts from outside stay in
//! the message. It is derived from the history and from one stored time; it never starts anything.

use jiff::Timestamp;
use serde::Serialize;

use super::handle::{Upstream, UpstreamState};
use super::reason::Reason;
use super::report::{Outcome, SyncReport};
use super::state;

/// Failures without a success between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failing {
    /// When the first of them ended, as far back as the history goes.
    pub since: Timestamp,
    /// When the last of them ended.
    pub at: Timestamp,
    /// How many, at most as many as the history keeps.
    pub times: usize,
    /// Why the last one failed.
    pub reason: Reason,
    /// What it said.
    pub error: String,
    /// What to do about it.
    pub next_step: &'static str,
}

/// How synchronisation stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// When a synchronisation last ended with something visible, complete or in part.
    pub last_success: Option<Timestamp>,
    /// When the next one is due by itself.
    pub next: Option<Timestamp>,
    /// Present while the last one failed.
    pub failing: Option<Failing>,
}

fn succeeded(report: &SyncReport) -> bool {
    matches!(report.outcome, Outcome::Complete | Outcome::Partial)
}

/// The failures at the head of a history, newest first; what somebody cancelled is neither failure nor success.
fn failing(history: &[SyncReport]) -> Option<Failing> {
    let ended = history.iter().filter(|report| report.outcome != Outcome::Cancelled);
    let failures: Vec<&SyncReport> = ended.take_while(|report| report.outcome == Outcome::Failed).collect();
    let (newest, oldest) = (failures.first()?, failures.last()?);
    let reason = newest.reason.unwrap_or(Reason::Internal);
    Some(Failing {
        since: oldest.ended_at,
        at: newest.ended_at,
        times: failures.len(),
        reason,
        error: newest.error.clone().unwrap_or_default(),
        next_step: reason.next_step(),
    })
}

impl Upstream {
    /// How synchronisation stands. Reads the catalog.
    pub fn standing(&self) -> Standing {
        let history = self.history();
        let from_history = history.iter().find(|report| succeeded(report)).map(|report| report.ended_at);
        let last_success = state::last_success(&self.0.catalog).max(from_history);
        Standing { last_success, next: *self.next_run().borrow(), failing: failing(&history) }
    }
}

impl UpstreamState {
    /// Whether the last synchronisation that was not cancelled failed.
    pub(super) fn is_failing(&self) -> bool {
        failing(&state::history(&self.catalog)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Trigger;

    fn report(hour: i64, outcome: Outcome) -> SyncReport {
        let at = Timestamp::from_second(hour * 3600).unwrap();
        let failed = outcome == Outcome::Failed;
        SyncReport {
            trigger: Trigger::Schedule,
            started_at: at,
            ended_at: at,
            outcome,
            listed: 0,
            held: 0,
            fetched: 0,
            received: 0,
            missing: Vec::new(),
            missing_total: 0,
            absent_prerequisites: 0,
            decided: None,
            activated: None,
            warnings: Vec::new(),
            notes: Vec::new(),
            error: failed.then(|| format!("said at {hour}")),
            reason: failed.then_some(Reason::Refused),
        }
    }

    #[test]
    fn failures_count_since_the_last_success() {
        use Outcome::{Cancelled, Complete, Failed, Held, Partial};
        /// Outcomes, oldest first; since when, when last and how many times it failed.
        type Case = (&'static [Outcome], Option<(i64, i64, usize)>);
        let table: [Case; 8] = [
            (&[], None),
            (&[Failed], Some((0, 0, 1))),
            (&[Complete, Failed, Failed], Some((1, 2, 2))),
            (&[Failed, Complete], None),
            (&[Failed, Partial], None),
            (&[Failed, Held], None),
            (&[Complete, Failed, Cancelled], Some((1, 1, 1))),
            (&[Failed, Cancelled, Failed], Some((0, 2, 2))),
        ];
        for (outcomes, wanted) in table {
            let mut history: Vec<_> = (0..).zip(outcomes).map(|(hour, end)| report(hour, *end)).collect();
            history.reverse();
            let found = failing(&history);
            let found = found.map(|f| (f.since.as_second() / 3600, f.at.as_second() / 3600, f.times));
            assert_eq!(found, wanted, "{outcomes:?}");
        }
    }

    #[test]
    fn every_reason_has_a_word_of_its_own_and_a_next_step() {
        let words: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            assert!(reason.next_step().len() > 20);
        }
    }
}
