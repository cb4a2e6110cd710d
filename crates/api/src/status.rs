//! The server as a whole, on one screen.
//!
//! **Invariant:** the answer fits a screen whatever the catalog's size, and never waits for the upstream.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Disk, LedgerTotals, LinkReading, SyncProgress, SyncReport, SyncStanding};

/// One screen of everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// When the server started.
    pub started_at: Timestamp,
    /// Whether agents can be served.
    pub ready: bool,
    /// Where agents are answered; empty when a command opened the store without a server.
    pub listen: Vec<String>,
    /// Whether what changes can be written.
    pub disk: Disk,
    /// The upstream's address.
    pub upstream: String,
    /// Who decides.
    pub mode: Mode,
    /// How the last synchronisation ended.
    pub last_sync: Option<SyncReport>,
    /// Where the synchronisation that runs is.
    pub sync_progress: Option<SyncProgress>,
    /// When the next one is due by schedule.
    pub next_sync: Option<Timestamp>,
    /// How synchronisation stands.
    pub sync: SyncStanding,
    /// The catalog in numbers.
    pub catalog: CatalogTotals,
    /// What was damaged on the disk so that not even its name can be read.
    pub lost: Option<Lost>,
    /// Payloads in numbers.
    pub content: ContentTotals,
    /// What the link carried and saved.
    pub ledger: LedgerTotals,
    /// What was sent to agents and downstream servers.
    pub served: Served,
    /// What the link does now.
    pub link: LinkReading,
    /// The servers that payloads come from.
    pub sources: Vec<Source>,
    /// Agents of this server.
    pub computers: usize,
    /// Computers of servers below.
    pub computers_below: usize,
    /// Servers below, direct or not.
    pub servers_below: usize,
    /// The last roll-up that the upstream took.
    pub last_rollup: Option<Rollup>,
    /// Connections of agents and downstream servers; null before they are listened for.
    pub connections: Option<Connections>,
    /// Work that runs.
    pub workers: Vec<Worker>,
    /// What an administrator should look at, with the next step.
    pub warnings: Vec<String>,
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// This server's administrators.
    Autonomous,
    /// The upstream: approvals and groups come from there.
    Replica,
}

/// The catalog in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogTotals {
    /// Revisions that agents may see or that are kept beside them.
    pub revisions: usize,
    /// Updates over all types.
    pub updates: usize,
    /// Updates that are offered to agents now.
    pub offered: usize,
    /// Approved for some group.
    pub approved: usize,
    /// Declined.
    pub declined: usize,
    /// Expired by their publisher.
    pub expired: usize,
    /// Stored, but not yet activated.
    pub staged: usize,
    /// Damaged, waiting to be fetched again.
    pub damaged: usize,
    /// Agents of this server.
    pub computers: usize,
    /// Computers of servers below.
    pub computers_below: usize,
    /// Servers below, direct or not.
    pub servers_below: usize,
    /// Bytes of segment files.
    pub segment_bytes: u64,
    /// Bytes of the compressed texts of the revisions.
    pub text_bytes: u64,
}

/// What is missing because it was damaged on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// Since when, as far as is known.
    pub since: Timestamp,
    /// Revisions that were in blocks which cannot be read, at most.
    pub revisions: u64,
    /// Stretches of segments that could not be read.
    pub stretches: u64,
    /// Of these, records of decisions: what they said must be decided again.
    pub decisions: u64,
}

/// Payloads in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentTotals {
    /// Bytes cached.
    pub held: u64,
    /// Files of which something is cached.
    pub files: u64,
    /// Of these, verified ones.
    pub verified: u64,
    /// Of these, partial ones.
    pub partial: u64,
    /// Bytes that transfers still have to fetch.
    pub wanted: u64,
    /// `content.fetch`, as configured.
    pub fetch: String,
    /// `content.max_size`, as configured.
    pub max_size: String,
    /// Whether there is no room for more.
    pub full: bool,
}

/// What was sent to agents and downstream servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Served {
    /// Bytes of payloads, as long as the ledger goes back.
    pub bytes: u64,
}

/// A server that payloads come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// `http://host:port`.
    pub source: String,
    /// What the configuration says it costs; null for a server that only metadata names.
    pub cost: Option<u32>,
    /// Whether it can be reached.
    pub state: SourceState,
    /// While it is down: in how many seconds it is asked again.
    pub retry_seconds: Option<u64>,
    /// For how many seconds it has been down.
    pub down_seconds: Option<u64>,
    /// Whether it sends parts of files; null until it was asked.
    pub ranges: Option<bool>,
    /// Requests sent to it since the start.
    pub requests: u64,
    /// Bytes of payloads received from it.
    pub received: u64,
    /// Why it could not be reached, until it answers again.
    pub trouble: Option<String>,
}

/// Whether a server can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Nothing was asked of it yet.
    Unused,
    /// It answered last.
    Up,
    /// It did not answer last; it is asked again after growing pauses.
    Down,
}

impl SourceState {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What a roll-up told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rollup {
    /// When it ended.
    pub at: Timestamp,
    /// Servers told of, this one included.
    pub servers: usize,
    /// Rows of computers told.
    pub computers: usize,
    /// Reports of what computers have.
    pub statuses: usize,
    /// Bytes of requests' bodies, as they went.
    pub sent: u64,
}

/// Connections of agents and downstream servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    /// Open now.
    pub open: u64,
    /// Open at once at the most.
    pub limit: u64,
    /// As configured; more than `limit` where the system does not allow as many.
    pub configured: u64,
    /// The most that were open at once.
    pub most: u64,
    /// Addresses that have some.
    pub addresses: usize,
    /// Refused since the start.
    pub refused: u64,
    /// Closed since the start to make room for others.
    pub closed_for_others: u64,
}

/// Work that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Worker {
    /// The worker's name.
    pub name: String,
    /// How many run.
    pub running: usize,
}
