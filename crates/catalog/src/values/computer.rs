//! Computers as values: what an agent said of itself, the groups it is in, and what it reported.
//!
//! **Invariant:** every text is cut to a limit before it is kept. It never holds a password, a user's name
//! or an address of the network; of where a computer called from only the range.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::CatalogError;
use crate::storage::record;
use crate::storage::record::VERSION;
use tailwater_domain::{ComputerFacts, ComputerId, GroupId, Subnet, UpdateId, UpdateIdentity};

/// How long a first visit lasts: handshake, scan, downloads, report.
const FIRST_VISIT: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
// not a limit: FIRST_VISIT: what counts as one visit

/// A computer that called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Computer {
    /// What it calls itself.
    pub id: ComputerId,
    /// Its full name, from `GetAuthorizationCookie` or its registration.
    pub dns_name: String,
    /// What it registered, if it did.
    pub info: Option<ComputerFacts>,
    /// `DeviceAttributes` of its last scan, cut to 4 KiB.
    pub device_attributes: Option<String>,
    /// The groups it was put into; never All Computers, and Unassigned Computers only alone.
    pub groups: Vec<GroupId>,
    /// The groups it asked for (`targetGroupName`, split at `;`).
    pub requested_groups: Vec<String>,
    /// When it first called.
    pub first_seen: Timestamp,
    /// When it last called; exact to a minute.
    pub last_contact: Timestamp,
    /// When it last reported events.
    pub last_report: Option<Timestamp>,
    /// The change number at which its groups last changed. Only kept for stores that were written when cookies did not
    /// say yet for which groups an agent was answered; see [`crate::snapshot::Snapshot::reach_of`].
    pub moved_at: u64,
    /// Whether it scanned. Those that did not are in memory only.
    pub scanned: bool,
    /// The range of the address it last called from; none when that was before ranges were kept.
    pub range: Option<Subnet>,
    /// The name in the client certificate that it showed last, if it ever did.
    pub certificate: Option<String>,
}

/// Who calls, as far as the connection tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its address; none for what this process does by itself.
    pub address: Option<IpAddr>,
    /// The name in its client certificate, where it showed one that holds.
    pub certificate: Option<String>,
}

impl Caller {
    /// A caller without a certificate.
    pub fn at(address: IpAddr) -> Self {
        Self { address: Some(address), certificate: None }
    }
}

/// Version of a computer's record that says whether it scanned, and from where it called.
const SCANNED: u8 = VERSION + 1;

/// A computer as records of version 1 hold it.
#[derive(Serialize, Deserialize)]
struct Version1 {
    id: ComputerId,
    dns_name: String,
    info: Option<ComputerFacts>,
    device_attributes: Option<String>,
    groups: Vec<GroupId>,
    requested_groups: Vec<String>,
    first_seen: Timestamp,
    last_contact: Timestamp,
    last_report: Option<Timestamp>,
    moved_at: u64,
}

impl Computer {
    /// One that was just heard of for the first time.
    pub(crate) fn new(id: &ComputerId, now: Timestamp) -> Self {
        Self {
            id: id.clone(),
            dns_name: String::new(),
            info: None,
            device_attributes: None,
            groups: Vec::new(),
            requested_groups: Vec::new(),
            first_seen: now,
            last_contact: now,
            last_report: None,
            moved_at: 0,
            scanned: false,
            range: None,
            certificate: None,
        }
    }

    /// As it is kept in the index.
    pub(crate) fn record(&self) -> Result<Vec<u8>, CatalogError> {
        record::encode_as(SCANNED, self)
    }

