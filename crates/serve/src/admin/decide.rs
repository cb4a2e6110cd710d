//! `/api/v1/updates/approve` and the like: decisions on updates, and what they would do.
//!
//! **Invariant:** what one request decides is one change: of what it names all or nothing, with every name that stood in
//! the way; of what a text matches besides (`all_matches`), what cannot be decided is left out and told. What a dry run
//! says is what the same request does. It never guesses between updates that fit equally well.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::cost;
use super::error::{ApiError, causes};
use super::names::resolve;
use super::route::Call;
use super::services::{Result, Services, blocking, decisions_by};
use super::shown;
use super::warnings;
use tailwater_api::{self as api, Failure, Warning};
use tailwater_catalog::{Catalog, CatalogError, MAX_DECIDED, UpdateRow, Verdict};
use tailwater_domain::{Action, GroupId, UpdateId};

const _: () = assert!(MAX_DECIDED == api::MAX_DECIDED, "what the API says is what the catalog takes");

/// What the requests for decisions have in common.
#[expect(clippy::struct_excessive_bools, reason = "independent fields of requests")]
struct Decision {
    updates: Vec<String>,
    all_matches: bool,
    dry_run: bool,
    by: Option<String>,
    /// With `dry_run`: whether to weigh what an approval moves.
    weighs: bool,
    /// Whether the license terms of what is approved are accepted.
    accept_license: bool,
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
    failed: Vec<Failure>,
    warnings: Vec<Warning>,
    /// License terms that nobody accepted.
    licenses: Vec<api::OpenTerms>,
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
    fn failed(&self) -> Vec<Failure> {
        let refused = self.subjects.iter().filter_map(|one| {
            let error = one.outcome.as_ref().err()?;
            let title = Some(one.title.clone());
            Some(Failure { update: one.id.to_string(), title, error: causes(error), candidates: Vec::new() })
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

    fn answer(&self, dry_run: bool) -> api::Decided {
        let rows = self.subjects.iter().filter_map(|one| {
            let changed = *one.outcome.as_ref().ok()?;
            Some(api::DecidedUpdate { update_id: one.id, title: one.title.clone(), changed })
        });
        let rows: Vec<_> = rows.collect();
        let count = rows.iter().filter(|row| row.changed).count();
        let (updates, done) = if dry_run { (Some(rows), None) } else { (None, Some(rows)) };
        api::Decided {
            dry_run,
            count,
            updates,
            done,
            failed: self.failed(),
            warnings: self.warnings.clone(),
            licenses: self.licenses.clone(),
            weighed: None,
        }
    }
}

impl Decision {
    /// Gives the verdict on every update named, as one change; or says what that would do.
    async fn apply(self, services: Services, verdict: Verdict) -> Result<api::Decided> {
        blocking(move || {
            let mut plan = self.plan(&services, &verdict)?;
            if !self.dry_run {
                if plan.is_refused() {
                    return Err(plan.refusal());
                }
                carry_out(&services, &mut plan, &verdict, &decisions_by(self.by.as_deref()))?;
                return Ok(plan.answer(false));
            }
            let mut answer = plan.answer(true);
            if let (true, Verdict::Approve { group, action, .. }) = (self.weighs, &verdict) {
                answer.weighed = Some(cost::of(&services, &plan.possible(), group, *action)?);
            }
            Ok(answer)
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
    fn selected(&self, catalog: &Catalog) -> Result<(Vec<UpdateId>, HashSet<UpdateId>, Vec<Failure>)> {
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
                    failed.push(Failure {
                        update: name.clone(),
                        title: None,
                        error: error.to_string(),
                        candidates: error.candidates(),
                    });
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
}

fn group(catalog: &Catalog, name: Option<&str>) -> Result<Option<GroupId>> {
    name.map(|name| super::groups::find(catalog, name).map(|group| group.id)).transpose()
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
fn licenses(catalog: &Catalog, subjects: &[Subject]) -> Result<Vec<api::OpenTerms>> {
    let mut found = Vec::new();
    for one in subjects.iter().filter(|one| one.wants_terms()) {
        let terms = catalog.terms_of(&one.id)?;
        let open = terms.iter().filter(|terms| !terms.is_accepted).map(|terms| terms.id).collect();
        found.push(api::OpenTerms { update_id: one.id, title: one.title.clone(), terms: open });
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

/// What a request for a decision has in common with the others.
macro_rules! decision {
    ($body:expr) => {
        Decision {
            updates: $body.updates,
            all_matches: $body.all_matches,
            dry_run: $body.dry_run,
            by: $body.by,
            weighs: false,
            accept_license: false,
        }
    };
}

/// `POST /updates/approve`.
pub(super) async fn approve(services: Services, call: Call<api::ApproveUpdates>) -> Result<api::Decided> {
    let body = call.body;
    let missing =
        || ApiError::Invalid { field: "group", reason: "name the group that it is approved for".to_owned() };
    let group = group(&services.catalog, body.group.as_deref())?.ok_or_else(missing)?;
    let action = body.action.map_or(Action::Install, shown::action_of);
    let deadline = time(body.deadline.as_deref(), "deadline")?;
    let (weighs, accept_license) = (body.cost.unwrap_or(true), body.accept_license);
    let decision = Decision { weighs, accept_license, ..decision!(body) };
    decision.apply(services, Verdict::Approve { group, action, deadline }).await
}

/// `POST /updates/unapprove`.
pub(super) async fn unapprove(services: Services, call: Call<api::UnapproveUpdates>) -> Result<api::Decided> {
    let group = group(&services.catalog, call.body.group.as_deref())?;
    decision!(call.body).apply(services, Verdict::Unapprove { group }).await
}

/// `POST /updates/decline`.
pub(super) async fn decline(services: Services, call: Call<api::DeclineUpdates>) -> Result<api::Decided> {
    decision!(call.body).apply(services, Verdict::Decline).await
}

/// `POST /updates/undecline`.
pub(super) async fn undecline(services: Services, call: Call<api::UndeclineUpdates>) -> Result<api::Decided> {
    decision!(call.body).apply(services, Verdict::Undecline).await
}

/// `POST /updates/hold`: keeps updates from this site, until a time or for good.
pub(super) async fn hold(services: Services, call: Call<api::HoldUpdates>) -> Result<api::Decided> {
    let until = time(call.body.until.as_deref(), "until")?;
    let reason = call.body.reason.unwrap_or_default();
    decision!(call.body).apply(services, Verdict::Hold { until, reason }).await
}

/// `POST /updates/release`.
pub(super) async fn release(services: Services, call: Call<api::ReleaseUpdates>) -> Result<api::Decided> {
    decision!(call.body).apply(services, Verdict::Release).await
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
