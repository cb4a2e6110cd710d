//! Any number of simulated downstream servers ([MS-WSUSSS], client role) against any server that speaks the protocol:
//! handshake, catalog, some content, roll-ups of computers that they make up.
//!
//! **Invariant:** a simulated branch knows nothing but what the server tells it, and the same seed gives a server the
//! same branches. It keeps nothing and serves nobody.

mod branch;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;

use self::branch::{Branch, Shared};
use super::clients::{Figures, OperationReport, Server};
use crate::runtime::{Clock, Tasks};

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

/// What the branches did and how the server did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Seconds from the first request to the last.
    pub seconds: f64,
    /// Branches that did everything they meant to.
    pub branches_done: u64,
    /// Branches that gave up.
    pub branches_failed: u64,
    /// Synchronisations that ended.
    pub synchronisations: u64,
    /// Revisions that the server listed, over all branches.
    pub revisions: u64,
    /// Documents that came.
    pub documents: u64,
    /// Computers that were rolled up.
    pub computers: u64,
    /// Files fetched whole with the declared digests.
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

/// Runs the branches to their end, or until shutdown. One that fails is counted and left behind; where the server's
/// address is none, all of them fail.
pub async fn run(config: Config, clock: &Clock, tasks: &Tasks) -> Report {
    let server = match Server::of(&config.server) {
        Ok(server) => Arc::new(server),
        Err(error) => {
            let failures = vec![error.to_string()];
            return Report { branches_failed: u64::from(config.count), failures, ..Report::default() };
        }
    };
    let shared = Arc::new(Shared {
        server,
        figures: Arc::new(Figures::default()),
        counts: std::sync::Mutex::default(),
        clock: clock.clone(),
        tasks: tasks.clone(),
        config,
    });
    let (start, stopping) = (clock.instant(), tasks.stopping());
    let places = Arc::new(Semaphore::new(shared.config.parallel.max(1) as usize));
    for number in 0..shared.config.count {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        if stopping.is_cancelled() {
            break;
        }
        let (mut branch, shared, stopping) =
            (Branch::new(number, &shared), Arc::clone(&shared), stopping.clone());
        let arrival = shared.config.arrival;
        tasks.spawn("simulated-branch", async move {
            let lived = tokio::select! {
                lived = branch.live() => lived,
                () = stopping.cancelled() => Ok(()),
            };
            match lived {
                Ok(()) => shared.figures.add(|report| report.agents_done += 1),
                Err(error) => shared.figures.failed(&error),
            }
            drop(place);
        });
        if !arrival.is_zero() {
            clock.sleep(arrival).await;
        }
    }
    // every place is free again when every branch has ended
    let _all = places.acquire_many(shared.config.parallel.max(1)).await;
    let seen = shared.figures.report(clock.instant().duration_since(start));
    let counts = shared.counts();
    Report {
        seconds: seen.seconds,
        branches_done: seen.agents_done,
        branches_failed: seen.agents_failed,
        synchronisations: counts.synchronisations,
        revisions: counts.revisions,
        documents: counts.documents,
        computers: counts.computers,
        files: seen.files,
        files_wrong: seen.files_wrong,
        file_bytes: seen.file_bytes,
        soap_bytes: seen.soap_bytes,
        operations: seen.operations,
        failures: seen.failures,
    }
}
