//! `/api/v1/status`, `/configuration` and `/categories`: the server as a whole.
//!
//! **Invariant:** the answer fits a screen whatever the catalog's size. It never waits for the upstream.

use super::bandwidth::reading;
use super::route::Call;
use super::services::{InForce, Result, Services, blocking};
use super::shown::{self, fields};
use tailwater_api::{self as api, MAX_WHOLE};
use tailwater_catalog::{CategoryRow, Lost};
use tailwater_domain::{CategoryKind, folded};
use tailwater_upstream::{Choice, Failing};

/// `GET /status`.
pub(super) async fn status(services: Services, _: Call<api::ReadStatus>) -> Result<api::Status> {
    blocking(move || {
        let about = &services.about;
        let (totals, usage) = (services.catalog.totals(), services.content.usage());
        let catalog = fields!(totals => api::CatalogTotals {
            revisions, updates, offered, approved, declined, expired, staged, damaged, computers, computers_below,
            servers_below, segment_bytes, text_bytes
        });
        let lost = |lost: Lost| fields!(lost => api::Lost { since, revisions, stretches, decisions });
        let connections = services.connections.get().map(|connections| {
            let now = connections.status();
            fields!(now => api::Connections { open, limit, configured, most, addresses, refused, closed_for_others })
        });
        let workers = services.tasks.status().into_iter();
        let workers = workers.map(|one| api::Worker { name: one.name.to_owned(), running: one.running });
        Ok(api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: about.started_at,
            ready: services.is_ready(),
            listen: services.listen(),
            disk: super::store::disk(&services),
            upstream: about.upstream.clone(),
            mode: if about.replica { api::Mode::Replica } else { api::Mode::Autonomous },
            last_sync: services.sync.last(),
            sync_progress: services.sync.progress(),
            next_sync: services.sync.next(),
            sync: shown::standing(services.sync.standing()),
            catalog,
            lost: services.catalog.lost().map(lost),
            content: api::ContentTotals {
                held: usage.held,
                files: usage.files,
                verified: usage.verified,
                partial: usage.partial,
                wanted: services.wanted_bytes(),
                fetch: about.fetch.clone(),
                max_size: services.in_force().max_size.clone(),
                full: usage.full,
            },
            ledger: super::ledger::kept(&services),
            served: api::Served { bytes: services.served_bytes() },
            link: reading(&services),
            sources: services.sources().into_iter().map(shown::source).collect(),
            computers: totals.computers,
            computers_below: totals.computers_below,
            servers_below: totals.servers_below,
            last_rollup: services.sync.last_rollup(),
            connections,
            workers: workers.collect(),
            warnings: warnings(&services),
        })
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
    let connections = services.connections.get().map(crate::Connections::status);
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
pub(super) async fn configuration(
    services: Services,
    _: Call<api::ReadConfiguration>,
) -> Result<api::Configuration> {
    Ok(services.in_force().configuration.clone())
}

/// `GET /categories`.
pub(super) async fn categories(
    services: Services,
    call: Call<api::ListCategories>,
) -> Result<api::Categories> {
    blocking(move || {
        let rows = services.catalog.categories(None)?;
        let (in_force, choice) = (services.in_force(), services.sync.choice());
        let (page, categories) =
            call.query.of(&rows, MAX_WHOLE, |row| category(&in_force, choice.as_ref(), row));
        Ok(api::Categories { page, categories, chosen: choice.map(chosen) })
    })
    .await
}

/// What each configured name stands for, and what of it is here.
fn chosen(choice: Choice) -> api::Choice {
    let (notes, warnings) = (choice.notes(), choice.warnings());
    let names = choice.names.into_iter().map(|one| {
        fields!(one => api::ChosenName { name, ids, now_called, near, is_gone, updates; key: shown::list(one.key) })
    });
    let pairs = choice.empty_pairs.into_iter();
    let pairs = pairs.map(|(product, classification)| api::EmptyPair { product, classification });
    let (names, empty_pairs) = (names.collect(), pairs.collect());
    api::Choice { names, empty_pairs, empty_pairs_total: choice.empty_pairs_total, notes, warnings }
}

fn category(in_force: &InForce, choice: Option<&Choice>, row: &CategoryRow) -> api::Category {
    let configured = match row.kind {
        CategoryKind::ProductFamily | CategoryKind::Product => Some(&in_force.products),
        CategoryKind::Classification => Some(&in_force.classifications),
        CategoryKind::Company | CategoryKind::Other => None,
    };
    let id = row.id.to_string();
    let is_named = |name: &String| folded(name) == folded(&row.title) || name.eq_ignore_ascii_case(&id);
    let is_chosen = |names: &Vec<String>| match choice {
        _ if names.is_empty() => true,
        Some(choice) => choice.chosen.binary_search(&row.id).is_ok(),
        None => names.iter().any(is_named),
    };
    api::Category {
        id: row.id,
        name: row.title.clone(),
        kind: shown::category_kind(row.kind),
        selected: configured.is_some_and(is_chosen),
        updates: row.updates,
        parents: row.parents.clone(),
    }
}
