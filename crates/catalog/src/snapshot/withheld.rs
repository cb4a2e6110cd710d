//! What is withheld, and why: bundles are offered whole or not at all.
//!
//! A bundle is whole when of each of its clauses one revision is here and can be sent. What a bundle lacks, the
//! bundles around it lack too. A bundle with a member that is held back on this server stays in scope, because
//! the member does, but counts as not approved, as the member would by itself.
//!
//! **Invariant:** [`Reason`] is the one list of reasons: what has one of its own is not sent, whether alone or inside
//! a bundle. Bundles that contain each other lack nothing for that alone. It never reads a disk.

use std::collections::HashSet;

use super::bits::Bits;
use super::view::View;
use super::world::{Child, NONE, Rev, flag};
use crate::values::withheld::{Reason, Withheld};
use tailwater_domain::{Limit, UpdateId, UpdateIdentity, UpdateType, limits};

/// Members named for one update; more would not be read.
const MAX_NAMED: usize = 20;
/// Bundles within bundles that are looked into for a reason; real ones have three levels.
const MAX_DEPTH: usize = 32;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_NAMED in "updates": "Members named for one update" => "they are not named",
    MAX_DEPTH in "levels": "Bundles within bundles that are looked into for a reason" => "no reason is given",
];

/// By update, what is withheld under one set of decisions.
#[derive(Default)]
pub(super) struct Standing {
    /// Has a reason of its own not to be sent.
    pub unfit: Bits,
    /// Bundles that lack something.
    pub lacking: Bits,
    /// Bundles that would lack something without what is held back; empty when nothing is.
    pub paused: Bits,
}

impl Standing {
    /// Whether it is not sent.
    pub(super) fn is_out(&self, update: u32) -> bool {
        self.unfit.has(update) || self.lacking.has(update)
    }
}

impl View {
    /// Works out what is withheld.
    pub(super) fn standing(&self) -> Standing {
        let world = &self.world;
        let mut unfit = world.unfit.clone();
        for update in self.decided.iter().filter(|(_, it)| it.declined.is_some()).map(|(update, _)| *update) {
            unfit.put(update);
        }
        for id in self.decisions.damaged.keys() {
            let delivered = world.rev(*id).filter(|rev| world.update_of(rev).delivered == *id);
            delivered.map(|rev| unfit.put(rev.update));
        }
        for id in world.secured.keys().filter(|id| self.lacks_keys(**id)) {
            let delivered = world.rev(*id).filter(|rev| world.update_of(rev).delivered == *id);
            delivered.map(|rev| unfit.put(rev.update));
        }
        let lacking = self.lacking(&unfit);
        let mut held = unfit.clone();
        let mut any = false;
        for update in self.decided.iter().filter(|(_, it)| it.hold.is_some()).map(|(update, _)| *update) {
            any |= !world.parents.get(update).is_empty() && held.put(update);
        }
        let paused = if any { self.lacking(&held) } else { Bits::new(0) };
        Standing { unfit, lacking, paused }
    }

    /// By update: bundles that lack something when nothing in `barred` can be had.
    fn lacking(&self, barred: &Bits) -> Bits {
        let world = &self.world;
        let mut lacking = Bits::new(world.updates.len());
        let mut open = world.bundling.clone();
        while let Some(id) = open.pop() {
            let rev = &world.revs[id as usize];
            let has =
                |child: &Child| child.rev != NONE && !barred.has(child.update) && !lacking.has(child.update);
            if !lacking.has(rev.update) && !world.is_whole(rev, has) {
                lacking.put(rev.update);
                open.extend(world.parents.get(rev.update));
            }
        }
        lacking
    }

    /// A reason of its own not to send an update.
    fn own_reason(&self, update: u32) -> Option<Reason> {
        let Some((id, rev)) = self.world.delivered(update) else { return Some(Reason::Missing) };
        if self.decisions.damaged.contains_key(&id) {
            Some(Reason::Damaged)
        } else if self.decided.get(&update).is_some_and(|decision| decision.declined.is_some()) {
            Some(Reason::Declined)
        } else if rev.has(flag::EXPIRED) {
            Some(Reason::Expired)
        } else {
            self.lacks_keys(id).then_some(Reason::NoKey)
        }
    }

