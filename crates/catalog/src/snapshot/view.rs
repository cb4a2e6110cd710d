//! What follows from decisions: which updates are offered at all, which are parts of bundles, and which
//! approval is in force for a set of groups.
//!
//! **Invariant:** rebuilt whole after every decision, from a world that stays the same; 15,000 revisions take
//! well under a millisecond. It never knows what a computer has installed.

use std::collections::HashMap;
use std::sync::Arc;

use super::bits::Bits;
use super::bundles::raise;
use super::withheld::{Standing, is_hidden};
use super::world::{Rev, World};
use crate::config::OfferPolicy;
use crate::decisions::decided::Decisions;
use crate::decisions::decision::Decision;
use crate::values::scan::{Deployment, DeploymentAction};
use tailwater_domain::{Action, Approval, GroupId, HeapBytes as _, UpdateType};

/// Deployments that no approval made have the revision's number with this bit: a space of their own.
const IMPLICIT: u32 = 1 << 30;

/// A world with the decisions in force.
pub(crate) struct View {
    pub world: Arc<World>,
    pub decisions: Arc<Decisions>,
    pub policy: OfferPolicy,
    /// By position: offered to somebody.
    pub(super) offered: Bits,
    /// By update: part of a bundle that is offered.
    member: Bits,
    pub(super) decided: HashMap<u32, Arc<Decision>>,
    /// What is withheld.
    pub(super) standing: Standing,
    /// By update: whether anything was decided of it.
    touched: Bits,
    /// By update: change number at which a decision, or damage, last changed what its bundles or members are.
    pub(super) turned: Vec<u32>,
}

/// What is in force for one set of groups.
pub(super) struct Reach {
    /// By update.
    pub approvals: HashMap<u32, Approval>,
    /// By position, where only what is approved is offered.
    pub offered: Option<Bits>,
}

impl Reach {
    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let places = self.approvals.capacity() * (size_of::<(u32, Approval)>() + 1);
        let texts = self.approvals.values().map(Approval::heap_bytes).sum::<usize>();
        size_of::<Self>() + places + texts + self.offered.as_ref().map_or(0, Bits::bytes)
    }
}

impl View {
    pub(crate) fn new(world: Arc<World>, decisions: Arc<Decisions>, policy: OfferPolicy) -> Self {
        let decided: HashMap<u32, Arc<Decision>> = decisions
            .updates
            .iter()
            .filter_map(|(id, decision)| Some((world.update(id)?.0, Arc::clone(decision))))
            .collect();
        let mut view = Self {
            offered: Bits::new(world.order.len()),
            member: Bits::new(world.updates.len()),
            touched: Bits::new(world.updates.len()),
            turned: Vec::new(),
            standing: Standing::default(),
            world,
            decisions,
            policy,
            decided,
        };
        view.standing = view.standing();
        (view.offered, view.member) = view.reached(|update| !view.standing.is_out(update));
        view.turned = view.turns();
        for update in view.decided.keys() {
            view.touched.put(*update);
        }
        view
    }

    /// Of what may be sent: by position, what is deployed and what that needs, as bundle or as prerequisite; and by
    /// update, what of it is part of a bundle ([MS-WUSP] 3.1.5.7).
    fn reached(&self, may: impl Fn(u32) -> bool) -> (Bits, Bits) {
        let world = &self.world;
        let (mut offered, mut member) = (Bits::new(world.order.len()), Bits::new(world.updates.len()));
        let (mut lists, mut clauses) = (Bits::new(world.requirements.len()), Bits::new(world.clauses.len()));
        let mut open = Vec::new();
        for (position, id) in (0..).zip(&world.order) {
            let rev = &world.revs[*id as usize];
            if !is_hidden(rev) && may(rev.update) {
                offered.put(position);
                open.push(*id);
            }
        }
        while let Some(id) = open.pop() {
            let rev = &world.revs[id as usize];
            let mut reach = |update: u32| {
                let next = world.delivered(update).filter(|_| may(update));
                open.extend(next.filter(|(_, rev)| offered.put(rev.position)).map(|(id, _)| id));
            };
            for child in world.children(rev) {
                member.put(child.update);
                reach(child.update);
            }
            if lists.put(rev.requirement) {
                for clause in world.requirements.get(rev.requirement) {
                    if clauses.put(*clause) {
                        world.clauses.get(*clause).iter().for_each(|update| reach(*update));
                    }
                }
            }
        }
        (offered, member)
    }

    /// Revisions that are offered, or would be if every bundle were whole.
    pub(crate) fn kept_revisions(&self) -> Vec<u32> {
        let (kept, _) = self.reached(|update| !self.standing.unfit.has(update));
        kept.iter().map(|position| self.world.order[position as usize]).collect()
    }

    /// When decisions and damage last changed what is whole, and with it what its members are to agents.
    fn turns(&self) -> Vec<u32> {
        let world = &self.world;
        // four thousand million changes are out of reach; beyond them everything is told again
        let number = |change: u64| u32::try_from(change).unwrap_or(u32::MAX);
        let damaged = self
            .decisions
            .damaged
            .iter()
            .filter_map(|(id, damage)| Some((world.rev(*id)?.update, number(damage.change))));
        let declined = self.decided.iter().map(|(update, it)| (*update, number(it.decline_change)));
        let keyed = world.secured.iter().filter_map(|(id, secured)| {
            Some((world.rev(*id)?.update, number(secured.changed_at(&self.decisions.keys))))
        });
        let mut newest = world.turns_above(damaged.chain(declined).chain(keyed));
        let open = (0..).zip(&newest).filter(|(_, change)| **change > 0).map(|(update, _)| update).collect();
        world.turns_below(&mut newest, open);
        // who holds a member holds the bundles around it, and nothing beside it
        let held = self.decided.iter().filter(|(_, it)| it.hold_change > 0);
        let held = world.turns_above(held.map(|(update, it)| (*update, number(it.hold_change))));
        raise(&mut newest, (0..).zip(held));
        newest
    }

