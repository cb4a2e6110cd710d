//! `/api/v1/computers`: who there is, and what they reported.
//!
//! **Invariant:** what a computer said of itself is passed on as text, never interpreted. It never makes a
//! computer up: computers introduce themselves.

use super::downstreams;
use super::error::ApiError;
use super::groups::find;
use super::names::Names;
use super::route::Call;
use super::services::{Result, Services, blocking};
use super::shown;
use super::warnings;
use tailwater_api::{self as api, MAX_ROWS, NamedComputer, PageInfo, ServerName};
use tailwater_catalog::{
    Catalog, Computer, ComputerQuery, ComputerRow, Event, Group, IdentityChange, MAX_MOVED, UpdateWord,
};
use tailwater_domain::{ComputerId, GroupId, Limit, UpdateId, limits};

const _: () = assert!(MAX_MOVED == api::MAX_MOVED, "what the API says is what the catalog takes");

fn system(computer: &Computer) -> String {
    computer.info.as_ref().map_or_else(String::new, |info| {
        format!("{} ({}.{}.{})", info.os_description, info.os_major, info.os_minor, info.os_build)
    })
}

fn computer_row(row: &ComputerRow, names: &Names) -> api::Computer {
    let computer = &row.computer;
    let groups: Vec<String> = computer.groups.iter().map(|group| names.group(group)).collect();
    let groups = if groups.is_empty() { vec![names.group(&GroupId::UNASSIGNED_COMPUTERS)] } else { groups };
    let via = row.via.iter().map(|server| ServerName { server_id: *server, name: names.server(server) });
    api::Computer {
        computer_id: computer.id.clone(),
        name: computer.dns_name.clone(),
        groups,
        requested_groups: computer.requested_groups.clone(),
        os: system(computer),
        registered: computer.is_registered(),
        first_seen: computer.first_seen,
        last_contact: computer.last_contact,
        last_report: computer.last_report,
        needed: row.counts.needed,
        installed: row.counts.installed,
        failed: row.counts.failed,
        via: via.collect(),
        same_name: row.same_name,
        range: computer.range.map(|range| range.to_string()),
        certificate: computer.certificate.clone(),
    }
}

/// `GET /computers`: lists computers, by name.
pub(super) async fn list(services: Services, call: Call<api::ListComputers>) -> Result<api::Computers> {
    blocking(move || {
        let (catalog, query) = (&services.catalog, call.query);
        let group =
            query.group.as_deref().map(|name| find(catalog, name).map(|group| group.id)).transpose()?;
        let through = query.through.as_deref().map(|name| downstreams::find(catalog, name)).transpose()?;
        let (offset, limit) = (query.offset, query.paging().rows(MAX_ROWS, MAX_ROWS));
        let whose = shown::whose(query.whose.unwrap_or_default());
        let found =
            catalog.computers(&ComputerQuery { text: query.text, group, whose, through, offset, limit })?;
        let names = Names::of(catalog);
        let computers: Vec<_> = found.rows.iter().map(|row| computer_row(row, &names)).collect();
        let page = PageInfo::new(computers.len(), found.total, offset, limit);
        Ok(api::Computers { page, computers })
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

/// `GET /computers/{computer}`: one computer, with a page of what it reported.
pub(super) async fn show(services: Services, call: Call<api::ReadComputer>) -> Result<api::ComputerDetail> {
    blocking(move || {
        let (catalog, query) = (&services.catalog, call.query);
        let id = resolve(catalog, &call.name)?;
        let gone =
            || ApiError::NotFound { kind: "computer", name: call.name.clone(), next: "it was removed" };
        let detail = catalog.computer_detail(&id)?.ok_or_else(gone)?;
        let only = query.state.map(shown::reported_of);
        let words = detail.status.words(only, query.offset, query.limit.unwrap_or_default());
        Ok(api::ComputerDetail {
            row: computer_row(&detail.row, &Names::of(catalog)),
            reported_at: detail.status.reported_at,
            facts: detail.row.computer.info.as_ref().map(shown::facts),
            updates: words.rows.iter().map(|word| reported(catalog, word)).collect(),
            updates_total: words.total,
            offset: words.offset,
            events: detail.events.iter().map(|one| event(catalog, one)).collect(),
            identity_changes: detail.changes.into_iter().map(changed).collect(),
        })
    })
    .await
}

fn title(catalog: &Catalog, id: &UpdateId) -> String {
    catalog.title(id, None).ok().flatten().unwrap_or_default()
}

fn reported(catalog: &Catalog, word: &UpdateWord) -> api::ReportedUpdate {
    api::ReportedUpdate {
        update_id: word.update,
        title: title(catalog, &word.update),
        state: shown::reported(word.state),
        since: word.since,
        result: word.result.map(shown::code),
    }
}

fn event(catalog: &Catalog, event: &Event) -> api::Event {
    let update = event.update.map(|identity| identity.update);
    api::Event {
        at: event.at,
        event_id: event.id,
        event: event_name(event.id).to_owned(),
        update_id: update,
        title: update.map(|update| title(catalog, &update)),
        result: shown::code(event.result),
        text: event.replacements.join(", "),
    }
}

fn changed(change: IdentityChange) -> api::IdentityChange {
    api::IdentityChange {
        at: change.at,
        kind: shown::identity_kind(change.kind),
        before: change.before,
        after: change.after,
        from: change.from.map(|range| range.to_string()),
        times: change.times,
    }
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

/// `PUT /computers/{computer}/group`: puts a computer into a group.
pub(super) async fn assign(services: Services, call: Call<api::MoveComputer>) -> Result<api::Moved> {
    blocking(move || {
        let catalog = &services.catalog;
        let id = resolve(catalog, &call.name)?;
        is_ours(catalog, &id)?;
        let group = find(catalog, &call.body.group)?;
        let moved = catalog.assign(&id, &placed(&group))?;
        Ok(api::Moved {
            computer: NamedComputer { computer_id: moved.id.clone(), name: moved.dns_name.clone() },
            group: group.name,
            warnings: warnings::moving(catalog).into_iter().collect(),
        })
    })
    .await
}

/// `POST /computers/move`: puts computers into a group, all of them or none.
pub(super) async fn assign_all(
    services: Services,
    call: Call<api::MoveComputers>,
) -> Result<api::MovedComputers> {
    blocking(move || {
        let body = call.body;
        if !(1..=MAX_MOVED).contains(&body.computers.len()) {
            let reason = format!("name at least one computer and at most {MAX_MOVED}");
            return Err(ApiError::Invalid { field: "computers", reason });
        }
        let catalog = &services.catalog;
        let group = find(catalog, &body.group)?;
        let ids = resolve_all(catalog, &body.computers)?;
        ids.iter().try_for_each(|id| is_ours(catalog, id))?;
        let moved = catalog.assign_all(&ids, &placed(&group))?;
        let moved =
            moved.iter().map(|one| NamedComputer { computer_id: one.id.clone(), name: one.dns_name.clone() });
        Ok(api::MovedComputers {
            moved: moved.collect(),
            group: group.name,
            warnings: warnings::moving(catalog).into_iter().collect(),
        })
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
    services: Services,
    call: Call<api::DeleteComputer>,
) -> Result<api::RemovedComputer> {
    blocking(move || {
        let removed = resolve(&services.catalog, &call.name)?;
        services.catalog.forget(&removed)?;
        Ok(api::RemovedComputer { removed })
    })
    .await
}
