//! A stand-in for an upstream server ([MS-WSUSSS], server role): generated updates, their payloads, and
//! counters of what was asked for.
//!
//! **Invariant:** nothing is kept on disk; documents and payloads follow from the seed. It never plays a
//! server for agents, and offers no replica role.

mod answer;
mod catalog;
mod config;
mod cookie;
mod counters;
mod definitions;
mod document;
mod encrypted;
mod http;
mod payload;
mod revision;
mod world;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use tokio::net::TcpListener;

use tailwater_bandwidth::Limiter;
use tailwater_domain::{Rate, Sha1Digest, UpdateIdentity};
use tailwater_runtime::{Clock, Tasks};

use answer::Upstream;
pub use config::Config;
pub use counters::Counters;

/// Why the stand-in could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}; choose another address or port")]
pub struct StartError {
    /// What was asked for.
    pub address: SocketAddr,
    /// The system's answer.
    #[source]
    pub source: io::Error,
}

/// A running stand-in; it runs until its tasks are shut down.
#[derive(Clone)]
pub struct Running {
    address: SocketAddr,
    upstream: Arc<Upstream>,
}

/// Starts a stand-in.
///
/// # Errors
/// When its address cannot be listened on.
pub async fn start(config: Config, clock: &Clock, tasks: &Tasks) -> Result<Running, StartError> {
    let refuse = |source| StartError { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    let limiter = Limiter::new(config.rate, clock, tasks);
    let upstream = Arc::new(Upstream::new(config, limiter, clock));
    tasks.spawn("simulated-upstream", http::serve(listener, Arc::clone(&upstream), tasks.clone()));
    Ok(Running { address, upstream })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to configure as an upstream.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked for so far.
    pub fn counters(&self) -> Counters {
        self.upstream.counters()
    }

    /// How fast payloads are sent from now on.
    pub fn set_rate(&self, rate: Rate) {
        self.upstream.limiter.set_rate(rate);
    }

    /// Adds so many new updates, as on a second Tuesday. Clients see them with their next anchor.
    pub fn publish(&self, updates: u32) {
        self.upstream.publish(updates, 0);
    }

    /// Adds so many new releases of definitions.
    pub fn publish_definitions(&self, releases: u32) {
        self.upstream.publish(0, releases);
    }

    /// Whether the keys of encrypted payloads are handed out from now on.
    pub fn hand_out_keys(&self, on: bool) {
        self.upstream.hands_out.set(on);
    }

    /// The updates with an encrypted payload: which, the payload, its key.
    pub fn encrypted(&self) -> Vec<(UpdateIdentity, Sha1Digest, Vec<u8>)> {
        self.upstream.catalog.read().unwrap_or_else(PoisonError::into_inner).encrypted()
    }

    /// How many revisions it offers, categories and detectoids included, and how many bytes of payloads.
    pub fn offers(&self) -> (usize, u64) {
        let catalog = self.upstream.catalog.read().unwrap_or_else(PoisonError::into_inner);
        (catalog.revisions.len(), catalog.payloads.iter().map(|payload| payload.size).sum())
    }
}
