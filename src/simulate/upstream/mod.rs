//! A stand-in for an upstream server ([MS-WSUSSS], server role): generated updates, their payloads, and
//! counters of what was asked for.
//!
//! **Invariant:** nothing is kept on disk; documents and payloads follow from the seed. It never plays a
//! server for agents, and offers no replica role.

mod answer;
mod catalog;
mod cookie;
mod counters;
mod definitions;
mod document;
mod encrypted;
mod http;
mod payload;
mod world;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use tokio::net::TcpListener;

use crate::bandwidth::Limiter;
use crate::domain::{ByteCount, Rate, Sha1Digest, UpdateIdentity};
use crate::runtime::{Clock, Tasks};

use answer::Upstream;
pub use counters::Counters;

/// What the stand-in offers, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Ordinary updates: bundles and updates with a payload of their own.
    pub updates: u32,
    /// The same seed gives the same updates and the same bytes.
    pub seed: u64,
    /// Mean size of a payload. Digests take a second a gigabyte, on first use.
    pub mean_size: ByteCount,
    /// Releases of definitions, each one bundle of [`Config::definition_files`] packages.
    pub definitions: u32,
    /// Packages of a release of definitions; real ones have 155, of which a computer needs 4.
    pub definition_files: u32,
    /// Bytes of a release of definitions, all packages together; without it a whole set is four times the mean size.
    pub definition_size: Option<ByteCount>,
    /// Drivers.
    pub drivers: u32,
    /// Updates with an encrypted payload, whose keys are asked for by themselves.
    pub encrypted: u32,
    /// `MaxNumberOfUpdatesPerRequest`.
    pub max_updates_per_request: u32,
    /// Send documents of more than 5,120 bytes of UTF-16 as cabinets, as real servers do.
    pub cabinets: bool,
    /// How fast payloads are sent, all connections together.
    pub rate: Rate,
    /// Where metadata says that payloads can be had as well (`MUUrl`): `http://host:port`, before `/Content/…`.
    pub payload_url: Option<String>,
    /// Where requests for payloads are redirected to: `http://host:port`, before `/Content/…`.
    pub payload_redirect: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            updates: 200,
            seed: 1,
            mean_size: ByteCount(2_000_000),
            definitions: 2,
            definition_files: 40,
            definition_size: None,
            drivers: 10,
            encrypted: 0,
            max_updates_per_request: 100,
            cabinets: true,
            rate: Rate::Unlimited,
            payload_url: None,
            payload_redirect: None,
        }
    }
}

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
