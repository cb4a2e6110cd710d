//! What synchronisation says of itself while it runs and afterwards. Invariant: addresses of payloads,
//! cookies and answers never appear here. It never decides anything.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::reason::Reason;
use tailwater_catalog::Summary;
use tailwater_domain::UpdateIdentity;

/// How a synchronisation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncOptions {
    /// Ask for all lists again instead of what changed. What is held is not fetched again.
    pub full: bool,
    /// Activate even what would be held for an administrator.
    pub force: bool,
}

/// Who asked for a synchronisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A person or a program.
    Demand,
    /// The schedule.
    Schedule,
    /// The upstream, which told that something changed.
    Notice,
}

/// What a synchronisation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing.
    #[default]
    Idle,
    /// Authorizing, and asking how the upstream works.
    Connecting,
    /// Listing and fetching categories and detectoids.
    Categories,
    /// Asking what is new.
    Listing,
    /// Fetching updates.
    Updates,
    /// Fetching what bundles and prerequisites name.
    Related,
    /// Fetching languages that were added, for what is held.
    Languages,
    /// Asking for the keys of encrypted payloads.
    Keys,
    /// On a replica: asking what was decided.
    Decisions,
    /// Making it visible.
    Activating,
}

/// Where a synchronisation stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SyncProgress {
    /// What it is doing.
    pub phase: Phase,
    /// Since when it runs.
    pub started_at: Option<Timestamp>,
    /// Revisions fetched and stored.
    pub fetched: usize,
    /// Revisions to fetch, as far as known.
    pub to_fetch: usize,
    /// Revisions that were listed and held already.
    pub held: usize,
    /// Bytes of metadata received over the link.
    pub received: u64,
}

/// How a synchronisation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that was selected is here and visible.
    Complete,
    /// It is visible, but something is missing; the next synchronisation asks for it again.
    Partial,
    /// Everything is here, and waits for an administrator because it would remove too much.
    Held,
    /// Somebody stopped it; what was stored is kept for the next one.
    Cancelled,
    /// It could not be done; what was stored is kept for the next one.
    Failed,
}

/// A revision that is not available here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Which.
    pub identity: UpdateIdentity,
    /// Why, and what happens next.
    pub reason: String,
}

/// What a synchronisation did; the history keeps the last 50.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncReport {
    /// Who asked for it.
    pub trigger: Trigger,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// Revisions that the upstream listed.
    pub listed: usize,
    /// Of these, held already.
    pub held: usize,
    /// Revisions fetched and stored.
    pub fetched: usize,
    /// Bytes of metadata received over the link.
    pub received: u64,
    /// What is missing; the history keeps the first 20.
    pub missing: Vec<Missing>,
    /// How many are missing.
    pub missing_total: usize,
    /// Updates that others need and that the upstream does not have; those are not offered to anybody.
    pub absent_prerequisites: usize,
    /// On a replica: how many updates and groups something else is decided of than before.
    #[serde(default)]
    pub decided: Option<usize>,
    /// What became visible, when something did.
    pub activated: Option<Activated>,
    /// What an administrator should look at, with the next step: names that stand for nothing or select nothing.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What is only worth a note: what was renamed, and which pairs of a product and a classification match nothing.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Why it failed, with the next step.
    pub error: Option<String>,
    /// The same in a word.
    #[serde(default)]
    pub reason: Option<Reason>,
}

impl SyncReport {
    /// Whether the upstream's notice led to nothing here: there may be many, and none is worth a line.
    pub(super) fn is_idle_notice(&self) -> bool {
        self.trigger == Trigger::Notice
            && self.outcome == Outcome::Complete
            && (self.fetched, self.activated) == (0, None)
            && self.decided.is_none_or(|decided| decided == 0)
    }
}

/// What became visible; see [`Summary`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activated {
    /// Number of the generation.
    pub generation: u64,
    /// Revisions that became visible.
    pub added: usize,
    /// Updates offered before that no longer are.
    pub no_longer_offered: usize,
    /// Revisions in the catalog now.
    pub revisions: usize,
}

impl From<Summary> for Activated {
    fn from(summary: Summary) -> Self {
        Self {
            generation: summary.generation,
            added: summary.added,
            no_longer_offered: summary.no_longer_offered,
            revisions: summary.revisions,
        }
    }
}
