//! The one place that gives numbers: to revisions, blocks of manifests, changes and deployments.
//!
//! **Invariant:** no number is given twice in the life of a store, and none falls. Numbers of changes and deployments are
//! drawn as a [`Draft`] and count once what they are for is durable: a change that failed gave none. It never writes; what
//! must outlive the process is in the records that carry the numbers.

use std::sync::Mutex;

use super::lock::leaf;

/// The numbers that come next, or were given last.
#[derive(Debug, Clone, Copy)]
struct Counters {
    next_revision: u32,
    next_block: u64,
    change: u64,
    deployment: u32,
}

/// The allocator.
#[derive(Debug)]
pub(crate) struct Ids(Mutex<Counters>);

/// Numbers of a change in the making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Draft {
    change: u64,
    deployment: u32,
}

impl Draft {
    /// The number of the change.
    pub(crate) fn change(&self) -> u64 {
        self.change
    }

    /// The number of another deployment.
    pub(crate) fn deployment(&mut self) -> u32 {
        self.deployment += 1;
        self.deployment
    }

    /// The last number of a deployment that was given.
    pub(crate) fn last_deployment(&self) -> u32 {
        self.deployment
    }
}

impl Ids {
    /// Numbers of a store that gave none yet.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Counters { next_revision: 1, next_block: 0, change: 0, deployment: 0 }))
    }

    /// Revisions get this number or higher ones from now on.
    pub(crate) fn raise_revision(&self, next: u32) {
        let mut counters = leaf(&self.0);
        counters.next_revision = counters.next_revision.max(next);
    }

    /// Blocks get this number or higher ones from now on.
    pub(crate) fn raise_block(&self, next: u64) {
        let mut counters = leaf(&self.0);
        counters.next_block = counters.next_block.max(next);
    }

    /// These numbers of a change and of a deployment were given before.
    pub(crate) fn raise_decisions(&self, change: u64, deployment: u32) {
        let mut counters = leaf(&self.0);
        counters.change = counters.change.max(change);
        counters.deployment = counters.deployment.max(deployment);
    }

    /// A number for a revision that has none.
    pub(crate) fn revision(&self) -> u32 {
        let mut counters = leaf(&self.0);
        let given = counters.next_revision;
        counters.next_revision += 1;
        given
    }

    /// The number that the next new revision gets.
    pub(crate) fn next_revision(&self) -> u32 {
        leaf(&self.0).next_revision
    }

    /// A number for a block of manifests.
    pub(crate) fn block(&self) -> u64 {
        let mut counters = leaf(&self.0);
        let given = counters.next_block;
        counters.next_block += 1;
        given
    }

    /// The number that the next block gets: all that were given are below.
    pub(crate) fn next_block(&self) -> u64 {
        leaf(&self.0).next_block
    }

    /// The number of the last change, decision or activation.
    pub(crate) fn change(&self) -> u64 {
        leaf(&self.0).change
    }

    /// Numbers for the next change. One is in the making at a time.
    pub(crate) fn draft(&self) -> Draft {
        let counters = leaf(&self.0);
        Draft { change: counters.change + 1, deployment: counters.deployment }
    }

    /// The change is durable: its numbers are given.
    pub(crate) fn commit(&self, draft: Draft) {
        let mut counters = leaf(&self.0);
        debug_assert!(draft.change == counters.change + 1, "changes are made one after another");
        debug_assert!(draft.deployment >= counters.deployment, "a deployment's number is not given again");
        counters.change = counters.change.max(draft.change);
        counters.deployment = counters.deployment.max(draft.deployment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_once_and_a_change_that_failed_gave_none() {
        let ids = Ids::new();
        ids.raise_revision(7);
        ids.raise_revision(3);
        assert_eq!((ids.revision(), ids.revision(), ids.next_revision()), (7, 8, 9));
        assert_eq!((ids.block(), ids.block(), ids.next_block()), (0, 1, 2));
        ids.raise_decisions(5, 40);
        let mut failed = ids.draft();
        assert_eq!((failed.change(), failed.deployment()), (6, 41));
        let mut done = ids.draft();
        assert_eq!((done.change(), done.deployment(), done.deployment()), (6, 41, 42));
        ids.commit(done);
        assert_eq!((ids.change(), ids.draft().change(), ids.draft().last_deployment()), (6, 7, 42));
    }
}
