//! `/api/v1/computers`: who there is, and what they reported.
//!
//! **Invariant:** what a computer said of itself is passed on as text, never interpreted. It never makes a
//! computer up: computers introduce themselves.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Result, Services, blocking};
use super::downstreams;
use super::error::ApiError;
use super::names::Names;
use super::page::{MAX_ROWS, Range, page};
use super::tree::find;
use super::warnings;
use crate::catalog::{
    Catalog, Computer, ComputerQuery, ComputerRow, Group, MAX_MOVED, State as UpdateStatus, Whose,
};
use crate::domain::{ComputerId, GroupId, Limit, UpdateId, limits};

/// `GET /computers`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ComputersQuery {
    text: Option<String>,
    group: Option<String>,
    whose: Option<Whose>,
    through: Option<String>,
    #[serde(default)]
    offset: usize,
    /// 1,000 when it is not said, and at most.
    limit: Option<usize>,
}

fn system(computer: &Computer) -> String {
    computer.info.as_ref().map_or_else(String::new, |info| {
        format!("{} ({}.{}.{})", info.os_description, info.os_major, info.os_minor, info.os_build)
    })
}

fn computer_row(row: &ComputerRow, names: &Names) -> Value {
    let computer = &row.computer;
    let groups: Vec<String> = computer.groups.iter().map(|group| names.group(group)).collect();
    let via: Vec<Value> =
        row.via.iter().map(|server| json!({ "server_id": server, "name": names.server(server) })).collect();
    let groups = if groups.is_empty() { vec![names.group(&GroupId::UNASSIGNED_COMPUTERS)] } else { groups };
    json!({
        "computer_id": computer.id, "name": computer.dns_name, "groups": groups,
        "requested_groups": computer.requested_groups, "os": system(computer),
        "registered": computer.is_registered(), "first_seen": computer.first_seen,
        "last_contact": computer.last_contact, "last_report": computer.last_report,
        "needed": row.counts.needed, "installed": row.counts.installed, "failed": row.counts.failed,
        "via": via, "same_name": row.same_name, "range": computer.range.map(|range| range.to_string()),
        "certificate": computer.certificate,
    })
}

/// Lists computers, by name.
pub(super) async fn computers(
    State(services): State<Services>,
    Query(query): Query<ComputersQuery>,
) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        let group =
            query.group.as_deref().map(|name| find(catalog, name).map(|group| group.id)).transpose()?;
        let through = query.through.as_deref().map(|name| downstreams::find(catalog, name)).transpose()?;
        let whose = query.whose.unwrap_or_default();
        let range = Range { offset: query.offset, limit: query.limit };
        let (offset, limit) = (range.offset, range.limit(MAX_ROWS, MAX_ROWS));
        let found =
            catalog.computers(&ComputerQuery { text: query.text, group, whose, through, offset, limit })?;
        let names = Names::of(catalog);
        let rows: Vec<Value> = found.rows.iter().map(|row| computer_row(row, &names)).collect();
        Ok(Json(page("computers", rows, found.total, offset, limit)))
    })
    .await
}

/// Computers of one name that an error shows.
const MAX_SHOWN: usize = 5;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_SHOWN in "computers": "Computers of one name that an error shows" => "they are counted",
];

/// A computer as one is told from others of its name.
fn described(row: &ComputerRow) -> String {
    format!("{} (last contact {:.0})", row.computer.id, row.computer.last_contact)
}

/// Computers by id, or by a name that only one has.
fn resolve_all(catalog: &Catalog, names: &[String]) -> Result<Vec<ComputerId>> {
    let found = catalog.computers_named(names).into_iter().zip(names).map(|(found, name)| {
        found.map_err(|same| {
            same_name(catalog, name, &same).unwrap_or_else(|| ApiError::NotFound {
                kind: "single computer",
                name: name.chars().take(120).collect(),
                next: "`tailwater computers list` shows names and ids",
            })
        })
    });
    found.collect()
}

/// Several have this name: told with what tells them apart.
fn same_name(catalog: &Catalog, name: &str, same: &[ComputerId]) -> Option<ApiError> {
    if same.len() < 2 {
        return None;
    }
    let shown = same.iter().take(MAX_SHOWN);
    let rows = shown.filter_map(|id| catalog.computer_detail(id).ok().flatten().map(|detail| detail.row));
    let rows: Vec<ComputerRow> = rows.collect();
    let name = rows.first().map_or_else(|| name.to_owned(), |row| row.computer.dns_name.clone());
    Some(ApiError::SameName { name, ids: rows.iter().map(described).collect(), count: same.len() })
}

/// A computer by id, or by a name that only one has.
fn resolve(catalog: &Catalog, name: &str) -> Result<ComputerId> {
    let found = resolve_all(catalog, &[name.to_owned()])?.into_iter().next();
    found.ok_or(ApiError::NotFound { kind: "single computer", name: String::new(), next: "name one" })
}

/// `GET /computers/{computer}`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ComputerPage {
    /// Only updates in this state.
    state: Option<UpdateStatus>,
    #[serde(default)]
    offset: usize,
    #[serde(default)]
    limit: usize,
}

