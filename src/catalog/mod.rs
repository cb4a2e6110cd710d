//! What is known: updates and their texts, what an administrator decided, computers and what they
//! reported.
//!
//! Index records lie in a key-value store ([`kv`]: sled), texts in checksummed append-only segments beside
//! it, and agents are answered from an immutable [`Snapshot`] in memory that is swapped whole.
//!
//! The interface is synchronous. Reading a snapshot is memory only; everything that stores or reads texts
//! may block on a disk.
//!
//! **Invariant:** what a call reported as stored survives a kill or a loss of power; what is staged is not
//! seen by anybody before [`Staging::activate`], and then all at once. A [`RevisionId`] is given once to an
//! identity for the life of the store. This room never talks to a network and never holds payloads.
//!
//! [`RevisionId`]: crate::domain::RevisionId

pub mod kv;

mod computer;
mod config;
mod error;
mod part;
mod query;
mod scan;
mod snapshot;
mod staging;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

pub use computer::{Computer, ComputerInfo, Event, Failure, Group, State, Status};
pub use config::{Config, OfferPolicy};
pub use error::CatalogError;
pub use part::{FileUrl, NewPart, NewRevision, PartKind, PartRef};
pub use query::{
    CategoryRow, ComputerDetail, ComputerQuery, ComputerRow, ComputerState, Counts, Decline, GroupApproval,
    KnownFile, MAX_PAGE, Page, Totals, UpdateDetail, UpdateQuery, UpdateRow, UpdateState,
};
pub use scan::{
    Deployment, DeploymentAction, Device, DriverQuery, InstalledDriver, Offer, ScanAnswer, ScanQuery,
};
pub use snapshot::{Revision, Snapshot};
pub use staging::{Activated, Activation, Held, Staging, Summary};

use crate::domain::{
    Action, Approval, ComputerId, Deadline, Facts, FileDeclaration, GroupId, RevisionId, Sha1Digest,
    UpdateId, UpdateIdentity,
};
use crate::runtime::Clock;

/// Raw bytes in one frame of a stored text: what streaming a large one costs in memory.
const FRAME_BYTES: u32 = 256 * 1024;

/// What is kept of a revision beside its texts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredFacts {
    /// What its document says.
    pub facts: Facts,
    /// Where its payloads can be had upstream.
    pub file_urls: Vec<FileUrl>,
}

/// The catalog. Cheap to clone; clones share one store.
#[derive(Clone)]
pub struct Catalog(Arc<()>);

// BODIES FOLLOW: signatures first, so that neighbours can build against them.
#[expect(unused_variables, clippy::todo, reason = "bodies follow")]
impl Catalog {
    /// Opens the store in `config.dir`, making it when absent, and builds the snapshot. Blocks.
    ///
    /// # Errors
    /// When another process holds the store, or it cannot be read.
    pub fn open(config: Config, clock: Clock) -> Result<Self, CatalogError> {
        todo!()
    }

    // --- for agents -----------------------------------------------------------------------------------