    /// Whether keys are missing without which agents cannot use its payloads.
    pub(crate) fn lacks_keys(&self, id: u32) -> bool {
        self.world.secured.get(&id).is_some_and(|secured| secured.lacks(&self.decisions.keys))
    }

    pub(crate) fn decision(&self, update: u32) -> Option<&Arc<Decision>> {
        self.decided.get(&update)
    }

    pub(crate) fn is_offered(&self, rev: &Rev) -> bool {
        self.offered.has(rev.position)
    }

    /// How many updates are offered to somebody.
    pub(crate) fn offered_count(&self) -> usize {
        self.offered.count()
    }

    /// Revisions that are offered to somebody, in the order of delivery.
    pub(crate) fn offered_revisions(&self) -> impl Iterator<Item = u32> {
        self.offered.iter().map(|position| self.world.order[position as usize])
    }

    /// How many updates are offered here that would not be in `other`.
    pub(crate) fn offered_only_here(&self, other: &Self) -> usize {
        let gone = |id: &u32| {
            let id = self.world.update_of(&self.world.revs[*id as usize]).id;
            let there = other.world.update(&id).and_then(|(index, _)| other.world.delivered(index));
            there.is_none_or(|(_, rev)| !other.is_offered(rev))
        };
        self.offered_revisions().filter(gone).count()
    }

    /// The approvals in force for computers of these groups: of a deeper group before any other, then as
    /// [`Approval::stronger`] says. What is held back, and what asks for nothing, is as if not approved.
    pub(super) fn reach(&self, groups: &[GroupId]) -> Reach {
        let groups = self.decisions.around(groups);
        let mut approvals = HashMap::new();
        let in_force = self
            .decided
            .iter()
            .filter(|(update, decision)| decision.hold.is_none() && !self.standing.paused.has(**update));
        for (update, decision) in in_force {
            let candidates = decision
                .approvals
                .iter()
                .filter_map(|(group, approval)| Some((groups.get(group)?, approval)));
            let best = candidates.reduce(|best, next| match best.0.cmp(next.0) {
                std::cmp::Ordering::Less => next,
                std::cmp::Ordering::Equal => (best.0, best.1.stronger(next.1)),
                std::cmp::Ordering::Greater => best,
            });
            if let Some((_, approval)) = best.filter(|(_, approval)| approval.action.acts()) {
                approvals.insert(*update, approval.clone());
            }
        }
        let offered =
            (self.policy == OfferPolicy::ApprovedOnly).then(|| self.closure(approvals.keys().copied()));
        Reach { approvals, offered }
    }

    /// By position: these updates and all they need to be evaluated and installed, as far as offered.
    pub(super) fn closure(&self, roots: impl Iterator<Item = u32>) -> Bits {
        let world = &self.world;
        let mut reached = Bits::new(world.order.len());
        let mut open: Vec<u32> = roots.collect();
        while let Some(update) = open.pop() {
            let Some((_, rev)) = world.delivered(update) else { continue };
            if self.offered.has(rev.position) && reached.put(rev.position) {
                open.extend(world.children(rev).iter().map(|child| child.update));
                open.extend(world.named_by(rev));
            }
        }
        reached
    }

    /// How a revision is deployed. `dependency` says that it is only in the answer because others need it.
    pub(super) fn deployment(&self, id: u32, rev: &Rev, reach: &Reach, dependency: bool) -> Deployment {
        let decision = self.decided.get(&rev.update);
        let changed_at = decision.map_or(0, |decision| decision.at).max(i64::from(rev.arrived));
        let plain = |action| Deployment {
            id: IMPLICIT | id,
            action,
            deadline: None,
            is_assigned: true,
            last_change: jiff::Timestamp::from_second(changed_at).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
        };
        if matches!(rev.update_type, UpdateType::Category | UpdateType::Detectoid) {
            return plain(DeploymentAction::Evaluate);
        }
        if self.member.has(rev.update) {
            return plain(DeploymentAction::Bundle);
        }
        match reach.approvals.get(&rev.update) {
            Some(approval) => Deployment {
                id: approval.deployment_id,
                action: match approval.action {
                    Action::Install => DeploymentAction::Install,
                    Action::Uninstall => DeploymentAction::Uninstall,
                    // these are not in reach
                    Action::Detect | Action::Block => DeploymentAction::PreDeploymentCheck,
                },
                deadline: approval.deadline,
                is_assigned: approval.is_assigned,
                last_change: approval.made_at,
            },
            None if dependency || reach.offered.is_some() || is_hidden(rev) => {
                plain(DeploymentAction::Evaluate)
            }
            None => plain(DeploymentAction::PreDeploymentCheck),
        }
    }

    /// Whether computers of different groups can be told different things of it.
    pub(super) fn differs_by_group(&self, rev: &Rev) -> bool {
        let approvals = self.decided.get(&rev.update).map_or(&[][..], |decision| &decision.approvals);
        approvals.iter().any(|(group, _)| *group != GroupId::ALL_COMPUTERS)
    }

    /// Change number of the last change that agents should hear of.
    pub(super) fn change_of(&self, rev: &Rev) -> u64 {
        let role = u64::from(self.world.update_of(rev).role_change).max(self.turned_at(rev.update));
        if !self.touched.has(rev.update) {
            return role;
        }
        role.max(self.decided.get(&rev.update).map_or(0, |decision| decision.change))
    }
}
