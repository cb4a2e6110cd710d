//! How many branches, and what they do, as a value.
//!
//! **Invariant:** the same seed gives a server the same branches.

use std::time::Duration;

/// How many branches, and what they do.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server: `http://host:port`.
    pub server: String,
    /// How many branches.
    pub count: u32,
    /// How many are at work at once.
    pub parallel: u32,
    /// How often each synchronises.
    pub rounds: u32,
    /// Computers that each rolls up.
    pub computers: u32,
    /// Files that each fetches and checks.
    pub files: u32,
    /// Time between the starts of two branches.
    pub arrival: Duration,
    /// Shortest and longest time between two synchronisations of a branch.
    pub think: (Duration, Duration),
    /// Shown by all of them.
    pub token: Option<String>,
    /// The same seed gives a server the same branches.
    pub seed: u64,
}
