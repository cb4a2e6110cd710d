//! `/api/v1/updates`: lists, details and decisions.
//!
//! **Invariant:** what one request decides is one change: all of it, or nothing and every name that stood in the way. It
//! never guesses between updates that fit equally well.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Path, Query, State};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::api::{Result, Services, blocking, decisions_by};
use super::cost;
use super::error::ApiError;
use super::names::{Names, resolve, unknown};
use crate::catalog::{Catalog, MAX_DECIDED, MAX_PAGE, PartKind, PartRef, UpdateQuery, UpdateState, Verdict};
use crate::domain::{Action, GroupId, Sha256Digest, UpdateId, UpdateIdentity};

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
    limit: Option<usize>,
}

/// Lists updates, newest first.
pub(super) async fn list(
    State(services): State<Services>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>> {
    let catalog = services.catalog.clone();
    blocking(move || {
        let names = Names::of(&catalog)?;
        let mut wanted = UpdateQuery {
            text: query.text.filter(|text| !text.trim().is_empty()),
            product: names.category("product", query.product.as_deref())?,
            classification: names.category("classification", query.classification.as_deref())?,
            kb: query.kb,
            state: query.state,
            offset: query.offset,
            ..UpdateQuery::default()
        };
        let limit = query.limit.unwrap_or(100).min(1_000_000);
        let mut rows = Vec::new();
        let total = loop {
            wanted.limit = (limit - rows.len()).clamp(1, MAX_PAGE);
            let page = catalog.updates(&wanted)?;
            wanted.offset += page.rows.len();
            let ended = page.rows.is_empty();
            rows.extend(page.rows.iter().map(|row| names.row(row)));
            if ended || rows.len() >= limit || wanted.offset >= page.total {
                break page.total;
            }
        };
        Ok(Json(json!({ "total": total, "offset": query.offset, "updates": rows })))
    })
    .await
}

/// Everything about one update.
pub(super) async fn show(State(services): State<Services>, Path(name): Path<String>) -> Result<Json<Value>> {
    blocking(move || {
        let catalog = &services.catalog;
        let id = *resolve(catalog, &name, false)?.first().ok_or_else(|| unknown(&name))?;
        let detail = catalog.update(&id, None)?.ok_or_else(|| unknown(&name))?;
        let names = Names::of(catalog)?;
        let files: Vec<Value> = detail.files.iter().map(|file| services.file_row(file)).collect();
        let statuses: Vec<Value> = detail
            .statuses
            .iter()
            .map(|status| {
                json!({ "computer_id": status.computer, "name": status.dns_name, "state": status.state,
                        "result": status.result.map(|code| format!("0x{code:08X}")) })
            })
            .collect();
        let traffic = cost::traffic(&services, &id)?;
        let mut answer = names.row(&detail.row);
        explain(&services, &mut answer)?;
        let more = json!({
            "update_type": detail.facts.update_type,
            "revisions": detail.revisions.iter().map(|identity| identity.revision).collect::<Vec<_>>(),
            "supersedes": detail.facts.supersedes,
            "bulletins": detail.facts.bulletins,
            "uninstallable": detail.facts.uninstallable,
            "children": detail.children.iter().map(|row| json!({ "update_id": row.identity.update, "title": row.title })).collect::<Vec<_>>(),
            "parents": detail.parents,
            "files": files,
            "statuses": statuses,
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

/// A decision over several updates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decide {
    updates: Vec<String>,
    #[serde(default)]
    all_matches: bool,
    /// Only say what it would move; for approvals.
    #[serde(default)]
    dry_run: bool,
    group: Option<String>,
    #[serde(default)]
    action: Option<Action>,
    deadline: Option<String>,
    until: Option<String>,
    reason: Option<String>,
    by: Option<String>,
}

impl Decide {
    /// Gives the verdict on every update named, as one change.
    async fn apply(self, services: Services, verdict: Verdict) -> Result<Json<Value>> {
        if self.dry_run {
            let reason = "only an approval moves anything that can be said before".to_owned();
            return Err(ApiError::Invalid { field: "dry_run", reason });
        }
        blocking(move || {
            let catalog = &services.catalog;
            let found = self.selected(catalog)?;
            let foreseen = cost::foresee(&services.needs, &verdict, &found);
            let changed = catalog.decide(&found, &verdict, &decisions_by(self.by.as_deref()))?;
            cost::remember(&services.needs, foreseen);
            services.decisions.notify_one();
            let done = found.iter().zip(changed).map(|(id, changed)| {
                let title = catalog.title(id, None).ok().flatten().unwrap_or_default();
                json!({ "update_id": id, "title": title, "changed": changed })
            });
            Ok(Json(json!({ "done": done.collect::<Vec<_>>(), "failed": [] })))
        })
        .await
    }

    /// The updates that are named, each once.
    ///
    /// # Errors
    /// When a name fits none, or several where only one is wanted: all such names are told.
    fn selected(&self, catalog: &Catalog) -> Result<Vec<UpdateId>> {
        within_limit(self.updates.len())?;
        let (mut found, mut refused, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for name in &self.updates {
            match resolve(catalog, name, self.all_matches) {
                Ok(ids) => found.extend(ids.into_iter().filter(|id| seen.insert(*id))),
                Err(error @ (ApiError::NotFound { .. } | ApiError::Ambiguous { .. })) => {
                    if self.updates.len() == 1 {
                        return Err(error);
                    }
                    refused.push(json!({ "update": name, "error": error.to_string(), "candidates": error.candidates() }));
                }
                Err(error) => return Err(error),
            }
        }
        if !refused.is_empty() {
            return Err(ApiError::Undecided { refused, of: self.updates.len() });
        }
        within_limit(found.len())?;
        Ok(found)
    }

    fn group(&self, catalog: &Catalog) -> Result<Option<GroupId>> {
        self.group.as_deref().map(|name| super::groups::find(catalog, name).map(|group| group.id)).transpose()
    }

    fn deadline(&self) -> Result<Option<Timestamp>> {
        time(self.deadline.as_deref(), "deadline")
    }
}

fn within_limit(count: usize) -> Result<()> {
    if (1..=MAX_DECIDED).contains(&count) {
        return Ok(());
    }
    let reason =
        format!("{count} updates are named; at least one and at most {MAX_DECIDED} are decided at once");
    Err(ApiError::Invalid { field: "updates", reason })
}

fn time(text: Option<&str>, field: &'static str) -> Result<Option<Timestamp>> {
    text.filter(|text| !text.is_empty()).map(|text| parse_time(text, field)).transpose()
}

/// A time with an offset, or one of this machine's time zone.
fn parse_time(text: &str, field: &'static str) -> Result<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let local = text
        .parse::<jiff::civil::DateTime>()
        .or_else(|_e| jiff::civil::DateTime::strptime("%Y-%m-%dT%H:%M", text))
        .or_else(|_e| jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M", text));
    local
        .ok()
        .and_then(|local| local.to_zoned(jiff::tz::TimeZone::system()).ok())
        .map(|zoned| zoned.timestamp())
        .ok_or_else(|| ApiError::Invalid {
            field,
            reason: "expected a time such as 2026-12-01T18:00 (local) or 2026-12-01T18:00:00Z".to_owned(),
        })
}

/// `POST /updates/approve`.
pub(super) async fn approve(
    State(services): State<Services>,
    Json(body): Json<Decide>,
) -> Result<Json<Value>> {
    let missing =
        || ApiError::Invalid { field: "group", reason: "name the group that it is approved for".to_owned() };
    let group = body.group(&services.catalog)?.ok_or_else(missing)?;
    let (action, deadline) = (body.action.unwrap_or(Action::Install), body.deadline()?);
    if body.dry_run {
        return cost::dry_run(services, body.updates, body.all_matches, group, action).await;
    }
    body.apply(services, Verdict::Approve { group, action, deadline }).await
}

/// `POST /updates/unapprove`.
pub(super) async fn unapprove(
    State(services): State<Services>,
    Json(body): Json<Decide>,
) -> Result<Json<Value>> {
    let group = body.group(&services.catalog)?;
    body.apply(services, Verdict::Unapprove { group }).await
}

/// `POST /updates/decline`.
pub(super) async fn decline(
    State(services): State<Services>,
    Json(body): Json<Decide>,
) -> Result<Json<Value>> {
    body.apply(services, Verdict::Decline).await
}

/// `POST /updates/undecline`.
pub(super) async fn undecline(
    State(services): State<Services>,
    Json(body): Json<Decide>,
) -> Result<Json<Value>> {
    body.apply(services, Verdict::Undecline).await
}

/// `POST /updates/hold`: keeps updates from this site, until a time or for good.
pub(super) async fn hold(State(services): State<Services>, Json(body): Json<Decide>) -> Result<Json<Value>> {
    let until = time(body.until.as_deref(), "until")?;
    let reason = body.reason.clone().unwrap_or_default();
    body.apply(services, Verdict::Hold { until, reason }).await
}

/// `POST /updates/release`.
pub(super) async fn release(
    State(services): State<Services>,
    Json(body): Json<Decide>,
) -> Result<Json<Value>> {
    body.apply(services, Verdict::Release).await
}

/// `GET /revisions`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RevisionsQuery {
    /// Hash documents too.
    #[serde(default)]
    documents: bool,
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
        for identity in catalog.staging()?.active() {
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
        Ok(Json(json!({ "revisions": rows })))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_with_and_without_an_offset() {
        let parse_time = |text| parse_time(text, "deadline");
        assert_eq!(parse_time("2026-12-01T18:00:00Z").unwrap().to_string(), "2026-12-01T18:00:00Z");
        assert_eq!(parse_time("2026-12-01T18:00:00+02:00").unwrap().to_string(), "2026-12-01T16:00:00Z");
        assert!(parse_time("2026-12-01T18:00").is_ok());
        assert!(parse_time("tomorrow").is_err());
    }
}
