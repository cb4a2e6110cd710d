//! The one place where decisions change: one journal record, one change number and one snapshot a change.
//!
//! **Invariant:** a change is journaled and durable before the snapshot shows it, and its number is given to nothing else.
//! When it fails nothing changed, and its number is given to the next. It never decides whether somebody may decide.

use std::sync::Arc;

use super::decided::{Damage, Decisions};
use crate::error::CatalogError;
use crate::snapshot::current::Current;
use crate::snapshot::root::Snapshot;
use crate::storage::handle::Storage;
use crate::storage::ids::Draft;
use crate::storage::journal::MAX_ALSO;
use crate::storage::record;
use crate::storage::record::key;
use crate::values::computer::Group;
use tailwater_domain::RevisionId;
use tailwater_kv::Op;

/// A change in the making.
pub(crate) struct Change {
    pub decisions: Decisions,
    /// What is journaled.
    pub ops: Vec<Op>,
    /// What is written with it and would come back by itself.
    pub also: Vec<Op>,
    ids: Draft,
}

impl Change {
    /// The next change after a snapshot, with nothing in it.
    fn after(snapshot: &Snapshot, ids: Draft) -> Self {
        let decisions = (*snapshot.view().decisions).clone();
        Self { decisions, ops: Vec::new(), also: Vec::new(), ids }
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.ids.change()
    }

    /// The number of another deployment.
    pub(crate) fn deployment(&mut self) -> u32 {
        self.ids.deployment()
    }

    /// Puts a group in the place of its former self.
    pub(crate) fn group(&mut self, group: Group) -> Result<Group, CatalogError> {
        self.ops.push((key::group(&group.id), Some(record::encode(&group)?)));
        self.decisions.groups.insert(group.id, group.clone());
        Ok(group)
    }
}

/// Runs changes, one after another.
pub(crate) struct Changes {
    storage: Arc<Storage>,
    current: Arc<Current>,
}

impl Changes {
    /// Changes of what this storage keeps and this snapshot shows.
    pub(crate) fn new(storage: Arc<Storage>, current: Arc<Current>) -> Self {
        Self { storage, current }
    }

    /// What the next change would be, for trying it without making it.
    pub(crate) fn tried(&self, snapshot: &Snapshot) -> Change {
        Change::after(snapshot, self.storage.log().ids().draft())
    }

    /// Runs one change: journaled, durable, then shown. Whoever changes computers with it keeps others from that.
    pub(crate) fn run<T>(
        &self,
        work: impl FnOnce(&Snapshot, &mut Change) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let changing = self.current.change();
        let (snapshot, ids) = (changing.snapshot(), self.storage.log().ids());
        let before = Arc::clone(&snapshot.view().decisions);
        debug_assert!(ids.change() == snapshot.change_number(), "what is shown is what was given");
        let mut change = Change::after(&snapshot, ids.draft());
        let (number, last) = (change.number(), change.ids.last_deployment());
        let outcome = work(&snapshot, &mut change)?;
        let decided = !change.ops.is_empty();
        if decided {
            if change.ids.last_deployment() != last {
                let last = record::encode(&change.ids.last_deployment())?;
                change.ops.push((key::DEPLOYMENT.to_vec(), Some(last)));
            }
            change.ops.push((key::CHANGE.to_vec(), Some(record::encode(&number)?)));
            change.decisions.change = number;
        }
        let next = decided.then(|| {
            // only for a hash: an entry that is removed says nothing
            let does =
                change.ops.iter().flat_map(|(key, value)| [&key[..], value.as_deref().unwrap_or_default()]);
            self.storage.lineage().next(number, self.storage.clock().now(), does)
        });
        if let Some(next) = &next {
            change.ops.extend(next.ops.iter().cloned());
        }
        if decided || !change.also.is_empty() {
            self.storage.journal_with(change.ops, change.also)?;
        }
        if let Some(next) = next {
            self.storage.lineage().commit(next.place);
            ids.commit(change.ids);
        }
        // license terms that were accepted matter to downstream servers only, and raise no number
        if decided || change.decisions.eulas != before.eulas {
            changing.publish(Arc::clone(snapshot.world()), Arc::new(change.decisions));
        }
        Ok(outcome)
    }

    /// Sets damaged revisions aside, in one step: nobody is offered any of them from then on.
    pub(crate) fn set_aside(&self, ids: &[u32]) -> Result<(), CatalogError> {
        let mut later = Vec::new();
        self.run(|snapshot, change| {
            let world = snapshot.world();
            let mut new = false;
            for id in ids {
                let known = change.decisions.damaged.contains_key(id);
                let Some(rev) = world.rev(*id).filter(|_| !known) else { continue };
                // agents hear of it by the number: what else the bundles around it contain is no longer part of them
                let damage = Damage { identity: world.identity(rev), change: change.number() };
                let list = if change.also.len() < MAX_ALSO { &mut change.also } else { &mut later };
                list.push((key::damaged(RevisionId(*id)), Some(damage.encode()?)));
                change.decisions.damaged.insert(*id, damage);
                new = true;
            }
            if new {
                change.ops.push((key::CHANGE.to_vec(), Some(record::encode(&change.number())?)));
            }
            Ok(())
        })?;
        // too many for one change; what a kill leaves out is noticed again
        Ok(self.storage.kv().apply_all(&later)?)
    }
}
