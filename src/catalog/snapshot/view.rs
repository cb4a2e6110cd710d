//! What follows from decisions: which updates are offered at all, which are parts of bundles, and which
//! approval is in force for a set of groups.
//!
//! **Invariant:** rebuilt whole after every decision, from a world that stays the same; 15,000 revisions take
//! well under a millisecond. It never knows what a computer has installed.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::decision::Decision;
use super::super::decisions::Decisions;
use super::super::{Deployment, DeploymentAction, OfferPolicy};
use super::bits::Bits;
use super::world::{Rev, World, flag};
use crate::domain::{Action, Approval, GroupId, UpdateType};

/// Deployments that no approval made have the revision's number with this bit: a space of their own.
const IMPLICIT: u32 = 1 << 30;

/// A world with the decisions in force.
pub(in super::super) struct View {
    pub world: Arc<World>,
    pub decisions: Arc<Decisions>,
    pub policy: OfferPolicy,
    /// By position: offered to somebody.
    pub(super) offered: Bits,
    /// By update: part of a bundle that is offered.
    member: Bits,
    decided: HashMap<u32, Arc<Decision>>,
    /// By update: whether anything was decided of it or of a bundle around it.
    touched: Bits,
    /// By update: change number at which a bundle around it was declined or taken back.
    parent_change: HashMap<u32, u64>,
}

/// What is in force for one set of groups.
pub(super) struct Reach {
    /// By update.
    pub approvals: HashMap<u32, Approval>,
    /// By position, where only what is approved is offered.
    pub offered: Option<Bits>,
}

impl View {
    pub(in super::super) fn new(world: Arc<World>, decisions: Arc<Decisions>, policy: OfferPolicy) -> Self {
        let decided: HashMap<u32, Arc<Decision>> = decisions
            .updates
            .iter()
            .filter_map(|(id, decision)| Some((world.update(id)?.0, Arc::clone(decision))))
            .collect();
        let mut view = Self {
            offered: Bits::new(world.order.len()),
            member: Bits::new(world.updates.len()),
            touched: Bits::new(world.updates.len()),
            parent_change: HashMap::new(),
            world,
            decisions,
            policy,
            decided,
        };
        view.offer_roots();
        view.note_declined_parents();
        for update in view.decided.keys().chain(view.parent_change.keys()) {
            view.touched.put(*update);
        }
        view
    }

    /// Whether nothing forbids offering this revision.
    fn allowed(&self, id: u32, rev: &Rev) -> bool {
        !rev.has(flag::EXPIRED)
            && !self.decisions.damaged.contains_key(&id)
            && self.decided.get(&rev.update).is_none_or(|decision| decision.declined.is_none())
    }

    /// Offers what stands by itself, then what is reached from there through bundles.
    fn offer_roots(&mut self) {
        let world = Arc::clone(&self.world);
        let mut bundles = Vec::new();
        for (position, id) in (0..).zip(&world.order) {
            let rev = &world.revs[*id as usize];
            let stands_alone = rev.has(flag::DEPLOYABLE)
                || matches!(rev.update_type, UpdateType::Category | UpdateType::Detectoid)
                || !world.update_of(rev).in_bundle;
            if stands_alone && self.allowed(*id, rev) {
                self.offered.put(position);
                bundles.extend((!world.children(rev).is_empty()).then_some(*id));
            }
        }
        while let Some(id) = bundles.pop() {
            for child in world.children(&world.revs[id as usize]) {
                self.member.put(child.update);
                let Some((id, rev)) = world.delivered(child.update) else { continue };
                if self.allowed(id, rev) && self.offered.put(rev.position) && !world.children(rev).is_empty()
                {
                    bundles.push(id);
                }
            }
        }
    }

    fn note_declined_parents(&mut self) {
        for (update, decision) in self.decided.iter().filter(|(_, decision)| decision.decline_change > 0) {
            let Some((_, rev)) = self.world.delivered(*update) else { continue };
            for child in self.world.children(rev) {
                let change = self.parent_change.entry(child.update).or_default();
                *change = decision.decline_change.max(*change);
            }
        }
    }

    pub(in super::super) fn decision(&self, update: u32) -> Option<&Arc<Decision>> {
        self.decided.get(&update)
    }

    pub(in super::super) fn is_offered(&self, rev: &Rev) -> bool {
        self.offered.has(rev.position)
    }

    /// How many updates are offered to somebody.
    pub(in super::super) fn offered_count(&self) -> usize {
        self.offered.count()
    }

    /// Revisions that are offered to somebody, in the order of delivery.
    pub(in super::super) fn offered_revisions(&self) -> impl Iterator<Item = u32> {
        self.offered.iter().map(|position| self.world.order[position as usize])
    }

    /// How many updates are offered here that would not be in `other`.
    pub(in super::super) fn offered_only_here(&self, other: &Self) -> usize {
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
        for (update, decision) in self.decided.iter().filter(|(_, decision)| decision.hold.is_none()) {
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
            None if dependency || reach.offered.is_some() => plain(DeploymentAction::Evaluate),
            None => plain(DeploymentAction::PreDeploymentCheck),
        }
    }

    /// Change number of the last change that agents should hear of.
    pub(super) fn change_of(&self, rev: &Rev) -> u64 {
        let role = u64::from(self.world.update_of(rev).role_change);
        if !self.touched.has(rev.update) {
            return role;
        }
        let decision = self.decided.get(&rev.update).map_or(0, |decision| decision.change);
        let parent = self.parent_change.get(&rev.update).copied().unwrap_or(0);
        role.max(decision).max(parent)
    }
}
