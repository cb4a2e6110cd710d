//! The way in: revisions are stored, then activated together.
//!
//! **Invariant:** when [`Staging::store`] returns, what it was given is durable; nobody sees it before
//! [`Staging::activate`]. Staging outlives its process: what was stored and not activated is still held
//! after a restart.

use serde::{Deserialize, Serialize};

use super::{CatalogError, NewRevision};
use crate::domain::{RevisionId, UpdateIdentity};

/// The way into the store; see [`super::Catalog::staging`]. Cheap to clone.
#[derive(Clone)]
pub struct Staging(());

/// What becomes visible with an activation, beside everything that is staged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// Settings that change in the same batch (anchors and the like); `None` removes.
    pub settings: Vec<(String, Option<Vec<u8>>)>,
    /// Revisions, active or staged, that go because upstream no longer has them or they are no longer
    /// selected. Their numbers stay theirs should they come back.
    pub withdraw: Vec<UpdateIdentity>,
    /// Activates even what would otherwise be held for an administrator.
    pub force: bool,
}

/// What an activation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of the generation, from 1.
    pub generation: u64,
    /// Revisions that became visible.
    pub added: usize,
    /// Revisions that were withdrawn.
    pub withdrawn: usize,
    /// Updates offered before that no longer are.
    pub no_longer_offered: usize,
    /// Revisions in the catalog now.
    pub revisions: usize,
}

/// An activation that waits for an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What would be activated.
    pub activation: Activation,
    /// Updates that would no longer be offered.
    pub would_remove: usize,
    /// Updates offered now.
    pub offered: usize,
    /// Since when.
    pub since: jiff::Timestamp,
}

/// How an activation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activated {
    /// It is visible.
    Done(Summary),
    /// It would take away too much; see [`super::Catalog::release_held`].
    Held(Held),
}

#[expect(unused_variables, clippy::todo, clippy::needless_pass_by_value, reason = "bodies follow")]
impl Staging {
    /// Whether this revision needs no fetching: active or staged, and not damaged.
    pub fn holds(&self, identity: &UpdateIdentity) -> bool {
        todo!()
    }

    /// Every revision that is active, staged ones excluded. For telling what upstream no longer lists.
    pub fn active(&self) -> Vec<UpdateIdentity> {
        todo!()
    }

    /// Every revision that is staged and not active.
    pub fn staged(&self) -> Vec<UpdateIdentity> {
        todo!()
    }

    /// Stores revisions durably. A revision that is held already is passed over. Concurrent calls share
    /// their syncs; best given 25 to 100 at once. Blocks.
    pub fn store(&self, revisions: Vec<NewRevision>) -> Result<Vec<RevisionId>, CatalogError> {
        todo!()
    }

    /// Makes everything staged visible in one step, with a new snapshot. Blocks.
    pub fn activate(&self, activation: Activation) -> Result<Activated, CatalogError> {
        todo!()
    }

    /// What a staged or active revision is stored as; for pulling in what bundles and prerequisites name.
    pub fn facts(
        &self,
        identity: &UpdateIdentity,
    ) -> Result<Option<std::sync::Arc<super::StoredFacts>>, CatalogError> {
        todo!()
    }
}
