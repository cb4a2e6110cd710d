//! Synchronisations that administrators ask for, and how they ended.
//!
//! **Invariant:** whoever asks for a synchronisation learns how the one ended that they asked for or joined.
//! One runs at a time; asking again joins it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::error::causes;
use super::shown::{self, fields};
use tailwater_api as api;
use tailwater_domain::{Limit, UpdateIdentity, limits};
use tailwater_runtime::{Clock, Tasks};
use tailwater_upstream::{
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
    last: Option<api::SyncReport>,
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
    pub(super) fn ask(&self, options: SyncOptions, payloads: bool) -> (u64, bool) {
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
            state.last = outcome;
            state.ended = state.ended.max(number);
            state.cancelling = false;
        });
        (number, joined)
    }

    async fn run(&self, options: SyncOptions) -> Option<api::SyncReport> {
        let started_at = self.0.clock.now();
        let newest = || self.0.upstream.history().into_iter().next();
        match self.0.upstream.sync(options).await {
            Ok(report) => Some(self::report(&report)),
            Err(SyncError::AlreadyRunning) => {
                while self.running() {
                    self.0.clock.sleep(LOOK).await;
                }
                newest().as_ref().map(report)
            }
            // the history has a report of every end; this is for one that could not be written there
            Err(error) => {
                let known = newest().filter(|report| report.started_at >= started_at);
                Some(known.as_ref().map_or_else(|| self.unwritten(&error, started_at), report))
            }
        }
    }

    /// The report of a synchronisation that the history could not take.
    fn unwritten(&self, error: &SyncError, started_at: Timestamp) -> api::SyncReport {
        let is_cancelled = matches!(error, SyncError::Cancelled);
        let ended_at = self.0.clock.now();
        api::SyncReport {
            outcome: if is_cancelled { api::SyncOutcome::Cancelled } else { api::SyncOutcome::Failed },
            message: causes(error),
            trigger: api::SyncTrigger::Demand,
            started_at,
            ended_at,
            seconds: ended_at.duration_since(started_at).as_secs_f64(),
            listed: 0,
            held: 0,
            stored: 0,
            received: 0,
            withdrawn: 0,
            revisions: None,
            missing: 0,
            absent_prerequisites: 0,
            decided: None,
            reason: None,
            warnings: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Cancels the one that runs; false when none does.
    pub(super) fn cancel(&self) -> bool {
        let cancelled = self.0.upstream.cancel();
        if cancelled {
            self.state().cancelling = true;
        }
        cancelled
    }

    /// What runs, what was asked for, and how the last one ended.
    pub(super) fn overview(&self) -> api::Sync {
        let (running, progress, last) = (self.running(), self.progress(), self.last());
        let state = self.state();
        api::Sync {
            running,
            progress,
            asked_run: state.asked,
            finished_run: state.ended,
            cancelling: state.cancelling,
            last: state.last.clone().filter(|_| !running).or(last),
            next: self.next(),
            standing: shown::standing(self.standing()),
        }
    }

    /// Ended ones, newest first.
    pub(super) fn history(&self, paging: api::Paging) -> api::SyncHistory {
        let (page, syncs) = paging.of(&self.0.upstream.history(), api::MAX_ROWS, report);
        api::SyncHistory { page, syncs }
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
    pub(super) fn last(&self) -> Option<api::SyncReport> {
        self.0.upstream.history().first().map(report).or_else(|| self.state().last.clone())
    }

    /// Why the last synchronisation could not have these revisions, where it tried.
    pub(super) fn why_missing(&self) -> HashMap<UpdateIdentity, String> {
        let missing = self.0.upstream.missing().unwrap_or_default();
        missing.into_iter().map(|missing| (missing.identity, missing.reason)).collect()
    }

    /// The last roll-up that the upstream took.
    pub(super) fn last_rollup(&self) -> Option<api::Rollup> {
        let report = self.0.upstream.last_rollup()?;
        Some(fields!(report => api::Rollup { at, servers, computers, statuses, sent }))
    }

    /// Where the one that runs stands.
    pub(super) fn progress(&self) -> Option<api::SyncProgress> {
        let progress = self.0.upstream.progress().borrow().clone();
        self.running().then(|| in_words(&progress))
    }
}

fn in_words(progress: &SyncProgress) -> api::SyncProgress {
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
    let received = tailwater_domain::ByteCount(progress.received);
    let text =
        format!("{phase}: {} of {} revisions, {received} received", progress.fetched, progress.to_fetch);
    fields!(progress => api::SyncProgress { held, received, started_at; phase: shown::phase(progress.phase), text: text,
                                            done: progress.fetched, total: progress.to_fetch })
}

/// A report as the API shows it.
fn report(report: &SyncReport) -> api::SyncReport {
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
    fields!(report => api::SyncReport {
        started_at, ended_at, listed, held, received, absent_prerequisites, decided;
        outcome: shown::outcome(report.outcome),
        message: messages.join("; "),
        trigger: shown::trigger(report.trigger),
        seconds: report.ended_at.duration_since(report.started_at).as_secs_f64(),
        stored: report.fetched,
        withdrawn: report.activated.map_or(0, |activated| activated.no_longer_offered),
        revisions: report.activated.map(|activated| activated.revisions),
        missing: report.missing_total,
        reason: report.reason.map(shown::failure),
        warnings: report.warnings.clone(),
        notes: report.notes.clone(),
    })
}
