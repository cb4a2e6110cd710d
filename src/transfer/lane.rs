//! The requests of one flow: each lane takes a run, fetches it, and takes the next.
//!
//! **Invariant:** a lane that ends was counted out under the same lock that showed there is nothing to do, so
//! no wish is left without a lane. A lane that pauses holds no place among the flights.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fetch::Fault;
use super::flow::{Flow, State};
use super::health::{Health, Pick};
use super::plan::{self, Run};
use super::shared::{Shared, locked};
use super::verdict::REST_STORE;
use super::{Source, TransferError};
use crate::bandwidth::{Place, Purpose};
use crate::content::{PIECE, SparseFile};
use crate::domain::Sha1Digest;

/// Requests that fail one after the other without a new piece before a flow gives up for [`REST`].
const MAX_FAILURES: u32 = 12;

/// How long a flow that gave up tells newcomers so without asking the sources again.
pub(super) const REST: Duration = Duration::from_secs(20);

/// The same when no source has the file.
const REST_GONE: Duration = Duration::from_secs(10);

/// Between two looks at a budget that is spent: a more urgent wish may come meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a lane does next.
enum Step {
    Fetch { id: u64, run: Run, index: usize, source: Source, file: Arc<SparseFile> },
    Learn,
    Pause(Instant),
    End,
}

impl Flow {
    /// Starts lanes while there is something to ask for.
    pub(super) fn kick(self: &Arc<Self>) {
        let allowed = self.shared.lanes();
        let mut state = locked(&self.state);
        while state.lanes < allowed && state.failed.is_none() && !state.paused && state.has_work() {
            // until it is known whether the source takes ranges, one request finds out
            if state.lanes > 0 && !state.takes_ranges(&self.shared) {
                break;
            }
            state.lanes += 1;
            let flow = Arc::clone(self);
            self.shared.tasks.spawn("transfer", async move { flow.lane().await });
        }
    }

    async fn lane(self: Arc<Self>) {
        let stopping = self.shared.tasks.stopping();
        while !stopping.is_cancelled() {
            let Some(place) = self.place().await else { return };
            match self.step() {
                Step::Fetch { id, run, index, source, file } => {
                    let before = file.held();
                    let ended = super::fetch::run(&self, &file, id, run, index, &source, place).await;
                    self.ended(id, index, &ended, file.held() > before);
                }
                Step::Learn => {
                    let sources = self.shared.sources.sources(&self.declaration).await;
                    locked(&self.state).health.get_or_insert_with(|| Health::new(sources));
                }
                Step::Pause(until) => {
                    drop(place);
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = stopping.cancelled() => {}
                    }
                }
                Step::End => return,
            }
        }
        locked(&self.state).lanes -= 1;
    }

    /// Waits for a place on the link, for whoever waits for the next run; `None` when there is nothing to do, and the
    /// lane no longer counts.
    async fn place(&self) -> Option<Place> {
        let changed = self.wanted.notified();
        tokio::pin!(changed);
        loop {
            changed.set(self.wanted.notified());
            changed.as_mut().enable();
            let Some(purpose) = self.purpose() else {
                self.forget();
                return None;
            };
            let place = self.shared.link.place(purpose);
            tokio::pin!(place);
            // somebody else may join whose turn comes earlier: the place is asked for in their name then
            while self.peek() == Some(purpose) {
                tokio::select! {
                    place = &mut place => {
                        let stopping = || locked(&self.state).lanes -= 1;
                        return place.inspect_err(|_stopping| stopping()).ok();
                    }
                    () = &mut changed => {
                        changed.set(self.wanted.notified());
                        changed.as_mut().enable();
                    }
                }
            }
        }
    }

    /// What the next run is for; `None` when there is none, and the lane no longer counts.
    fn purpose(&self) -> Option<Purpose> {
        let mut state = locked(&self.state);
        let purpose = state.purpose(self.sha1());
        state.lanes -= usize::from(purpose.is_none());
        purpose
    }

    fn peek(&self) -> Option<Purpose> {
        locked(&self.state).purpose(self.sha1())
    }

    fn forget(&self) {
        let mut flows = locked(&self.shared.flows);
        let state = locked(&self.state);
        self.forget_if_idle(&mut flows, &state);
    }

    fn step(&self) -> Step {
        let window = plan::window(self.shared.link.limiter().rate().bytes_per_second());
        let step = locked(&self.state).step(&self.shared, self.sha1(), window);
        if matches!(step, Step::End) {
            self.forget();
        }
        step
    }

    /// A run is over.
    fn ended(self: &Arc<Self>, id: u64, index: usize, result: &Result<(), Fault>, came: bool) {
        let now = self.shared.clock.instant();
        let mut state = locked(&self.state);
        state.plan.ended(id);
        if came {
            state.failures = 0;
        }
        let Err(fault) = result else {
            state.trouble = None;
            return;
        };
        tracing::debug!(sha1 = %self.sha1(), %fault, "a run ended early");
        state.trouble = Some(fault.to_string());
        if let Some(error) = fault.store_error(self.sha1()) {
            state.fail(error, now + REST_STORE);
            self.settled.notify_waiters();
            return;
        }
        state.failures += u32::from(!came && !fault.is_spent());
        let jitter = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
        if let (Some(health), Some(blame)) = (state.health.as_mut(), fault.blame()) {
            health.failed(index, blame, now, jitter);
        }
        if state.failures >= MAX_FAILURES {
            let patience = self.shared.config.patience;
            tracing::warn!(sha1 = %self.sha1(), %fault, "a transfer is given up for now");
            state.fail(TransferError::TimedOut { sha1: self.sha1(), patience }, now + REST);
            self.settled.notify_waiters();
        }
    }

    /// A source sends the whole file: which pieces the run `id` may take. `None` when the whole is on its
    /// way already.
    pub(super) fn widen(&self, id: u64, file: &SparseFile) -> Option<Vec<bool>> {
        let mut state = locked(&self.state);
        if state.plan.is_whole_under_way() {
            return None;
        }
        Some(state.plan.widen(id, file, self.declaration.size.div_ceil(PIECE)))
    }
}

