//! What an administrator may set about answering agents, and what agents are told of it.
//!
//! **Invariant:** agents are told `ConfigChanged` exactly when what `GetConfig` answers has changed.

use std::time::Duration;

use jiff::Timestamp;

use crate::since::since;
use tailwater_catalog::{Catalog, CatalogError};
use tailwater_domain::{ByteCount, Limit, limits};
use tailwater_runtime::Clock;

/// `MaxExtendedUpdatesPerRequest`, as WSUS has it.
pub const MAX_EXTENDED: usize = 50;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_EXTENDED in "revisions": "Revisions of one GetExtendedUpdateInfo" => "the request is refused: InvalidParameters",
];

const MAX_EXTENDED_TEXT: &str = "50";

/// Where agents fetch payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Locations {
    /// From this server, which fetches what it does not hold.
    #[default]
    Here,
    /// From where the upstream says they come from (`fetch = "none"`). From here where no such address is stored: one with a
    /// token ends before an agent uses it, so that agents are sent on by this server when they ask for the payload.
    Origin,
}

/// Settings of the agents' services.
#[derive(Debug, Clone)]
pub struct Config {
    /// The beginning of every content address, such as `http://updates.example:8530`. Without it the `Host` header of
    /// the request decides.
    pub public_url: Option<String>,
    /// Where agents fetch payloads.
    pub locations: Locations,
    /// Whether agents must call `RegisterComputer`. Default true.
    pub registration_required: bool,
    /// How long a cookie is good; WSUS: one hour.
    pub cookie_lifetime: Duration,
    /// The most new updates in one answer. Default 200 ([MS-WUSP] note 55); an agent gives up after 200 trips.
    pub page_updates: usize,
    /// The most bytes of fragments in one answer; one update is sent whatever its size. Default 1 MB.
    pub page_bytes: ByteCount,
    /// Memory for finished answers while a snapshot lives. Default 24 MiB.
    pub remembered_pages: ByteCount,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: None,
            locations: Locations::Here,
            registration_required: true,
            cookie_lifetime: Duration::from_hours(1),
            page_updates: 200,
            page_bytes: ByteCount(1_000_000),
            remembered_pages: ByteCount(24 << 20),
        }
    }
}

impl Config {
    /// `Properties` of `GetConfig`, in the order of WSUS ([MS-WUSP] 2.2.2.2.1). `share` is the path for repairs that
    /// the specification asks for.
    pub(super) fn properties(share: &str) -> [(&'static str, &str); 5] {
        [
            ("MaxExtendedUpdatesPerRequest", MAX_EXTENDED_TEXT),
            ("PackageServerShare", share),
            // 3.2: the first with StartCategoryScan
            ("ProtocolVersion", "3.2"),
            ("IsInventoryRequired", "0"),
            ("ClientReportingLevel", "2"),
        ]
    }

    /// `LastChange`: since when the answer of `GetConfig` is what it is. Kept for the life of the store.
    pub(super) fn last_change(&self, catalog: &Catalog, clock: &Clock) -> Result<Timestamp, CatalogError> {
        const KEY: &str = "client.config";
        let shown = format!("{:?} {}", Self::properties(""), self.registration_required);
        since(catalog, KEY, &shown, clock.now())
    }
}
