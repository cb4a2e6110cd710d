//! The part of the catalog that answers administrators: what it stands on.
//!
//! **Invariant:** it changes nothing and waits for nobody who does.

use std::sync::Arc;

use crate::computers::fleet::Fleet;
use crate::ingest::part::Ingest;
use crate::servers::descendants::Descendants;
use crate::servers::part::Servers;
use crate::servers::rollup::Branches;
use crate::snapshot::current::Current;
use crate::storage::handle::Storage;
use crate::texts::Texts;

/// Looks things up.
pub(crate) struct Query {
    storage: Arc<Storage>,
    current: Arc<Current>,
    texts: Arc<Texts>,
    ingest: Arc<Ingest>,
    fleet: Arc<Fleet>,
    branches: Arc<Branches>,
}

impl Query {
    /// Looks things up in these parts.
    pub(crate) fn new(
        storage: Arc<Storage>,
        current: Arc<Current>,
        texts: Arc<Texts>,
        ingest: Arc<Ingest>,
        fleet: Arc<Fleet>,
        branches: Arc<Branches>,
    ) -> Self {
        Self { storage, current, texts, ingest, fleet, branches }
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    pub(super) fn current(&self) -> &Current {
        &self.current
    }

    pub(super) fn texts(&self) -> &Texts {
        &self.texts
    }

    pub(super) fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub(super) fn servers(&self) -> &Servers {
        self.branches.servers()
    }

    pub(super) fn descendants(&self) -> &Descendants {
        self.branches.descendants()
    }
}
