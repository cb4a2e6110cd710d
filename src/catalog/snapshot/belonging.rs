//! Why an update cannot be decided on by itself: what it is, or which bundles it belongs to.
//!
//! **Invariant:** a bundle that is named can be decided on itself; one that is not in force is named only where none
//! is. It is asked for refusals only: it looks at every bundle.

use std::collections::HashSet;
use std::fmt;

use super::world::{NONE, flag};
use super::{Snapshot, View};
use crate::domain::{UpdateId, UpdateType};

/// What was to be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecisionKind {
    /// To approve.
    Approve,
    /// To decline.
    Decline,
    /// To hold back on this server.
    Hold,
}

impl DecisionKind {
    fn verb(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Decline => "decline",
            Self::Hold => "hold",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Decline => "declined",
            Self::Hold => "held",
        }
    }
}

/// Why a bundle is not in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Former {
    /// Its publisher expired it.
    Expired,
    /// It was declined.
    Declined,
    /// Its newer revision no longer contains the update.
    Replaced,
    /// The upstream withdrew it, or it is no longer selected.
    Withdrawn,
}

/// Why an update cannot be decided on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Belonging {
    /// It is a category or a detectoid.
    Evaluated,
    /// This bundle, in force, contains it, perhaps inside another one.
    Part(UpdateId),
    /// Only bundles that are not in force contain it: one of them.
    Formerly(UpdateId, Former),
    /// No bundle here ever contained it.
    Nowhere,
}

impl Belonging {
    /// The refusal of such a decision, with the next step.
    pub(in super::super) fn refuses(self, kind: DecisionKind, update: &UpdateId) -> String {
        let done = kind.done();
        match (self, kind) {
            (Self::Evaluated, _) => format!(
                "update {update} is a category or a detectoid: computers only evaluate it, so it cannot be {done}"
            ),
            (Self::Part(bundle), _) => format!(
                "update {update} cannot be {done} by itself: it is part of the bundle {bundle}; use `tailwater updates \
                 {} {bundle}`",
                kind.verb()
            ),
            (Self::Formerly(bundle, Former::Declined), DecisionKind::Approve) => format!(
                "update {update} cannot be approved by itself: it is part of the bundle {bundle}, which was declined; \
                 `tailwater updates approve {bundle}` takes that back"
            ),
            (Self::Formerly(bundle, former), DecisionKind::Approve) => format!(
                "update {update} cannot be approved: it is only part of the bundle {bundle}, which {former}; no bundle in \
                 force brings it"
            ),
            (Self::Formerly(bundle, former), _) => format!(
                "update {update} need not be {done}: it is only part of the bundle {bundle}, which {former}, so it is \
                 offered to nobody"
            ),
            (Self::Nowhere, DecisionKind::Approve) => format!(
                "update {update} cannot be approved: it is made to be part of bundles, and no bundle here contains it"
            ),
            (Self::Nowhere, _) => format!(
                "update {update} need not be {done}: it is made to be part of bundles, no bundle here contains it, and it \
                 is offered to nobody"
            ),
        }
    }
}

impl fmt::Display for Former {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "was expired by its publisher",
            Self::Declined => "was declined",
            Self::Replaced => "no longer contains it since its newer revision",
            Self::Withdrawn => "was withdrawn by the upstream, or is no longer selected",
        })
    }
}

impl Snapshot {
    /// Why an update that is no deployable software or driver cannot be decided on.
    pub(in super::super) fn belonging(&self, update: &UpdateId) -> Belonging {
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
