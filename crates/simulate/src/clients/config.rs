//! How many agents, and what they do, as a value.
//!
//! **Invariant:** the same seed gives each server the same machines.

use std::time::Duration;

use super::kept::KeptCookies;

/// How many agents, and what they do.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server: `http://host:port`.
    pub server: String,
    /// How many agents.
    pub count: u32,
    /// How many are at work at once.
    pub parallel: u32,
    /// How often each scans.
    pub rounds: u32,
    /// Whether they download and "install" what is approved for them.
    pub download: bool,
    /// The group that they ask for (client-side targeting).
    pub group: Option<String>,
    /// Time between the starts of two agents.
    pub arrival: Duration,
    /// Shortest and longest time between two rounds of an agent.
    pub think: (Duration, Duration),
    /// Cookies that agents have from an earlier run, and keep for the next.
    pub cookies: Option<KeptCookies>,
    /// Whether each scan ends with a driver pass, as real agents do.
    pub drivers: bool,
    /// Kinds of machines among them: 1 is one image, more differ by architecture, build and language.
    pub kinds: u32,
    /// The same seed gives each server the same machines; another one other machines.
    pub seed: u64,
    /// Connections of one download.
    pub connections: u32,
    /// Ask for compressed answers, as real agents do.
    pub compressed: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: "http://127.0.0.1:8530".to_owned(),
            count: 10,
            parallel: 16,
            rounds: 1,
            download: false,
            group: None,
            arrival: Duration::ZERO,
            think: (Duration::ZERO, Duration::ZERO),
            cookies: None,
            drivers: true,
            kinds: 3,
            seed: 1,
            connections: 4,
            compressed: true,
        }
    }
}