    /// Reads what is kept in the index. Of a record that does not say whether the computer scanned this is taken from
    /// what a scan leaves behind: attributes of the device, a later contact, a report, or a group that it was put into.
    pub(crate) fn of_record(bytes: &[u8]) -> Result<Self, CatalogError> {
        let fail = |source| CatalogError::Record { kind: 'c', source };
        if let Some((&SCANNED, rest)) = bytes.split_first() {
            return postcard::from_bytes(rest).map_err(fail);
        }
        let old: Version1 = record::decode('c', bytes)?;
        let scanned = old.device_attributes.is_some()
            || old.last_contact > old.first_seen
            || old.last_report.is_some()
            || !old.groups.is_empty();
        Ok(Self {
            id: old.id,
            dns_name: old.dns_name,
            info: old.info,
            device_attributes: old.device_attributes,
            groups: old.groups,
            requested_groups: old.requested_groups,
            first_seen: old.first_seen,
            last_contact: old.last_contact,
            last_report: old.last_report,
            moved_at: old.moved_at,
            scanned,
            range: None,
            certificate: None,
        })
    }

    /// Whether it called again after its first visit: what is made up seldom does.
    pub fn came_back(&self) -> bool {
        self.last_contact.duration_since(self.first_seen) >= FIRST_VISIT
    }

    /// Whether it called `RegisterComputer`.
    pub fn is_registered(&self) -> bool {
        self.info.is_some()
    }
}

/// What a computer says of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has it.
    Installed,
    /// It needs it and does not have it.
    Needed,
    /// It tried and failed.
    Failed,
    /// It was looked at and does not concern the computer.
    NotApplicable,
    /// The computer never reported.
    Unknown,
}

/// What a computer reported of the updates that concern it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Status {
    /// When event 156 last came; until then everything is unknown.
    pub reported_at: Option<Timestamp>,
    /// `V` of event 156.
    pub installed: Vec<UpdateId>,
    /// `U` of event 156, those that failed included.
    pub needed: Vec<UpdateId>,
    /// Failed since it was last seen installed.
    pub failed: Vec<Failure>,
}

impl Status {
    /// How many states it has.
    pub(crate) fn len(&self) -> usize {
        self.installed.len() + self.needed.len() + self.failed.len()
    }

    /// Keeps the states of updates that `is_known`.
    pub(crate) fn retain(&mut self, is_known: impl Fn(&UpdateId) -> bool) {
        self.installed.retain(&is_known);
        self.needed.retain(&is_known);
        self.failed.retain(|failure| is_known(&failure.update));
    }

    /// What the computer says of one update. Anything that the catalog holds and the computer did not list
    /// does not concern it.
    pub fn state_of(&self, update: &UpdateId) -> State {
        if self.failed.iter().any(|failure| failure.update == *update) {
            State::Failed
        } else if self.installed.contains(update) {
            State::Installed
        } else if self.needed.contains(update) {
            State::Needed
        } else if self.reported_at.is_some() {
            State::NotApplicable
        } else {
            State::Unknown
        }
    }
}

/// A failed installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What failed.
    pub update: UpdateId,
    /// `Win32HResult`.
    pub result: i32,
    /// When, by the agent's clock.
    pub at: Timestamp,
}

/// One event of `ReportEventBatch` ([MS-WUSP] 2.2.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// `EventInstanceID`: the same event again has the same.
    pub instance: Uuid,
    /// `EventID`.
    pub id: i32,
    /// `NamespaceID`.
    pub namespace: i32,
    /// `SourceID`.
    pub source: i32,
    /// `TimeAtTarget`.
    pub at: Timestamp,
    /// `UpdateID`; none when it is all zero.
    pub update: Option<UpdateIdentity>,
    /// `Win32HResult`.
    pub result: i32,
    /// `AppName`.
    pub app: String,
    /// `ReplacementStrings`.
    pub replacements: Vec<String>,
    /// `MiscData`, as `K=V`. Not kept beyond the status it implies.
    pub misc: Vec<String>,
}

/// A group of computers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its identity.
    pub id: GroupId,
    /// Its name, unique without regard to letter case.
    pub name: String,
    /// The group it lies in; none for All Computers.
    pub parent: Option<GroupId>,
    /// How deep it lies: All Computers 0.
    pub depth: u32,
}
