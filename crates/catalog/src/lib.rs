//! What is known: updates and their texts, what an administrator decided, computers and what they
//! reported.
//!
//! Index records lie in a key-value store ([`tailwater_kv`]: sled), texts in checksummed append-only segments beside
//! it, and agents are answered from an immutable [`Snapshot`] in memory that is swapped whole.
//!
//! The interface is synchronous. Reading a snapshot is memory only; everything that stores or reads texts
//! may block on a disk.
//!
//! **Invariant:** what a call reported as stored survives a kill or a loss of power; what is staged is not
//! seen by anybody before [`Staging::activate`], and then all at once. A [`RevisionId`] is given once to an
//! identity for the life of the store; a [`Place`] tells the branches of a store that was copied. This room never talks to a network and never holds payloads.
//!
//! [`RevisionId`]: tailwater_domain::RevisionId

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
mod parts;
mod query;
mod servers;
mod settings;
mod snapshot;
mod storage;
#[cfg(test)]
mod tests;
mod texts;
mod values;

pub use computers::identity::{IdentityChange, IdentityKind, MAX_CHANGES};
pub use computers::moving::MAX_MOVED;
pub use computers::newcomers::FleetCounts;
pub use config::{Config, DriverReader, OfferPolicy};
pub use decisions::acceptance::Acceptance;
pub use decisions::decision::{Decline, Hold};
pub use decisions::export::{DecisionSet, SharedApproval, SharedDecline};
pub use decisions::groups::Removal;
pub use decisions::replace::Replaced;
pub use decisions::terms::Terms;
pub use decisions::verdict::{MAX_DECIDED, Verdict};
pub use error::CatalogError;
pub use face::servers::Epoch;
pub use ingest::activation::{Activated, Activation, Held, Summary};
pub use ingest::lost::{Lost, Unnamed};
pub use ingest::staging::{Staging, Stored};
pub use ingest::wanted_keys::WantedKeys;
pub use keyring::{KeyInfo, Keyring, SEAL_KEY};
pub use parts::{Catalog, rebuild};
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
pub use storage::opening::{load_index, rebuild_index};
pub use texts::Chunks;
pub use values::belonging::{Belonging, DecisionKind, Former};
pub use values::computer::{Caller, Computer, Event, Failure, Group, State, Status};
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

use tailwater_domain::{Limit, joined_limits};

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    computers::events::LIMITS,
    computers::fleet::LIMITS,
    computers::identity::LIMITS,
    computers::moving::LIMITS,
    computers::names::LIMITS,
    computers::newcomers::LIMITS,
    computers::news::LIMITS,
    computers::provisional::LIMITS,
    computers::texts::LIMITS,
    decisions::decision::LIMITS,
    decisions::groups::LIMITS,
    decisions::replace::LIMITS,
    decisions::terms::LIMITS,
    decisions::verdict::LIMITS,
    ingest::activation::LIMITS,
    ingest::prepare::LIMITS,
    ingest::staging::LIMITS,
    keyring::LIMITS,
    query::LIMITS,
    servers::activity::LIMITS,
    servers::descendants::LIMITS,
    servers::enrolment::LIMITS,
    servers::part::LIMITS,
    servers::registry::LIMITS,
    servers::rollup::LIMITS,
    snapshot::LIMITS,
    storage::journal::LIMITS,
    storage::lineage::LIMITS,
    storage::manifest::LIMITS,
    storage::rebuild::LIMITS,
    storage::segment::LIMITS,
    texts::LIMITS,
    values::counts::LIMITS,
    values::descendant::LIMITS,
    values::server::LIMITS,
];
