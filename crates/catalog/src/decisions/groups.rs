//! The tree of groups: what goes with a group, and moving one below another.
//!
//! **Invariant:** every group lies below All Computers, at most [`MAX_DEPTH`] deep, and never in itself. A move is one
//! change; computers stay in their groups and hear of what is approved for them now with their next scan, because their
//! cookies say which groups lay around theirs. It never touches approvals.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::change::Change;
use super::decided::Decisions;
use super::decider::Decider;
use crate::error::CatalogError;
use crate::storage::record::key;
use crate::values::computer::{Computer, Group};
use tailwater_domain::{ComputerId, GroupId, Limit, limits};
use tailwater_kv::Op;

/// The most groups; every scan of a new set of groups looks at their approvals.
pub(crate) const MAX_GROUPS: usize = 10_000;
/// How deep groups may lie.
pub(crate) const MAX_DEPTH: u32 = 32;
/// The longest name of a group or of who decided, in characters.
const MAX_NAME: usize = 255;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_GROUPS in "groups": "Groups of computers" => "the group is not created: 400",
    MAX_DEPTH in "levels": "Groups within groups" => "the group is not created or moved: 400",
    MAX_NAME in "characters": "The name of a group, or of who decided" => "a group's name is refused, who decided is cut",
];

pub(crate) fn cut(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

/// Tells which computers leave groups that go, as operations that are made with the change.
pub(crate) type Leaving<'a> = &'a mut dyn FnMut(&[GroupId]) -> Result<Vec<Op>, CatalogError>;

/// What removing a group takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The group itself, then those below it as the tree that they are.
    pub groups: Vec<Group>,
    /// Agents of this server that are in one of them.
    pub computers: Vec<ComputerId>,
    /// Those of them that are in no other group: they become unassigned.
    pub unassigned: Vec<ComputerId>,
    /// Approvals for them.
    pub approvals: usize,
}

impl Removal {
    /// Whether more goes than an empty group.
    pub fn takes_more(&self) -> bool {
        self.groups.len() > 1 || !self.computers.is_empty() || self.approvals > 0
    }
}

impl Decider {
    /// Makes a group; without a parent, in All Computers.
    pub(crate) fn create_group(&self, name: &str, parent: Option<&GroupId>) -> Result<Group, CatalogError> {
        self.may_decide()?;
        let parent = parent.copied().unwrap_or(GroupId::ALL_COMPUTERS);
        self.changes().run(|_, change| {
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
            change.group(Group { id, name, parent: Some(parent), depth })
        })
    }

    /// Removes a group and those below it with their approvals. Nobody else may change computers meanwhile.
    pub(crate) fn remove_group(&self, id: &GroupId, leaving: Leaving<'_>) -> Result<(), CatalogError> {
        self.may_decide()?;
        self.changes().run(|_, change| {
            own_group(&change.decisions, id)?;
            let gone = change.decisions.below(id);
            for group in &gone {
                change.decisions.groups.remove(group);
                change.ops.push((key::group(group), None));
            }
            let at = self.now().as_second();
            let number = change.number();
            for (update, decision) in &mut change.decisions.updates {
                if decision.all().any(|(group, _)| gone.contains(group)) {
                    let decision = Arc::make_mut(decision);
                    decision.retire_those(number, |group, _| gone.contains(group));
                    (decision.change, decision.at) = (number, at);
                    change.ops.push((key::decision(update), Some(decision.encode()?)));
                }
            }
            change.ops.extend(leaving(&gone)?);
            Ok(())
        })
    }

    /// What removing a group would take away; `computers` are the agents of this server.
    pub(crate) fn removal(
        &self,
        id: &GroupId,
        mut computers: Vec<Arc<Computer>>,
    ) -> Result<Removal, CatalogError> {
        self.may_decide()?;
        let snapshot = self.current().snapshot();
        let decisions = &snapshot.view().decisions;
        own_group(decisions, id)?;
        let gone: HashSet<GroupId> = decisions.below(id).into_iter().collect();
        computers.retain(|computer| computer.groups.iter().any(|group| gone.contains(group)));
        computers.sort_unstable_by(|a, b| (&a.dns_name, &a.id).cmp(&(&b.dns_name, &b.id)));
        let alone = computers.iter().filter(|one| one.groups.iter().all(|group| gone.contains(group)));
        let approvals = decisions.updates.values().flat_map(|decision| decision.all());
        Ok(Removal {
            groups: decisions.sorted().into_iter().filter(|group| gone.contains(&group.id)).collect(),
            unassigned: alone.map(|one| one.id.clone()).collect(),
            computers: computers.iter().map(|one| one.id.clone()).collect(),
            approvals: approvals.filter(|(group, _)| gone.contains(group)).count(),
        })
    }

    /// Renames or moves a group.
    pub(crate) fn change_group(
        &self,
        id: &GroupId,
        name: Option<&str>,
        parent: Option<&GroupId>,
    ) -> Result<Group, CatalogError> {
        self.may_decide()?;
        self.changes().run(|_, change| {
            let mut group = own_group(&change.decisions, id)?;
            if let Some(name) = name {
                let name = free_name(&change.decisions, name, Some(id))?;
                if name != group.name {
                    group.name = name;
                    change.group(group.clone())?;
                }
            }
            if let Some(parent) = parent {
                move_below(change, &group, parent)?;
            }
            own_group(&change.decisions, id)
        })
    }
}

/// Puts a group and all below it under another one.
fn move_below(change: &mut Change, group: &Group, parent: &GroupId) -> Result<(), CatalogError> {
    let parent = match change.decisions.groups.get(parent) {
        None => return Err(CatalogError::UnknownGroup(*parent)),
        Some(_) if *parent == GroupId::UNASSIGNED_COMPUTERS => {
            return Err(CatalogError::FixedGroup(*parent));
        }
        Some(parent) => parent.clone(),
    };
    let below = change.decisions.below(&group.id);
    if below.contains(&parent.id) {
        return Err(CatalogError::GroupCycle { group: group.name.clone(), parent: parent.name });
    }
    if group.parent == Some(parent.id) {
        return Ok(());
    }
    let mut moved = Vec::new();
    for member in below.iter().filter_map(|id| change.decisions.groups.get(id)) {
        let depth = member.depth.saturating_sub(group.depth) + parent.depth + 1;
        if depth > MAX_DEPTH {
            return Err(CatalogError::TooManyGroups { limit: MAX_GROUPS });
        }
        let above = if member.id == group.id { Some(parent.id) } else { member.parent };
        moved.push(Group { depth, parent: above, ..member.clone() });
    }
    for member in moved {
        change.group(member)?;
    }
    Ok(())
}

pub(crate) fn own_group(decisions: &Decisions, id: &GroupId) -> Result<Group, CatalogError> {
    if [GroupId::ALL_COMPUTERS, GroupId::UNASSIGNED_COMPUTERS].contains(id) {
        return Err(CatalogError::FixedGroup(*id));
    }
    decisions.groups.get(id).cloned().ok_or(CatalogError::UnknownGroup(*id))
}

pub(crate) fn free_name(
    decisions: &Decisions,
    name: &str,
    own: Option<&GroupId>,
) -> Result<String, CatalogError> {
    let name = name.trim();
    let folded = name.to_lowercase();
    let taken = decisions.groups.values().any(|it| Some(&it.id) != own && it.name.to_lowercase() == folded);
    if name.is_empty() || taken || name.chars().count() > MAX_NAME {
        Err(CatalogError::GroupName(cut(name)))
    } else {
        Ok(name.to_owned())
    }
}