    /// The world as agents see it now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        todo!()
    }
    /// Tells of every new snapshot by its sequence number.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        todo!()
    }
    /// The driver pass. Reads what candidates say of themselves, so it may block.
    pub fn drivers(&self, query: &DriverQuery<'_>) -> Result<ScanAnswer, CatalogError> {
        todo!()
    }
    /// A text, whole. Those that fit one frame are remembered; larger ones are gathered in memory, so use
    /// [`Catalog::chunks`] when [`PartRef::is_large`].
    pub fn read(&self, part: &PartRef) -> Result<Bytes, CatalogError> {
        todo!()
    }
    /// A text in pieces of at most 256 KiB, read as they are asked for.
    pub fn chunks(&self, part: &PartRef) -> Chunks {
        todo!()
    }
    /// What is kept of an active revision beside its texts; remembered.
    pub fn facts(&self, revision: RevisionId) -> Result<Option<Arc<StoredFacts>>, CatalogError> {
        todo!()
    }

    // --- ingest ---------------------------------------------------------------------------------------

    /// The way into the store. Several may exist at once; they share what is staged.
    pub fn staging(&self) -> Result<Staging, CatalogError> {
        todo!()
    }
    /// Revisions whose stored texts turned out damaged: to be fetched again, whatever an anchor says.
    pub fn damaged(&self) -> Vec<UpdateIdentity> {
        todo!()
    }
    /// The activation that waits for an administrator, if one does.
    pub fn held(&self) -> Option<Held> {
        todo!()
    }
    /// Activates what was held.
    pub fn release_held(&self) -> Result<Summary, CatalogError> {
        todo!()
    }

    // --- settings: small values of other rooms, by key (anchors, cookies, the sealing key) -----------------

    /// A value, at most 1 MiB.
    pub fn setting(&self, key: &str) -> Result<Option<Vec<u8>>, CatalogError> {
        todo!()
    }
    /// Sets a value durably; `None` removes it.
    pub fn set_setting(&self, key: &str, value: Option<&[u8]>) -> Result<(), CatalogError> {
        todo!()
    }

    // --- decisions ------------------------------------------------------------------------------------

    /// Approves an update for a group, replacing an earlier approval there. A declined update is taken
    /// back, as in WSUS.
    pub fn approve(
        &self,
        update: &UpdateId,
        group: &GroupId,
        action: Action,
        deadline: Deadline,
        by: &str,
    ) -> Result<Approval, CatalogError> {
        todo!()
    }
    /// Takes an approval back. False when there was none.
    pub fn unapprove(&self, update: &UpdateId, group: &GroupId) -> Result<bool, CatalogError> {
        todo!()
    }
    /// Declines an update; its approvals go. False when it was declined already.
    pub fn decline(&self, update: &UpdateId, by: &str) -> Result<bool, CatalogError> {
        todo!()
    }
    /// Takes a decline back. False when it was not declined.
    pub fn undecline(&self, update: &UpdateId) -> Result<bool, CatalogError> {
        todo!()
    }
    /// All groups, parents before children.
    pub fn groups(&self) -> Vec<Group> {
        todo!()
    }
    /// A group by name (any letter case) or identity.
    pub fn find_group(&self, name_or_id: &str) -> Option<Group> {
        todo!()
    }
    /// Makes a group; without a parent, in All Computers.
    pub fn create_group(&self, name: &str, parent: Option<&GroupId>) -> Result<Group, CatalogError> {
        todo!()
    }
    /// Renames a group.
    pub fn rename_group(&self, group: &GroupId, name: &str) -> Result<Group, CatalogError> {
        todo!()
    }
    /// Removes a group and those below it with their approvals; their computers become unassigned.
    pub fn remove_group(&self, group: &GroupId) -> Result<(), CatalogError> {
        todo!()
    }

    // --- computers ------------------------------------------------------------------------------------

    /// A computer.
    pub fn computer(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        todo!()
    }
    /// A computer said who it is (`GetAuthorizationCookie`): it is made when unknown.
    pub fn introduce(
        &self,
        id: &ComputerId,
        dns_name: &str,
        requested_group: Option<&str>,
    ) -> Result<Arc<Computer>, CatalogError> {
        todo!()
    }
    /// `RegisterComputer`.
    pub fn register(&self, id: &ComputerId, info: ComputerInfo) -> Result<Arc<Computer>, CatalogError> {
        todo!()
    }
    /// A computer scanned. Cheap: written down at most once a minute.
    pub fn contacted(&self, id: &ComputerId, device_attributes: Option<&str>) -> Result<(), CatalogError> {
        todo!()
    }
    /// `ReportEventBatch`: keeps the events and derives what they say of updates. The same batch again
    /// changes nothing.
    pub fn report(&self, id: &ComputerId, events: Vec<Event>) -> Result<(), CatalogError> {
        todo!()
    }
    /// Puts a computer into groups; none means Unassigned Computers.
    pub fn assign(&self, id: &ComputerId, groups: &[GroupId]) -> Result<Arc<Computer>, CatalogError> {
        todo!()
    }
    /// Forgets a computer. False when it was not known.
    pub fn forget(&self, id: &ComputerId) -> Result<bool, CatalogError> {
        todo!()
    }
    /// Computers, by name.
    pub fn computers(&self, query: &ComputerQuery) -> Result<Page<ComputerRow>, CatalogError> {
        todo!()
    }
    /// One computer with what it reported.
    pub fn computer_detail(&self, id: &ComputerId) -> Result<Option<ComputerDetail>, CatalogError> {
        todo!()
    }

    // --- reading --------------------------------------------------------------------------------------

    /// The catalog in numbers.
    pub fn totals(&self) -> Totals {
        todo!()
    }
    /// Updates, newest first.
    pub fn updates(&self, query: &UpdateQuery) -> Result<Page<UpdateRow>, CatalogError> {
        todo!()
    }
    /// One update.
    pub fn update(
        &self,
        update: &UpdateId,
        language: Option<&str>,
    ) -> Result<Option<UpdateDetail>, CatalogError> {
        todo!()
    }
    /// All categories, by kind and title.
    pub fn categories(&self, language: Option<&str>) -> Result<Vec<CategoryRow>, CatalogError> {
        todo!()
    }
    /// A payload by its name on the wire.
    pub fn file(&self, sha1: &Sha1Digest) -> Result<Option<KnownFile>, CatalogError> {
        todo!()
    }
    /// The payloads of an update's newest revision and of all it bundles, each once.
    pub fn files_of(&self, update: &UpdateId) -> Result<Vec<FileDeclaration>, CatalogError> {
        todo!()
    }
    /// The payloads of everything approved for installation, each once.
    pub fn approved_files(&self) -> Result<Vec<FileDeclaration>, CatalogError> {
        todo!()
    }
    /// The payloads that agents can still ask for: of everything offered. Sorted.
    pub fn live_digests(&self) -> Vec<Sha1Digest> {
        todo!()
    }
}

/// A text in pieces; see [`Catalog::chunks`].
pub struct Chunks(());

#[expect(clippy::todo, reason = "bodies follow")]
impl Iterator for Chunks {
    type Item = Result<Bytes, CatalogError>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
