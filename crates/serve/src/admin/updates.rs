//! `/api/v1/updates`: lists and details.
//!
//! **Invariant:** a list selects what decisions select. It changes nothing.

use sha2::{Digest as _, Sha256};

use super::cost;
use super::error::ApiError;
use super::names::{Names, resolve, unknown};
use super::route::Call;
use super::services::{Result, Services, blocking};
use super::shown;
use tailwater_api::{self as api, MAX_REVISIONS, MAX_ROWS, PageInfo};
use tailwater_catalog::{Catalog, PartKind, PartRef, Terms, UpdateQuery};
use tailwater_domain::{Sha256Digest, UpdateId, UpdateIdentity, folded};

/// Updates in one answer unless more are asked for.
const USUAL_ROWS: usize = 100;

/// `GET /updates`: lists updates, newest first.
pub(super) async fn list(services: Services, call: Call<api::ListUpdates>) -> Result<api::Updates> {
    let (catalog, query) = (services.catalog.clone(), call.query);
    blocking(move || {
        if query.kb.as_deref().is_some_and(|kb| !is_kb(kb)) {
            let reason = "expected a KB number such as KB5031356 or 5031356".to_owned();
            return Err(ApiError::Invalid { field: "kb", reason });
        }
        let names = Names::of(&catalog);
        let (offset, limit) = (query.offset, query.paging().rows(USUAL_ROWS, MAX_ROWS));
        let found = catalog.updates(&UpdateQuery {
            text: query.text.filter(|text| !text.trim().is_empty()),
            product: names.category("product", query.product.as_deref())?,
            classification: names.category("classification", query.classification.as_deref())?,
            kb: query.kb.map(|kb| kb.trim().to_owned()).filter(|kb| !kb.is_empty()),
            state: query.state.map(shown::state_filter),
            offset,
            limit,
            ..UpdateQuery::default()
        })?;
        let updates: Vec<_> = found.rows.iter().map(|row| names.row(row)).collect();
        Ok(api::Updates { page: PageInfo::new(updates.len(), found.total, offset, limit), updates })
    })
    .await
}

/// Whether a text is a KB number, with or without `KB`; nothing at all restricts nothing.
fn is_kb(text: &str) -> bool {
    let plain = folded(text);
    let digits = plain.strip_prefix("kb").unwrap_or(&plain).trim_start();
    plain.is_empty() || (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn terms(terms: &Terms) -> api::Terms {
    let accepted = terms.acceptance.as_ref();
    api::Terms {
        terms: terms.id,
        updates: terms.updates.clone(),
        accepted: terms.is_accepted,
        accepted_at: accepted.map(|accepted| accepted.at),
        accepted_by: accepted.map(|accepted| accepted.by.clone()),
    }
}

/// Why an update that is named by its identity is not here, where that is known.
fn missing(services: &Services, name: &str) -> Option<ApiError> {
    let id: UpdateId = name.trim().parse().ok()?;
    let reason = services.sync.why_missing().into_iter().find(|(identity, _)| identity.update == id);
    let damaged = || services.catalog.damaged().iter().any(|identity| identity.update == id);
    let reason = match reason {
        Some((_, reason)) => reason,
        None if damaged() => "what was stored of it is damaged on the disk".to_owned(),
        None if services.catalog.lost().is_some_and(|lost| lost.revisions + lost.stretches > 0) => {
            "updates are missing because what was stored of them is damaged on the disk; it may be one of them".to_owned()
        }
        None => return None,
    };
    Some(ApiError::Missing { name: id.to_string(), reason })
}

/// `GET /updates/{update}`: everything about one update.
pub(super) async fn show(services: Services, call: Call<api::ReadUpdate>) -> Result<api::UpdateDetail> {
    blocking(move || {
        let (catalog, name) = (&services.catalog, &call.name);
        let found =
            resolve(catalog, name, false).map_err(|error| missing(&services, name).unwrap_or(error))?;
        let absent = || missing(&services, name).unwrap_or_else(|| unknown(name));
        let id = *found.first().ok_or_else(absent)?;
        let detail = catalog.update(&id, None)?.ok_or_else(absent)?;
        let states = catalog.states_of(&id, call.query.offset, call.query.limit.unwrap_or_default())?;
        let reported = |one: tailwater_catalog::ComputerState| api::UpdateStatus {
            computer_id: one.computer,
            name: one.dns_name,
            state: shown::reported(one.state),
            result: one.result.map(shown::code),
        };
        let licenses = catalog.terms_of(&id)?;
        let mut row = Names::of(catalog).row(&detail.row);
        explain(&services, &mut row.withheld)?;
        let children = detail.children.into_iter();
        let children = children.map(|row| api::Bundled { update_id: row.identity.update, title: row.title });
        Ok(api::UpdateDetail {
            row,
            kind: shown::update_type(detail.facts.update_type),
            revisions: detail.revisions.iter().map(|identity| identity.revision).collect(),
            supersedes: detail.facts.supersedes,
            bulletins: detail.facts.bulletins,
            uninstallable: detail.facts.uninstallable,
            license: api::License {
                required: !licenses.is_empty(),
                accepted: licenses.iter().all(|terms| terms.is_accepted),
                terms: licenses.iter().map(terms).collect(),
            },
            children: children.collect(),
            parents: detail.parents,
            files: detail.files.iter().map(|file| services.file_row(file)).collect(),
            statuses_total: states.total,
            offset: states.offset,
            statuses: states.rows.into_iter().map(reported).collect(),
            traffic: cost::traffic(&services, &id)?,
        })
    })
    .await
}

/// Adds to what keeps an update from being offered what people call the member, and why the upstream did not give it.
fn explain(services: &Services, withheld: &mut [api::Withheld]) -> Result<()> {
    if withheld.is_empty() {
        return Ok(());
    }
    let missing = services.sync.why_missing();
    for one in withheld {
        if let Some(release) = services.catalog.release_of(&one.update_id)? {
            one.title = Some(release.title);
        }
        let identity = UpdateIdentity { update: one.update_id, revision: one.revision };
        one.detail = missing.get(&identity).cloned();
    }
    Ok(())
}

/// `GET /revisions`: every revision held, with the payloads it declares; for audits and comparisons.
pub(super) async fn revisions(services: Services, call: Call<api::ListRevisions>) -> Result<api::Revisions> {
    blocking(move || {
        let catalog = &services.catalog;
        let snapshot = catalog.snapshot();
        let mut revisions = Vec::new();
        let all = catalog.staging()?.active();
        let (offset, total) = (call.query.offset, all.len());
        let limit = call.query.paging().rows(MAX_REVISIONS, MAX_REVISIONS);
        for identity in all.into_iter().skip(offset).take(limit) {
            let id = snapshot.find(&identity);
            let files = id.map(|id| snapshot.files(id)).unwrap_or_default();
            let document = id.and_then(|id| snapshot.part(id, &PartKind::Document));
            let document = document.filter(|_| call.query.documents);
            revisions.push(api::Revision {
                update_id: identity.update,
                revision: identity.revision,
                files: files.iter().map(tailwater_domain::Sha1Digest::hex).collect(),
                document_sha256: document.map(|document| hash(catalog, &document)).transpose()?,
            });
        }
        Ok(api::Revisions { page: PageInfo::new(revisions.len(), total, offset, limit), revisions })
    })
    .await
}

fn hash(catalog: &Catalog, document: &PartRef) -> Result<String> {
    let mut hasher = Sha256::new();
    for chunk in catalog.chunks(document) {
        hasher.update(&chunk?);
    }
    Ok(Sha256Digest(hasher.finalize().into()).hex())
}
