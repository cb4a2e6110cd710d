//! `/api/v1/sync`: start, watch, cancel and look back.
//!
//! **Invariant:** whoever asks for a synchronisation learns how the one ended that they asked for or joined.
//! One runs at a time; asking again joins it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::api::{Result, Services};
use super::error::{ApiError, causes};
use super::page::{MAX_ROWS, Range};
use crate::domain::{Limit, UpdateIdentity, limits};
use crate::runtime::{Clock, Tasks};
use crate::upstream::{
    Choice, Outcome, Phase, Standing, SyncError, SyncOptions, SyncProgress, SyncReport, Upstream,
};

/// Reasons shown of what is missing; the history has more.
const REASONS: usize = 3;

pub(super) const LIMITS: &[Limit] = limits![
    REASONS in "reasons": "Reasons shown of what is missing" => "the history has them",
];

/// How often a synchronisation that was joined is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Starts synchronisations and remembers how they ended. Cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    clock: Clock,
    tasks: Tasks,
    /// Told when payloads may be wanted that were not known before.
    decisions: Arc<Notify>,
    state: Mutex<Runs>,
}

/// Requests are numbered, so that each can be waited for.
#[derive(Default)]
struct Runs {
    asked: u64,
    ended: u64,
    cancelling: bool,
    last: Option<Value>,
}