impl State {
    fn has_work(&mut self) -> bool {
        let file = Arc::clone(&self.file);
        !file.is_complete() && self.plan.has_work(&*file)
    }

    /// Why nothing of what is wanted may cross the link now.
    pub(super) fn spent(&self, shared: &Shared) -> Option<TransferError> {
        let until = shared.link.limiter().spent_until(self.plan.class()?)?;
        Some(TransferError::Spent { until })
    }

    /// What the next run is for, if there is one to be fetched.
    fn purpose(&mut self, sha1: Sha1Digest) -> Option<Purpose> {
        if self.failed.is_some() || self.paused || self.file.is_complete() {
            return None;
        }
        let file = Arc::clone(&self.file);
        let run = self.plan.peek(&*file)?;
        Some(Purpose { class: run.class, requester: run.requester, file: Some(sha1) })
    }

    fn takes_ranges(&self, shared: &Shared) -> bool {
        let Some(health) = &self.health else { return false };
        match health.pick(shared.clock.instant()) {
            Pick::Now(index) => {
                health.source(index).is_some_and(|source| shared.takes_ranges(&source.url) == Some(true))
            }
            _ => true,
        }
    }

    /// Decides what a lane does; when it ends, it no longer counts.
    fn step(&mut self, shared: &Shared, sha1: Sha1Digest, window: u64) -> Step {
        let now = shared.clock.instant();
        if self.failed.is_some() || self.paused || !self.has_work() {
            self.lanes -= 1;
            return Step::End;
        }
        if let Some(error) = self.spent(shared) {
            self.trouble = Some(error.to_string());
            // who waits is told
            self.waiters.clear();
            return Step::Pause(now + LOOK_AGAIN);
        }
        let Some(health) = &self.health else { return Step::Learn };
        match health.pick(now) {
            Pick::At(until) => Step::Pause(until),
            Pick::Nobody => {
                self.fail(TransferError::Gone { sha1 }, now + REST_GONE);
                self.lanes -= 1;
                Step::End
            }
            Pick::Now(index) => {
                let source = health.source(index).cloned();
                let alone =
                    source.as_ref().is_none_or(|source| shared.takes_ranges(&source.url) != Some(true));
                let run = if alone && self.plan.under_way() > 0 {
                    None
                } else {
                    self.plan.next(&*Arc::clone(&self.file), window)
                };
                let (Some((id, run)), Some(source)) = (run, source) else {
                    self.lanes -= 1;
                    return Step::End;
                };
                Step::Fetch { id, run, index, source, file: Arc::clone(&self.file) }
            }
        }
    }
}
