//! What is known: updates and their texts, what an administrator decided, computers and what they
//! reported.
//!
//! Index records lie in a key-value store ([`crate::kv`]: sled), texts in checksummed append-only segments beside
//! it, and agents are answered from an immutable [`Snapshot`] in memory that is swapped whole.
//!
//! The interface is synchronous. Reading a snapshot is memory only; everything that stores or reads texts
//! may block on a disk.
//!
//! **Invariant:** what a call reported as stored survives a kill or a loss of power; what is staged is not
//! seen by anybody before [`Staging::activate`], and then all at once. A [`RevisionId`] is given once to an
//! identity for the life of the store; a [`Place`] tells the branches of a store that was copied. This room never talks to a network and never holds payloads.
//!
//! [`RevisionId`]: crate::domain::RevisionId

mod computers;
mod config;
mod decisions;
mod error;
mod face;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing;
mod ingest;
mod keyring;
mod query;
mod servers;
mod settings;
mod snapshot;
mod storage;
#[cfg(test)]
mod tests;
mod texts;
mod values;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

pub use computers::identity::{IdentityChange, IdentityKind, MAX_CHANGES};
pub use computers::members::{FleetCounts, MAX_MOVED};
pub use config::{Config, DriverReader, OfferPolicy};
pub use decisions::decision::{Decline, Hold};
pub use decisions::export::{DecisionSet, SharedApproval, SharedDecline};
pub use decisions::groups::Removal;
pub use decisions::payload_keys::WantedKeys;
pub use decisions::replace::Replaced;
pub use decisions::terms::{Acceptance, Terms};
pub use decisions::verdict::{MAX_DECIDED, Verdict};
pub use error::CatalogError;
pub use face::servers::Epoch;
pub use ingest::lost::{Lost, Unnamed};
pub use ingest::staging::{Activated, Activation, Held, Staging, Stored, Summary};
pub use keyring::{KeyInfo, Keyring, SEAL_KEY};
pub use query::releases::{ApprovedInstall, Release, ReleaseFile};
pub use query::rows::{
    CategoryRow, ComputerDetail, ComputerQuery, ComputerRow, ComputerState, GroupApproval, KnownFile,
    MAX_PAGE, Page, Selected, Totals, UpdateDetail, UpdateQuery, UpdateRow, UpdateState, Whose,
};
pub use query::states::UpdateWord;
pub use settings::to_json;
pub use snapshot::listing::{ListQuery, Listed};
pub use snapshot::root::{Revision, Snapshot};
pub use storage::client_state::StateBytes;
pub use storage::lineage::Place;
pub use storage::rebuild::{load_index, rebuild, rebuild_index};
pub use texts::Chunks;
pub use values::belonging::{Belonging, DecisionKind, Former};
pub use values::computer::{Caller, Computer, ComputerInfo, Event, Failure, Group, State, Status};
pub use values::counts::Counts;
pub use values::descendant::Descendant;
pub use values::facts::StoredFacts;
pub use values::part::{FileUrl, NewPart, NewRevision, PartKind, PartRef};
pub use values::scan::{
    Deployment, DeploymentAction, Device, DriverQuery, InstalledDriver, Offer, ScanAnswer, ScanQuery,
};
pub use values::server::{
    Certificate, Credential, IdentifiedBy, Invitation, Permission, Refused, Revocation, Seen, Server,
    Standing, Took,
};
pub use values::withheld::{Reason, Withheld};

use crate::domain::{
    ComputerId, FileDeclaration, GroupId, Limit, RevisionId, Sha1Digest, UpdateId, UpdateIdentity,
    joined_limits,
};
use crate::runtime::Clock;
use storage::log::Store;

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    decisions::change::LIMITS,
    computers::members::LIMITS,
    decisions::decision::LIMITS,
    values::descendant::LIMITS,
    servers::descendants::LIMITS,
    servers::enrolment::LIMITS,
    computers::events::LIMITS,
    computers::identity::LIMITS,
    ingest::prepare::LIMITS,
    storage::journal::LIMITS,
    keyring::LIMITS,
    storage::lineage::LIMITS,
    storage::manifest::LIMITS,
    computers::news::LIMITS,
    computers::provisional::LIMITS,
    query::LIMITS,
    storage::rebuild::LIMITS,
    decisions::replace::LIMITS,
    servers::rollup::LIMITS,
    values::counts::LIMITS,
    storage::segment::LIMITS,
    values::server::LIMITS,
    servers::registry::LIMITS,
    snapshot::LIMITS,
    ingest::staging::LIMITS,
    computers::succession::LIMITS,
    decisions::terms::LIMITS,
    decisions::verdict::LIMITS,
];

