//! Any number of simulated downstream servers ([MS-WSUSSS], client role) against any server that speaks the protocol:
//! handshake, catalog, some content, roll-ups of computers that they make up.
//!
//! **Invariant:** a simulated branch knows nothing but what the server tells it, and the same seed gives a server the
//! same branches. It keeps nothing and serves nobody.

mod branch;
mod config;

use std::sync::Arc;

use serde::Serialize;

use self::branch::{Branch, Shared};
pub use self::config::Config;
use super::load::{Crowd, Figures, OperationReport, Server};
use tailwater_runtime::{Clock, Tasks};

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
    let start = clock.instant();
    let Config { count, parallel, arrival, .. } = shared.config;
    let crowd = Crowd { name: "simulated-branch", count, parallel, arrival };
    let live = |number| {
        let mut branch = Branch::new(number, &shared);
        async move { branch.live().await }
    };
    crowd.run(&shared.figures, clock, tasks, live).await;
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
