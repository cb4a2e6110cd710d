//! Groups of computers as the tree that they are.
//!
//! **Invariant:** whatever goes with a group is named, in a dry run before and in the answer when it went.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::endpoint::inputs;
use super::page::listed;
use super::{NamedComputer, PageInfo, Warning};
use tailwater_domain::GroupId;

/// One page of groups, each followed by those below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Groups {
    /// Which rows these are.
    #[serde(flatten)]
    pub page: PageInfo,
    /// The rows.
    pub groups: Vec<Group>,
}

listed!(Groups, groups: Group);

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Its identity.
    #[schemars(with = "Uuid")]
    pub group_id: GroupId,
    /// Its name.
    pub name: String,
    /// The group it lies in; null for All Computers.
    #[schemars(with = "Option<Uuid>")]
    pub parent_id: Option<GroupId>,
    /// The name of that group.
    pub parent: Option<String>,
    /// How deep it lies: All Computers 0.
    pub depth: u32,
    /// Agents of this server in it or below it.
    pub computers: usize,
    /// Whether it is one of the groups that every server has, which cannot be changed.
    pub fixed: bool,
}

/// A group to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGroup {
    /// Its name, as agents with client-side targeting send it; at most 255 characters.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// The group to lie in, by name or GUID; All Computers when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// What is to change of a group; at least one field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeGroup {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The group to lie in from now on, by name or GUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// A group that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedGroup {
    /// As it is now.
    #[serde(flatten)]
    pub group: Group,
    /// What an administrator should know of it.
    pub warnings: Vec<Warning>,
}

/// Whether a group is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoveGroup {
    /// Only say what would go.
    #[serde(default)]
    pub dry_run: bool,
}

inputs!(NewGroup, ChangeGroup, RemoveGroup);

/// What went with a group, or would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedGroups {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The name of the group.
    pub removed: String,
    /// The group itself, then those below it.
    pub groups: Vec<RemovedGroup>,
    /// Approvals that end.
    pub approvals: usize,
    /// Computers that leave it.
    pub computers: ComputersLeft,
    /// Whether more goes than an empty group.
    pub takes_more: bool,
}

/// A group that went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedGroup {
    /// Its identity.
    #[schemars(with = "Uuid")]
    pub group_id: GroupId,
    /// Its name.
    pub name: String,
    /// How deep it lay.
    pub depth: u32,
}

/// Computers that leave a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComputersLeft {
    /// How many.
    pub total: usize,
    /// Of these, how many are in no other group and become unassigned.
    pub unassigned: usize,
    /// The first of them, at most 20.
    pub named: Vec<NamedComputer>,
}
