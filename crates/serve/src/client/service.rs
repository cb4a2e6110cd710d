//! The service for agents: what it is made of, and who is told that computers call.
//!
//! **Invariant:** its parts are set once, at the start. It never answers by itself: operations do, each in a file of its
//! own.

use std::net::IpAddr;
use std::sync::Arc;

use super::config::Config;
use super::pages::Pages;
use super::session::Session;
use crate::intake::Intake;
use tailwater_catalog::{Catalog, CatalogError, Computer};
use tailwater_runtime::Clock;

/// Is told which computers call from where.
pub trait Callers: Send + Sync + 'static {
    /// A known computer scanned or reported from this address. Must not block.
    fn called(&self, from: IpAddr, computer: &Computer);
}

/// Nobody wants to know.
impl Callers for () {
    fn called(&self, _from: IpAddr, _computer: &Computer) {}
}

/// Answers agents. Cheap to clone.
#[derive(Clone)]
pub struct Service(pub(super) Arc<AgentRole>);

/// What the service works with. Nothing in it changes but by its own rules.
pub(super) struct AgentRole {
    pub(super) config: Config,
    pub(super) catalog: Catalog,
    pub(super) clock: Clock,
    pub(super) session: Session,
    pub(super) pages: Pages,
    pub(super) callers: Arc<dyn Callers>,
    pub(super) intake: Intake,
}

impl Service {
    /// A service over a catalog. The key that seals cookies is kept in the catalog's settings, so that agents do not
    /// notice a restart.
    ///
    /// # Errors
    /// When the settings cannot be read or written.
    pub fn new(
        config: Config,
        catalog: Catalog,
        clock: Clock,
        callers: Arc<dyn Callers>,
        intake: Intake,
    ) -> Result<Self, CatalogError> {
        let session = Session::open(&config, &catalog, &clock)?;
        let pages = Pages::new(&config, &clock);
        Ok(Self(Arc::new(AgentRole { config, catalog, clock, session, pages, callers, intake })))
    }
}
