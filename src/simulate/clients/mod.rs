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
mod line;
mod machine;
mod message;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;

use agent::{Agent, Fleet, Library};
pub use error::AgentError;
use figures::Figures;
use line::Server;

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
    /// Time between two rounds of an agent.
    pub think: Duration,
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
            think: Duration::ZERO,
            drivers: true,
            kinds: 3,
            seed: 1,
            connections: 4,
            compressed: true,
        }
    }
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