impl Control {
    /// Controls an upstream; `decisions` is told after each one that brought something.
    pub fn new(upstream: Upstream, clock: Clock, tasks: Tasks, decisions: Arc<Notify>) -> Self {
        Self(Arc::new(Inner { upstream, clock, tasks, decisions, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, Runs> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> bool {
        self.0.upstream.is_running()
    }

    /// Asks for a synchronisation; returns the number of the request and whether it joins one that runs.
    fn ask(&self, options: SyncOptions, payloads: bool) -> (u64, bool) {
        let joined = self.running();
        let number = {
            let mut state = self.state();
            state.asked += 1;
            state.asked
        };
        let control = self.clone();
        self.0.tasks.spawn("synchronisation on demand", async move {
            let outcome = control.run(options).await;
            if payloads {
                control.0.decisions.notify_one();
            }
            let mut state = control.state();
            state.last = Some(outcome);
            state.ended = state.ended.max(number);
            state.cancelling = false;
        });
        (number, joined)
    }

    async fn run(&self, options: SyncOptions) -> Value {
        let started_at = self.0.clock.now();
        match self.0.upstream.sync(options).await {
            Ok(report) => shown(&report),
            Err(SyncError::AlreadyRunning) => {
                while self.running() {
                    self.0.clock.sleep(LOOK).await;
                }
                self.0.upstream.history().first().map_or(Value::Null, shown)
            }
            // the history has a report of every end; this is for one that could not be written there
            Err(error) => self
                .0
                .upstream
                .history()
                .first()
                .filter(|report| report.started_at >= started_at)
                .map_or_else(
                    || {
                        let outcome =
                            if matches!(error, SyncError::Cancelled) { "cancelled" } else { "failed" };
                        json!({ "outcome": outcome, "message": causes(&error), "started_at": started_at,
                            "ended_at": self.0.clock.now(), "stored": 0, "withdrawn": 0, "received": 0 })
                    },
                    shown,
                ),
        }
    }

    /// What the names in the configuration chose last.
    pub(super) fn choice(&self) -> Option<Choice> {
        self.0.upstream.choice()
    }

    /// When the next one is due by schedule.
    pub(super) fn next(&self) -> Option<Timestamp> {
        *self.0.upstream.next_run().borrow()
    }

    /// When one last succeeded, since when and why they fail, and when the next is due.
    pub(super) fn standing(&self) -> Standing {
        self.0.upstream.standing()
    }

    /// How the last one ended, scheduled ones included.
    pub(super) fn last(&self) -> Option<Value> {
        self.0.upstream.history().first().map(shown).or_else(|| self.state().last.clone())
    }

    /// Why the last synchronisation could not have these revisions, where it tried.
    pub(super) fn why_missing(&self) -> HashMap<UpdateIdentity, String> {
        let missing = self.0.upstream.missing().unwrap_or_default();
        missing.into_iter().map(|missing| (missing.identity, missing.reason)).collect()
    }

    /// The last roll-up that the upstream took.
    pub(super) fn last_rollup(&self) -> Option<Value> {
        self.0.upstream.last_rollup().map(|report| json!(report))
    }

    /// Where the one that runs stands.
    pub(super) fn progress(&self) -> Option<Value> {
        let progress = self.0.upstream.progress().borrow().clone();
        self.running().then(|| in_words(&progress))
    }
}

fn in_words(progress: &SyncProgress) -> Value {
    let phase = match progress.phase {
        Phase::Idle => "starting",
        Phase::Connecting => "connecting",
        Phase::Categories => "categories",
        Phase::Listing => "listing what is new",
        Phase::Updates => "updates",
        Phase::Related => "what updates need",
        Phase::Languages => "languages that were added",
        Phase::Keys => "keys of encrypted payloads",
        Phase::Decisions => "asking what was decided",
        Phase::Activating => "making it visible",
    };
    let received = crate::domain::ByteCount(progress.received);
    let text =
        format!("{phase}: {} of {} revisions, {received} received", progress.fetched, progress.to_fetch);
    json!({ "phase": progress.phase, "text": text, "done": progress.fetched, "total": progress.to_fetch,
            "held": progress.held, "received": progress.received, "started_at": progress.started_at })
}

/// A report as the API shows it.
fn shown(report: &SyncReport) -> Value {
    let mut messages: Vec<String> = report.error.iter().cloned().collect();
    if report.missing_total > 0 {
        let reasons: Vec<String> = report
            .missing
            .iter()
            .take(REASONS)
            .map(|missing| format!("{}: {}", missing.identity, missing.reason))
            .collect();
        let total = report.missing_total;
        messages.push(format!(
            "{total} revisions are missing and are asked for again next time ({})",
            reasons.join("; ")
        ));
    }
    if report.outcome == Outcome::Held {
        messages.push(
            "it would remove much of what is offered; `tailwater sync --accept-removals` lets it through"
                .to_owned(),
        );
    }
    messages.extend(report.warnings.iter().cloned());
    let seconds = report.ended_at.duration_since(report.started_at).as_secs_f64();
    json!({
        "outcome": report.outcome, "message": messages.join("; "), "trigger": report.trigger,
        "started_at": report.started_at, "ended_at": report.ended_at, "seconds": seconds,
        "listed": report.listed, "held": report.held, "stored": report.fetched, "received": report.received,
        "withdrawn": report.activated.map_or(0, |activated| activated.no_longer_offered),
        "revisions": report.activated.map(|activated| activated.revisions),
        "missing": report.missing_total, "absent_prerequisites": report.absent_prerequisites,
        "decided": report.decided, "reason": report.reason, "warnings": report.warnings, "notes": report.notes,
    })
}

/// `GET /sync`.
pub(super) async fn show(State(services): State<Services>) -> Json<Value> {
    let control = &services.sync;
    let (running, progress, last) = (control.running(), control.progress(), control.last());
    let state = control.state();
    Json(
        json!({ "running": running, "progress": progress, "asked_run": state.asked, "finished_run": state.ended,
                 "cancelling": state.cancelling, "last": state.last.clone().filter(|_| !running).or(last),
                 "next": control.next(), "standing": control.standing() }),
    )
}

/// `POST /sync`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Start {
    metadata_only: bool,
    accept_removals: bool,
    full: bool,
}

/// Starts one, or joins the one that runs.
pub(super) async fn start(State(services): State<Services>, Json(body): Json<Start>) -> Json<Value> {
    let options = SyncOptions { full: body.full, force: body.accept_removals };
    let (run, joined) = services.sync.ask(options, !body.metadata_only);
    Json(json!({ "run": run, "joined": joined }))
}

/// `DELETE /sync`.
pub(super) async fn cancel(State(services): State<Services>) -> Result<Json<Value>> {
    if !services.sync.0.upstream.cancel() {
        return Err(ApiError::Conflict { reason: "no synchronisation runs".to_owned() });
    }
    services.sync.state().cancelling = true;
    Ok(Json(json!({ "cancelling": true })))
}

/// `GET /sync/history`.
pub(super) async fn history(State(services): State<Services>, Query(range): Query<Range>) -> Json<Value> {
    Json(range.of("syncs", &services.sync.0.upstream.history(), MAX_ROWS, shown))
}
