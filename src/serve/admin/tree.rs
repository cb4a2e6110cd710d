//! `/api/v1/groups`: the groups of computers as the tree that they are, and how it is changed.
//!
//! **Invariant:** whatever goes with a group is named before it goes (`dry_run`) and when it went. A name that no group
//! has is answered with the nearest one. It never guesses between groups.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Result, Services, blocking};
use super::error::ApiError;
use super::names::{Names, nearest};
use super::page::{MAX_WHOLE, Range};
use super::warnings::Warning;
use crate::catalog::{Catalog, Group, Removal};
use crate::domain::{GroupId, Limit, folded, limits};

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
fn row(members: &HashMap<GroupId, usize>, group: &Group, names: &Names) -> Value {
    let fixed = [GroupId::ALL_COMPUTERS, GroupId::UNASSIGNED_COMPUTERS].contains(&group.id);
    json!({ "group_id": group.id, "name": group.name, "parent_id": group.parent,
            "parent": group.parent.map(|parent| names.group(&parent)), "depth": group.depth,
            "computers": members.get(&group.id).copied().unwrap_or(0), "fixed": fixed })
}

/// `GET /groups`: each one followed by those below it.
pub(super) async fn list(
    State(services): State<Services>,
    Query(range): Query<Range>,
) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        let names = Names::of(catalog);
        let (groups, members) = (catalog.groups(), catalog.members_by_group());
        Ok(Json(range.of("groups", &groups, MAX_WHOLE, |group| row(&members, group, &names))))
    })
    .await
}

/// `POST /groups`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGroup {
    name: String,
    parent: Option<String>,
}

/// Makes a group.
pub(super) async fn create(
    State(services): State<Services>,
    Json(body): Json<NewGroup>,
) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        let parent = body.parent.as_deref().map(|name| find(catalog, name)).transpose()?;
        let made = catalog.create_group(body.name.trim(), parent.as_ref().map(|group| &group.id))?;
        Ok(Json(row(&catalog.members_by_group(), &made, &Names::of(catalog))))
    })
    .await
}

/// `PATCH /groups/{group}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    name: Option<String>,
    /// The group to lie in from now on.
    parent: Option<String>,
}

/// Moves a group, renames it, or both.
pub(super) async fn change(
    State(services): State<Services>,
    Path(name): Path<String>,
    Json(body): Json<Change>,
) -> Result<Json<Value>> {
    blocking(move || {
        if body.name.is_none() && body.parent.is_none() {
            let reason = "say what is to change: name, parent or both".to_owned();
            return Err(ApiError::Invalid { field: "name", reason });
        }
        let catalog = &services.catalog;
        let group = find(catalog, &name)?;
        let parent = body.parent.as_deref().map(|name| find(catalog, name)).transpose()?;
        let parent = parent.as_ref().map(|parent| &parent.id);
        let changed = catalog.change_group(&group.id, body.name.as_deref(), parent)?;
        let warnings: Vec<Warning> = lost_by_name(catalog, &changed, &group.name)?.into_iter().collect();
        let group = changed;
        services.decisions.notify_one();
        let mut answer = row(&catalog.members_by_group(), &group, &Names::of(catalog));
        answer["warnings"] = json!(warnings);
        Ok(Json(answer))
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
    Ok((asking > 0).then(|| Warning::about_group("targeting", message, &group.name)))
}

/// `DELETE /groups/{group}`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RemoveQuery {
    /// Only say what would go.
    #[serde(default)]
    dry_run: bool,
}

/// Removes a group with all below it, or says what would go.
pub(super) async fn remove(
    State(services): State<Services>,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        let group = find(catalog, &name)?;
        let removal = catalog.removal(&group.id)?;
        let answer = removed(catalog, &group, &removal, query.dry_run);
        if !query.dry_run {
            catalog.remove_group(&group.id)?;
            services.decisions.notify_one();
        }
        Ok(Json(answer))
    })
    .await
}

fn removed(catalog: &Catalog, group: &Group, removal: &Removal, dry_run: bool) -> Value {
    let groups: Vec<Value> = removal
        .groups
        .iter()
        .map(|gone| json!({ "group_id": gone.id, "name": gone.name, "depth": gone.depth }))
        .collect();
    let named = removal.computers.iter().take(NAMED).filter_map(|id| catalog.computer(id));
    let named: Vec<Value> =
        named.map(|computer| json!({ "computer_id": computer.id, "name": computer.dns_name })).collect();
    json!({ "dry_run": dry_run, "removed": group.name, "groups": groups, "approvals": removal.approvals,
            "computers": { "total": removal.computers.len(), "unassigned": removal.unassigned.len(), "named": named },
            "takes_more": removal.takes_more() })
}
