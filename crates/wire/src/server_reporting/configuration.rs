//! How a server wants to be told of those below it.
//!
//! **Invariant:** numbers are those of one request. It never says what was told.

use uuid::Uuid;

use tailwater_domain::ServerId;

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