/// One computer, with a page of what it reported.
pub(super) async fn computer(
    State(services): State<Services>,
    Path(name): Path<String>,
    Query(page): Query<ComputerPage>,
) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        let id = resolve(catalog, &name)?;
        let gone = || ApiError::NotFound { kind: "computer", name: name.clone(), next: "it was removed" };
        let detail = catalog.computer_detail(&id)?.ok_or_else(gone)?;
        let title = |id: &UpdateId| catalog.title(id, None).ok().flatten().unwrap_or_default();
        let status = &detail.status;
        let words = status.words(page.state, page.offset, page.limit);
        let updates: Vec<Value> = words
            .rows
            .iter()
            .map(|word| {
                json!({ "update_id": word.update, "title": title(&word.update), "state": word.state,
                        "since": word.since, "result": word.result.map(|code| format!("0x{code:08X}")) })
            })
            .collect();
        let events: Vec<Value> = detail
            .events
            .iter()
            .map(|event| {
                json!({ "at": event.at, "event_id": event.id, "event": event_name(event.id),
                        "update_id": event.update.map(|identity| identity.update),
                        "title": event.update.map(|identity| title(&identity.update)),
                        "result": format!("0x{:08X}", event.result), "text": event.replacements.join(", ") })
            })
            .collect();
        let mut answer = computer_row(&detail.row, &Names::of(catalog));
        if let Value::Object(fields) = &mut answer {
            fields.insert("reported_at".to_owned(), json!(status.reported_at));
            fields.insert("facts".to_owned(), json!(detail.row.computer.info));
            fields.insert("updates".to_owned(), Value::Array(updates));
            fields.insert("updates_total".to_owned(), json!(words.total));
            fields.insert("offset".to_owned(), json!(words.offset));
            fields.insert("events".to_owned(), Value::Array(events));
            let changes = detail.changes.iter().map(|change| {
                json!({ "at": change.at, "kind": change.kind, "before": change.before, "after": change.after,
                        "from": change.from.map(|range| range.to_string()), "times": change.times })
            });
            fields.insert("identity_changes".to_owned(), changes.collect());
        }
        Ok(Json(answer))
    })
    .await
}

/// What an event says, for people; the number stands beside it.
fn event_name(id: i32) -> &'static str {
    match id {
        147 => "scanned",
        148 | 149 => "scan failed",
        153 | 156 => "status report",
        161 => "download failed",
        162 => "downloaded",
        167 | 168 => "download started",
        181 => "installation started",
        182 | 195 | 198 => "installation failed",
        183 | 190 | 191 | 197 | 199 => "installed",
        184 | 193 | 194 | 201 => "restart needed",
        186 | 187 => "cancelled",
        188 | 189 => "ready to install",
        202 | 203 => "restarted",
        204 => "failed after restart",
        221 => "removal failed",
        222..=226 => "removal",
        _ => "event",
    }
}

/// `PUT /computers/{computer}/group`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    group: String,
}

/// Puts a computer into a group.
pub(super) async fn assign(
    State(services): State<Services>,
    Path(name): Path<String>,
    Json(body): Json<Move>,
) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        let id = resolve(catalog, &name)?;
        is_ours(catalog, &id)?;
        let group = find(catalog, &body.group)?;
        let moved = catalog.assign(&id, &placed(&group))?;
        Ok(Json(json!({ "computer_id": moved.id, "name": moved.dns_name, "group": group.name,
                        "warnings": Vec::from_iter(warnings::moving(catalog)) })))
    })
    .await
}

/// `POST /computers/move`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveAll {
    computers: Vec<String>,
    group: String,
}

/// Puts computers into a group, all of them or none.
pub(super) async fn assign_all(
    State(services): State<Services>,
    Json(body): Json<MoveAll>,
) -> Result<Json<Value>> {
    blocking(move || {
        if !(1..=MAX_MOVED).contains(&body.computers.len()) {
            let reason = format!("name at least one computer and at most {MAX_MOVED}");
            return Err(ApiError::Invalid { field: "computers", reason });
        }
        let catalog = &services.catalog;
        let group = find(catalog, &body.group)?;
        let ids = resolve_all(catalog, &body.computers)?;
        ids.iter().try_for_each(|id| is_ours(catalog, id))?;
        let moved = catalog.assign_all(&ids, &placed(&group))?;
        let rows = moved.iter().map(|one| json!({ "computer_id": one.id, "name": one.dns_name }));
        Ok(Json(json!({ "moved": rows.collect::<Vec<_>>(), "group": group.name,
                        "warnings": Vec::from_iter(warnings::moving(catalog)) })))
    })
    .await
}

/// Groups are given to agents of ours only.
fn is_ours(catalog: &Catalog, id: &ComputerId) -> Result<()> {
    if catalog.computer(id).is_some() {
        return Ok(());
    }
    let reason = format!("computer {id} belongs to a downstream server; put it into a group there");
    Err(ApiError::Conflict { reason })
}

/// The groups of who is put into this one: All Computers has everyone already, and Unassigned Computers means none.
fn placed(group: &Group) -> Vec<GroupId> {
    let everyone = [GroupId::ALL_COMPUTERS, GroupId::UNASSIGNED_COMPUTERS].contains(&group.id);
    if everyone { Vec::new() } else { vec![group.id] }
}

/// `DELETE /computers/{computer}`.
pub(super) async fn forget(
    State(services): State<Services>,
    Path(name): Path<String>,
) -> Result<Json<Value>> {
    blocking(move || {
        let id = resolve(&services.catalog, &name)?;
        services.catalog.forget(&id)?;
        Ok(Json(json!({ "removed": id })))
    })
    .await
}
