//! What tailwaters that synchronise from here are told beside lists.
//!
//! **Invariant:** kin are named in the order of revision numbers. It never looks at decisions: what a downstream
//! server makes of a revision is its own.

use std::collections::{BTreeSet, HashMap};

use super::world::flag;
use crate::snapshot::root::Snapshot;
use tailwater_domain::{RevisionId, UpdateIdentity};

impl Snapshot {
    /// Change number of the last activation; [`Snapshot::change_number`] counts decisions as well.
    pub fn updates_number(&self) -> u64 {
        self.view().world.change
    }

    /// Revisions that an activation after `since` took away, and that did not come back; at most `most`.
    pub fn withdrawn_after(&self, since: u64, most: usize) -> Vec<UpdateIdentity> {
        let world = &self.view().world;
        let gone = world.retired.iter().filter(|(_, id)| {
            world.revs.get(**id as usize).is_some_and(|rev| u64::from(rev.appeared) > since)
        });
        let mut found: Vec<UpdateIdentity> = gone.map(|(identity, _)| *identity).take(most).collect();
        found.sort_unstable();
        found
    }

    /// Revisions that are probably much like these, because they have the same prerequisites, and that were there at
    /// `since` or have a number up to `after`: one for each list of prerequisites, the newest, at most `most`.
    pub fn kin(&self, of: &[RevisionId], since: u64, after: u32, most: usize) -> Vec<UpdateIdentity> {
        let world = &self.view().world;
        let mut wanted: HashMap<u32, Option<u32>> = HashMap::new();
        for rev in of.iter().filter_map(|id| world.rev(id.0)) {
            if wanted.len() < most || wanted.contains_key(&rev.requirement) {
                wanted.insert(rev.requirement, None);
            }
        }
        for (id, rev) in (0..).zip(&world.revs).filter(|(_, rev)| rev.has(flag::PRESENT)) {
            let known = (since > 0 && u64::from(rev.appeared) <= since) || id <= after;
            if let Some(newest) = wanted.get_mut(&rev.requirement).filter(|_| known) {
                *newest = Some(id);
            }
        }
        let mut found: Vec<u32> = wanted.into_values().flatten().collect();
        found.sort_unstable();
        found.iter().filter_map(|id| world.rev(*id)).map(|rev| world.identity(rev)).collect()
    }

    /// Updates reached from these through bundles, these included, as numbers of the snapshot.
    pub(crate) fn bundled(&self, updates: &[u32]) -> BTreeSet<u32> {
        let world = self.world();
        let mut found: BTreeSet<u32> = updates.iter().copied().collect();
        let mut open = updates.to_vec();
        while let Some(update) = open.pop() {
            let rev = world.rev(world.updates[update as usize].delivered);
            let children = rev.map_or(&[][..], |rev| world.children(rev));
            open.extend(children.iter().map(|child| child.update).filter(|child| found.insert(*child)));
        }
        found
    }
}
