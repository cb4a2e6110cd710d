//! The data directory, and the keys that cookies are sealed with.
//!
//! **Invariant:** of a key only its identity and its age are shown.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DataDirectory {
    /// Whether it can be written.
    pub disk: Disk,
    /// The keys that cookies are sealed with.
    pub keys: Vec<Key>,
}

/// Whether what changes can be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// Whether it can.
    pub writable: bool,
    /// Why not.
    pub reason: Option<String>,
    /// What to do about it.
    pub next_step: Option<String>,
    /// What is not written meanwhile.
    pub affected: Vec<String>,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    /// What it is for.
    pub purpose: String,
    /// Its name in the log and in its file.
    pub id: Uuid,
    /// When it was made.
    pub made: Timestamp,
    /// Whether it seals; else it only opens what it sealed before.
    pub seals: bool,
}

/// Keys that were replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RotatedKeys {
    /// How many.
    pub rotated: usize,
    /// The keys that there are now.
    pub keys: Vec<Key>,
}
