//! One file on its way: who waits for which piece, which runs are under way, what went wrong.
//!
//! **Invariant:** whoever waits is woken when the piece lands, when the flow fails, or when the file is
//! dropped; nobody polls. A flow that nobody wants and that does nothing is forgotten. It never holds a
//! lock while it waits.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::claims::Doubts;
use super::health::Health;
use super::lane::REST;
use super::partial_pieces::PartialPieces;
use super::plan::{Demand, Plan};
use super::shared::{Shared, locked};
use super::{TransferError, TransferState, TransferStatus};
use tailwater_content::SparseFile;
use tailwater_domain::{ByteRange, Class, FileDeclaration, Sha1Digest};

/// One file on its way.
pub(super) struct Flow {
    pub(super) shared: Arc<Shared>,
    pub(super) declaration: FileDeclaration,
    pub(super) state: Mutex<State>,
    /// Fires when the file was verified, dropped or given up.
    pub(super) settled: Notify,
    /// Fires when somebody wants more of it, or wants it sooner.
    pub(super) wanted: Notify,
}

/// What changes while a file is on its way.
pub(super) struct State {
    /// `None` while nobody wants anything of it: what nobody reads is not kept from being dropped.
    pub(super) file: Option<Arc<SparseFile>>,
    pub(super) plan: Plan,
    pub(super) waiters: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    pub(super) waiter_id: u64,
    pub(super) health: Option<Health>,
    pub(super) doubts: Doubts,
    pub(super) partial_pieces: PartialPieces,
    pub(super) renewal: Renewal,
    pub(super) lanes: usize,
    pub(super) paused: bool,
    pub(super) verifying: bool,
    pub(super) failures: u32,
    pub(super) mismatches: u32,
    pub(super) refetch: Option<u64>,
    pub(super) progress: Instant,
    pub(super) trouble: Option<String>,
    /// There was no room for what was asked for.
    pub(super) crowded: Option<Crowded>,
    pub(super) failed: Option<(TransferError, Instant)>,
    /// What was learnt of its sources is kept until then, though nobody wants the file: they sent wrong bytes.
    pub(super) remembered: Option<Instant>,
    /// It passed through, and was right.
    pub(super) is_passed: bool,
}

/// No room.
pub(super) struct Crowded {
    pub(super) error: TransferError,
    /// It is looked for again then.
    pub(super) until: Instant,
    /// How often it was looked for.
    pub(super) looks: u32,
}

/// Whether the addresses were asked for anew since something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    Possible,
    UnderWay,
    Done,
}

/// How somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    /// A client that has got nothing yet: it is told at once when no server can be reached.
    Newcomer,
    /// A client whose answer has begun.
    Reader,
    /// The background queue: for as long as something may come.
    Queue,
}

impl Flow {
    pub(super) fn new(shared: Arc<Shared>, declaration: FileDeclaration, file: Arc<SparseFile>) -> Self {
        let progress = shared.clock.instant();
        let state = State {
            file: Some(file),
            plan: Plan::default(),
            waiters: BTreeMap::new(),
            waiter_id: 0,
            health: None,
            doubts: Doubts::default(),
            partial_pieces: PartialPieces::new(Arc::clone(&shared.partial_pieces)),
            renewal: Renewal::Possible,
            lanes: 0,
            paused: false,
            verifying: false,
            failures: 0,
            mismatches: 0,
            refetch: None,
            progress,
            trouble: None,
            crowded: None,
            failed: None,
            remembered: None,
            is_passed: false,
        };
        Self { shared, declaration, state: Mutex::new(state), settled: Notify::new(), wanted: Notify::new() }
    }

    pub(super) fn sha1(&self) -> Sha1Digest {
        self.declaration.sha1
    }

