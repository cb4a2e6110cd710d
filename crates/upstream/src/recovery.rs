//! What is damaged on this server's disk, fetched again.
//!
//! **Invariant:** what is damaged and known by name is asked for by name; where names are lost too, the lists are read in
//! full, and everything that held revisions name is looked for. It never gives up what can be read.

use std::collections::BTreeSet;

use super::blocking::blocking;
use super::error::SyncError;
use super::ingest::Related;
use super::run::Run;
use tailwater_catalog::CatalogError;
use tailwater_domain::UpdateIdentity;

impl Run {
    /// Looks for damage, before anything is asked: what it finds is part of this synchronisation.
    pub(super) async fn look_for_damage(&mut self) -> Result<(), SyncError> {
        let (staging, cancel) = (self.staging(), self.cancel());
        match blocking(move || staging.check_texts(|| cancel.is_cancelled())).await? {
            Err(CatalogError::Unwanted) => return Err(SyncError::Cancelled),
            // a file that cannot be read at all is no reason not to fetch what is new
            Err(error) => tracing::error!(%error, "stored updates could not be checked"),
            Ok(_) => {}
        }
        if self.note_damage() {
            tracing::warn!("updates are missing because of damage; all lists of the upstream are read again");
            self.state_mut().forget_anchors();
        }
        // a replica is told again what was decided
        if self.catalog().lost().is_some_and(|lost| lost.decisions > 0) {
            self.read_all_decisions();
        }
        Ok(())
    }

    /// What is asked for by name: what was missing before, and what is damaged.
    pub(super) fn to_retry(&self) -> Vec<UpdateIdentity> {
        let missing = self.state().missing().iter().map(|missing| missing.identity);
        missing.chain(self.catalog().damaged()).chain(self.staging().damaged()).collect()
    }

    /// What held revisions name, where some of that may be missing without a list that would name it.
    pub(super) async fn named(&self) -> Result<Related, SyncError> {
        if !self.has_unnamed_damage() {
            return Ok(Related::default());
        }
        let staging = self.staging();
        let (members, needed) = blocking(move || staging.named()).await?;
        Ok(Related {
            children: members.into_iter().collect::<BTreeSet<_>>(),
            prerequisites: needed.into_iter().collect(),
        })
    }

    /// After the activation: nothing is missing any more without a name.
    pub(super) async fn is_whole_again(&mut self) -> Result<(), SyncError> {
        let Some(unnamed) = self.take_mended_damage() else { return Ok(()) };
        let staging = self.staging();
        blocking(move || staging.is_complete_again(&unnamed)).await?.map_err(SyncError::Catalog)
    }
}
