//! Which revisions bundles mean, who bundles what, and when that last changed for each update.
//!
//! **Invariant:** an update's change of role is the number of an activation after the one that brought it, never
//! less than the last one that made it part of an offered bundle or took it out. It never looks at decisions.

use std::collections::HashSet;

use super::bits::Bits;
use super::world::{Child, Lists, NONE, Rev, World, flag};
use tailwater_domain::UpdateIdentity;

/// An update and the change number at which something of it changed.
pub(super) type Turn = (u32, u32);

impl World {
    /// Finds the revisions that bundles name. Needs the chains of revisions.
    pub(super) fn find_members(&mut self) {
        let mut bundles = std::mem::take(&mut self.bundles);
        for child in bundles.items_mut() {
            let update = &self.updates[child.update as usize];
            let named = self.revisions(update).find(|(_, rev)| rev.number == child.number);
            child.rev = named.map_or(NONE, |(id, _)| id);
        }
        self.bundles = bundles;
    }

    /// Lists the bundles that agents can get, and around which updates they are. Needs what is delivered.
    pub(super) fn index_bundles(&mut self) {
        let delivered = self.order.iter().copied();
        self.bundling = delivered
            .filter(|id| {
                let rev = &self.revs[*id as usize];
                rev.bundle != NONE && !rev.has(flag::EXPIRED)
            })
            .collect();
        let named = |id: &u32| {
            let (id, rev) = (*id, &self.revs[*id as usize]);
            self.children(rev).iter().map(move |child| (child.update, id))
        };
        let mut around: Vec<(u32, u32)> = self.bundling.iter().flat_map(named).collect();
        around.sort_unstable();
        around.dedup();
        let mut rest = around.into_iter().peekable();
        let mut parents = Lists::default();
        self.unfit = Bits::new(self.updates.len());
        for (update, upd) in (0..).zip(&self.updates) {
            parents
                .push(std::iter::from_fn(|| rest.next_if(|(child, _)| *child == update)).map(|(_, id)| id));
            if self.rev(upd.delivered).is_none_or(|rev| rev.has(flag::EXPIRED)) {
                self.unfit.put(update);
            }
        }
        self.parents = parents;
    }

    /// Whether a bundle has one of each of its clauses.
    pub(super) fn is_whole(&self, bundle: &Rev, has: impl Fn(&Child) -> bool) -> bool {
        let mut clauses = self.children(bundle).chunk_by(|a, b| a.clause == b.clause);
        clauses.all(|clause| clause.iter().any(&has))
    }

    /// By update: the newest of these changes that concerns it or something it bundles, however deep.
    pub(super) fn turns_above(&self, turns: impl Iterator<Item = Turn>) -> Vec<u32> {
        let mut newest = vec![0; self.updates.len()];
        let mut open = raise(&mut newest, turns);
        while let Some(update) = open.pop() {
            let change = newest[update as usize];
            let around = self.parents.get(update).iter().map(|id| (self.revs[*id as usize].update, change));
            open.extend(raise(&mut newest, around));
        }
        newest
    }

    /// Adds to it, for everything inside these bundles, the changes of the bundles.
    pub(super) fn turns_below(&self, newest: &mut [u32], mut open: Vec<u32>) {
        while let Some(update) = open.pop() {
            let change = newest[update as usize];
            let Some((_, rev)) = self.delivered(update) else { continue };
            let inside = self.children(rev).iter().map(|child| (child.update, change));
            open.extend(raise(newest, inside));
        }
    }

    /// When a bundle that is here became whole, or stopped being so, after it appeared.
    fn turn_of(&self, bundle: u32) -> Option<Turn> {
        let rev = &self.revs[bundle as usize];
        let newest = self.children(rev).iter().flat_map(|child| {
            let update = &self.updates[child.update as usize];
            let identity = UpdateIdentity { update: update.id, revision: child.number };
            let gone = || self.retired.get(&identity).copied();
            let named = if child.rev == NONE { gone() } else { Some(child.rev) };
            // another revision than the named one matters where it expired, or replaced one that did
            let delivered = self.rev(update.delivered).filter(|rev| {
                let before = self.rev(rev.older);
                rev.has(flag::EXPIRED) || before.is_some_and(|before| before.has(flag::EXPIRED))
            });
            let named = named.and_then(|id| self.revs.get(id as usize));
            [named, delivered].into_iter().flatten().map(|rev| rev.appeared)
        });
        let change = newest.max().filter(|change| *change > rev.appeared)?;
        Some((rev.update, change))
    }

    /// What left a bundle because a newer revision no longer names it, expired, or because the bundle was withdrawn.
    fn left(&self) -> Vec<Turn> {
        let mut left = Vec::new();
        for rev in self.revs.iter().filter(|rev| rev.bundle != NONE) {
            if !rev.has(flag::PRESENT) {
                left.extend(self.children(rev).iter().map(|child| (child.update, rev.appeared)));
            }
        }
        for update in &self.updates {
            let mut newer: Option<&Rev> = None;
            for (_, rev) in self.revisions(update) {
                if let Some(newer) = newer {
                    let still = if newer.has(flag::EXPIRED) { &[][..] } else { self.children(newer) };
                    let still: HashSet<u32> = still.iter().map(|child| child.update).collect();
                    let gone = self.children(rev).iter().filter(|child| !still.contains(&child.update));
                    left.extend(gone.map(|child| (child.update, newer.appeared)));
                }
                newer = Some(rev);
            }
        }
        left
    }

    /// Notes when roles last changed because of bundles. Needs [`World::index_bundles`] and what is retired.
    pub(super) fn note_turns(&mut self) {
        let mut newest = self.turns_above(self.bundling.iter().filter_map(|id| self.turn_of(*id)));
        let mut open: Vec<u32> =
            (0..).zip(&newest).filter(|(_, change)| **change > 0).map(|(it, _)| it).collect();
        open.extend(raise(&mut newest, self.left().into_iter()));
        self.turns_below(&mut newest, open);
        for (update, change) in self.updates.iter_mut().zip(newest) {
            update.role_change = update.role_change.max(change);
            // what it was from its first day is no change
            let appeared = self.revs.get(update.delivered as usize).map_or(0, |rev| rev.appeared);
            if update.role_change <= appeared {
                update.role_change = 0;
            }
        }
    }
}

/// Raises numbers; gives those that were raised.
pub(super) fn raise(newest: &mut [u32], turns: impl Iterator<Item = Turn>) -> Vec<u32> {
    let mut raised = Vec::new();
    for (update, change) in turns {
        if let Some(known) = newest.get_mut(update as usize).filter(|known| **known < change) {
            *known = change;
            raised.push(update);
        }
    }
    raised
}
