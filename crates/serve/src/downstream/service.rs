//! The service for downstream servers: what it is made of, and what its operations are given.
//!
//! **Invariant:** its parts are set once, at the start. It never answers by itself: operations do, each in a file of its
//! own.

use std::sync::Arc;

use super::config::Config;
use super::documents::Documents;
use super::files::WantedFiles;
use super::gate::{Gate, Proof};
use super::lists::Lists;
use super::rollup_queue::RollupQueue;
use super::session::Session;
use crate::http::Peer;
use crate::intake::Intake;
use tailwater_catalog::{Catalog, CatalogError};
use tailwater_domain::ServerId;
use tailwater_runtime::{Asker, Clock};
use tailwater_wire::xml::Decoder;

/// Answers downstream servers. Cheap to clone.
#[derive(Clone)]
pub struct Service(pub(super) Arc<ServerRole>);

/// What the service works with. Nothing in it changes but by its own rules.
pub(super) struct ServerRole {
    pub(super) config: Config,
    pub(super) catalog: Catalog,
    pub(super) clock: Clock,
    pub(super) session: Session,
    pub(super) gate: Gate,
    pub(super) files: Arc<dyn WantedFiles>,
    pub(super) reporting: RollupQueue,
    pub(super) lists: Lists,
    pub(super) documents: Documents,
    pub(super) intake: Intake,
}

/// What a service is made of.
pub struct Parts {
    /// How it presents itself.
    pub config: Config,
    /// Who this server is to other servers.
    pub server: ServerId,
    /// What is known.
    pub catalog: Catalog,
    /// The time.
    pub clock: Clock,
    /// Who may come.
    pub gate: Gate,
    /// Fetches payloads that downstream servers ask for.
    pub files: Arc<dyn WantedFiles>,
    /// Takes in what they send.
    pub intake: Intake,
}

/// A request on its way to its operation; the decoder stands inside the operation's element.
pub(super) struct Asked<'a> {
    pub(super) decoder: &'a mut Decoder<&'a [u8]>,
    pub(super) proof: Proof,
    pub(super) from: Peer,
}

impl Asked<'_> {
    /// Who waits for a turn.
    pub(super) fn asker(&self, server: &ServerId) -> Asker {
        Asker { key: server.0.as_u128(), ..Asker::at(self.from.address.ip()) }
    }
}

impl Service {
    /// A service over a catalog. The key that seals cookies and anchors is kept in the catalog's settings, so that
    /// downstream servers do not notice a restart.
    ///
    /// # Errors
    /// When the settings cannot be read or written.
    pub fn new(parts: Parts) -> Result<Self, CatalogError> {
        let Parts { config, server, catalog, clock, gate, files, intake } = parts;
        let session = Session::open(&config, server, &catalog, &clock)?;
        let reporting = RollupQueue::open(server, &catalog, &clock)?;
        let (lists, documents) = (Lists::new(&clock), Documents::new(&clock));
        let inner =
            ServerRole { config, catalog, clock, session, gate, files, reporting, lists, documents, intake };
        Ok(Self(Arc::new(inner)))
    }
}
