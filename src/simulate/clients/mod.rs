//! Any number of simulated agents ([MS-WUSP], client role) against any server that speaks the protocol:
//! handshake, staged scans, downloads by shuffled ranges with digests checked, reports.
//!
//! **Invariant:** a simulated agent knows nothing but what the server tells it. It installs nothing.

mod agent;
mod answer;
mod download;
mod error;
mod figures;
mod fragment;
mod kept;
mod line;
mod machine;
mod message;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;

use agent::{Agent, Fleet, Library};
pub(super) use download::fetch as fetch_file;
pub use error::AgentError;
pub(super) use figures::Figures;
pub use kept::KeptCookies;
pub(super) use line::{Line, PATIENCE, Server};

use crate::runtime::{Clock, Tasks};

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

/// A time between two, by chance that follows from a number.
pub(super) fn between((least, most): (Duration, Duration), number: u64) -> Duration {
    // splitmix64 (Steele, Lea, Flood 2014): neighbouring numbers give unrelated times
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let span = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX);
    least + Duration::from_millis((mixed ^ mixed >> 31) % span.saturating_add(1))
}

/// What the agents did and how the server did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Seconds from the first request to the last.
    pub seconds: f64,
    /// Agents that did everything they meant to.
    pub agents_done: u64,
    /// Agents that gave up.
    pub agents_failed: u64,
    /// Scans that ended.
    pub scans: u64,
    /// Updates that the server told them of, over all agents.
    pub updates: u64,
    /// Files downloaded whole with the declared digests.
    pub files: u64,
    /// Files whose digests were wrong.
    pub files_wrong: u64,
    /// Bytes of files.
    pub file_bytes: u64,
    /// Bytes of SOAP answers, as they came.
    pub soap_bytes: u64,
    /// By operation.
    pub operations: Vec<OperationReport>,
    /// What went wrong, at most 10 different messages.
    pub failures: Vec<String>,
}

/// One operation over all agents.
#[derive(Debug, Clone, Serialize)]
pub struct OperationReport {
    /// `SyncUpdates`, …, or `range` for a range of a file.
    pub operation: String,
    /// How often it succeeded.
    pub count: u64,
    /// How often it failed.
    pub failed: u64,
    /// Successes a second over the whole time.
    pub per_second: f64,
    /// Half were answered within so many milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 were.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// Runs the agents to their end, or until shutdown. An agent that fails is counted and left behind; where the
/// server's address is none, all of them fail.
pub async fn run(config: Config, clock: &Clock, tasks: &Tasks) -> Report {
    let server = match Server::of(&config.server) {
        Ok(server) => Arc::new(server),
        Err(error) => {
            let failures = vec![error.to_string()];
            return Report { agents_failed: u64::from(config.count), failures, ..Report::default() };
        }
    };
    let fleet = Arc::new(Fleet {
        server,
        figures: Arc::new(Figures::default()),
        library: Library::default(),
        clock: clock.clone(),
        tasks: tasks.clone(),
        config,
    });
    let (start, stopping) = (clock.instant(), tasks.stopping());
    let places = Arc::new(Semaphore::new(fleet.config.parallel.max(1) as usize));
    for number in 0..fleet.config.count {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        if stopping.is_cancelled() {
            break;
        }
        let (mut agent, figures, stopping) =
            (Agent::new(number, &fleet), Arc::clone(&fleet.figures), stopping.clone());
        tasks.spawn("simulated-agent", async move {
            let lived = tokio::select! {
                lived = agent.live() => lived,
                () = stopping.cancelled() => Ok(()),
            };
            match lived {
                Ok(()) => figures.add(|report| report.agents_done += 1),
                Err(error) => figures.failed(&error),
            }
            drop(place);
        });
        if !fleet.config.arrival.is_zero() {
            clock.sleep(fleet.config.arrival).await;
        }
    }
    // every place is free again when every agent has ended
    let _all = places.acquire_many(fleet.config.parallel.max(1)).await;
    fleet.figures.report(clock.instant().duration_since(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lie_between_and_differ() {
        let span = (Duration::from_secs(5), Duration::from_secs(30));
        let times: Vec<Duration> = (0..1_000).map(|number| between(span, number)).collect();
        assert!(times.iter().all(|time| (span.0..=span.1).contains(time)));
        let mean = times.iter().sum::<Duration>() / 1_000;
        assert!((Duration::from_secs(16)..Duration::from_secs(19)).contains(&mean), "{mean:?}");
        assert_eq!(between((span.0, span.0), 7), span.0);
        assert_eq!(between((span.1, span.0), 7), span.1, "whatever is asked for, it ends");
    }
}
