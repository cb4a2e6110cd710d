//! `/api/v1/status`, `/configuration` and `/categories`: the server as a whole.
//!
//! **Invariant:** the answer fits a screen whatever the catalog's size. It never waits for the upstream.

use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Value, json};

use super::api::{InForce, Result, Services, blocking};
use super::bandwidth::reading;
use super::page::{MAX_WHOLE, Range};
use crate::catalog::{CategoryRow, Lost};
use crate::domain::{CategoryKind, folded};
use crate::upstream::{Choice, Failing};

/// `GET /status`.
pub(super) async fn status(State(services): State<Services>) -> Result<Json<Value>> {
    blocking(move || {
        let about = &services.about;
        let (totals, usage) = (services.catalog.totals(), services.content.usage());
        let wanted: u64 =
            services.transfers.list().iter().map(|transfer| transfer.size.saturating_sub(transfer.held)).sum();
        Ok(Json(json!({
            "version": env!("CARGO_PKG_VERSION"), "started_at": about.started_at, "ready": services.is_ready(),
            "listen": services.listen(), "disk": super::store::disk(&services), "upstream": about.upstream,
            "mode": if about.replica { "replica" } else { "autonomous" },
            "last_sync": services.sync.last(), "sync_progress": services.sync.progress(),
            "next_sync": services.sync.next(), "sync": services.sync.standing(),
            "catalog": totals, "lost": services.catalog.lost(),
            "content": { "held": usage.held, "files": usage.files, "verified": usage.verified, "partial": usage.partial,
                         "wanted": wanted, "fetch": about.fetch, "max_size": services.in_force().max_size, "full": usage.full },
            "ledger": super::ledger::kept(&services),
            "served": { "bytes": services.served_bytes() },
            "link": reading(&services), "sources": services.sources(),
            "computers": totals.computers, "computers_below": totals.computers_below,
            "servers_below": totals.servers_below, "last_rollup": services.sync.last_rollup(),
            "connections": services.connections.get().map(crate::serve::Connections::status),
            "workers": services.tasks.status(), "warnings": warnings(&services),
        })))
    })
    .await
}

/// What an administrator should look at.
fn warnings(services: &Services) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(report) = services.disk.report() {
        warnings.push(format!(
            "read only: {}; agents are served, what changes is lost at a restart, decisions are refused. Next step: {}",
            report.reason, report.cure
        ));
    }
    warnings.extend(services.sync.standing().failing.as_ref().map(failed));
    if services.content.usage().full {
        let next = "free disk space, raise content.max_size or lower content.min_free";
        warnings.push(format!("there is no room for more payloads; what is held is served. {next}"));
    }
    if let Some(held) = services.catalog.held() {
        warnings.push(format!(
            "the synchronisation of {} would remove {} of {} updates and waits; `tailwater sync --accept-removals` \
             lets it through",
            held.since, held.would_remove, held.offered
        ));
    }
    let connections = services.connections.get().map(crate::serve::Connections::status);
    if let Some(few) = connections.filter(|status| status.limit < status.configured) {
        warnings.push(format!(
            "the system allows files for {} connections, not for the {} of server.max_connections; raise its limit \
             (ulimit -n, LimitNOFILE)",
            few.limit, few.configured
        ));
    }
    warnings.extend(services.sync.choice().iter().flat_map(Choice::warnings));
    if let Some(budget) = services.limiter.budget() {
        warnings.extend(super::bandwidth::warnings(&budget.status_at(super::bandwidth::pace(services))));
    }
    let damaged = services.catalog.totals().damaged;
    if damaged > 0 {
        warnings.push(format!(
            "{damaged} revisions are damaged on disk; the next synchronisation fetches them again"
        ));
    }
    warnings.extend(services.catalog.lost().into_iter().flat_map(|lost| missing(&lost)));
    warnings
}

/// What was damaged on the disk so that not even its name can be read.
fn missing(lost: &Lost) -> Vec<String> {
    let mut warnings = Vec::new();
    if lost.revisions + lost.stretches > 0 {
        let stretches = match lost.stretches {
            0 => String::new(),
            many => format!(" ({many} stretches of the segments cannot be read)"),
        };
        let count = if lost.revisions > 0 { format!("up to {}", lost.revisions) } else { "some".to_owned() };
        warnings.push(format!(
            "{count} revisions are missing since {} because what was stored of them is damaged on disk{stretches}; the \
             next synchronisation compares everything and fetches them again (`tailwater sync`)",
            lost.since
        ));
    }
    if lost.decisions > 0 {
        warnings.push(format!(
            "{} records of decisions could not be read when the index was made anew on {}: look over approvals, declines \
             and groups",
            lost.decisions, lost.since
        ));
    }
    warnings
}

/// A synchronisation that failed, with what to do.
fn failed(failing: &Failing) -> String {
    let error = failing.error.trim_end_matches('.');
    let times = if failing.times > 1 {
        format!("the last {} synchronisations failed, since {}", failing.times, failing.since)
    } else {
        format!("the synchronisation of {} failed", failing.at)
    };
    format!("{times}: {error}. Next step: {}", failing.next_step)
}

/// `GET /configuration`.
pub(super) async fn configuration(State(services): State<Services>) -> Json<Value> {
    Json(services.in_force().configuration.clone())
}

/// `GET /categories`.
pub(super) async fn categories(
    State(services): State<Services>,
    Query(range): Query<Range>,
) -> Result<Json<Value>> {
    blocking(move || {
        let rows = services.catalog.categories(None)?;
        let (in_force, choice) = (services.in_force(), services.sync.choice());
        let shown = |row: &CategoryRow| category(&in_force, choice.as_ref(), row);
        let mut answer = range.of("categories", &rows, MAX_WHOLE, shown);
        answer["chosen"] = json!(choice.as_ref().map(chosen));
        Ok(Json(answer))
    })
    .await
}

/// What each configured name stands for, and what of it is here.
fn chosen(choice: &Choice) -> Value {
    let pairs = choice
        .empty_pairs
        .iter()
        .map(|(product, classification)| json!({ "product": product, "classification": classification }));
    json!({ "names": choice.names, "empty_pairs": pairs.collect::<Vec<_>>(),
            "empty_pairs_total": choice.empty_pairs_total, "notes": choice.notes(), "warnings": choice.warnings() })
}

fn category(in_force: &InForce, choice: Option<&Choice>, row: &CategoryRow) -> Value {
    let (kind, configured) = match row.kind {
        CategoryKind::Company => ("company", None),
        CategoryKind::ProductFamily => ("family", Some(&in_force.products)),
        CategoryKind::Product => ("product", Some(&in_force.products)),
        CategoryKind::Classification => ("classification", Some(&in_force.classifications)),
        CategoryKind::Other => ("other", None),
    };
    let id = row.id.to_string();
    let is_named = |name: &String| folded(name) == folded(&row.title) || name.eq_ignore_ascii_case(&id);
    let is_chosen = |names: &Vec<String>| match choice {
        _ if names.is_empty() => true,
        Some(choice) => choice.chosen.binary_search(&row.id).is_ok(),
        None => names.iter().any(is_named),
    };
    let selected = configured.is_some_and(is_chosen);
    json!({ "id": row.id, "name": row.title, "kind": kind, "selected": selected, "updates": row.updates, "parents": row.parents })
}
