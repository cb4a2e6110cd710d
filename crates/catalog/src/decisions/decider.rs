//! The part of the catalog that decides: what it stands on, and whether decisions are made here at all.
//!
//! **Invariant:** on a replica nothing is decided here but what a site may decide for itself; see
//! [`super::verdict::Verdict`]. Every decision goes through [`Changes`].

use std::sync::Arc;

use jiff::Timestamp;

use super::change::Changes;
use super::terms::Remembered;
use crate::config::Config;
use crate::error::CatalogError;
use crate::snapshot::current::Current;
use crate::storage::handle::Storage;
use crate::texts::Texts;

/// Decides.
pub(crate) struct Decider {
    storage: Arc<Storage>,
    current: Arc<Current>,
    changes: Arc<Changes>,
    texts: Arc<Texts>,
    terms: Remembered,
    config: Arc<Config>,
}

impl Decider {
    /// A decider over these parts.
    pub(crate) fn new(
        storage: Arc<Storage>,
        current: Arc<Current>,
        changes: Arc<Changes>,
        texts: Arc<Texts>,
        config: Arc<Config>,
    ) -> Self {
        Self { storage, current, changes, texts, terms: Remembered::default(), config }
    }

    /// Whether decisions are made here at all.
    ///
    /// # Errors
    /// [`CatalogError::Replica`] where another server decides.
    pub(crate) fn may_decide(&self) -> Result<(), CatalogError> {
        match &self.config.replica_of {
            Some(upstream) => Err(CatalogError::Replica { upstream: upstream.clone() }),
            None => Ok(()),
        }
    }

    /// Whether computers say themselves in which group they are.
    pub(crate) fn is_client_side_targeting(&self) -> bool {
        self.config.client_side_targeting
    }

    pub(super) fn current(&self) -> &Current {
        &self.current
    }

    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    pub(super) fn texts(&self) -> &Texts {
        &self.texts
    }

    pub(super) fn terms(&self) -> &Remembered {
        &self.terms
    }

    pub(super) fn now(&self) -> Timestamp {
        self.storage.clock().now()
    }
}
