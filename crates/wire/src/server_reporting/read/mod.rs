//! Reading what a downstream server reports.
//!
//! **Invariant:** a list that is longer than a request may have is an error before it is in memory; a list that is
//! absent or nil is `None`, an empty one is empty. Rows without an identity are errors.

mod computer;
mod element;
mod server;

use std::io::BufRead;

use jiff::Timestamp;

use self::computer::{computer, number, status};
pub(super) use self::element::LIMITS;
use self::element::{MAX_SERVERS, Outcome, guid, rows};
use self::server::server;
use super::configuration::RollupConfiguration;
use super::time;
use crate::xml::Decoder;
use tailwater_domain::{ComputerId, RolledComputer, ServerId, ServerReport, StatusReport};

/// The operations of this half of the service.
pub const OPERATIONS: [&str; 5] = [
    "GetRollupConfiguration",
    "RollupDownstreamServers",
    "RollupComputers",
    "GetOutOfSyncComputers",
    "RollupComputerStatus",
];

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// `GetRollupConfiguration`
    Configuration,
    /// `RollupDownstreamServers`
    Servers {
        /// The sender's clock.
        client_time: Option<Timestamp>,
        /// `None` when absent.
        servers: Option<Vec<ServerReport>>,
    },
    /// `RollupComputers`
    Computers {
        /// The sender's clock.
        client_time: Option<Timestamp>,
        /// `None` when absent.
        computers: Option<Vec<RolledComputer>>,
    },
    /// `GetOutOfSyncComputers`
    OutOfSync {
        /// The sender.
        parent: Option<ServerId>,
        /// The last number sent of each computer; `None` when absent.
        numbers: Option<Vec<(ComputerId, i32)>>,
    },
    /// `RollupComputerStatus`
    Status {
        /// The sender's clock.
        client_time: Option<Timestamp>,
        /// The sender.
        parent: Option<ServerId>,
        /// `None` when absent.
        computers: Option<Vec<StatusReport>>,
    },
}

impl Report {
    /// Reads the request `operation`; `None` when the service has no such operation. Lists may be as long as `limits`
    /// say.
    ///
    /// # Errors
    /// When the body is no such request; [`crate::xml::XmlError::TooManyElements`] when a list is too long.
    pub fn decode<R: BufRead>(
        operation: &str,
        decoder: &mut Decoder<R>,
        limits: &RollupConfiguration,
    ) -> Outcome<Option<Self>> {
        decoder.keep_attributes();
        let (mut client_time, mut parent) = (None, None);
        let (mut servers, mut computers, mut numbers, mut statuses) = (None, None, None, None);
        let mut summaries = limits.max_summaries;
        while let Some(name) = decoder.child()? {
            match (operation, name) {
                (_, "clientTime") => client_time = time::read("clientTime", &decoder.text()?)?,
                (_, "parentServerId") => parent = Some(ServerId(guid(decoder)?)),
                ("RollupDownstreamServers", "downstreamServers") => {
                    servers = rows(decoder, "DownstreamServerRollupInfo", MAX_SERVERS, |decoder| {
                        server(decoder, &mut summaries)
                    })?;
                }
                ("RollupComputers", "computers") => {
                    computers = rows(decoder, "ComputerRollupInfo", limits.max_computers, computer)?;
                }
                ("GetOutOfSyncComputers", "lastRollupNumbers") => {
                    numbers = rows(decoder, "ComputerLastRollupNumber", limits.max_numbers, number)?;
                }
                ("RollupComputerStatus", "computers") => {
                    statuses = rows(decoder, "ComputerStatusRollupInfo", limits.max_statuses, status)?;
                }
                _ => decoder.skip()?,
            }
        }
        Ok(Some(match operation {
            "GetRollupConfiguration" => Self::Configuration,
            "RollupDownstreamServers" => Self::Servers { client_time, servers },
            "RollupComputers" => Self::Computers { client_time, computers },
            "GetOutOfSyncComputers" => Self::OutOfSync { parent, numbers },
            "RollupComputerStatus" => Self::Status { client_time, parent, computers: statuses },
            _ => return Ok(None),
        }))
    }
}