    /// Adds a demand for a range of `file`; [`Flow::kick`] then begins. A flow that rests from a failure says so
    /// instead. The registry must be locked, so that the flow is not forgotten meanwhile.
    pub(super) fn join(
        &self,
        file: &Arc<SparseFile>,
        range: ByteRange,
        demand: Demand,
    ) -> Result<u64, TransferError> {
        let mut state = locked(&self.state);
        let now = self.shared.clock.instant();
        match &state.failed {
            Some((error, until)) if *until > now => return Err(error.clone()),
            Some(_) => {
                (state.failed, state.health, state.failures, state.trouble) = (None, None, 0, None);
                state.renewal = Renewal::Possible;
            }
            None if state.paused && demand.reader => {
                return Err(TransferError::Stopped { sha1: self.sha1() });
            }
            None => {}
        }
        if file.is_dropped() {
            return Err(TransferError::Dropped { sha1: self.sha1() });
        }
        if !state.has(file) {
            state.file = Some(Arc::clone(file));
            state.restart();
        }
        let id = state.plan.add(range, demand);
        self.share(&mut state);
        self.wanted.notify_waiters();
        Ok(id)
    }

    /// Withdraws a demand.
    pub(super) fn leave(&self, id: u64) {
        let mut flows = locked(&self.shared.flows);
        let mut state = locked(&self.state);
        state.plan.remove(id);
        self.share(&mut state);
        self.forget_if_idle(&mut flows, &mut state);
    }

    /// Readers of a file that cannot be kept share what it may have.
    fn share(&self, state: &mut State) {
        let window = self.limit().map(|limit| super::passing::ahead(limit, state.plan.readers()));
        state.plan.hold_to(window);
    }

    pub(super) fn forget_if_idle(&self, flows: &mut HashMap<Sha1Digest, Arc<Self>>, state: &mut State) {
        let rests = state.plan.is_idle() && state.plan.under_way() == 0 && !state.verifying;
        if rests {
            state.file = None;
        }
        let idle = rests && state.lanes == 0 && !state.paused;
        if idle
            && !state.rests(self.shared.clock.instant())
            && flows.get(&self.sha1()).is_some_and(|flow| std::ptr::eq(&raw const **flow, self))
        {
            flows.remove(&self.sha1());
        }
    }

    /// Forgets a flow whose rest is over. True when it may be forgotten.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let state = locked(&self.state);
        state.plan.is_idle() && state.lanes == 0 && !state.rests(now)
    }

    /// A reader comes by `offset`, which is held. While others write, the next one who comes by tells it.
    pub(super) fn passes(self: &Arc<Self>, id: u64, offset: u64) {
        let Ok(mut state) = self.state.try_lock() else { return };
        state.plan.moved(id, offset);
        drop(state);
        let flow = Arc::clone(self);
        self.shared.tasks.spawn("transfer-ahead", async move { flow.kick() });
    }

    /// Pieces are readable.
    pub(super) fn landed(self: &Arc<Self>, file: &Arc<SparseFile>, index: usize, pieces: Range<u64>) {
        let complete = {
            let mut state = locked(&self.state);
            let now = self.shared.clock.instant();
            state.progress = now;
            if let Some(health) = &mut state.health {
                health.delivered(index, now);
            }
            state.wake(pieces);
            let complete = file.is_complete() && !state.verifying && state.has(file);
            state.verifying |= complete;
            complete
        };
        if complete {
            self.start_verifying(Arc::clone(file));
        }
    }

    /// Wakes those who wait for a piece.
    pub(super) fn wake(&self, piece: u64) {
        locked(&self.state).wake(piece..piece + 1);
    }

    /// Whether somebody waits for a piece.
    pub(super) fn is_waited_for(&self, piece: u64) -> bool {
        let state = locked(&self.state);
        state.waiters.range((piece, 0)..(piece + 1, 0)).any(|(_, waiter)| !waiter.is_closed())
    }

    /// Waits until the file is verified or given up; errors as [`Flow::ready`].
    pub(super) async fn settled(&self, file: &SparseFile) -> Result<(), TransferError> {
        let stopping = self.shared.tasks.stopping();
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if file.is_verified() {
                return Ok(());
            }
            if file.is_dropped() {
                return Err(TransferError::Dropped { sha1: self.sha1() });
            }
            if let Some((error, _)) = &locked(&self.state).failed {
                return Err(error.clone());
            }
            tokio::select! {
                () = settled => {}
                () = stopping.cancelled() => return Err(TransferError::Stopping),
            }
        }
    }

    /// What lists show.
    pub(super) fn status(&self) -> TransferStatus {
        let state = locked(&self.state);
        let doing = if state.failed.is_some() {
            TransferState::Failed
        } else if state.paused {
            TransferState::Paused
        } else if state.verifying {
            TransferState::Verifying
        } else if state.trouble.is_some() {
            TransferState::Waiting
        } else {
            TransferState::Running
        };
        TransferStatus {
            sha1: self.sha1(),
            name: self.declaration.name.clone(),
            size: self.declaration.size,
            held: match &state.file {
                Some(file) => file.held(),
                None => self.shared.store.status(&self.sha1()).map_or(0, |status| status.held),
            },
            class: state.plan.class().unwrap_or(Class::Background),
            state: doing,
            waiting: state.waiters.values().filter(|waiter| !waiter.is_closed()).count(),
            flights: state.plan.under_way(),
            trouble: state.trouble.clone(),
        }
    }

    /// Whether every piece that is wanted and missing was asked for.
    pub(super) fn is_asked_for(&self) -> bool {
        let mut state = locked(&self.state);
        state.plan.under_way() > 0 && !state.has_work()
    }

    /// Stops asking, or goes on.
    pub(super) fn pause(self: &Arc<Self>, paused: bool) {
        {
            let mut state = locked(&self.state);
            state.paused = paused;
            if paused {
                state.waiters.clear();
            }
        }
        self.kick();
        self.forget();
    }

    /// Gives the file up; what has come is kept.
    pub(super) fn cancel(&self) {
        self.give_up(TransferError::Stopped { sha1: self.sha1() }, REST);
    }

    /// Gives every demand for the file at least this class.
    pub(super) fn raise(&self, class: Class) {
        locked(&self.state).plan.raise(class);
        self.wanted.notify_waiters();
    }
}

