//! The reporting half of MS-WSUSSS ([MS-WSUSSS] 3.1.4.13 to 3.1.4.17): what a server tells the one above it, both
//! sides of every message.
//!
//! **Invariant:** a list is never read beyond the number that a request may have; elements may stand in any order,
//! unknown ones are passed over. Nothing here knows a catalog, or what is true.

mod answer;
mod ask;
mod read;
mod summary;
mod time;

#[cfg(test)]
mod tests;

pub use answer::{
    ChangedComputer, computers_answer, configuration_answer, out_of_sync_answer, read_computers_answer,
    read_configuration, read_out_of_sync, read_servers_answer, read_status_answer, servers_answer,
    status_answer,
};
pub use ask::{
    computer_weight, get_out_of_sync, get_rollup_configuration, rollup_computers, rollup_servers,
    rollup_status, status_weight,
};
pub use read::{OPERATIONS, Report};

use uuid::Uuid;

use crate::domain::{Limit, ServerId, joined_limits};

pub use super::server_sync::{NAMESPACE, Request};

pub(super) const LIMITS: &[Limit] = joined_limits![answer::LIMITS, ask::LIMITS, read::LIMITS,];

/// Path of the reporting service ([MS-WSUSSS] 2.1); agents report there too.
pub const SERVICE_PATH: &str = "/ReportingWebService/ReportingWebService.asmx";

/// How a server wants to be told (`RollupConfiguration`, [MS-WSUSSS] 3.1.4.13.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollupConfiguration {
    /// Whether it wants to hear of each computer.
    pub detailed: bool,
    /// Another one than last time: it lost what it was told, tell everything again.
    pub reset: Uuid,
    /// Who it is.
    pub server: ServerId,
    /// Most `DownstreamServerRollupClientSummary` in a request.
    pub max_summaries: usize,
    /// Most `ComputerRollupInfo` in a request.
    pub max_computers: usize,
    /// Most `ComputerLastRollupNumber` in a request.
    pub max_numbers: usize,
    /// Most `ComputerStatusRollupInfo` in a request.
    pub max_statuses: usize,
}

impl RollupConfiguration {
    /// What Windows always says ([MS-WSUSSS] notes 46 to 49), for this server.
    pub fn usual(server: ServerId, reset: Uuid) -> Self {
        Self {
            detailed: true,
            reset,
            server,
            max_summaries: 5_000,
            max_computers: 1_500,
            max_numbers: 20_000,
            max_statuses: 500,
        }
    }
}