/// The catalog. Cheap to clone; clones share one store.
#[derive(Clone)]
pub struct Catalog(Arc<Store>);

impl Catalog {
    /// Opens the store in `config.dir`, making it when absent, and builds the snapshot. Blocks.
    ///
    /// # Errors
    /// When another process holds the store, or it cannot be read.
    pub fn open(config: Config, clock: Clock) -> Result<Self, CatalogError> {
        Store::open(config, clock).map(|store| Self(Arc::new(store)))
    }

    // --- for agents -----------------------------------------------------------------------------------

    /// The world as agents see it now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot()
    }

    /// Tells of every new snapshot by its sequence number.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    /// The driver pass. Reads what candidates say of themselves, so it may block.
    pub fn drivers(&self, query: &DriverQuery<'_>) -> Result<ScanAnswer, CatalogError> {
        let snapshot = self.0.snapshot();
        snapshot.drivers(query, &|id| self.0.driver_facts(&snapshot, id))
    }

    /// A text, whole. Those that fit one frame are remembered; larger ones are gathered in memory, so use
    /// [`Catalog::chunks`] when [`PartRef::is_large`].
    pub fn read(&self, part: &PartRef) -> Result<Bytes, CatalogError> {
        self.0.read(part)
    }

    /// A text in pieces of at most 256 KiB, read as they are asked for.
    pub fn chunks(&self, part: &PartRef) -> Chunks {
        Chunks::new(Arc::clone(&self.0), *part)
    }

    /// What is kept of an active revision beside its texts; remembered.
    pub fn facts(&self, revision: RevisionId) -> Result<Option<Arc<StoredFacts>>, CatalogError> {
        let part = self.0.snapshot().facts_part(revision.0);
        part.map(|part| self.0.read_facts(&part)).transpose()
    }

    // --- ingest ---------------------------------------------------------------------------------------

    /// The way into the store. Several may exist at once; they share what is staged.
    pub fn staging(&self) -> Result<Staging, CatalogError> {
        Ok(Staging(Arc::clone(&self.0)))
    }

    /// Revisions whose stored texts turned out damaged: to be fetched again, whatever an anchor says.
    pub fn damaged(&self) -> Vec<UpdateIdentity> {
        self.0.snapshot().view().decisions.damaged.values().map(|damage| damage.identity).collect()
    }

    /// The activation that waits for an administrator, if one does.
    pub fn held(&self) -> Option<Held> {
        let value = self.0.kv.get(storage::record::key::HELD).ok()??;
        storage::record::decode('h', &value).ok()
    }

    /// Activates what was held.
    pub fn release_held(&self) -> Result<Summary, CatalogError> {
        let held = self.held().ok_or(CatalogError::NothingHeld)?;
        match self.staging()?.activate(Activation { force: true, ..held.activation })? {
            Activated::Done(summary) => Ok(summary),
            Activated::Held(_) => Err(CatalogError::NothingHeld),
        }
    }

    // --- what lasts as long as the store -------------------------------------------------------------------

    /// The place in this store's history of a change number that its snapshots gave.
    pub fn place(&self, change: u64) -> Place {
        self.0.lineage.place(change)
    }

    /// Whether this store, and no other branch of it, was at this place: what was given up to there is ours.
    pub fn gave(&self, place: &Place) -> bool {
        self.0.lineage.gave(place)
    }

    /// Writes the index, engine-neutral: with a copy of the `documents` folder it is the whole store.
    /// Returns how many entries. See [`crate::kv::Kv::dump`].
    pub fn dump_index(&self, out: &mut impl std::io::Write) -> Result<u64, CatalogError> {
        Ok(self.0.kv.dump(out)?)
    }

    // --- decisions ------------------------------------------------------------------------------------

    /// All groups as the tree that they are: each one followed by those below it, by name.
    pub fn groups(&self) -> Vec<Group> {
        self.0.snapshot().view().decisions.sorted()
    }

    /// A group by name (any letter case) or identity.
    pub fn find_group(&self, name_or_id: &str) -> Option<Group> {
        let (name, id) = (name_or_id.trim().to_lowercase(), name_or_id.parse::<GroupId>().ok());
        self.groups().into_iter().find(|group| Some(group.id) == id || group.name.to_lowercase() == name)
    }

    /// Makes a group; without a parent, in All Computers.
    pub fn create_group(&self, name: &str, parent: Option<&GroupId>) -> Result<Group, CatalogError> {
        self.0.create_group(name, parent)
    }

    /// Renames a group.
    pub fn rename_group(&self, group: &GroupId, name: &str) -> Result<Group, CatalogError> {
        self.change_group(group, Some(name), None)
    }

    /// Removes a group and those below it with their approvals; their computers become unassigned.
    pub fn remove_group(&self, group: &GroupId) -> Result<(), CatalogError> {
        self.0.remove_group(group)
    }

    // --- computers ------------------------------------------------------------------------------------

    /// A computer that called, whether or not it is a member of the fleet.
    pub fn computer(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        self.0.computers.any(id)
    }

    /// A computer said who it is (`GetAuthorizationCookie`). When unknown it is remembered in memory only, until it scans
    /// ([`Catalog::contacted`]).
    pub fn introduce(
        &self,
        caller: &Caller,
        id: &ComputerId,
        dns_name: &str,
        requested_group: Option<&str>,
    ) -> Result<Arc<Computer>, CatalogError> {
        self.0.introduce(caller, id, dns_name, requested_group)
    }

    /// `RegisterComputer`.
    pub fn register(
        &self,
        caller: &Caller,
        id: &ComputerId,
        info: ComputerInfo,
    ) -> Result<Arc<Computer>, CatalogError> {
        self.0.register(caller, id, info)
    }

    /// A computer scanned: it becomes a member of the fleet, kept and listed, where there is room and not too many come
    /// from one place; else it stays as it is. Cheap for a member: written down at most once a minute.
    pub fn contacted(
        &self,
        caller: &Caller,
        id: &ComputerId,
        device_attributes: Option<&str>,
    ) -> Result<(), CatalogError> {
        self.0.contacted(caller, id, device_attributes)
    }

    /// A computer that says who it is and scans, from this machine itself: a member from now on.
    #[cfg(test)]
    pub(crate) fn enrol(
        &self,
        id: &ComputerId,
        dns_name: &str,
        requested_group: Option<&str>,
    ) -> Result<Arc<Computer>, CatalogError> {
        let caller = Caller::default();
        self.0.introduce(&caller, id, dns_name, requested_group)?;
        self.0.contacted(&caller, id, None)?;
        self.0.computers.any(id).ok_or_else(|| CatalogError::UnknownComputer(id.clone()))
    }

    /// Computers that are no members of the fleet, and what was not kept of them.
    pub fn fleet_counts(&self) -> FleetCounts {
        self.0.fleet_counts()
    }

    /// Bytes that clients make this server keep.
    pub fn state_bytes(&self) -> StateBytes {
        self.0.state_bytes()
    }

    /// How many changes of computers' identities were noted since this process began.
    pub fn identity_counts(&self) -> std::collections::BTreeMap<IdentityKind, u64> {
        self.0.identity_counts()
    }

    /// `ReportEventBatch`: keeps the events and derives what they say of updates. The same batch again
    /// changes nothing. Of a computer that is no member nothing is kept.
    pub fn report(&self, caller: &Caller, id: &ComputerId, events: Vec<Event>) -> Result<(), CatalogError> {
        self.0.report(caller, id, events)
    }

    /// Puts a computer into groups; none means Unassigned Computers. Others notice nothing: no snapshot is made.
    pub fn assign(&self, id: &ComputerId, groups: &[GroupId]) -> Result<Arc<Computer>, CatalogError> {
        let moved = self.0.assign(std::slice::from_ref(id), groups)?;
        moved.into_iter().next().ok_or_else(|| CatalogError::UnknownComputer(id.clone()))
    }

    /// Puts several computers, at most [`MAX_MOVED`], into the same groups as one change: all of them, or none when
    /// one is unknown.
    pub fn assign_all(
        &self,
        ids: &[ComputerId],
        groups: &[GroupId],
    ) -> Result<Vec<Arc<Computer>>, CatalogError> {
        self.0.assign(ids, groups)
    }

    /// Forgets a computer. False when it was not known.
    pub fn forget(&self, id: &ComputerId) -> Result<bool, CatalogError> {
        self.0.forget(id)
    }

    /// Computers, by name.
    pub fn computers(&self, query: &ComputerQuery) -> Result<Page<ComputerRow>, CatalogError> {
        Ok(self.0.computers(query))
    }

    /// Agents of this server in a group or one below it.
    pub fn members(&self, group: &GroupId) -> Vec<Arc<Computer>> {
        self.0.members(group)
    }

    /// One computer with what it reported.
    pub fn computer_detail(&self, id: &ComputerId) -> Result<Option<ComputerDetail>, CatalogError> {
        self.0.computer_detail(id)
    }

    // --- reading --------------------------------------------------------------------------------------

    /// The catalog in numbers.
    pub fn totals(&self) -> Totals {
        self.0.totals()
    }

    /// Updates, newest first.
    pub fn updates(&self, query: &UpdateQuery) -> Result<Page<UpdateRow>, CatalogError> {
        self.0.updates(query)
    }

    /// Every update that a text means, as lists and decisions understand it; none for a text with nothing in it.
    pub fn select(&self, text: &str) -> Result<Selected, CatalogError> {
        self.0.select(text)
    }

    /// Rows of these updates, in this order, without those that are not known.
    pub fn rows(&self, ids: &[UpdateId]) -> Result<Vec<UpdateRow>, CatalogError> {
        self.0.rows(ids)
    }

    /// The title of an update's newest revision. Reads one text.
    pub fn title(&self, update: &UpdateId, language: Option<&str>) -> Result<Option<String>, CatalogError> {
        self.0.title_of(update, language)
    }

    /// One update.
    pub fn update(
        &self,
        update: &UpdateId,
        language: Option<&str>,
    ) -> Result<Option<UpdateDetail>, CatalogError> {
        self.0.update(update, language)
    }

    /// All categories, by kind and title.
    pub fn categories(&self, language: Option<&str>) -> Result<Vec<CategoryRow>, CatalogError> {
        self.0.categories(language)
    }

    /// How many updates belong to which categories together, hidden ones left out.
    pub fn categories_together(&self) -> std::collections::HashMap<Vec<UpdateId>, usize> {
        self.0.categories_together()
    }

    /// A payload by its name on the wire.
    pub fn file(&self, sha1: &Sha1Digest) -> Result<Option<KnownFile>, CatalogError> {
        self.0.file(sha1)
    }

    /// The payloads of an update's newest revision and of all it bundles, each once.
    pub fn files_of(&self, update: &UpdateId) -> Result<Vec<FileDeclaration>, CatalogError> {
        self.0.files_of(update)
    }

    /// The payloads of everything approved for installation and not withheld, each once.
    pub fn approved_files(&self) -> Result<Vec<FileDeclaration>, CatalogError> {
        self.0.approved_files()
    }

    /// An update as a release: what it is and what it replaces.
    pub fn release_of(&self, update: &UpdateId) -> Result<Option<Release>, CatalogError> {
        self.0.release_of(update)
    }

    /// The payloads of an update with the parts of the bundle that declare them, in the bundle's order, each once.
    pub fn release_files(&self, update: &UpdateId) -> Result<Vec<ReleaseFile>, CatalogError> {
        self.0.release_files(update)
    }

    /// The updates that can be approved and have this payload, themselves or in what they bundle. Sorted.
    pub fn releases_with(&self, sha1: &Sha1Digest) -> Vec<UpdateId> {
        self.0.releases_with(sha1)
    }

    /// What computers of some group are to install, and is neither held back nor withheld. Sorted.
    pub fn approved_installs(&self) -> Vec<ApprovedInstall> {
        self.0.approved_installs()
    }

    /// Whether an approval asks some computer to act on an update that has this payload, itself or in what it bundles, in any
    /// revision that is here. What is held back or declined does not count.
    pub fn is_deployed(&self, sha1: &Sha1Digest) -> bool {
        self.0.snapshot().is_deployed(sha1)
    }

    /// The payloads that agents can still ask for: of everything offered. Sorted.
    pub fn live_digests(&self) -> Vec<Sha1Digest> {
        self.0.snapshot().live_digests()
    }

    /// The payloads to keep: those, and those of what is withheld until a bundle is whole again. Sorted.
    pub fn kept_digests(&self) -> Vec<Sha1Digest> {
        self.0.snapshot().kept_digests()
    }
}
