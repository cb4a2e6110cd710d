//! What a site decides for itself, whoever decides the rest: holding an update back, for a time or for good
//! ([`crate::decisions::verdict::Verdict::Hold`]), and what comes into force by itself when its time has come: one change for all of it.
//!
//! **Invariant:** while an update is held, agents see it as one that is not approved, and downstream servers
//! as one to detect only; its approvals stay known and are in force again with the release. It never
//! changes what was approved or declined.

use std::sync::Arc;

use jiff::Timestamp;

use super::decider::Decider;
use crate::decisions::decision::Decision;
use crate::error::CatalogError;
use crate::storage::record::key;

/// A decision with what is due in force, as change `number`; none when nothing is.
fn due(old: &Decision, now: Timestamp, number: u64) -> Option<Decision> {
    if old.hold.is_none() && old.waiting.is_empty() {
        return None;
    }
    let mut new = old.clone();
    new.begin_hold_by(now);
    if new.hold.as_ref().and_then(|hold| hold.until).is_some_and(|until| until <= now) {
        new.hold = None;
        new.hold_change = number;
    }
    new.sort_out(now);
    if !new.looks_like(old) {
        (new.change, new.at) = (number, now.as_second());
    }
    (new != *old).then_some(new)
}

impl Decider {
    /// When the next hold ends or the next approval comes into force.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let now = self.now();
        let snapshot = self.current().snapshot();
        snapshot.view().decisions.updates.values().filter_map(|decision| decision.due(now)).min()
    }

    /// Brings into force what is due. How many updates that concerned.
    pub(crate) fn bring_due(&self) -> Result<usize, CatalogError> {
        let now = self.now();
        let is_due = |decision: &Decision| due(decision, now, 0).is_some();
        if !self.current().snapshot().view().decisions.updates.values().any(|decision| is_due(decision)) {
            return Ok(0);
        }
        self.changes().run(|_, change| {
            let (before, number) = (change.ops.len(), change.number());
            for (update, decision) in &mut change.decisions.updates {
                let Some(new) = due(decision, now, number) else { continue };
                change.ops.push((key::decision(update), Some(new.encode()?)));
                *decision = Arc::new(new);
            }
            Ok(change.ops.len() - before)
        })
    }
}