impl State {
    /// Whether this is the file that it is about now.
    pub(super) fn has(&self, file: &Arc<SparseFile>) -> bool {
        self.file.as_ref().is_some_and(|own| Arc::ptr_eq(own, file))
    }

    /// Whether it is kept though nobody wants it: it failed a moment ago, or its sources sent wrong bytes.
    pub(super) fn rests(&self, now: Instant) -> bool {
        let until = self.failed.as_ref().map(|(_, until)| *until).max(self.remembered);
        until.is_some_and(|until| until > now)
    }

    /// Wakes those who wait for these pieces.
    fn wake(&mut self, pieces: Range<u64>) {
        let keys: Vec<_> =
            self.waiters.range((pieces.start, 0)..(pieces.end, 0)).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(waiter) = self.waiters.remove(&key) {
                // whoever left does not mind
                let _ = waiter.send(());
            }
        }
    }

    /// What passed is right; true when that is news.
    pub(super) fn passed_right(&mut self) -> bool {
        let is_news = self.remembered.take().is_some() || !self.is_passed;
        (self.is_passed, self.mismatches, self.trouble) = (true, 0, None);
        is_news
    }

    /// The file was dropped and begins anew.
    pub(super) fn restart(&mut self) {
        self.plan.restart();
        self.partial_pieces.clear();
    }

    /// When some server is asked again, while those of all sources are known to be down.
    pub(super) fn down_until(&self, shared: &Shared, now: Instant) -> Option<Instant> {
        self.health.as_ref()?.down_until(|url| shared.origins.closed(url, now))
    }

    /// Until when no source is asked, as far as that is known; `None` while a request is under way.
    pub(super) fn resting_until(&self, shared: &Shared, now: Instant) -> Option<Instant> {
        let health = self.health.as_ref().filter(|_| self.plan.under_way() == 0)?;
        health.resting_until(now, |url| shared.origins.closed(url, now))
    }

    pub(super) fn fail(&mut self, error: TransferError, until: Instant) {
        self.failed = Some((error, until));
        self.waiters.clear();
        // nobody waits for it: from here on it is fetched when somebody asks
        if let Some(id) = self.refetch.take() {
            self.plan.remove(id);
        }
    }
}