    /// What keeps an update from being offered, or from being offered as approved: for what is wrong with itself
    /// one entry, else one for each member at fault, at most twenty. Empty when nothing does, and for what was
    /// itself expired or declined.
    pub(crate) fn withheld(&self, update: u32) -> Vec<Withheld> {
        let world = &self.world;
        let Some((_, rev)) = world.delivered(update) else { return Vec::new() };
        let of_itself = |reason| vec![Withheld { member: world.identity(rev), reason, through: Vec::new() }];
        match self.own_reason(update) {
            Some(Reason::Expired | Reason::Declined) => return Vec::new(),
            Some(reason) => return of_itself(reason),
            None => {}
        }
        let mut found = Vec::new();
        if self.standing.lacking.has(update) {
            self.trace(update, false, &mut Vec::new(), &mut HashSet::new(), &mut found);
        } else if self.standing.paused.has(update) {
            self.trace(update, true, &mut Vec::new(), &mut HashSet::new(), &mut found);
        } else if !self.is_offered(rev) && is_hidden(rev) {
            return of_itself(Reason::NotNeeded);
        }
        found
    }

    /// Finds the members at fault in a bundle; `held` says whether those held back are.
    fn trace(
        &self,
        bundle: u32,
        held: bool,
        through: &mut Vec<UpdateId>,
        seen: &mut HashSet<u32>,
        found: &mut Vec<Withheld>,
    ) {
        let world = &self.world;
        let Some((_, rev)) = world.delivered(bundle).filter(|_| seen.insert(bundle)) else { return };
        let lacks = |child: &Child| {
            child.rev == NONE
                || self.standing.is_out(child.update)
                || held && (self.standing.paused.has(child.update) || self.is_held(child.update))
        };
        for clause in world.children(rev).chunk_by(|a, b| a.clause == b.clause) {
            if !clause.iter().all(lacks) {
                continue;
            }
            for child in clause {
                if found.len() >= MAX_NAMED || through.len() > MAX_DEPTH {
                    return;
                }
                if let Some(reason) = self.reason_of(child, held) {
                    let update = world.updates[child.update as usize].id;
                    let revision = world.rev(child.rev).map_or(child.number, |_| match reason {
                        Reason::Missing | Reason::Withdrawn => child.number,
                        _ => world.delivered(child.update).map_or(child.number, |(_, rev)| rev.number),
                    });
                    let member = UpdateIdentity { update, revision };
                    if !found.iter().any(|other| (other.member, other.reason) == (member, reason)) {
                        found.push(Withheld { member, reason, through: through.clone() });
                    }
                } else {
                    through.push(world.updates[child.update as usize].id);
                    self.trace(child.update, held, through, seen, found);
                    through.pop();
                }
            }
        }
    }

    /// The reason of a member itself; none when it lacks something in turn.
    fn reason_of(&self, child: &Child, held: bool) -> Option<Reason> {
        let world = &self.world;
        if child.rev == NONE {
            let update = world.updates[child.update as usize].id;
            let named = UpdateIdentity { update, revision: child.number };
            let gone = world.retired.contains_key(&named);
            return Some(if gone { Reason::Withdrawn } else { Reason::Missing });
        }
        let own = self.own_reason(child.update);
        own.or_else(|| (held && self.is_held(child.update)).then_some(Reason::Held))
    }

    /// Whether it can only be part of others, and nothing that is offered needs it.
    pub(crate) fn is_unneeded(&self, update: &UpdateId) -> bool {
        let known = self.world.update(update).and_then(|(update, _)| self.world.delivered(update));
        known.is_some_and(|(_, rev)| is_hidden(rev) && !self.is_offered(rev))
    }

    /// Whether an approval of it is not in force for the sake of what it is or contains.
    pub(crate) fn is_withheld(&self, update: u32) -> bool {
        self.standing.is_out(update) || self.is_paused(update)
    }

    /// Whether it counts as not approved because it contains what is held back.
    pub(crate) fn is_paused(&self, update: u32) -> bool {
        self.standing.paused.has(update)
    }

    /// Change number at which decisions or damage last changed what is whole around it.
    pub(crate) fn turned_at(&self, update: u32) -> u64 {
        u64::from(self.turned.get(update as usize).copied().unwrap_or(0))
    }

    fn is_held(&self, update: u32) -> bool {
        self.decided.get(&update).is_some_and(|decision| decision.hold.is_some())
    }
}

/// Whether it can only be part of others: what is neither offered for its own sake nor evaluated for others'.
pub(crate) fn is_hidden(rev: &Rev) -> bool {
    matches!(rev.update_type, UpdateType::Software | UpdateType::Driver) && !rev.has(flag::DEPLOYABLE)
}
