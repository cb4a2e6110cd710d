//! Why an update cannot be decided on by itself: what it is, or which bundles it belongs to.
//!
//! **Invariant:** a bundle that is named can be decided on itself; one that is not in force is named only where none
//! is. It is asked for refusals only: it looks at every bundle.

use std::collections::HashSet;

use super::root::Snapshot;
use super::view::View;
use super::world::{NONE, flag};
use crate::values::belonging::{Belonging, Former};
use tailwater_domain::{UpdateId, UpdateType};

impl Snapshot {
    /// Why an update that is no deployable software or driver cannot be decided on.
    pub(crate) fn belonging(&self, update: &UpdateId) -> Belonging {
        let (view, world) = (self.view(), self.world());
        let Some((index, upd)) = world.update(update) else { return Belonging::Nowhere };
        let is_software = |id: u32| {
            world
                .rev(id)
                .is_some_and(|rev| matches!(rev.update_type, UpdateType::Software | UpdateType::Driver))
        };
        if !is_software(upd.newest) {
            return Belonging::Evaluated;
        }
        let around = view.around(index);
        let name = |update: u32| world.updates[update as usize].id;
        let decidable = around.iter().copied().filter(|update| {
            world.rev(world.updates[*update as usize].newest).is_some_and(|rev| rev.has(flag::DEPLOYABLE))
        });
        let declined =
            |update: u32| view.decision(update).is_some_and(|decision| decision.declined.is_some());
        let (gone, in_force): (Vec<u32>, Vec<u32>) = decidable.partition(|update| declined(*update));
        if let Some(bundle) = in_force.first() {
            return Belonging::Part(name(*bundle));
        }
        if let Some(bundle) = gone.first() {
            return Belonging::Formerly(name(*bundle), Former::Declined);
        }
        let inside: HashSet<u32> = around.into_iter().chain([index]).collect();
        let former = world.revs.iter().filter(|rev| {
            rev.bundle != NONE && world.children(rev).iter().any(|child| inside.contains(&child.update))
        });
        // what is inside may be a bundle itself, of which nothing more is to be said
        let former = former.filter(|rev| !inside.contains(&rev.update)).max_by_key(|rev| rev.appeared);
        let Some(bundle) = former else { return Belonging::Nowhere };
        let newest = world.rev(world.update_of(bundle).newest);
        let why = match newest {
            Some(newest) if newest.has(flag::EXPIRED) => Former::Expired,
            _ if !bundle.has(flag::PRESENT) => Former::Withdrawn,
            _ => Former::Replaced,
        };
        Belonging::Formerly(name(bundle.update), why)
    }
}

impl View {
    /// Bundles in force around an update, the nearest first.
    fn around(&self, update: u32) -> Vec<u32> {
        let world = &self.world;
        let (mut found, mut next) = (vec![update], 0);
        let mut seen = HashSet::from([update]);
        while let Some(inner) = found.get(next).copied() {
            let outer = world.parents.get(inner).iter().map(|id| world.revs[*id as usize].update);
            found.extend(outer.filter(|outer| seen.insert(*outer)));
            next += 1;
        }
        found.split_off(1)
    }
}
