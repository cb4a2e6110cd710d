//! Computers: who there is, and what they reported.
//!
//! **Invariant:** what a computer said of itself is text, never interpreted.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::endpoint::inputs;
use super::page::listed;
use super::{MAX_MOVED, PageInfo, Paging, ServerName, Warning};
use tailwater_domain::{ComputerId, UpdateId};

/// Which computers to list. What is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComputersQuery {
    /// Words that must all occur in name, identity, operating system or model.
    pub text: Option<String>,
    /// In this group or one below it, by name or GUID.
    pub group: Option<String>,
    /// Ours, those of servers below, or both.
    pub whose: Option<Whose>,
    /// Only those that came through this downstream server, by name or identity.
    pub through: Option<String>,
    /// Rows to pass over: `next` of the page before.
    #[serde(default)]
    pub offset: usize,
    /// Rows in one answer, 1,000 when it is not said, and at most.
    pub limit: Option<usize>,
}

impl ComputersQuery {
    /// Which rows are asked for.
    pub fn paging(&self) -> Paging {
        Paging::new(self.offset, self.limit)
    }
}

/// Whose computers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// All that are known.
    #[default]
    All,
    /// Agents of this server.
    Ours,
    /// Those of servers below.
    Below,
}

/// One page of computers, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Computers {
    /// Which rows these are.
    #[serde(flatten)]
    pub page: PageInfo,
    /// The rows.
    pub computers: Vec<Computer>,
}

listed!(Computers, computers: Computer);

/// A computer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Computer {
    /// What it calls itself.
    #[schemars(with = "String")]
    pub computer_id: ComputerId,
    /// Its full name.
    pub name: String,
    /// Names of the groups it is in.
    pub groups: Vec<String>,
    /// Names of the groups it asked for.
    pub requested_groups: Vec<String>,
    /// Its operating system and version; empty until it registered.
    pub os: String,
    /// Whether it registered.
    pub registered: bool,
    /// When it first called.
    pub first_seen: Timestamp,
    /// When it last called, exact to a minute.
    pub last_contact: Timestamp,
    /// When it last reported.
    pub last_report: Option<Timestamp>,
    /// Updates that it needs, those that failed included.
    pub needed: u32,
    /// Updates that it has.
    pub installed: u32,
    /// Updates that it failed to install.
    pub failed: u32,
    /// The servers it came through, from the direct child of this one to its own; empty for an agent of this server.
    pub via: Vec<ServerName>,
    /// How many other computers, here and below, have the same name.
    pub same_name: usize,
    /// The range of the address it last called from.
    pub range: Option<String>,
    /// The name in the client certificate that it showed last.
    pub certificate: Option<String>,
}

/// Which part of one computer's reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComputerQuery {
    /// Only updates in this state.
    pub state: Option<ReportedState>,
    /// Rows to pass over.
    #[serde(default)]
    pub offset: usize,
    /// Rows in one answer, 100 when it is not said, at most 1,000.
    pub limit: Option<usize>,
}

/// What a computer reports of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportedState {
    /// It has it.
    Installed,
    /// It needs it and does not have it.
    Needed,
    /// It tried and failed.
    Failed,
    /// It does not concern it.
    NotApplicable,
    /// The computer never reported.
    Unknown,
}

impl ReportedState {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Needed => "needed",
            Self::Failed => "failed",
            Self::NotApplicable => "not_applicable",
            Self::Unknown => "unknown",
        }
    }
}

/// One computer, with a page of what it reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComputerDetail {
    /// As in the list.
    #[serde(flatten)]
    pub row: Computer,
    /// When it last reported what it has; null until then.
    pub reported_at: Option<Timestamp>,
    /// What it registered, if it did.
    pub facts: Option<ComputerFacts>,
    /// A page of what it reported.
    pub updates: Vec<ReportedUpdate>,
    /// Reports over all pages.
    pub updates_total: usize,
    /// Reports before this page.
    pub offset: usize,
    /// Its latest events, newest first.
    pub events: Vec<Event>,
    /// What changed about its identity, newest first.
    pub identity_changes: Vec<IdentityChange>,
}

