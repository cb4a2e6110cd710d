//! Deciding: approvals, declines, groups.
//!
//! **Invariant:** a decision is journaled and durable before a snapshot shows it; each one raises the change
//! number, so that agents hear of it. Decisions are of updates, so a later revision keeps them. On a replica
//! nothing is decided here: what may differ from upstream is in [`super::overlay`].

use std::sync::Arc;

use super::decision::Decision;
use super::decisions::Decisions;
use super::query::Decline;
use super::record::{self, key};
use super::snapshot::{Snapshot, flag};
use super::store::{Op, Store, lock};
use super::{CatalogError, Group};
use crate::domain::{Action, Approval, ApprovalId, Deadline, GroupId, USUAL_PRIORITY, UpdateId, UpdateType};
use uuid::Uuid;

/// The most groups; every scan of a new set of groups looks at their approvals.
pub(super) const MAX_GROUPS: usize = 10_000;
/// How deep groups may lie.
pub(super) const MAX_DEPTH: u32 = 32;
/// The longest name of a group or of who decided, in characters.
const MAX_NAME: usize = 255;

pub(super) fn cut(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

/// A change in the making.
pub(super) struct Change {
    pub decisions: Decisions,
    /// What is journaled.
    pub ops: Vec<Op>,
    /// What is written with it and would come back by itself.
    pub also: Vec<Op>,
    pub number: u64,
}

impl Change {
    pub(super) fn group(&mut self, group: Group) -> Group {
        self.ops.push((key::group(&group.id), Some(record::encode(&group))));
        self.decisions.groups.insert(group.id, group.clone());
        group
    }
}

impl Store {
    /// Runs one change: journaled, durable, then shown.
    pub(super) fn change<T>(
        &self,
        work: impl FnOnce(&Snapshot, &mut Change) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let _one = lock(&self.changing);
        let snapshot = self.snapshot();
        let number = snapshot.change_number() + 1;
        let decisions = (*snapshot.view().decisions).clone();
        let mut change = Change { decisions, ops: Vec::new(), also: Vec::new(), number };
        let outcome = work(&snapshot, &mut change)?;
        let decided = !change.ops.is_empty();
        if decided {
            change.ops.push((key::CHANGE.to_vec(), Some(record::encode(&number))));
            change.decisions.change = number;
        }
        if decided || !change.also.is_empty() {
            self.journal_with(change.ops, change.also)?;
        }
        // license terms that were accepted matter to downstream servers only, and raise no number
        if decided || change.decisions.eulas != snapshot.view().decisions.eulas {
            self.publish(Arc::clone(snapshot.world()), Arc::new(change.decisions));
        }
        Ok(outcome)
    }

    /// Whether decisions are made here at all.
    fn may_decide(&self) -> Result<(), CatalogError> {
        match &self.config.replica_of {
            Some(upstream) => Err(CatalogError::Replica { upstream: upstream.clone() }),
            None => Ok(()),
        }
    }

    /// Changes what was decided of one update. `work` says whether anything changed.
    pub(super) fn decide<T>(
        &self,
        update: &UpdateId,
        work: impl FnOnce(&Snapshot, &mut Decision, &mut Change) -> Result<Option<T>, CatalogError>,
    ) -> Result<Option<T>, CatalogError> {
        self.change(|snapshot, change| {
            let mut decision =
                change.decisions.updates.get(update).map(|known| (**known).clone()).unwrap_or_default();
            let outcome = work(snapshot, &mut decision, change)?;
            if outcome.is_some() {
                decision.change = change.number;
                decision.at = self.clock.now().as_second();
                change.ops.push((key::decision(update), Some(decision.encode())));
                change.decisions.updates.insert(*update, Arc::new(decision));
            }
            Ok(outcome)
        })
    }

    pub(super) fn approve(
        &self,
        update: &UpdateId,
        group: &GroupId,
        action: Action,
        deadline: Deadline,
        by: &str,
    ) -> Result<Approval, CatalogError> {
        self.may_decide()?;
        let made_at = self.clock.now();
        let made = self.decide(update, |snapshot, decision, change| {
            may_approve(snapshot, update, action)?;
            if !change.decisions.groups.contains_key(group) {
                return Err(CatalogError::UnknownGroup(*group));
            }
            change.decisions.deployment += 1;
            let deployment_id = change.decisions.deployment;
            change.ops.push((key::DEPLOYMENT.to_vec(), Some(record::encode(&deployment_id))));
            let approval = Approval {
                id: ApprovalId(Uuid::new_v4()),
                action,
                deadline,
                made_at,
                made_by: cut(by),
                revision: None,
                is_assigned: true,
                priority: USUAL_PRIORITY,
                deployment_id,
                change: change.number,
            };
            if decision.declined.take().is_some() {
                decision.decline_change = change.number;
            }
            decision.retire_those(change.number, |other, _| other == group);
            decision.approvals.push((*group, approval.clone()));
            decision.approvals.sort_by_key(|(group, _)| *group);
            Ok(Some(approval))
        })?;
        made.ok_or(CatalogError::UnknownUpdate(*update))
    }

    pub(super) fn unapprove(&self, update: &UpdateId, group: &GroupId) -> Result<bool, CatalogError> {
        self.may_decide()?;
        let done = self.decide(update, |snapshot, decision, change| {
            known(snapshot, update)?;
            Ok(decision.retire_those(change.number, |other, _| other == group).then_some(()))
        })?;
        Ok(done.is_some())
    }

    pub(super) fn decline(&self, update: &UpdateId, by: &str) -> Result<bool, CatalogError> {
        self.may_decide()?;
        let at = self.clock.now();
        let done = self.decide(update, |snapshot, decision, change| {
            deployable(snapshot, update)?;
            if decision.declined.is_some() {
                return Ok(None);
            }
            decision.retire_those(change.number, |_, _| true);
            decision.declined = Some(Decline { at, by: cut(by) });
            decision.decline_change = change.number;
            Ok(Some(()))
        })?;
        Ok(done.is_some())
    }

    pub(super) fn undecline(&self, update: &UpdateId) -> Result<bool, CatalogError> {
        self.may_decide()?;
        let done = self.decide(update, |snapshot, decision, change| {
            known(snapshot, update)?;
            Ok(decision.declined.take().map(|_| decision.decline_change = change.number))
        })?;
        Ok(done.is_some())
    }

    pub(super) fn create_group(&self, name: &str, parent: Option<&GroupId>) -> Result<Group, CatalogError> {
        self.may_decide()?;
        let parent = parent.copied().unwrap_or(GroupId::ALL_COMPUTERS);
        self.change(|_, change| {
            let name = free_name(&change.decisions, name, None)?;
            let depth = match change.decisions.groups.get(&parent) {
                None => return Err(CatalogError::UnknownGroup(parent)),
                Some(_) if parent == GroupId::UNASSIGNED_COMPUTERS => {
                    return Err(CatalogError::FixedGroup(parent));
                }
                Some(group) => group.depth + 1,
            };
            if depth > MAX_DEPTH || change.decisions.groups.len() >= MAX_GROUPS {
                return Err(CatalogError::TooManyGroups { limit: MAX_GROUPS });
            }
            let id = GroupId(Uuid::new_v4());
            Ok(change.group(Group { id, name, parent: Some(parent), depth }))
        })
    }

    pub(super) fn rename_group(&self, id: &GroupId, name: &str) -> Result<Group, CatalogError> {
        self.may_decide()?;
        self.change(|_, change| {
            let mut group = own_group(&change.decisions, id)?;
            group.name = free_name(&change.decisions, name, Some(id))?;
            Ok(change.group(group))
        })
    }

    pub(super) fn remove_group(&self, id: &GroupId) -> Result<(), CatalogError> {
        self.may_decide()?;
        let gone = self.change(|_, change| {
            own_group(&change.decisions, id)?;
            let gone = change.decisions.below(id);
            for group in &gone {
                change.decisions.groups.remove(group);
                change.ops.push((key::group(group), None));
            }
            let at = self.clock.now().as_second();
            for (update, decision) in &mut change.decisions.updates {
                if decision.all().any(|(group, _)| gone.contains(group)) {
                    let decision = Arc::make_mut(decision);
                    decision.retire_those(change.number, |group, _| gone.contains(group));
                    (decision.change, decision.at) = (change.number, at);
                    change.ops.push((key::decision(update), Some(decision.encode())));
                }
            }
            Ok(gone)
        })?;
        self.leave_groups(&gone)
    }
}

pub(super) fn known<'a>(
    snapshot: &'a Snapshot,
    update: &UpdateId,
) -> Result<&'a super::snapshot::Rev, CatalogError> {
    let world = snapshot.world();
    let newest = world.update(update).and_then(|(_, update)| world.rev(update.newest));
    newest.ok_or(CatalogError::UnknownUpdate(*update))
}

