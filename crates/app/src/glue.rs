//! Where rooms that do not know each other meet: which files exist, and where they are available.
//!
//! **Invariant:** a file that no metadata names is never asked for. It holds no state of its own.

use std::net::IpAddr;
use std::sync::Arc;

use tailwater_catalog::{Catalog, Computer};
use tailwater_domain::{ByteRange, Class, FileDeclaration, Requester, Sha1Digest};
use tailwater_ledger::{self as ledger, Ledger};
use tailwater_needs as needs;
use tailwater_serve::client::Callers;
use tailwater_serve::downstream::{Gate, WantedFiles};
use tailwater_serve::files::{Asked, KnownFiles};
use tailwater_transfer::{
    self as transfer, ByteOutcome, Demand, OriginFuture, Source, Sources, SourcesFuture,
};
use tailwater_upstream::{Address, Upstream};

/// The catalog's side of a miss.
pub(super) struct Known {
    pub(super) catalog: Catalog,
    pub(super) gate: Gate,
    pub(super) transfers: transfer::Handle,
    pub(super) demand: Demand,
}

impl KnownFiles for Known {
    /// What is approved here, or on its way anyway. A downstream server has approvals of its own, and gets whatever it can know
    /// of: one that says who it is, and whoever comes from an address from which one synchronises.
    fn may_fetch(&self, sha1: &Sha1Digest, by: Requester) -> bool {
        let is_server = match by {
            Requester::Server(_) | Requester::Own => true,
            Requester::Agent(address) => self.gate.is_servers(address),
        };
        self.demand == Demand::Anything
            || is_server
            || self.catalog.is_deployed(sha1)
            || self.transfers.is_queued(sha1)
    }

    fn declaration(&self, sha1: &Sha1Digest) -> Option<FileDeclaration> {
        match self.catalog.file(sha1) {
            Ok(known) => known.map(|known| known.declaration),
            Err(error) => {
                tracing::warn!(%sha1, %error, "the catalog cannot be asked for a file");
                None
            }
        }
    }
}

/// What agents say and ask for, for those who learn from it.
pub(super) struct Learner(pub needs::Handle);

impl Callers for Learner {
    fn called(&self, from: IpAddr, computer: &Computer) {
        self.0.called(from, computer);
    }
}

impl Asked for Learner {
    fn asked(&self, by: Requester, sha1: &Sha1Digest, range: ByteRange) {
        self.0.asked(by, *sha1, range);
    }
}

/// The upstream's side of a transfer; what comes is entered into the ledger.
pub(super) struct FromUpstream(pub Upstream, pub Ledger);

impl Sources for FromUpstream {
    fn came(&self, class: Class, sha1: Sha1Digest, origin: &Arc<str>, came: ByteOutcome) {
        let fate = match came {
            ByteOutcome::Stored(range) => ledger::Fate::Stored(range),
            ByteOutcome::Wasted(bytes) => ledger::Fate::Wasted(bytes),
        };
        self.1.came(class.as_str(), sha1, origin, fate);
    }

    fn sources<'a>(&'a self, file: &'a FileDeclaration) -> SourcesFuture<'a> {
        Box::pin(async move { self.0.sources(file).await.into_iter().map(source).collect() })
    }

    fn renewed<'a>(&'a self, file: &'a FileDeclaration) -> SourcesFuture<'a> {
        Box::pin(async move { self.0.renewed_sources(file).await.into_iter().map(source).collect() })
    }

    fn origin<'a>(&'a self, file: &'a FileDeclaration) -> OriginFuture<'a> {
        Box::pin(self.0.origin(file))
    }
}

fn source(address: Address) -> Source {
    let Address { url, headers, cost, last_resort } = address;
    Source { url, headers, cost, last_resort }
}

/// Payloads that downstream servers ask for.
pub(super) struct ForDownstream {
    pub(super) transfers: transfer::Handle,
    pub(super) upstream: Upstream,
}

impl WantedFiles for ForDownstream {
    fn hosts_psf(&self) -> bool {
        self.upstream.hosts_psf()
    }

    fn fetch(&self, file: &FileDeclaration) -> bool {
        self.transfers.fetch(file, Class::Background).is_ok()
    }
}
