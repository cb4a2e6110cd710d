//! Any number of simulated agents ([MS-WUSP], client role) against any server that speaks the protocol:
//! handshake, staged scans, downloads by shuffled ranges with digests checked, reports.
//!
//! **Invariant:** a simulated agent knows nothing but what the server tells it. It installs nothing.

mod agent;
mod answer;
mod config;
mod download;
mod fragment;
mod kept;
mod machine;
mod message;

use std::sync::Arc;

use agent::{Agent, Fleet, Library};
pub use config::Config;
pub(super) use download::fetch as fetch_file;
pub use kept::KeptCookies;

pub use super::load::{AgentError, OperationReport, Report};
use super::load::{Crowd, Figures, Server};
use tailwater_runtime::{Clock, Tasks};

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
    let start = clock.instant();
    let Config { count, parallel, arrival, .. } = fleet.config;
    let crowd = Crowd { name: "simulated-agent", count, parallel, arrival };
    let live = |number| {
        let mut agent = Agent::new(number, &fleet);
        async move { agent.live().await }
    };
    crowd.run(&fleet.figures, clock, tasks, live).await;
    fleet.figures.report(clock.instant().duration_since(start))
}
