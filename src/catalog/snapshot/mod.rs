//! The world as agents see it: immutable, in memory, swapped whole.
//!
//! **Invariant:** a snapshot never changes; whoever holds one sees one generation and one set of decisions.
//! It never reads a disk.

use super::{Offer, PartKind, PartRef, ScanAnswer, ScanQuery};
use crate::domain::{CategoryKind, GroupId, RevisionId, Sha1Digest, UpdateId, UpdateIdentity, UpdateType};

/// One generation of the catalog with the decisions in force.
pub struct Snapshot(());

/// What a snapshot knows of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// Its number.
    pub id: RevisionId,
    /// Which revision of which update.
    pub identity: UpdateIdentity,
    /// What it is.
    pub update_type: UpdateType,
    /// Which kind of category, if it is one.
    pub category: Option<CategoryKind>,
    /// Whether no update names it as prerequisite.
    pub is_leaf: bool,
    /// Whether it is the newest revision of its update.
    pub is_newest: bool,
    /// Whether its publisher withdrew it.
    pub expired: bool,
    /// Whether its update was declined.
    pub declined: bool,
    /// Whether it can be approved by itself.
    pub explicitly_deployable: bool,
}

#[expect(unused_variables, clippy::todo, reason = "bodies follow")]
impl Snapshot {
    /// Grows by one with every snapshot of a process.
    pub fn sequence(&self) -> u64 {
        todo!()
    }

    /// Generation of the catalog: grows with every activation, over restarts too.
    pub fn generation(&self) -> u64 {
        todo!()
    }

    /// Grows with every change that agents can notice, over restarts too; goes into their cookies.
    pub fn change_number(&self) -> u64 {
        todo!()
    }

    /// A software scan ([MS-WUSP] 3.1.5.7). The same question again is answered from memory.
    pub fn scan(&self, query: &ScanQuery<'_>) -> std::sync::Arc<ScanAnswer> {
        todo!()
    }

    /// What is known of a revision.
    pub fn revision(&self, id: RevisionId) -> Option<Revision> {
        todo!()
    }

    /// The number of a revision.
    pub fn find(&self, identity: &UpdateIdentity) -> Option<RevisionId> {
        todo!()
    }

    /// The newest revision of an update.
    pub fn latest(&self, update: &UpdateId) -> Option<RevisionId> {
        todo!()
    }

    /// How a revision is deployed to computers of these groups, whatever they have installed; `None` when it
    /// is not offered to them (`RefreshCache`, `GetExtendedUpdateInfo`). Drivers too.
    pub fn offer(&self, id: RevisionId, groups: &[GroupId]) -> Option<Offer> {
        todo!()
    }

    /// The texts of a revision.
    pub fn parts(&self, id: RevisionId) -> Vec<(PartKind, PartRef)> {
        todo!()
    }

    /// One text of a revision.
    pub fn part(&self, id: RevisionId, kind: &PartKind) -> Option<PartRef> {
        todo!()
    }

    /// The payloads a revision itself declares, in its document's order.
    pub fn files(&self, id: RevisionId) -> Vec<Sha1Digest> {
        todo!()
    }
}