pub(super) fn deployable<'a>(
    snapshot: &'a Snapshot,
    update: &UpdateId,
) -> Result<&'a super::snapshot::Rev, CatalogError> {
    let rev = known(snapshot, update)?;
    match rev.update_type {
        UpdateType::Software | UpdateType::Driver if rev.has(flag::DEPLOYABLE) => Ok(rev),
        _ => Err(CatalogError::NotDeployable(*update)),
    }
}

fn may_approve(snapshot: &Snapshot, update: &UpdateId, action: Action) -> Result<(), CatalogError> {
    let rev = deployable(snapshot, update)?;
    match action {
        Action::Install if rev.has(flag::EXPIRED) => Err(CatalogError::Expired(*update)),
        Action::Uninstall if !can_uninstall(snapshot, rev) => Err(CatalogError::NotUninstallable(*update)),
        _ => Ok(()),
    }
}

/// A bundle can be uninstalled when something in it can.
fn can_uninstall(snapshot: &Snapshot, rev: &super::snapshot::Rev) -> bool {
    let world = snapshot.world();
    let child = |update: u32| world.rev(world.updates[update as usize].delivered);
    rev.has(flag::UNINSTALLABLE)
        || world.children(rev).iter().filter_map(|it| child(it.update)).any(|it| it.has(flag::UNINSTALLABLE))
}

fn own_group(decisions: &Decisions, id: &GroupId) -> Result<Group, CatalogError> {
    if [GroupId::ALL_COMPUTERS, GroupId::UNASSIGNED_COMPUTERS].contains(id) {
        return Err(CatalogError::FixedGroup(*id));
    }
    decisions.groups.get(id).cloned().ok_or(CatalogError::UnknownGroup(*id))
}

fn free_name(decisions: &Decisions, name: &str, own: Option<&GroupId>) -> Result<String, CatalogError> {
    let name = name.trim();
    let folded = name.to_lowercase();
    let taken = decisions.groups.values().any(|it| Some(&it.id) != own && it.name.to_lowercase() == folded);
    if name.is_empty() || taken || name.chars().count() > MAX_NAME {
        Err(CatalogError::GroupName(cut(name)))
    } else {
        Ok(name.to_owned())
    }
}
