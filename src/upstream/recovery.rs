//! What is damaged on this server's disk, fetched again.
//!
//! **Invariant:** what is damaged and known by name is asked for by name; where names are lost too, the lists are read in
//! full, and everything that held revisions name is looked for. It never gives up what can be read.

use std::collections::BTreeSet;

use super::SyncError;
use super::ingest::Related;
use super::sync::{Run, blocking};
use crate::catalog::CatalogError;
use crate::domain::UpdateIdentity;

impl Run {
    /// Looks for damage, before anything is asked: what it finds is part of this synchronisation.
    pub(super) async fn look_for_damage(&mut self) -> Result<(), SyncError> {
        let (staging, cancel) = (self.staging.clone(), self.cancel.clone());
        match blocking(move || staging.check_texts(|| cancel.is_cancelled())).await? {
            Err(CatalogError::Unwanted) => return Err(SyncError::Cancelled),
            // a file that cannot be read at all is no reason not to fetch what is new
            Err(error) => tracing::error!(%error, "stored updates could not be checked"),
            Ok(_) => {}
        }
        self.unnamed = self.staging.unnamed();
        if self.unnamed.is_some() {
            tracing::warn!("updates are missing because of damage; all lists of the upstream are read again");
            self.state.forget_anchors();
        }
        // a replica is told again what was decided
        self.decisions_afresh |= self.catalog.lost().is_some_and(|lost| lost.decisions > 0);
        Ok(())
    }

    /// What is asked for by name: what was missing before, and what is damaged.
    pub(super) fn to_retry(&self) -> Vec<UpdateIdentity> {
        let missing = self.state.missing.iter().map(|missing| missing.identity);
        missing.chain(self.catalog.damaged()).chain(self.staging.damaged()).collect()
    }

    /// What held revisions name, where some of that may be missing without a list that would name it.
    pub(super) async fn named(&self) -> Result<Related, SyncError> {
        if self.unnamed.is_none() {
            return Ok(Related::default());
        }
        let staging = self.staging.clone();
        let (members, needed) = blocking(move || staging.named()).await?;
        Ok(Related {
            children: members.into_iter().collect::<BTreeSet<_>>(),
            prerequisites: needed.into_iter().collect(),
        })
    }

    /// The lists were read in full, and what they name is held or known as missing.
    pub(super) fn has_compared(&mut self) {
        self.compared = true;
    }

    /// After the activation: nothing is missing any more without a name.
    pub(super) async fn is_whole_again(&mut self) -> Result<(), SyncError> {
        let (true, Some(unnamed)) = (self.compared, self.unnamed.take()) else { return Ok(()) };
        let staging = self.staging.clone();
        blocking(move || staging.is_complete_again(&unnamed)).await?.map_err(SyncError::Catalog)
    }
}
