//! The catalog towards agents, and towards whoever reads texts.
//!
//! **Invariant:** a snapshot is memory only; what reads a text may block. It never changes anything.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::error::CatalogError;
use crate::parts::Catalog;
use crate::snapshot::root::Snapshot;
use crate::texts::Chunks;
use crate::values::facts::StoredFacts;
use crate::values::part::PartRef;
use crate::values::scan::{DriverQuery, ScanAnswer};
use tailwater_domain::RevisionId;

impl Catalog {
    /// The catalog as agents see it now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.current.snapshot()
    }

    /// Tells of every new snapshot by its sequence number.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.current.subscribe()
    }

    /// The driver pass. Reads what candidates say of themselves, so it may block.
    pub fn drivers(&self, query: &DriverQuery<'_>) -> Result<ScanAnswer, CatalogError> {
        let snapshot = self.0.current.snapshot();
        snapshot.drivers(query, &|id| self.0.texts.driver_facts(&snapshot, id))
    }

    /// A text, whole. Those that fit one frame are remembered; larger ones are gathered in memory, so use
    /// [`Catalog::chunks`] when [`PartRef::is_large`].
    pub fn read(&self, part: &PartRef) -> Result<Bytes, CatalogError> {
        self.0.texts.read(part)
    }

    /// A text in pieces of at most 256 KiB, read as they are asked for.
    pub fn chunks(&self, part: &PartRef) -> Chunks {
        Chunks::new(Arc::clone(&self.0.texts), *part)
    }

    /// What is kept of an active revision beside its texts; remembered.
    pub fn facts(&self, revision: RevisionId) -> Result<Option<Arc<StoredFacts>>, CatalogError> {
        let part = self.0.current.snapshot().facts_part(revision.0);
        part.map(|part| self.0.texts.read_facts(&part)).transpose()
    }
}
