//! `/api/v1/updates/approve` and the like: decisions on updates, and what they would do.
//!
//! **Invariant:** what one request decides is one change: of what it names all or nothing, with every name that stood in
//! the way; of what a text matches besides (`all_matches`), what cannot be decided is left out and told. What a dry run
//! says is what the same request does. It never guesses between updates that fit equally well.

use std::collections::{HashMap, HashSet};

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Result, Services, blocking, decisions_by};
use super::cost;
use super::error::{ApiError, causes};
use super::names::resolve;
use super::warnings::{self, Warning};
use crate::catalog::{Catalog, CatalogError, MAX_DECIDED, UpdateRow, Verdict};
use crate::domain::{Action, GroupId, UpdateId};

/// A decision over several updates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decide {
    updates: Vec<String>,
    #[serde(default)]
    all_matches: bool,
    /// Change nothing; say what would be changed, and of an approval what it would move over the link.
    #[serde(default)]
    dry_run: bool,
    /// With `dry_run`: whether to weigh what an approval moves.
    cost: Option<bool>,
    /// Whether the license terms of what is approved are accepted.
    #[serde(default)]
    accept_license: bool,
    group: Option<String>,
    #[serde(default)]
    action: Option<Action>,
    deadline: Option<String>,
    until: Option<String>,
    reason: Option<String>,
    by: Option<String>,
}

/// An update that a decision is about.
struct Subject {
    id: UpdateId,
    title: String,
    row: Option<UpdateRow>,
    /// Whether it changes, or why it cannot.
    outcome: std::result::Result<bool, CatalogError>,
}

impl Subject {
    fn wants_terms(&self) -> bool {
        matches!(self.outcome, Err(CatalogError::TermsNotAccepted(_)))
    }
}

/// What a decision is about to do, and then what it did.
struct Plan {
    subjects: Vec<Subject>,
    /// Names that fit nothing, or too much.
    failed: Vec<Value>,
    warnings: Vec<Warning>,
    /// License terms that nobody accepted.
    licenses: Vec<Value>,
    /// Updates whose terms are accepted with it.
    accepting: Vec<UpdateId>,
    /// Updates that one text matched together with others: nobody named them.
    matched: HashSet<UpdateId>,
}

impl Plan {
    /// The updates that it can be decided of.
    fn possible(&self) -> Vec<UpdateId> {
        self.subjects.iter().filter(|one| one.outcome.is_ok()).map(|one| one.id).collect()
    }

    /// What could not be decided, and why.
    fn failed(&self) -> Vec<Value> {
        let refused = self.subjects.iter().filter_map(|one| {
            let error = one.outcome.as_ref().err()?;
            Some(json!({ "update": one.id, "title": one.title, "error": causes(error) }))
        });
        self.failed.iter().cloned().chain(refused).collect()
    }

    /// Whether something that was named stands in the way, or nothing is left.
    fn is_refused(&self) -> bool {
        let named = self.subjects.iter().filter(|one| !self.matched.contains(&one.id));
        !self.failed.is_empty()
            || named.into_iter().any(|one| one.outcome.is_err())
            || self.possible().is_empty()
    }

    /// Why nothing is decided.
    fn refusal(mut self) -> ApiError {
        let failed = self.failed();
        let of = self.failed.len() + self.subjects.len();
        match self.subjects.pop() {
            Some(Subject { outcome: Err(alone), .. }) if of == 1 => alone.into(),
            _ => ApiError::Undecided { of, refused: failed },
        }
    }

    fn answer(&self, dry_run: bool) -> Value {
        let rows = self.subjects.iter().filter_map(|one| {
            let changed = one.outcome.as_ref().ok()?;
            Some(json!({ "update_id": one.id, "title": one.title, "changed": changed }))
        });
        let count = self.subjects.iter().filter(|one| matches!(one.outcome, Ok(true))).count();
        let list = if dry_run { "updates" } else { "done" };
        json!({ "dry_run": dry_run, "count": count, list: rows.collect::<Vec<_>>(), "failed": self.failed(),
                "warnings": self.warnings, "licenses": self.licenses })
    }
}

impl Decide {
    /// Gives the verdict on every update named, as one change; or says what that would do.
    async fn apply(self, services: Services, verdict: Verdict) -> Result<Json<Value>> {
        blocking(move || {
            let mut plan = self.plan(&services, &verdict)?;
            let mut answer = if self.dry_run {
                plan.answer(true)
            } else {
                if plan.is_refused() {
                    return Err(plan.refusal());
                }
                carry_out(&services, &mut plan, &verdict, &decisions_by(self.by.as_deref()))?;
                plan.answer(false)
            };
            if let (true, Verdict::Approve { group, action, .. }) =
                (self.dry_run && self.cost.unwrap_or(true), &verdict)
            {
                merge(&mut answer, cost::of(&services, &plan.possible(), group, *action)?);
            }
            Ok(Json(answer))
        })
        .await
    }

