//! The part of the catalog that takes revisions in: what is staged, and what of it or of what is active is missing.
//!
//! **Invariant:** a revision is staged from the moment its manifest was appended until it is active, and under one number;
//! only the methods here change that. It never shows anything: activating does, through the snapshot's owner.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use jiff::Timestamp;

use crate::config::Config;
use crate::decisions::change::Changes;
use crate::snapshot::current::Current;
use crate::storage::damage::Note;
use crate::storage::handle::Storage;
use crate::storage::lock::{Guard, Rank, Ranked, leaf};
use crate::storage::staged::Staged;
use crate::texts::Texts;
use tailwater_domain::UpdateIdentity;

/// Takes revisions in.
pub(crate) struct Ingest {
    storage: Arc<Storage>,
    current: Arc<Current>,
    changes: Arc<Changes>,
    texts: Arc<Texts>,
    config: Arc<Config>,
    staged: RwLock<HashMap<UpdateIdentity, Staged>>,
    /// What is missing because of damage.
    damage: Ranked<Note>,
    /// When all texts were last checked.
    checked: Mutex<Option<Timestamp>>,
}

impl Ingest {
    /// Goes on with what was staged and what was missing when the store was opened.
    pub(crate) fn new(
        storage: Arc<Storage>,
        current: Arc<Current>,
        changes: Arc<Changes>,
        texts: Arc<Texts>,
        config: Arc<Config>,
        staged: HashMap<UpdateIdentity, Staged>,
        damage: Note,
    ) -> Self {
        Self {
            storage,
            current,
            changes,
            texts,
            config,
            staged: RwLock::new(staged),
            damage: Ranked::new(Rank::Damage, damage),
            checked: Mutex::default(),
        }
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
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

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn now(&self) -> Timestamp {
        self.storage.clock().now()
    }

    /// Everything that is staged. Nothing else is locked while it is looked at.
    pub(crate) fn staged(&self) -> RwLockReadGuard<'_, HashMap<UpdateIdentity, Staged>> {
        self.staged.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are staged from now on, or again with other texts.
    pub(super) fn stage(&self, entries: impl IntoIterator<Item = (UpdateIdentity, Staged)>) {
        let mut staged = self.staged.write().unwrap_or_else(PoisonError::into_inner);
        for (identity, one) in entries {
            let before = staged.insert(identity, one);
            debug_assert!(
                before.is_none_or(|before| staged.get(&identity).is_some_and(|now| now.id == before.id)),
                "a revision keeps its number"
            );
        }
    }

    /// A staged revision is damaged: it is asked for again, and keeps its number.
    pub(super) fn doubt_staged(&self, identity: &UpdateIdentity) {
        let mut staged = self.staged.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = staged.get_mut(identity) {
            one.damaged = true;
        }
    }

    /// Everything in blocks below this is active.
    pub(super) fn unstage_below(&self, watermark: u64) {
        let mut staged = self.staged.write().unwrap_or_else(PoisonError::into_inner);
        staged.retain(|_, staged| staged.block >= watermark);
        staged.shrink_to_fit();
    }

    /// What is missing because of damage, to read or to note more.
    pub(super) fn damage(&self) -> Guard<'_, Note> {
        self.damage.lock()
    }

    /// When all texts were last checked; none since the store was opened.
    pub(super) fn checked_at(&self) -> Option<Timestamp> {
        *leaf(&self.checked)
    }

    /// All texts were checked just now.
    pub(super) fn was_checked(&self) {
        *leaf(&self.checked) = Some(self.now());
    }
}
