//! The reporting half of MS-WSUSSS ([MS-WSUSSS] 3.1.4.13 to 3.1.4.17): what a server tells the one above it, both
//! sides of every message.
//!
//! **Invariant:** a list is never read beyond the number that a request may have; elements may stand in any order,
//! unknown ones are passed over. Nothing here knows a catalog, or what is true.

mod answer;
mod ask;
mod configuration;
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
pub use configuration::RollupConfiguration;
pub use read::{OPERATIONS, Report};

use tailwater_domain::{Limit, joined_limits};

pub use super::server_sync::{NAMESPACE, Request};

pub(super) const LIMITS: &[Limit] = joined_limits![answer::LIMITS, ask::LIMITS, read::LIMITS,];

/// Path of the reporting service ([MS-WSUSSS] 2.1); agents report there too.
pub const SERVICE_PATH: &str = "/ReportingWebService/ReportingWebService.asmx";