    /// What is to be done, with what is to be known before.
    fn plan(&self, services: &Services, verdict: &Verdict) -> Result<Plan> {
        let catalog = &services.catalog;
        let (found, matched, failed) = self.selected(catalog)?;
        let mut subjects = subjects(catalog, &found, verdict)?;
        let licenses = licenses(catalog, &subjects)?;
        let concerned = subjects.iter().filter(|one| one.outcome.is_ok() || one.wants_terms());
        let rows: Vec<&UpdateRow> = concerned.filter_map(|one| one.row.as_ref()).collect();
        let mut told = warnings::of(catalog, verdict, &rows, services.clock.now())?;
        if !self.accept_license {
            let asked = subjects.iter().filter(|one| one.wants_terms()).filter_map(|one| one.row.as_ref());
            told.extend(asked.map(warnings::licensed));
        }
        let mut accepting = Vec::new();
        if self.accept_license || self.dry_run {
            for one in subjects.iter_mut().filter(|one| one.wants_terms()) {
                accepting.push(one.id);
                one.outcome = Ok(true);
            }
        }
        Ok(Plan { subjects, failed, warnings: told, licenses, accepting, matched })
    }

    /// The updates that are meant, each once, those of them that nobody named by itself, and the names that fit none,
    /// or several where one is wanted.
    ///
    /// # Errors
    /// When no name fits.
    fn selected(&self, catalog: &Catalog) -> Result<(Vec<UpdateId>, HashSet<UpdateId>, Vec<Value>)> {
        within_limit(self.updates.len())?;
        let (mut found, mut failed, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        let (mut named, mut matched) = (HashSet::new(), HashSet::new());
        for name in &self.updates {
            match resolve(catalog, name, self.all_matches) {
                Ok(ids) => {
                    match ids.as_slice() {
                        [one] => _ = named.insert(*one),
                        several => matched.extend(several.iter().copied()),
                    }
                    found.extend(ids.into_iter().filter(|id| seen.insert(*id)));
                }
                Err(error @ (ApiError::NotFound { .. } | ApiError::Ambiguous { .. })) => {
                    if self.updates.len() == 1 {
                        return Err(error);
                    }
                    failed.push(json!({ "update": name, "error": error.to_string(), "candidates": error.candidates() }));
                }
                Err(error) => return Err(error),
            }
        }
        if found.is_empty() {
            return Err(ApiError::Undecided { refused: failed, of: self.updates.len() });
        }
        within_limit(found.len())?;
        matched.retain(|id| !named.contains(id));
        Ok((found, matched, failed))
    }

    fn group(&self, catalog: &Catalog) -> Result<Option<GroupId>> {
        self.group.as_deref().map(|name| super::tree::find(catalog, name).map(|group| group.id)).transpose()
    }

    fn deadline(&self) -> Result<Option<Timestamp>> {
        time(self.deadline.as_deref(), "deadline")
    }
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// Decides, and notes what came of it.
fn carry_out(services: &Services, plan: &mut Plan, verdict: &Verdict, by: &str) -> Result<()> {
    let possible = plan.possible();
    if !plan.accepting.is_empty() {
        services.catalog.accept_terms(&plan.accepting, by)?;
    }
    let foreseen = cost::foresee(&services.needs, verdict, &possible);
    let changed = services.catalog.decide(&possible, verdict, by)?;
    let changed: HashMap<UpdateId, bool> = possible.into_iter().zip(changed).collect();
    for one in &mut plan.subjects {
        if let (Ok(outcome), Some(changed)) = (&mut one.outcome, changed.get(&one.id)) {
            *outcome = *changed;
        }
    }
    cost::remember(&services.needs, foreseen);
    services.decisions.notify_one();
    Ok(())
}

/// The updates with their rows and what would become of them.
fn subjects(catalog: &Catalog, found: &[UpdateId], verdict: &Verdict) -> Result<Vec<Subject>> {
    let outcomes = catalog.would_decide(found, verdict)?;
    let mut rows: HashMap<UpdateId, UpdateRow> =
        catalog.rows(found)?.into_iter().map(|row| (row.identity.update, row)).collect();
    let subjects = found.iter().zip(outcomes).map(|(id, outcome)| {
        let row = rows.remove(id);
        let title = row.as_ref().map(|row| row.title.clone()).unwrap_or_default();
        Subject { id: *id, title, row, outcome }
    });
    Ok(subjects.collect())
}

/// The license terms that approving these would accept.
fn licenses(catalog: &Catalog, subjects: &[Subject]) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for one in subjects.iter().filter(|one| one.wants_terms()) {
        let terms = catalog.terms_of(&one.id)?;
        let open: Vec<_> = terms.iter().filter(|terms| !terms.is_accepted).map(|terms| terms.id).collect();
        found.push(json!({ "update_id": one.id, "title": one.title, "terms": open }));
    }
    Ok(found)
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
