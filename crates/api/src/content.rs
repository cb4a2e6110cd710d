//! Payloads: what is cached, what is learned of them, and what is done with them.
//!
//! **Invariant:** sizes are bytes. A file is named by its SHA-1, because that is its name on the wire of the protocols.

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::endpoint::inputs;
use super::page::listed;
use super::{Class, PageInfo};
use tailwater_domain::UpdateId;

/// A payload that a document declares, with how much of it is cached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    /// Its SHA-1, as hexadecimal digits.
    pub sha1: String,
    /// Its SHA-256, where the document has it.
    pub sha256: Option<String>,
    /// `FileName`.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// `PatchingType`, where the document has it.
    pub patching: Option<String>,
    /// Bytes that are cached.
    pub held: u64,
    /// How far it is.
    pub state: FileProgress,
}

/// How far a declared file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileProgress {
    /// Nothing of it is cached.
    Missing,
    /// Some pieces are missing.
    Partial,
    /// Every piece is there, but the digests were not compared yet.
    Complete,
    /// Every declared digest matched.
    Verified,
}

impl FileProgress {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Partial => "partial",
            Self::Complete => "complete",
            Self::Verified => "verified",
        }
    }
}

/// What is cached, the files used last first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Content {
    /// Which rows these are.
    #[serde(flatten)]
    pub page: PageInfo,
    /// The rows.
    pub files: Vec<HeldFile>,
    /// In sum.
    pub usage: ContentUsage,
    /// `content.fetch`, as configured.
    pub fetch: String,
    /// `content.max_size`, as configured.
    pub max_size: String,
    /// Bytes that transfers still have to fetch.
    pub wanted: u64,
    /// Bytes of payloads sent to agents and downstream servers.
    pub served: u64,
    /// Since which day that is counted.
    pub served_since: Option<Date>,
    /// The last verification; null before the first since the start.
    pub verification: Option<Verification>,
}

listed!(Content, files: HeldFile);

/// A file that is cached, whole or in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldFile {
    /// Its SHA-1, as hexadecimal digits.
    pub sha1: String,
    /// The SHA-256 that was declared, or computed when it was verified.
    pub sha256: Option<String>,
    /// Names that metadata gave it.
    pub names: Vec<String>,
    /// Length in bytes.
    pub size: u64,
    /// Bytes that are cached.
    pub held: u64,
    /// How far it is.
    pub state: HeldState,
    /// When it was last asked for or written.
    pub last_use: Timestamp,
}

/// How far a cached file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeldState {
    /// Some pieces are missing.
    Partial,
    /// Every piece is there, but the digests were not compared yet.
    Complete,
    /// Every declared digest matched.
    Verified,
}

impl HeldState {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::Complete => "complete",
            Self::Verified => "verified",
        }
    }
}

/// What is cached in sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentUsage {
    /// Files of which something is cached.
    pub files: u64,
    /// Of these, verified ones.
    pub verified: u64,
    /// Of these, partial ones.
    pub partial: u64,
    /// Bytes cached.
    pub held: u64,
    /// Bytes dropped since the start to make room.
    pub dropped: u64,
    /// Whether writing stopped because there is no room; serving goes on.
    pub full: bool,
}

/// A verification: how far it is, or how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// Whether it runs.
    pub running: bool,
    /// While it runs: files that are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// While it runs: files in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Afterwards: what it found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<VerificationReport>,
    /// Afterwards: why it ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerificationReport {
    /// Files looked at.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Files that were damaged.
    pub damaged: Vec<Damage>,
    /// Whether it went through everything.
    pub finished: bool,
}

/// A file that was found damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Damage {
    /// Its SHA-1, as hexadecimal digits.
    pub sha1: String,
    /// Its names.
    pub names: Vec<String>,
    /// Bytes dropped; they are fetched again when they are asked for.
    pub dropped: u64,
}

/// Work that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Started {
    /// It was.
    pub started: bool,
}

/// What dropping files that no update names did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Collected {
    /// Files dropped.
    pub files: u64,
    /// Bytes freed.
    pub bytes: u64,
    /// Files that were in use; the next collection takes them.
    pub in_use: u64,
}

/// What to fetch now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// The files of these updates: GUIDs, KB numbers, or phrases that only their titles have.
    #[serde(default)]
    pub updates: Vec<String>,
    /// All approved files.
    #[serde(default)]
    pub approved: bool,
}

inputs!(Fetch);

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fetched {
    /// The files, with how much of each is cached.
    pub files: Vec<File>,
    /// Files that could not be queued.
    pub failed: Vec<FetchFailure>,
}

/// A file that could not be queued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FetchFailure {
    /// Its SHA-1, as hexadecimal digits.
    pub sha1: String,
    /// Its name.
    pub name: String,
    /// Why.
    pub error: String,
}

/// What classes of computers used, and what of approved updates is foreseen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnedContent {
    /// What each class used.
    pub learned: Vec<LearnedClass>,
    /// Requests that were not learned from because too many came at once.
    pub missed: u64,
    /// Whether files may be fetched ahead of demand now.
    pub quiet: bool,
    /// `content.fetch`, as configured.
    pub fetch: String,
    /// What `fetch = "learned"` would fetch ahead.
    pub ahead: Planned,
}

/// What one class of computers used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnedClass {
    /// `Windows 10.0.26100 AMD64`, `downstream servers`, or `others`: those that did not say who they are.
    pub class: String,
    /// Whether it used something lately; for a class that did not, nothing is fetched ahead.
    pub living: bool,
    /// What it used, those used last first, at most 200.
    pub lineages: Vec<LearnedRelease>,
}

/// What a class used of one lineage of releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnedRelease {
    /// Title of the latest release.
    pub title: String,
    /// Releases of which it used something, at most 16.
    pub releases: usize,
    /// Bytes that it is foreseen to take of the next release, if its files are as large as the last.
    pub bytes: u64,
    /// The files.
    pub files: Vec<LearnedFile>,
}

/// A file of a lineage that a class used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnedFile {
    /// Part and file of the latest release that was used.
    pub name: String,
    /// Size of the latest version in bytes.
    pub size: u64,
    /// How much of the next version it is foreseen to take, of 1,000.
    pub share: u64,
    /// Versions used, of `versions`.
    pub used: usize,
    /// Versions remembered, at most 5.
    pub versions: usize,
}

/// What is foreseen to be fetched ahead of demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// Now, at most 200 files.
    pub now: Vec<PlannedFile>,
    /// In the quiet window, at most 200 files.
    pub waiting: Vec<PlannedFile>,
    /// When the quiet window begins, if it is not now.
    pub quiet_at: Option<Timestamp>,
    /// Files in all.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// A file that is foreseen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedFile {
    /// The file.
    #[serde(flatten)]
    pub file: File,
    /// How urgent it is.
    pub class: Class,
    /// For which approved update.
    #[schemars(with = "Uuid")]
    pub update_id: UpdateId,
}
