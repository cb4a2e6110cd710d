//! `/api/v1/updates`: lists, details and decisions.
//!
//! **Invariant:** a request that names several updates answers for each of them, done or why not. It never
//! guesses between updates that fit equally well.

use axum::Json;
use axum::extract::{Path, Query, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{Result, Services, blocking, decisions_by};
use super::error::{ApiError, causes};
use crate::catalog::{Catalog, CatalogError, MAX_PAGE, UpdateQuery, UpdateRow, UpdateState};
use crate::domain::{Action, GroupId, UpdateId};

/// Updates named in one request.
const MAX_NAMED: usize = 1_000;

/// Rows shown of those that fit an ambiguous name.
const CANDIDATES: usize = 10;

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
        let mut answer = names.row(&detail.row);
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
        });
        merge(&mut answer, more);
        Ok(Json(answer))
    })
    .await
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

fn unknown(name: &str) -> ApiError {
    ApiError::NotFound {
        kind: "update",
        name: name.chars().take(120).collect(),
        next: "`tailwater updates list --text …` finds it, if it was synchronised",
    }
}

/// The update that a GUID, a KB number or a part of a title names; several only when `all` are wanted.
pub(super) fn resolve(catalog: &Catalog, name: &str, all: bool) -> Result<Vec<UpdateId>> {
    let name = name.trim();
    if let Ok(id) = name.parse::<UpdateId>() {
        return if catalog.snapshot().latest(&id).is_some() { Ok(vec![id]) } else { Err(unknown(name)) };
    }
    let digits = name.strip_prefix("KB").or_else(|| name.strip_prefix("kb")).unwrap_or(name);
    let is_kb = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let query = if is_kb {
        UpdateQuery { kb: Some(digits.to_owned()), limit: MAX_PAGE, ..UpdateQuery::default() }
    } else if name.is_empty() {
        return Err(unknown(name));
    } else {
        UpdateQuery { text: Some(name.to_owned()), limit: MAX_PAGE, ..UpdateQuery::default() }
    };
    let page = catalog.updates(&query)?;
    let exact: Vec<&UpdateRow> =
        page.rows.iter().filter(|row| row.title.eq_ignore_ascii_case(name)).collect();
    match (page.rows.as_slice(), exact.as_slice()) {
        ([], _) => Err(unknown(name)),
        (_, [one]) => Ok(vec![one.identity.update]),
        ([one], _) => Ok(vec![one.identity.update]),
        (rows, _) if all => Ok(rows.iter().map(|row| row.identity.update).collect()),
        (rows, _) => Err(ApiError::Ambiguous {
            name: name.to_owned(),
            count: page.total,
            candidates: rows
                .iter()
                .take(CANDIDATES)
                .map(|row| (row.identity.update.to_string(), row.title.clone()))
                .collect(),
        }),
    }
}

/// A decision over several updates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decide {
    updates: Vec<String>,
    #[serde(default)]
    all_matches: bool,
    group: Option<String>,
    #[serde(default)]
    action: Option<Action>,
    deadline: Option<String>,
    by: Option<String>,
}

/// What became of a decision.
#[derive(Debug, Default, Serialize)]
struct Decided {
    done: Vec<Value>,
    failed: Vec<Value>,
}

