//! The catalog towards whoever synchronises, and what lasts as long as the store.
//!
//! **Invariant:** as the catalog's.

use std::sync::Arc;

use crate::error::CatalogError;
use crate::ingest::activation::{Activated, Activation, Held, Summary};
use crate::ingest::lost::Lost;
use crate::ingest::staging::Staging;
use crate::parts::Catalog;
use crate::storage::lineage::Place;
use crate::storage::record::{self, key};
use tailwater_domain::UpdateIdentity;

impl Catalog {
    /// The way into the store. Several may exist at once; they share what is staged.
    pub fn staging(&self) -> Result<Staging, CatalogError> {
        Ok(Staging(Arc::clone(&self.0.ingest)))
    }

    /// Revisions whose stored texts turned out damaged: to be fetched again, whatever an anchor says.
    pub fn damaged(&self) -> Vec<UpdateIdentity> {
        self.0.current.snapshot().view().decisions.damaged.values().map(|damage| damage.identity).collect()
    }

    /// The activation that waits for an administrator, if one does.
    pub fn held(&self) -> Option<Held> {
        let value = self.0.storage.kv().get(key::HELD).ok()??;
        record::decode('h', &value).ok()
    }

    /// Activates what was held.
    pub fn release_held(&self) -> Result<Summary, CatalogError> {
        let held = self.held().ok_or(CatalogError::NothingHeld)?;
        match self.staging()?.activate(Activation { force: true, ..held.activation })? {
            Activated::Done(summary) => Ok(summary),
            Activated::Held(_) => Err(CatalogError::NothingHeld),
        }
    }

    /// What is missing because it was damaged on the disk, if anything is. What is damaged and known by name is told
    /// by [`Catalog::damaged`].
    pub fn lost(&self) -> Option<Lost> {
        self.0.ingest.lost()
    }

    /// The place in this store's history of a change number that its snapshots gave.
    pub fn place(&self, change: u64) -> Place {
        self.0.storage.lineage().place(change)
    }

    /// Whether this store, and no other branch of it, was at this place: what was given up to there is ours.
    pub fn gave(&self, place: &Place) -> bool {
        self.0.storage.lineage().gave(place)
    }

    /// Writes the index, engine-neutral: with a copy of the `documents` folder it is the whole store.
    /// Returns how many entries. See [`tailwater_kv::Kv::dump`].
    pub fn dump_index(&self, out: &mut impl std::io::Write) -> Result<u64, CatalogError> {
        Ok(self.0.storage.kv().dump(out)?)
    }
}
