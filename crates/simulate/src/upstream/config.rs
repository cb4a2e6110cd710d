//! What the stand-in offers, as a value.
//!
//! **Invariant:** the same value gives the same updates and the same bytes, the address that is listened on apart.

use std::net::SocketAddr;

use tailwater_domain::{ByteCount, Rate};

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
    /// Where metadata says that payloads are available as well (`MUUrl`): `http://host:port`, before `/Content/…`.
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
