//! The requests of one flow: each lane takes a run, fetches it, and takes the next.
//!
//! **Invariant:** a lane that ends was counted out under the same lock that showed there is nothing to do, so
//! no demand is left without a lane. A lane that pauses occupies none of the flights.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fault::Fault;
use super::fetch::{Ended, RangeRequest};
use super::flow::{Crowded, Flow, Renewal, State};
use super::health::{Blame, Health, Pick};
use super::plan::{self, InStore, Run};
use super::shared::{Shared, locked};
use super::verdict::REST_STORE;
use super::{Source, TransferError};
use tailwater_bandwidth::ExchangeSlot;
use tailwater_content::{PIECE, SparseFile};
use tailwater_domain::{Limit, Purpose, Sha1Digest, limits};

/// Requests that fail one after the other without a new piece before a flow gives up for [`REST`].
const MAX_FAILURES: u32 = 12;

/// How long a flow that gave up tells newcomers so without asking the sources again.
pub(super) const REST: Duration = Duration::from_secs(20);

/// The same when no source has the file.
const REST_GONE: Duration = Duration::from_secs(10);

/// Between two looks at a budget that is spent: a more urgent demand may come meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Between the first two looks whether there is room; it grows with each further one.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(200);

/// The longest time between two of them.
const LONGEST_LOOK_FOR_ROOM: Duration = Duration::from_secs(2);

pub(super) const LIMITS: &[Limit] = limits![
    MAX_FAILURES in "requests": "Requests in a row that bring no new piece" => "the transfer rests, and readers without a byte get 503",
    LONGEST_LOOK_FOR_ROOM: "The pause between two looks for room on the disk" => "it grows no further",
];

/// The pause of a lane that another one forestalled.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// Answers without the range in a row after which the whole file is taken: soon while a client waits for it, and
/// after about ten minutes when nobody does.
const UNRANGED_READER: u32 = 2;
const UNRANGED_QUEUE: u32 = 8;

/// What a lane does next.
enum Step {
    Fetch { id: u64, run: Run, index: usize, source: Source, file: Arc<SparseFile> },
    Learn { anew: bool },
    Pause(Instant),
    End,
}