impl Decide {
    /// Applies `decision` to every update named.
    async fn apply<F>(self, services: Services, decision: F) -> Result<Json<Value>>
    where
        F: Fn(&Catalog, &UpdateId) -> std::result::Result<bool, CatalogError> + Send + 'static,
    {
        if self.updates.is_empty() || self.updates.len() > MAX_NAMED {
            let reason = format!("name at least one update and at most {MAX_NAMED}");
            return Err(ApiError::Invalid { field: "updates", reason });
        }
        blocking(move || {
            let catalog = &services.catalog;
            let mut outcome = Decided::default();
            for name in &self.updates {
                let found = match resolve(catalog, name, self.all_matches) {
                    Ok(found) => found,
                    Err(error @ (ApiError::NotFound { .. } | ApiError::Ambiguous { .. })) => {
                        outcome.failed.push(json!({ "update": name, "error": error.to_string(), "candidates": error.candidates() }));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                for id in found {
                    match decision(catalog, &id) {
                        Ok(changed) => outcome.done.push(json!({ "update_id": id, "title": title(catalog, &id), "changed": changed })),
                        Err(error) => outcome.failed.push(json!({ "update": id, "error": causes(&error) })),
                    }
                }
            }
            services.decisions.notify_one();
            Ok(Json(json!(outcome)))
        })
        .await
    }

    fn group(&self, catalog: &Catalog) -> Result<Option<GroupId>> {
        self.group.as_deref().map(|name| super::groups::find(catalog, name).map(|group| group.id)).transpose()
    }

    fn deadline(&self) -> Result<Option<Timestamp>> {
        self.deadline.as_deref().filter(|text| !text.is_empty()).map(parse_time).transpose()
    }
}

fn title(catalog: &Catalog, id: &UpdateId) -> String {
    catalog.update(id, None).ok().flatten().map(|detail| detail.row.title).unwrap_or_default()
}

/// A time with an offset, or one of this machine's time zone.
fn parse_time(text: &str) -> Result<Timestamp> {
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
            field: "deadline",
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
    let by = decisions_by(body.by.as_deref());
    body.apply(services, move |catalog, id| {
        catalog.approve(id, &group, action, deadline, &by).map(|_approval| true)
    })
    .await
}

/// `POST /updates/unapprove`.
pub(super) async fn unapprove(
    State(services): State<Services>,
    Json(body): Json<Decide>,
) -> Result<Json<Value>> {
    let group = body.group(&services.catalog)?;
    body.apply(services, move |catalog, id| {
        if let Some(group) = &group {
            return catalog.unapprove(id, group);
        }
        let approved = catalog.update(id, None)?.map(|detail| detail.row.approvals).unwrap_or_default();
        approved.iter().try_fold(false, |any, approval| Ok(catalog.unapprove(id, &approval.group)? || any))
    })
    .await
}

/// `POST /updates/decline`.
pub(super) async fn decline(
    State(services): State<Services>,
    Json(body): Json<Decide>,
) -> Result<Json<Value>> {
    let by = decisions_by(body.by.as_deref());
    body.apply(services, move |catalog, id| catalog.decline(id, &by)).await
}

/// `POST /updates/undecline`.
pub(super) async fn undecline(
    State(services): State<Services>,
    Json(body): Json<Decide>,
) -> Result<Json<Value>> {
    body.apply(services, Catalog::undecline).await
}

/// `GET /revisions`: every revision held, with the payloads it declares; for audits and comparisons.
pub(super) async fn revisions(State(services): State<Services>) -> Result<Json<Value>> {
    blocking(move || {
        let snapshot = services.catalog.snapshot();
        let rows: Vec<Value> = services
            .catalog
            .staging()?
            .active()
            .iter()
            .map(|identity| {
                let files = snapshot.find(identity).map(|id| snapshot.files(id)).unwrap_or_default();
                let files: Vec<String> = files.iter().map(crate::domain::Sha1Digest::hex).collect();
                json!({ "update_id": identity.update, "revision": identity.revision, "files": files })
            })
            .collect();
        Ok(Json(json!({ "revisions": rows })))
    })
    .await
}

/// Names of categories and groups, for rows.
pub(super) struct Names {
    categories: std::collections::HashMap<UpdateId, String>,
    groups: std::collections::HashMap<GroupId, String>,
}

impl Names {
    pub(super) fn of(catalog: &Catalog) -> Result<Self> {
        Ok(Self {
            categories: catalog.categories(None)?.into_iter().map(|row| (row.id, row.title)).collect(),
            groups: catalog.groups().into_iter().map(|group| (group.id, group.name)).collect(),
        })
    }

    pub(super) fn group(&self, id: &GroupId) -> String {
        self.groups.get(id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn category(&self, field: &'static str, name: Option<&str>) -> Result<Option<UpdateId>> {
        let Some(name) = name.map(str::trim).filter(|name| !name.is_empty()) else { return Ok(None) };
        if let Ok(id) = name.parse::<UpdateId>() {
            return Ok(Some(id));
        }
        let found = self.categories.iter().find(|(_, title)| title.eq_ignore_ascii_case(name));
        found.map(|(id, _)| Some(*id)).ok_or_else(|| ApiError::NotFound {
            kind: field,
            name: name.chars().take(120).collect(),
            next: "`tailwater categories list` shows them",
        })
    }

    fn titles(&self, ids: &[UpdateId]) -> Vec<String> {
        ids.iter().map(|id| self.categories.get(id).cloned().unwrap_or_else(|| id.to_string())).collect()
    }

    pub(super) fn row(&self, row: &UpdateRow) -> Value {
        let state = if row.declined.is_some() {
            "declined"
        } else if row.expired {
            "expired"
        } else if row.approvals.is_empty() {
            "unapproved"
        } else {
            "approved"
        };
        let approvals: Vec<Value> = row
            .approvals
            .iter()
            .map(|entry| {
                let approval = &entry.approval;
                json!({ "group_id": entry.group, "group": self.group(&entry.group), "action": approval.action,
                        "deadline": approval.deadline, "made_at": approval.made_at, "made_by": approval.made_by })
            })
            .collect();
        json!({
            "update_id": row.identity.update, "revision": row.identity.revision, "title": row.title,
            "kb": row.kb_articles, "severity": row.severity, "created": row.creation_date, "arrived": row.arrived,
            "classification": self.titles(&row.classifications).join(", "), "products": self.titles(&row.products),
            "type": row.update_type, "bundle": row.is_bundle, "superseded": row.superseded, "state": state,
            "approvable": !row.expired, "approvals": approvals, "declined": row.declined,
            "computers": { "needed": row.counts.needed, "installed": row.counts.installed, "failed": row.counts.failed },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_with_and_without_an_offset() {
        assert_eq!(parse_time("2026-12-01T18:00:00Z").unwrap().to_string(), "2026-12-01T18:00:00Z");
        assert_eq!(parse_time("2026-12-01T18:00:00+02:00").unwrap().to_string(), "2026-12-01T16:00:00Z");
        assert!(parse_time("2026-12-01T18:00").is_ok());
        assert!(parse_time("tomorrow").is_err());
    }
}
