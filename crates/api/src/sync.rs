//! Synchronisation: start, watch, cancel, look back.
//!
//! **Invariant:** addresses of payloads, cookies and answers of the upstream never appear here.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PageInfo;
use super::endpoint::inputs;
use super::page::listed;

/// What a synchronisation is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StartSync {
    /// Fetch no payloads afterwards.
    pub metadata_only: bool,
    /// Accept what is held because it would remove much.
    pub accept_removals: bool,
    /// Ask for all lists again instead of what changed; what is held is not fetched again.
    pub full: bool,
}

inputs!(StartSync);

/// A synchronisation that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartedSync {
    /// The number of the request; it has ended when `finished_run` has reached it.
    pub run: u64,
    /// Whether it joined one that runs.
    pub joined: bool,
}

/// A synchronisation that is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelledSync {
    /// It stops; what was stored is kept.
    pub cancelling: bool,
}

/// The synchronisation that runs, and the last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sync {
    /// Whether one runs.
    pub running: bool,
    /// Where it is.
    pub progress: Option<SyncProgress>,
    /// The number of the last request.
    pub asked_run: u64,
    /// The number of the last request that has ended.
    pub finished_run: u64,
    /// Whether the one that runs was cancelled.
    pub cancelling: bool,
    /// How the last one ended.
    pub last: Option<SyncReport>,
    /// When the next one is due by schedule.
    pub next: Option<Timestamp>,
    /// How synchronisation stands.
    pub standing: SyncStanding,
}

/// Where a synchronisation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncProgress {
    /// What it is doing.
    pub phase: SyncPhase,
    /// The same for people, with numbers.
    pub text: String,
    /// Revisions fetched and stored.
    pub done: usize,
    /// Revisions to fetch, as far as known.
    pub total: usize,
    /// Revisions that were listed and held already.
    pub held: usize,
    /// Bytes of metadata received over the link.
    pub received: u64,
    /// Since when it runs.
    pub started_at: Option<Timestamp>,
}

/// What a synchronisation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncPhase {
    /// Nothing yet.
    Idle,
    /// Authorizing, and asking how the upstream works.
    Connecting,
    /// Categories and detectoids.
    Categories,
    /// Asking what is new.
    Listing,
    /// Fetching updates.
    Updates,
    /// Fetching what bundles and prerequisites name.
    Related,
    /// Fetching languages that were added.
    Languages,
    /// Asking for the keys of encrypted payloads.
    Keys,
    /// On a replica: asking what was decided.
    Decisions,
    /// Making it visible.
    Activating,
}

/// One page of synchronisations, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SyncHistory {
    /// Which rows these are.
    #[serde(flatten)]
    pub page: PageInfo,
    /// The rows.
    pub syncs: Vec<SyncReport>,
}

listed!(SyncHistory, syncs: SyncReport);

/// How a synchronisation ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SyncReport {
    /// How.
    pub outcome: SyncOutcome,
    /// Why, and what to look at; empty when there is nothing to say.
    pub message: String,
    /// Who asked for it.
    pub trigger: SyncTrigger,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How many seconds it took.
    pub seconds: f64,
    /// Revisions that the upstream listed.
    pub listed: usize,
    /// Of these, held already.
    pub held: usize,
    /// Revisions fetched and stored.
    pub stored: usize,
    /// Bytes of metadata received over the link.
    pub received: u64,
    /// Updates offered before that no longer are.
    pub withdrawn: usize,
    /// Revisions in the catalog afterwards; null when nothing became visible.
    pub revisions: Option<usize>,
    /// Revisions that could not be fetched.
    pub missing: usize,
    /// Updates that others need and that the upstream does not have.
    pub absent_prerequisites: usize,
    /// On a replica: of how many updates and groups something else is decided than before.
    pub decided: Option<usize>,
    /// Why it failed, in a word.
    pub reason: Option<FailureReason>,
    /// What an administrator should look at, with the next step.
    pub warnings: Vec<String>,
    /// What is only worth a note.
    pub notes: Vec<String>,
}

/// How a synchronisation ended, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncOutcome {
    /// Everything that was selected is here and visible.
    Complete,
    /// It is visible, but something is missing; the next one asks for it again.
    Partial,
    /// Everything is here, and waits for an administrator because it would remove too much.
    Held,
    /// Somebody cancelled it; what was stored is kept.
    Cancelled,
    /// It could not be done; what was stored is kept.
    Failed,
}

impl SyncOutcome {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Held => "held",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// Who asked for a synchronisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncTrigger {
    /// A person or a program.
    Demand,
    /// The schedule.
    Schedule,
    /// The upstream, which told that something changed.
    Notice,
}

/// How synchronisation stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncStanding {
    /// When one last ended with something visible, complete or in part.
    pub last_success: Option<Timestamp>,
    /// When the next one is due by itself.
    pub next: Option<Timestamp>,
    /// Present while the last one failed.
    pub failing: Option<Failing>,
}

/// Failures without a success between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failing {
    /// When the first of them ended, as far back as the history goes.
    pub since: Timestamp,
    /// When the last of them ended.
    pub at: Timestamp,
    /// How many, at most as many as the history keeps.
    pub times: usize,
    /// Why the last one failed.
    pub reason: FailureReason,
    /// What it said.
    pub error: String,
    /// What to do about it.
    pub next_step: String,
}

/// Why a synchronisation failed, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// No connection, no answer, or answers that break off.
    Unreachable,
    /// A proxy between refused.
    Proxy,
    /// TLS or its certificates.
    Certificate,
    /// The link's budget is spent.
    Budget,
    /// The upstream answered with a fault or a status that refuses.
    Refused,
    /// What answered is no update server, or damages its answers.
    WrongAnswer,
    /// Something in this server's configuration.
    Configuration,
    /// This server's disk or store.
    Storage,
    /// A fault of this program.
    Internal,
}
