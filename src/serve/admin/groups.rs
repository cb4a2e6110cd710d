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
use super::tree::find;
use super::warnings;
use crate::catalog::{Catalog, Computer, ComputerQuery, ComputerRow, Group, MAX_MOVED, MAX_PAGE, Whose};
use crate::domain::{ComputerId, GroupId, UpdateId};

/// Computers in one answer.
const MAX_COMPUTERS: usize = 100_000;

/// `GET /computers`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ComputersQuery {
    text: Option<String>,
    group: Option<String>,
    whose: Option<Whose>,
    through: Option<String>,
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
        "via": via, "same_name": row.same_name,
    })
}

fn all(catalog: &Catalog, mut query: ComputerQuery) -> Result<(Vec<ComputerRow>, usize)> {
    query.limit = MAX_PAGE;
    let mut rows = Vec::new();
    loop {
        let page = catalog.computers(&query)?;
        query.offset += page.rows.len();
        let ended = page.rows.is_empty() || query.offset >= page.total || query.offset >= MAX_COMPUTERS;
        rows.extend(page.rows);
        if ended {
            return Ok((rows, page.total));
        }
    }
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
        let query = ComputerQuery { text: query.text, group, whose, through, ..ComputerQuery::default() };
        let (rows, total) = all(catalog, query)?;
        let names = Names::of(catalog)?;
        let rows: Vec<Value> = rows.iter().map(|row| computer_row(row, &names)).collect();
        Ok(Json(json!({ "total": total, "computers": rows })))
    })
    .await
}

/// Computers of one name that an error shows.
const MAX_SHOWN: usize = 5;

/// A computer as one is told from others of its name.
fn described(row: &ComputerRow) -> String {
    format!("{} (last contact {:.0})", row.computer.id, row.computer.last_contact)
}

/// A computer by id, or by a name that only one has.
fn resolve(catalog: &Catalog, name: &str) -> Result<ComputerId> {
    let id = ComputerId(name.trim().to_lowercase());
    if catalog.computer(&id).is_some() || catalog.descendant(&id).is_some() {
        return Ok(id);
    }
    let query = ComputerQuery { text: Some(name.trim().to_owned()), ..ComputerQuery::default() };
    let (rows, _) = all(catalog, query)?;
    let exact: Vec<_> = rows
        .iter()
        .filter(|row| row.computer.dns_name.to_lowercase() == name.trim().to_lowercase())
        .collect();
    match (exact.as_slice(), rows.as_slice()) {
        ([one], _) => Ok(one.computer.id.clone()),
        ([_, _, ..], _) => Err(ApiError::SameName {
            name: exact[0].computer.dns_name.clone(),
            ids: exact.iter().take(MAX_SHOWN).map(|row| described(row)).collect(),
            count: exact.len(),
        }),
        (_, [one]) => Ok(one.computer.id.clone()),
        _ => Err(ApiError::NotFound {
            kind: "single computer",
            name: name.chars().take(120).collect(),
            next: "`tailwater computers list` shows names and ids",
        }),
    }
}

/// `GET /computers/{computer}`.
pub(super) async fn computer(
    State(services): State<Services>,
    Path(name): Path<String>,
) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        let id = resolve(catalog, &name)?;
        let gone = || ApiError::NotFound { kind: "computer", name: name.clone(), next: "it was removed" };
        let detail = catalog.computer_detail(&id)?.ok_or_else(gone)?;
        let title = |id: &UpdateId| catalog.update(id, None).ok().flatten().map(|update| update.row.title).unwrap_or_default();
        let status = &detail.status;
        let failed = |id: &UpdateId| status.failed.iter().any(|failure| failure.update == *id);
        let needed = status.needed.iter().filter(|id| !failed(id));
        let mut updates: Vec<Value> = status
            .failed
            .iter()
            .map(|failure| {
                json!({ "update_id": failure.update, "title": title(&failure.update), "state": "failed",
                        "since": failure.at, "result": format!("0x{:08X}", failure.result) })
            })
            .collect();
        let plain = |id: &UpdateId, state: &str| json!({ "update_id": id, "title": title(id), "state": state, "since": status.reported_at });
        updates.extend(needed.map(|id| plain(id, "needed")));
        updates.extend(status.installed.iter().map(|id| plain(id, "installed")));
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
        let mut answer = computer_row(&detail.row, &Names::of(catalog)?);
        if let Value::Object(fields) = &mut answer {
            fields.insert("reported_at".to_owned(), json!(status.reported_at));
            fields.insert("facts".to_owned(), json!(detail.row.computer.info));
            fields.insert("updates".to_owned(), Value::Array(updates));
            fields.insert("events".to_owned(), Value::Array(events));
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
        let id = own(catalog, &name)?;
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
        let ids = body.computers.iter().map(|name| own(catalog, name)).collect::<Result<Vec<_>>>()?;
        let moved = catalog.assign_all(&ids, &placed(&group))?;
        let rows = moved.iter().map(|one| json!({ "computer_id": one.id, "name": one.dns_name }));
        Ok(Json(json!({ "moved": rows.collect::<Vec<_>>(), "group": group.name,
                        "warnings": Vec::from_iter(warnings::moving(catalog)) })))
    })
    .await
}

/// An agent of ours.
fn own(catalog: &Catalog, name: &str) -> Result<ComputerId> {
    let id = resolve(catalog, name)?;
    if catalog.computer(&id).is_none() {
        let reason = format!("computer {id} belongs to a downstream server; put it into a group there");
        return Err(ApiError::Conflict { reason });
    }
    Ok(id)
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
