//! What servers below tell of themselves in numbers: updates, computers, operating systems.
//!
//! **Invariant:** numbers are passed on as they were rolled up ([MS-WSUSSS] 3.1.4.14).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use tailwater_domain::UpdateId;

/// A server's own numbers (`DownstreamServerRollupServerSummary`, [MS-WSUSSS] 3.1.4.14.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerCounts {
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

impl ServerCounts {
    /// Each number with its name on the wire, in their order.
    pub fn named(&self) -> [(&'static str, u32); 18] {
        [
            ("updates", self.updates),
            ("declined", self.declined),
            ("approved", self.approved),
            ("not_approved", self.not_approved),
            ("stale_approvals", self.stale_approvals),
            ("expired", self.expired),
            ("critical_not_approved", self.critical_not_approved),
            ("infrastructure_not_approved", self.infrastructure_not_approved),
            ("with_client_errors", self.with_client_errors),
            ("with_server_errors", self.with_server_errors),
            ("needing_files", self.needing_files),
            ("needed_by_computers", self.needed_by_computers),
            ("up_to_date", self.up_to_date),
            ("custom_groups", self.custom_groups),
            ("computers", self.computers),
            ("computers_needing_updates", self.computers_needing_updates),
            ("computers_with_errors", self.computers_with_errors),
            ("computers_up_to_date", self.computers_up_to_date),
        ]
    }
}

/// The computers of a server with one operating system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientSystems {
    /// Which system.
    pub os: OsFacts,
    /// How many computers.
    pub count: u32,
    /// What they installed.
    pub activity: Vec<Installations>,
}

/// What tells operating systems apart, as computers register it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OsFacts {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Installations {
    /// Which update.
    #[schemars(with = "Uuid")]
    pub update: UpdateId,
    /// Its revision; 0 when it is not known.
    pub revision: u32,
    /// Installations that succeeded.
    pub succeeded: u32,
    /// Installations that failed.
    pub failed: u32,
}
