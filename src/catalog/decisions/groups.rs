//! The tree of groups: what goes with a group, and moving one below another.
//!
//! **Invariant:** every group lies below All Computers, at most [`MAX_DEPTH`] deep, and never in itself. A move is one
//! change; computers stay in their groups and hear of what is approved for them now with their next scan, because their
//! cookies say which groups lay around theirs. It never touches approvals.

use std::collections::HashSet;

use crate::catalog::Catalog;
use crate::catalog::decisions::change::{Change, MAX_DEPTH, MAX_GROUPS, free_name, own_group};
use crate::catalog::error::CatalogError;
use crate::catalog::storage::log::Store;
use crate::catalog::values::computer::Group;
use crate::domain::{ComputerId, GroupId};

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

impl Catalog {
    /// What [`Catalog::remove_group`] would take away.
    ///
    /// # Errors
    /// As that would fail.
    pub fn removal(&self, group: &GroupId) -> Result<Removal, CatalogError> {
        self.0.removal(group)
    }

    /// Renames a group, puts it with all below it under another one, or both, as one change.
    ///
    /// # Errors
    /// When one of them is unknown or well-known, the parent lies in the group, it would be too deep, or the name is
    /// taken; on a replica.
    pub fn change_group(
        &self,
        group: &GroupId,
        name: Option<&str>,
        parent: Option<&GroupId>,
    ) -> Result<Group, CatalogError> {
        self.0.change_group(group, name, parent)
    }

    /// Whether computers say themselves in which group they are (client-side targeting).
    pub fn is_client_side_targeting(&self) -> bool {
        self.0.config.client_side_targeting
    }
}

impl Store {
    fn removal(&self, id: &GroupId) -> Result<Removal, CatalogError> {
        self.may_decide()?;
        let snapshot = self.snapshot();
        let decisions = &snapshot.view().decisions;
        own_group(decisions, id)?;
        let gone: HashSet<GroupId> = decisions.below(id).into_iter().collect();
        let mut computers = self.computers.all();
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

    fn change_group(
        &self,
        id: &GroupId,
        name: Option<&str>,
        parent: Option<&GroupId>,
    ) -> Result<Group, CatalogError> {
        self.may_decide()?;
        self.change(|_, change| {
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
