//! What servers tell the server above them of themselves and their computers ([MS-WSUSSS] 3.1.4.14 to 3.1.4.17).
//!
//! **Invariant:** a time that is "never" is absent, however it was written. Nothing here knows how it travels.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ComputerId, GroupId, ServerId, UpdateId};

/// A server's own numbers (`DownstreamServerRollupServerSummary`, [MS-WSUSSS] 3.1.4.14.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerSummary {
    /// `UpdateCount`.
    pub updates: u32,
    /// `DeclinedUpdateCount`.
    pub declined: u32,
    /// `ApprovedUpdateCount`.
    pub approved: u32,
    /// `NotApprovedUpdateCount`.
    pub not_approved: u32,
    /// `UpdatesWithStaleUpdateApprovalsCount`.
    pub stale_approvals: u32,
    /// `ExpiredUpdateCount`.
    pub expired: u32,
    /// `CriticalOrSecurityUpdatesNotApprovedForInstallCount`.
    pub critical_not_approved: u32,
    /// `WsusInfrastructureUpdatesNotApprovedForInstallCount`.
    pub infrastructure_not_approved: u32,
    /// `UpdatesWithClientErrorsCount`.
    pub with_client_errors: u32,
    /// `UpdatesWithServerErrorsCount`.
    pub with_server_errors: u32,
    /// `UpdatesNeedingFilesCount`.
    pub needing_files: u32,
    /// `UpdatesNeededByComputersCount`.
    pub needed_by_computers: u32,
    /// `UpdatesUpToDateCount`.
    pub up_to_date: u32,
    /// `CustomComputerTargetGroupCount`.
    pub custom_groups: u32,
    /// `ComputerTargetCount`.
    pub computers: u32,
    /// `ComputerTargetsNeedingUpdatesCount`.
    pub computers_needing_updates: u32,
    /// `ComputerTargetsWithUpdateErrorsCount`.
    pub computers_with_errors: u32,
    /// `ComputersUpToDateCount`.
    pub computers_up_to_date: u32,
}

/// What tells operating systems apart, as computers register it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct OsVersion {
    /// `OSMajorVersion`.
    pub major: i32,
    /// `OSMinorVersion`.
    pub minor: i32,
    /// `OSBuildNumber`.
    pub build: i32,
    /// `OSServicePackMajorNumber`.
    pub service_pack_major: i32,
    /// `OSServicePackMinorNumber`.
    pub service_pack_minor: i32,
    /// `OSLocale`.
    pub locale: String,
    /// `SuiteMask`.
    pub suite_mask: i32,
    /// `OldProductType`.
    pub old_product_type: i32,
    /// `NewProductType`.
    pub new_product_type: i32,
    /// `SystemMetrics`.
    pub system_metrics: i32,
    /// `ProcessorArchitecture`.
    pub architecture: String,
}

/// How often an update was installed since that was last told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Which update.
    pub update: UpdateId,
    /// Its revision; 0 when it is not known.
    pub revision: u32,
    /// Installations that succeeded.
    pub succeeded: u32,
    /// Installations that failed.
    pub failed: u32,
}

/// The computers of a server with one operating system (`DownstreamServerRollupClientSummary`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClientSummary {
    /// Which system.
    pub os: OsVersion,
    /// How many computers.
    pub count: u32,
    /// What they installed.
    pub activity: Vec<Activity>,
}

/// A server as it tells of itself or of one below it (`DownstreamServerRollupInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    /// Which server.
    pub id: ServerId,
    /// Its full name.
    pub name: String,
    /// When it last synchronised.
    pub last_sync: Option<Timestamp>,
    /// The server it synchronises from; none when that is the one that is told.
    pub parent: Option<ServerId>,
    /// The version of its software.
    pub version: String,
    /// Whether its approvals come from its parent.
    pub is_replica: bool,
    /// When it told of itself.
    pub last_rollup: Option<Timestamp>,
    /// Its numbers.
    pub summary: Option<ServerSummary>,
    /// Its computers by operating system.
    pub clients: Vec<ClientSummary>,
}

/// What a computer is (`ComputerRollupDetails`). Its address is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ComputerDetails {
    /// The groups it is in, as its own server numbers them.
    pub groups: Vec<GroupId>,
    /// The groups it asked for.
    pub requested_groups: Vec<String>,
    /// Its full name.
    pub name: String,
    /// Its operating system.
    pub os: OsVersion,
    /// `OSDescription`.
    pub os_description: String,
    /// `ComputerMake`.
    pub make: String,
    /// `ComputerModel`.
    pub model: String,
    /// `BiosVersion`.
    pub bios_version: String,
    /// `BiosName`.
    pub bios_name: String,
    /// `BiosReleaseDate`, as it was written.
    pub bios_date: String,
    /// `ClientVersion`.
    pub client_version: String,
}

/// How a computer's last synchronisation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncResult {
    /// Nothing is known of one.
    #[default]
    Unknown,
    /// It got its answers.
    Succeeded,
    /// It did not.
    Failed,
}

/// A computer of a server below (`ComputerRollupInfo`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RolledComputer {
    /// Which computer.
    pub id: ComputerId,
    /// When it last asked for updates.
    pub last_sync: Option<Timestamp>,
    /// How that went.
    pub last_result: SyncResult,
    /// When it last told that it had started.
    pub last_reboot: Option<Timestamp>,
    /// When it last told what it has.
    pub last_status: Option<Timestamp>,
    /// When it last told its inventory.
    pub last_inventory: Option<Timestamp>,
    /// The server it gets its updates from.
    pub parent: ServerId,
    /// What it is; absent when that did not change.
    pub details: Option<ComputerDetails>,
}

/// What the server above wants done about a computer (`ComputerChangeType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputerChange {
    /// It does not want to hear of it.
    Deleted,
    /// It wants to know what it is.
    NewParent,
}

/// What a computer says of an update (`SummarizationState`, [MS-WSUSSS] 3.1.4.17.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Summarization {
    /// It does not concern it. 0 on the wire; 1 means the same in the data model and is read as such.
    NotApplicable,
    /// It needs it.
    NotInstalled,
    /// It has its files.
    Downloaded,
    /// It has it.
    Installed,
    /// It tried and failed.
    Failed,
    /// It has it once it was started again.
    InstalledPendingRestart,
}

impl Summarization {
    /// The number on the wire.
    pub fn number(self) -> i32 {
        match self {
            Self::NotApplicable => 0,
            Self::NotInstalled => 2,
            Self::Downloaded => 3,
            Self::Installed => 4,
            Self::Failed => 5,
            Self::InstalledPendingRestart => 6,
        }
    }

    /// What a number on the wire means.
    pub fn of(number: i32) -> Option<Self> {
        Some(match number {
            0 | 1 => Self::NotApplicable,
            2 => Self::NotInstalled,
            3 => Self::Downloaded,
            4 => Self::Installed,
            5 => Self::Failed,
            6 => Self::InstalledPendingRestart,
            _ => return None,
        })
    }
}

/// What a computer says of one update, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Which update.
    pub update: UpdateId,
    /// What it says.
    pub state: Summarization,
    /// Since when.
    pub changed: Timestamp,
}

/// What a computer says of updates (`ComputerStatusRollupInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReport {
    /// Which computer.
    pub computer: ComputerId,
    /// When the newest update that it told of became available at its server.
    pub effective_detection: Option<Timestamp>,
    /// Which report of this computer this is, from 1.
    pub number: i32,
    /// Whether this is everything, or only what changed.
    pub full: bool,
    /// Update by update.
    pub updates: Vec<UpdateStatus>,
}
