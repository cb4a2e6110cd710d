//! What was foreseen of approvals, and what really crossed the link for them.
//!
//! What crossed is what came to be held of the update's files since it was approved; what is dropped again to make room
//! stays counted.
//!
//! **Invariant:** a prediction is written down when the approval is made and never changed; of the rest only
//! [`Kept::crossed`] grows. The latest [`MAX_KEPT`] are remembered, at most [`KEEP_DAYS`] days.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cost::{Cost, UpdateCost};
use super::{Handle, NeedsError, locked};
use tailwater_domain::{Limit, Sha1Digest, UpdateId, limits};

/// Approvals remembered.
const MAX_KEPT: usize = 1_000;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_KEPT in "approvals": "Approvals whose payloads are followed" => "the oldest is forgotten",
];

/// Days after which an approval is no longer followed.
const KEEP_DAYS: i64 = 90;

const SECONDS_A_DAY: i64 = 86_400;

/// An approval with what was foreseen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// When it was made.
    pub at: Timestamp,
    /// All files of the update.
    pub whole: u64,
    /// What was foreseen to cross.
    pub left: u64,
    /// What was said to cross at most.
    pub at_most: u64,
    /// Whether something was unknown.
    pub is_upper_bound: bool,
    /// What crossed since.
    pub crossed: u64,
    /// What was held of its files then; those not named were not held at all.
    held: Vec<(Sha1Digest, u64)>,
    /// Whether the number of bytes that crossed is to be written down.
    #[serde(skip)]
    pub(super) changed: bool,
}

/// What is foreseen of an approval that is about to be made.
#[derive(Debug, Clone)]
pub struct Foreseen(UpdateId, Kept);

/// All of them.
pub(super) type AllKept = HashMap<UpdateId, Kept>;

impl Handle {
    /// What is foreseen of approvals that are about to be made, with what is held of them by now.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn foresee(&self, cost: &Cost) -> Result<Vec<Foreseen>, NeedsError> {
        let now = self.0.clock.now();
        cost.updates.iter().map(|row| Ok(Foreseen(row.update_id, self.fresh(row, now)?))).collect()
    }

    /// Remembers what was foreseen of approvals that were made, written down within seconds; approved again, they
    /// begin anew.
    ///
    /// # Errors
    /// When what is too old cannot be taken out of the memory's store.
    pub fn keep(&self, foreseen: Vec<Foreseen>) -> Result<(), NeedsError> {
        if foreseen.is_empty() {
            return Ok(());
        }
        locked(&self.0.kept).extend(foreseen.into_iter().map(|Foreseen(update, kept)| (update, kept)));
        self.forget_old(self.0.clock.now())
    }

    fn fresh(&self, row: &UpdateCost, now: Timestamp) -> Result<Kept, NeedsError> {
        let mut held = Vec::new();
        if let Some(layout) = self.layout(&row.update_id)? {
            let files = layout.files.iter().map(|placed| placed.file.sha1);
            held.extend(files.filter_map(|sha1| Some((sha1, self.0.store.status(&sha1)?.held))));
        }
        let UpdateCost { whole, left, at_most, is_upper_bound, .. } = *row;
        Ok(Kept { at: now, whole, left, at_most, is_upper_bound, crossed: 0, held, changed: true })
    }

    /// What was foreseen of an update's approval and what crossed by now; none when it was made too long ago.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn kept(&self, update: &UpdateId) -> Result<Option<Kept>, NeedsError> {
        let known = locked(&self.0.kept).get(update).cloned();
        let Some(known) = known else { return Ok(None) };
        let crossed = self.crossed(update, &known)?;
        let mut all = locked(&self.0.kept);
        let Some(kept) = all.get_mut(update) else { return Ok(None) };
        if crossed > kept.crossed {
            (kept.crossed, kept.changed) = (crossed, true);
        }
        Ok(Some(kept.clone()))
    }

    fn crossed(&self, update: &UpdateId, kept: &Kept) -> Result<u64, NeedsError> {
        let Some(layout) = self.layout(update)? else { return Ok(0) };
        let before: HashMap<Sha1Digest, u64> = kept.held.iter().copied().collect();
        let grown = layout.files.iter().map(|placed| {
            let now = self.0.store.status(&placed.file.sha1).map_or(0, |status| status.held);
            now.saturating_sub(before.get(&placed.file.sha1).copied().unwrap_or(0))
        });
        Ok(grown.sum())
    }

    /// Looks at all of them, and writes down what changed.
    pub(super) fn follow_kept(&self) -> Result<(), NeedsError> {
        let updates: Vec<UpdateId> = locked(&self.0.kept).keys().copied().collect();
        for update in updates {
            self.kept(&update)?;
        }
        self.forget_old(self.0.clock.now())
    }

    fn forget_old(&self, now: Timestamp) -> Result<(), NeedsError> {
        let oldest = now.as_second() - KEEP_DAYS * SECONDS_A_DAY;
        let mut all = locked(&self.0.kept);
        for kept in all.values_mut().filter(|kept| kept.at > now) {
            // noted by a clock that was ahead
            (kept.at, kept.changed) = (now, true);
        }
        let mut by_age: Vec<(Timestamp, UpdateId)> = all.iter().map(|(id, kept)| (kept.at, *id)).collect();
        by_age.sort_unstable();
        let surplus = by_age.len().saturating_sub(MAX_KEPT);
        let gone =
            by_age.iter().enumerate().filter(|(place, (at, _))| *place < surplus || at.as_second() < oldest);
        let gone: Vec<UpdateId> = gone.map(|(_, (_, id))| *id).collect();
        for id in &gone {
            all.remove(id);
        }
        drop(all);
        if gone.is_empty() {
            return Ok(());
        }
        self.0.disk.save_kept(gone.into_iter().map(|id| (id, None)).collect())
    }

    /// Writes down what changed.
    pub(super) fn save_kept(&self) -> Result<(), NeedsError> {
        let mut rows = Vec::new();
        for (id, kept) in locked(&self.0.kept).iter_mut().filter(|(_, kept)| kept.changed) {
            rows.push((*id, Some(super::store::encode(kept)?)));
            kept.changed = false;
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.0.disk.save_kept(rows)?;
        self.0.disk.flush()
    }
}