impl Flow {
    /// Starts lanes while there is something to ask for.
    pub(super) fn kick(self: &Arc<Self>) {
        let spots = locked(&self.state).plan.spots();
        let allowed = self.shared.lanes(spots);
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
            let back = self.shared.origins.back.notified();
            tokio::pin!(back);
            back.as_mut().enable();
            let Some(slot) = self.slot().await else { return };
            match self.step() {
                Step::Fetch { id, run, index, source, file } => {
                    // while one lane paused the others ended
                    self.kick();
                    let request = RangeRequest { flow: &self, file: &file, id, run, index, source: &source };
                    let ended = request.fetch(slot).await;
                    self.ended((id, index), &source, &file, &ended);
                }
                Step::Learn { anew } => {
                    drop(slot);
                    self.learn(anew).await;
                }
                Step::Pause(until) => {
                    drop(slot);
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = back => {}
                        () = stopping.cancelled() => {}
                    }
                }
                Step::End => return,
            }
        }
        locked(&self.state).lanes -= 1;
    }

    /// Waits for a slot on the link, for whoever waits for the next run; `None` when there is nothing to do, and the
    /// lane no longer counts.
    async fn slot(&self) -> Option<ExchangeSlot> {
        let changed = self.wanted.notified();
        tokio::pin!(changed);
        loop {
            changed.set(self.wanted.notified());
            changed.as_mut().enable();
            let Some(purpose) = self.purpose() else {
                self.forget();
                return None;
            };
            let slot = self.shared.link.slot(purpose);
            tokio::pin!(slot);
            // somebody else may join whose turn comes earlier: the slot is asked for in their name then
            while self.peek() == Some(purpose) {
                tokio::select! {
                    slot = &mut slot => {
                        let stopping = || locked(&self.state).lanes -= 1;
                        return slot.inspect_err(|_stopping| stopping()).ok();
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

    pub(super) fn forget(&self) {
        let mut flows = locked(&self.shared.flows);
        let mut state = locked(&self.state);
        self.forget_if_idle(&mut flows, &mut state);
    }

    /// Asks where the file can be had; `anew` when no known address leads to it any more.
    async fn learn(&self, anew: bool) {
        let sources = &self.shared.sources;
        if anew {
            let renewed = sources.renewed(&self.declaration).await;
            let mut state = locked(&self.state);
            state.renewal = Renewal::Done;
            if let Some(health) = &mut state.health {
                health.renew(renewed);
            }
        } else {
            let found = sources.sources(&self.declaration).await;
            locked(&self.state).health.get_or_insert_with(|| Health::new(found));
        }
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
    fn ended(
        self: &Arc<Self>,
        (id, index): (u64, usize),
        source: &Source,
        file: &Arc<SparseFile>,
        ended: &Ended,
    ) {
        let now = self.shared.clock.instant();
        let mut state = locked(&self.state);
        state.plan.ended(id);
        if ended.kept > 0 {
            (state.failures, state.renewal) = (0, Renewal::Possible);
        }
        let fault = match &ended.result {
            Ok(()) => {
                (state.trouble, state.crowded) = (None, None);
                return;
            }
            Err(Fault::Unwanted) => return,
            // it begins anew already
            Err(_) if file.is_dropped() && !state.has(file) => return,
            Err(fault) => fault,
        };
        tracing::debug!(sha1 = %self.sha1(), source = %source.shown(), %fault, "a run ended early");
        state.trouble = Some(fault.to_string());
        if let Some(error) = fault.store_error(self.sha1()).filter(|_| fault.is_crowded()) {
            // who reads already waits for others to leave; who has got nothing yet, and the queue, are told
            let looks = state.crowded.as_ref().map_or(0, |crowded| crowded.looks) + 1;
            tracing::debug!(sha1 = %self.sha1(), %error, looks, "a file waits for room");
            let until = now + (LOOK_FOR_ROOM * looks).min(LONGEST_LOOK_FOR_ROOM);
            state.crowded = Some(Crowded { error, until, looks });
            state.waiters.clear();
            return;
        }
        if let Some(error) = fault.store_error(self.sha1()) {
            state.fail(error, now + REST_STORE);
            self.settled.notify_waiters();
            return;
        }
        let jitter = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
        let blame = fault.blame();
        if blame == Some(Blame::Unreachable) {
            self.shared.origins.unreachable(&source.url, ended.begun, now, jitter, &fault.to_string());
        }
        if let (Some(health), Some(blame)) = (state.health.as_mut(), blame) {
            health.failed(index, blame, now, jitter);
        }
        state.failures += u32::from(ended.kept == 0 && fault.counts());
        if state.failures >= MAX_FAILURES {
            let patience = self.shared.config.patience;
            tracing::warn!(sha1 = %self.sha1(), %fault, "a transfer is given up for now");
            state.fail(TransferError::TimedOut { sha1: self.sha1(), patience }, now + REST);
            self.settled.notify_waiters();
        }
    }

    /// Whether a source that sends the whole file for a part of it is left alone for a while: when that would mostly
    /// bring what is held, and it may take ranges again, or another does.
    pub(super) fn refuses_whole(&self, id: u64, file: &SparseFile, index: usize) -> bool {
        let state = locked(&self.state);
        let Some(health) = &state.health else { return false };
        let tries = if state.plan.readers() > 0 { UNRANGED_READER } else { UNRANGED_QUEUE };
        let held = InStore { file, partial_pieces: &state.partial_pieces };
        let waste = state.plan.is_waste(id, &held, self.declaration.size.div_ceil(PIECE));
        waste && (health.unranged(index) < tries || health.has_other(index))
    }

    /// The same for one that begins far before what it was asked for.
    pub(super) fn refuses_lead(&self, index: usize) -> bool {
        let state = locked(&self.state);
        let tries = if state.plan.readers() > 0 { UNRANGED_READER } else { UNRANGED_QUEUE };
        state.health.as_ref().is_some_and(|health| health.unranged(index) < tries || health.has_other(index))
    }

    /// An answer brings more pieces than its run asked for: those that it may take.
    pub(super) fn stretch(&self, id: u64, file: &SparseFile, brought: (u64, u64)) -> Option<(u64, u64)> {
        let mut state = locked(&self.state);
        let State { plan, partial_pieces, .. } = &mut *state;
        plan.stretch(id, &InStore { file, partial_pieces }, brought)
    }

    /// A source sends the whole file: which pieces the run `id` may take. `None` when the whole is on its
    /// way already.
    pub(super) fn widen(&self, id: u64, file: &SparseFile) -> Option<Vec<bool>> {
        let mut state = locked(&self.state);
        if state.plan.is_whole_under_way() {
            return None;
        }
        let State { plan, partial_pieces, .. } = &mut *state;
        Some(plan.widen(id, &InStore { file, partial_pieces }, self.declaration.size.div_ceil(PIECE)))
    }
}

impl State {
    pub(super) fn has_work(&mut self) -> bool {
        let Self { file, plan, partial_pieces, .. } = self;
        let Some(file) = file else { return false };
        !file.is_complete() && plan.has_work(&InStore { file, partial_pieces })
    }

    /// Why nothing of what is wanted may cross the link now.
    pub(super) fn spent(&self, shared: &Shared) -> Option<TransferError> {
        let until = shared.link.limiter().spent_until(self.plan.class()?)?;
        Some(TransferError::Spent { until })
    }

    /// What the next run is for, if there is one to be fetched.
    fn purpose(&mut self, sha1: Sha1Digest) -> Option<Purpose> {
        if self.failed.is_some() || self.paused {
            return None;
        }
        let Self { file, plan, partial_pieces, .. } = self;
        let file = file.as_ref().filter(|file| !file.is_complete())?;
        let run = plan.peek(&InStore { file, partial_pieces })?;
        Some(Purpose { class: run.class, requester: run.requester, file: Some(sha1) })
    }

    fn pick(&self, shared: &Shared) -> Option<Pick> {
        let now = shared.clock.instant();
        self.health.as_ref().map(|health| health.pick(now, |url| shared.origins.closed(url, now)))
    }

    /// Whether the source that would be asked now is known to take ranges.
    fn takes_ranges(&self, shared: &Shared) -> bool {
        let Some(Pick::Now(index)) = self.pick(shared) else { return false };
        let source = self.health.as_ref().and_then(|health| health.source(index));
        source.is_some_and(|source| shared.origins.takes_ranges(&source.url) == Some(true))
    }

    fn end(&mut self) -> Step {
        self.lanes -= 1;
        Step::End
    }

    /// Decides what a lane does; when it ends, it no longer counts.
    fn step(&mut self, shared: &Shared, sha1: Sha1Digest, window: u64) -> Step {
        let now = shared.clock.instant();
        if self.failed.is_some() || self.paused || !self.has_work() {
            return self.end();
        }
        if let Some(error) = self.spent(shared) {
            self.trouble = Some(error.to_string());
            // who waits is told
            self.waiters.clear();
            return Step::Pause(now + LOOK_AGAIN);
        }
        if let Some(crowded) = self.crowded.as_ref().filter(|crowded| crowded.until > now) {
            return Step::Pause(crowded.until);
        }
        match self.pick(shared) {
            None => Step::Learn { anew: false },
            Some(Pick::At(until)) => {
                if self.down_until(shared, now).or_else(|| self.resting_until(shared, now)).is_some() {
                    // those who got nothing yet look whether they are held in vain
                    self.waiters.clear();
                }
                Step::Pause(until)
            }
            Some(Pick::Nobody) => self.nobody(sha1, now),
            Some(Pick::Now(index)) => self.fetch(shared, index, window),
        }
    }

    /// None of the known addresses leads to the file.
    fn nobody(&mut self, sha1: Sha1Digest, now: Instant) -> Step {
        // what still runs may deliver, and looks again when it ends
        if self.plan.under_way() > 0 {
            return self.end();
        }
        match self.renewal {
            Renewal::Possible => {
                self.renewal = Renewal::UnderWay;
                return Step::Learn { anew: true };
            }
            Renewal::UnderWay => return self.end(),
            Renewal::Done => {}
        }
        let gone = self.health.as_ref().is_none_or(Health::is_gone);
        let trouble = self.trouble.clone().unwrap_or_default();
        let error =
            if gone { TransferError::Gone { sha1 } } else { TransferError::Refused { sha1, trouble } };
        self.fail(error, now + REST_GONE);
        self.end()
    }

    fn fetch(&mut self, shared: &Shared, index: usize, window: u64) -> Step {
        let now = shared.clock.instant();
        let Some(source) = self.health.as_ref().and_then(|health| health.source(index)).cloned() else {
            return self.end();
        };
        let alone = shared.origins.takes_ranges(&source.url) != Some(true);
        if alone && self.plan.under_way() > 0 {
            return self.end();
        }
        if !shared.origins.begin(&source.url, now) {
            let closed = shared.origins.closed(&source.url, now);
            return Step::Pause(closed.map_or(now + LEAST_PAUSE, |closed| closed.until));
        }
        let Self { file, plan, partial_pieces, .. } = self;
        let begun = file.as_ref().and_then(|file| {
            let (id, run) = plan.next(&InStore { file, partial_pieces }, window)?;
            Some(Step::Fetch { id, run, index, source, file: Arc::clone(file) })
        });
        begun.unwrap_or_else(|| self.end())
    }
}