/// What a computer registered, by element of `ComputerInfo` ([MS-WUSP] 2.2.2.2.3): texts and whole numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComputerFacts {
    /// `DnsName`.
    pub dns_name: String,
    /// `OSMajorVersion`.
    pub os_major: i32,
    /// `OSMinorVersion`.
    pub os_minor: i32,
    /// `OSBuildNumber`.
    pub os_build: i32,
    /// `OSServicePackMajorNumber`.
    pub service_pack_major: i32,
    /// `OSServicePackMinorNumber`.
    pub service_pack_minor: i32,
    /// `OSLocale`.
    pub locale: String,
    /// `ComputerManufacturer`.
    pub manufacturer: String,
    /// `ComputerModel`.
    pub model: String,
    /// `BiosVersion`.
    pub bios_version: String,
    /// `BiosName`.
    pub bios_name: String,
    /// `BiosReleaseDate`.
    pub bios_date: String,
    /// `ProcessorArchitecture`.
    pub architecture: String,
    /// `SuiteMask`.
    pub suite_mask: i32,
    /// `OldProductType`.
    pub old_product_type: i32,
    /// `NewProductType`.
    pub new_product_type: i32,
    /// `SystemMetrics`.
    pub system_metrics: i32,
    /// `ClientVersion…` as `major.minor.build.qfe`.
    pub client_version: String,
    /// `OSDescription`.
    pub os_description: String,
    /// `OEM`.
    pub oem: String,
    /// `DeviceType`.
    pub device_type: String,
    /// `FirmwareVersion`.
    pub firmware_version: String,
    /// `MobileOperator`.
    pub mobile_operator: String,
}

/// What a computer reported of one update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportedUpdate {
    /// The update.
    #[schemars(with = "Uuid")]
    pub update_id: UpdateId,
    /// Its title; empty when it is not known here.
    pub title: String,
    /// What the computer reports.
    pub state: ReportedState,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
    /// The error as `0x` and eight digits, when it failed.
    pub result: Option<String>,
}

/// Something that a computer reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// When, by the computer's clock.
    pub at: Timestamp,
    /// `EventID`.
    pub event_id: i32,
    /// In words.
    pub event: String,
    /// About which update.
    #[schemars(with = "Option<Uuid>")]
    pub update_id: Option<UpdateId>,
    /// Its title; empty when it is not known here.
    pub title: Option<String>,
    /// `Win32HResult` as `0x` and eight digits.
    pub result: String,
    /// What else it said, joined by commas.
    pub text: String,
}

/// A change of what tells a computer from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdentityChange {
    /// When.
    pub at: Timestamp,
    /// What changed.
    pub kind: IdentityKind,
    /// What it was.
    pub before: String,
    /// What it is.
    pub after: String,
    /// The range of the address from which the other was said.
    pub from: Option<String>,
    /// How often it was said within an hour of that.
    pub times: u32,
}

/// What changed about a computer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdentityKind {
    /// It called from another range shortly after it had called from one.
    Address,
    /// Its name.
    Name,
    /// Its maker, model or firmware.
    Hardware,
    /// The groups that it asks for.
    Groups,
    /// The name in its client certificate.
    Certificate,
}

impl IdentityKind {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Name => "name",
            Self::Hardware => "hardware",
            Self::Groups => "groups",
            Self::Certificate => "certificate",
        }
    }
}

/// The group that a computer is put into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// Name or GUID.
    pub group: String,
}

/// Computers, and the group that they are put into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveAll {
    /// Names or ids; all of them are moved or none.
    #[schemars(length(min = 1, max = MAX_MOVED))]
    pub computers: Vec<String>,
    /// Name or GUID.
    pub group: String,
}

inputs!(ComputersQuery, ComputerQuery, Move, MoveAll);

/// A computer that was put into a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moved {
    /// The computer.
    #[serde(flatten)]
    pub computer: NamedComputer,
    /// The name of the group.
    pub group: String,
    /// What an administrator should know of it.
    pub warnings: Vec<Warning>,
}

/// Computers that were put into a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MovedComputers {
    /// Each of them.
    pub moved: Vec<NamedComputer>,
    /// The name of the group.
    pub group: String,
    /// What an administrator should know of it.
    pub warnings: Vec<Warning>,
}

/// A computer by identity and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedComputer {
    /// What it calls itself.
    #[schemars(with = "String")]
    pub computer_id: ComputerId,
    /// Its full name.
    pub name: String,
}

/// A computer that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedComputer {
    /// Its identity; it comes back when it asks again.
    #[schemars(with = "String")]
    pub removed: ComputerId,
}
