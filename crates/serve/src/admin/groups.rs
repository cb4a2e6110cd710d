//! `/api/v1/groups`: the groups of computers as the tree that they are, and how it is changed.
//!
//! **Invariant:** whatever goes with a group is named before it goes (`dry_run`) and when it went. A name that no group
//! has is answered with the nearest one. It never guesses between groups.

use std::collections::HashMap;

use super::error::ApiError;
use super::names::{Names, nearest};
use super::route::Call;
use super::services::{Result, Services, blocking};
use super::warnings::about_group;
use tailwater_api::{self as api, MAX_WHOLE, NamedComputer, Warning};
use tailwater_catalog::{Catalog, Group, Removal};
use tailwater_domain::{GroupId, Limit, folded, limits};

/// Computers named of those that a removal concerns; all are counted.
const NAMED: usize = 20;

pub(super) const LIMITS: &[Limit] = limits![
    NAMED in "computers": "Computers named of a removal" => "they are counted",
];

/// A group by name, as people write it, or identity.
pub(super) fn find(catalog: &Catalog, name: &str) -> Result<Group> {
    if let Some(group) = catalog.find_group(name) {
        return Ok(group);
    }
    let (groups, wanted) = (catalog.groups(), folded(name));
    groups.iter().find(|group| folded(&group.name) == wanted).cloned().ok_or_else(|| ApiError::Unknown {
        kind: "group",
        near: nearest(name, groups.iter().map(|group| group.name.as_str())),
        name: name.chars().take(120).collect(),
        next: "`tailwater groups list` shows them, `tailwater groups create` makes one",
    })
}

/// `members` is how many agents of ours are in each group or below it.
fn row(members: &HashMap<GroupId, usize>, group: &Group, names: &Names) -> api::Group {
    api::Group {
        group_id: group.id,
        name: group.name.clone(),
        parent_id: group.parent,
        parent: group.parent.map(|parent| names.group(&parent)),
        depth: group.depth,
        computers: members.get(&group.id).copied().unwrap_or(0),
        fixed: [GroupId::ALL_COMPUTERS, GroupId::UNASSIGNED_COMPUTERS].contains(&group.id),
    }
}

/// `GET /groups`: each one followed by those below it.
pub(super) async fn list(services: Services, call: Call<api::ListGroups>) -> Result<api::Groups> {
    blocking(move || {
        let catalog = &services.catalog;
        let names = Names::of(catalog);
        let (groups, members) = (catalog.groups(), catalog.members_by_group());
        let (page, groups) = call.query.of(&groups, MAX_WHOLE, |group| row(&members, group, &names));
        Ok(api::Groups { page, groups })
    })
    .await
}

/// `POST /groups`: makes a group.
pub(super) async fn create(services: Services, call: Call<api::CreateGroup>) -> Result<api::Group> {
    blocking(move || {
        let catalog = &services.catalog;
        let parent = call.body.parent.as_deref().map(|name| find(catalog, name)).transpose()?;
        let made = catalog.create_group(call.body.name.trim(), parent.as_ref().map(|group| &group.id))?;
        Ok(row(&catalog.members_by_group(), &made, &Names::of(catalog)))
    })
    .await
}

/// `PATCH /groups/{group}`: moves a group, renames it, or both.
pub(super) async fn change(services: Services, call: Call<api::UpdateGroup>) -> Result<api::ChangedGroup> {
    blocking(move || {
        let body = call.body;
        if body.name.is_none() && body.parent.is_none() {
            let reason = "say what is to change: name, parent or both".to_owned();
            return Err(ApiError::Invalid { field: "name", reason });
        }
        let catalog = &services.catalog;
        let group = find(catalog, &call.name)?;
        let parent = body.parent.as_deref().map(|name| find(catalog, name)).transpose()?;
        let parent = parent.as_ref().map(|parent| &parent.id);
        let changed = catalog.change_group(&group.id, body.name.as_deref(), parent)?;
        let warnings = lost_by_name(catalog, &changed, &group.name)?.into_iter().collect();
        services.decisions.notify_one();
        let group = row(&catalog.members_by_group(), &changed, &Names::of(catalog));
        Ok(api::ChangedGroup { group, warnings })
    })
    .await
}

/// With client-side targeting computers ask for groups by name.
fn lost_by_name(catalog: &Catalog, group: &Group, before: &str) -> Result<Option<Warning>> {
    if !catalog.is_client_side_targeting() || folded(before) == folded(&group.name) {
        return Ok(None);
    }
    let asking = super::warnings::asking_for(catalog, before)?;
    let message = format!(
        "{asking} computers ask for {before:?} (client-side targeting); they leave this group with their next contact, \
         until their policy says {:?}",
        group.name
    );
    Ok((asking > 0).then(|| about_group("targeting", message, &group.name)))
}

/// `DELETE /groups/{group}`: removes a group with all below it, or says what would go.
pub(super) async fn remove(services: Services, call: Call<api::DeleteGroup>) -> Result<api::RemovedGroups> {
    blocking(move || {
        let catalog = &services.catalog;
        let group = find(catalog, &call.name)?;
        let removal = catalog.removal(&group.id)?;
        let answer = removed(catalog, &group, &removal, call.query.dry_run);
        if !call.query.dry_run {
            catalog.remove_group(&group.id)?;
            services.decisions.notify_one();
        }
        Ok(answer)
    })
    .await
}

fn removed(catalog: &Catalog, group: &Group, removal: &Removal, dry_run: bool) -> api::RemovedGroups {
    let groups = removal.groups.iter();
    let groups = groups.map(|gone| api::RemovedGroup {
        group_id: gone.id,
        name: gone.name.clone(),
        depth: gone.depth,
    });
    let named = removal.computers.iter().take(NAMED).filter_map(|id| catalog.computer(id));
    let named = named
        .map(|computer| NamedComputer { computer_id: computer.id.clone(), name: computer.dns_name.clone() });
    api::RemovedGroups {
        dry_run,
        removed: group.name.clone(),
        groups: groups.collect(),
        approvals: removal.approvals,
        computers: api::ComputersLeft {
            total: removal.computers.len(),
            unassigned: removal.unassigned.len(),
            named: named.collect(),
        },
        takes_more: removal.takes_more(),
    }
}
