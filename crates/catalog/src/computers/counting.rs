//! The counts of what all computers report, shared by those that change them and those that show them.
//!
//! **Invariant:** they change here only, by what one computer reports now instead of before. A leaf: nothing else is locked
//! while they are read.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::values::computer::Status;
use crate::values::counts::{CountedState, Counts, Origin, StateCounts, states_counted};
use tailwater_domain::{ComputerId, UpdateId};

/// The counts of what all computers report.
#[derive(Default)]
pub(crate) struct Counting(RwLock<StateCounts>);

impl Counting {
    /// An agent of this server reports this now instead of that.
    pub(crate) fn ours(&self, id: &ComputerId, before: &Status, after: &Status) {
        self.change(Origin::Ours, id, &states_counted(before), &states_counted(after));
    }

    /// A computer reports this now instead of that.
    pub(crate) fn change(
        &self,
        origin: Origin,
        id: &ComputerId,
        before: &[CountedState],
        after: &[CountedState],
    ) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).change(origin, id, before, after);
    }

    /// All counts. Nothing else may be locked while they are held.
    pub(crate) fn all(&self) -> RwLockReadGuard<'_, StateCounts> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What computers report of an update.
    pub(crate) fn of_update(&self, update: &UpdateId) -> Counts {
        self.all().of_update(update)
    }
}
