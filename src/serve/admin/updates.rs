//! `/api/v1/updates`: lists and details.
//!
//! **Invariant:** a list selects what decisions select. It changes nothing.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::api::{Paging, Result, Services, blocking};
use super::cost;
use super::error::ApiError;
use super::names::{Names, resolve, unknown};
use super::page::{MAX_REVISIONS, MAX_ROWS, Range, page};
use crate::catalog::{Catalog, PartKind, PartRef, Terms, UpdateQuery, UpdateState};
use crate::domain::{Sha256Digest, UpdateId, UpdateIdentity, folded};

/// `GET /updates`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    text: Option<String>,
    product: Option<String>,
    classification: Option<String>,
    kb: Option<String>,
    state: Option<UpdateState>,
    #[serde(default)]
    offset: usize,
    /// 100 when it is not said, at most 1,000.
    limit: Option<usize>,
}

/// Updates in one answer unless more are asked for.
const USUAL_ROWS: usize = 100;

/// Lists updates, newest first.
pub(super) async fn list(
    State(services): State<Services>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>> {
    let catalog = services.catalog.clone();
    blocking(move || {
        if query.kb.as_deref().is_some_and(|kb| !is_kb(kb)) {
            let reason = "expected a KB number such as KB5031356 or 5031356".to_owned();
            return Err(ApiError::Invalid { field: "kb", reason });
        }
        let names = Names::of(&catalog);
        let mut wanted = UpdateQuery {
            text: query.text.filter(|text| !text.trim().is_empty()),
            product: names.category("product", query.product.as_deref())?,
            classification: names.category("classification", query.classification.as_deref())?,
            kb: query.kb.map(|kb| kb.trim().to_owned()).filter(|kb| !kb.is_empty()),
            state: query.state,
            offset: query.offset,
            ..UpdateQuery::default()
        };
        wanted.limit = Range { offset: query.offset, limit: query.limit }.limit(USUAL_ROWS, MAX_ROWS);
        let found = catalog.updates(&wanted)?;
        let rows = found.rows.iter().map(|row| names.row(row)).collect();
        Ok(Json(page("updates", rows, found.total, wanted.offset, wanted.limit)))
    })
    .await
}

/// Whether a text is a KB number, with or without `KB`; nothing at all restricts nothing.
fn is_kb(text: &str) -> bool {
    let plain = folded(text);
    let digits = plain.strip_prefix("kb").unwrap_or(&plain).trim_start();
    plain.is_empty() || (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn license_row(terms: &Terms) -> Value {
    let accepted = terms.acceptance.as_ref();
    json!({ "terms": terms.id, "updates": terms.updates, "accepted": terms.is_accepted,
            "accepted_at": accepted.map(|accepted| accepted.at), "accepted_by": accepted.map(|accepted| &accepted.by) })
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

/// Everything about one update.
pub(super) async fn show(
    State(services): State<Services>,
    Path(name): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        let found = resolve(catalog, &name, false).map_err(|error| missing(&services, &name).unwrap_or(error))?;
        let absent = || missing(&services, &name).unwrap_or_else(|| unknown(&name));
        let id = *found.first().ok_or_else(absent)?;
        let detail = catalog.update(&id, None)?.ok_or_else(absent)?;
        let names = Names::of(catalog);
        let files: Vec<Value> = detail.files.iter().map(|file| services.file_row(file)).collect();
        let states = catalog.states_of(&id, paging.offset, paging.limit)?;
        let statuses: Vec<Value> = states
            .rows
            .iter()
            .map(|status| {
                json!({ "computer_id": status.computer, "name": status.dns_name, "state": status.state,
                        "result": status.result.map(|code| format!("0x{code:08X}")) })
            })
            .collect();
        let traffic = cost::traffic(&services, &id)?;
        let licenses = catalog.terms_of(&id)?;
        let mut answer = names.row(&detail.row);
        explain(&services, &mut answer)?;
        let more = json!({
            "update_type": detail.facts.update_type,
            "revisions": detail.revisions.iter().map(|identity| identity.revision).collect::<Vec<_>>(),
            "supersedes": detail.facts.supersedes,
            "bulletins": detail.facts.bulletins,
            "uninstallable": detail.facts.uninstallable,
            "license": { "required": !licenses.is_empty(), "accepted": licenses.iter().all(|terms| terms.is_accepted),
                         "terms": licenses.iter().map(license_row).collect::<Vec<_>>() },
            "children": detail.children.iter().map(|row| json!({ "update_id": row.identity.update, "title": row.title })).collect::<Vec<_>>(),
            "parents": detail.parents,
            "files": files,
            "statuses": statuses, "statuses_total": states.total, "offset": states.offset,
            "traffic": traffic,
        });
        merge(&mut answer, more);
        Ok(Json(answer))
    })
    .await
}

/// Adds to what keeps an update from being offered what people call the member, and why the upstream did not give it.
fn explain(services: &Services, answer: &mut Value) -> Result<()> {
    let Some(withheld) = answer["withheld"].as_array_mut().filter(|all| !all.is_empty()) else {
        return Ok(());
    };
    let missing = services.sync.why_missing();
    for one in withheld {
        let Ok(update) = serde_json::from_value::<UpdateId>(one["update_id"].clone()) else { continue };
        if let Some(release) = services.catalog.release_of(&update)? {
            one["title"] = json!(release.title);
        }
        let revision = one["revision"].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        if let Some(why) = missing.get(&UpdateIdentity { update, revision }) {
            one["detail"] = json!(why);
        }
    }
    Ok(())
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// `GET /revisions`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RevisionsQuery {
    /// Hash documents too.
    #[serde(default)]
    documents: bool,
    #[serde(default)]
    offset: usize,
    /// 100,000 when it is not said, and at most.
    limit: Option<usize>,
}

/// Every revision held, with the payloads it declares; for audits and comparisons.
pub(super) async fn revisions(
    State(services): State<Services>,
    Query(query): Query<RevisionsQuery>,
) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        let snapshot = catalog.snapshot();
        let mut rows = Vec::new();
        let all = catalog.staging()?.active();
        let range = Range { offset: query.offset, limit: query.limit };
        let (total, limit) = (all.len(), range.limit(MAX_REVISIONS, MAX_REVISIONS));
        for identity in all.into_iter().skip(range.offset).take(limit) {
            let id = snapshot.find(&identity);
            let files = id.map(|id| snapshot.files(id)).unwrap_or_default();
            let files: Vec<String> = files.iter().map(crate::domain::Sha1Digest::hex).collect();
            let mut row =
                json!({ "update_id": identity.update, "revision": identity.revision, "files": files });
            let document = id.and_then(|id| snapshot.part(id, &PartKind::Document));
            if let Some(document) = document.filter(|_| query.documents) {
                merge(&mut row, json!({ "document_sha256": hash(catalog, &document)? }));
            }
            rows.push(row);
        }
        Ok(Json(page("revisions", rows, total, range.offset, limit)))
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
