//! One file on its way: who waits for which piece, which runs are under way, what went wrong.
//!
//! **Invariant:** whoever waits is woken when the piece lands, when the flow fails, or when the file is
//! dropped; nobody polls. A flow that nobody wants and that does nothing is forgotten. It never holds a
//! lock while it waits.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::claims::Doubts;
use super::health::Health;
use super::lane::REST;
use super::plan::{Plan, Wish};
use super::scraps::Scraps;
use super::shared::{Shared, locked};
use super::{TransferError, TransferState, TransferStatus};
use crate::bandwidth::Class;
use crate::content::{PIECE, SparseFile};
use crate::domain::{ByteRange, FileDeclaration, Sha1Digest};

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
    pub(super) file: Arc<SparseFile>,
    pub(super) plan: Plan,
    pub(super) waiters: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    pub(super) waiter_id: u64,
    pub(super) health: Option<Health>,
    pub(super) doubts: Doubts,
    pub(super) scraps: Scraps,
    pub(super) renewal: Renewal,
    pub(super) lanes: usize,
    pub(super) paused: bool,
    pub(super) verifying: bool,
    pub(super) failures: u32,
    pub(super) mismatches: u32,
    pub(super) refetch: Option<u64>,
    pub(super) progress: Instant,
    pub(super) trouble: Option<String>,
    pub(super) failed: Option<(TransferError, Instant)>,
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

/// What a client is told at least to wait before it asks again.
const LEAST_AGAIN: Duration = Duration::from_secs(5);

/// How long a client that has got nothing yet is held for a wait whose end is known: Delivery Optimization leaves a
/// server that is silent for 20 s, `WinHTTP` one that is for 30 s, and both take 503 as an invitation to come again.
const LONGEST_HELD: Duration = Duration::from_secs(20);

/// How often a client that has got nothing yet looks whether the servers are down.
const LOOK: Duration = Duration::from_secs(1);

/// How long the queue waits for servers that are down before it looks at another file.
const QUEUE_PATIENCE: Duration = Duration::from_mins(1);

impl Flow {
    pub(super) fn new(shared: Arc<Shared>, declaration: FileDeclaration, file: Arc<SparseFile>) -> Self {
        let progress = shared.clock.instant();
        let state = State {
            file,
            plan: Plan::default(),
            waiters: BTreeMap::new(),
            waiter_id: 0,
            health: None,
            doubts: Doubts::default(),
            scraps: Scraps::new(Arc::clone(&shared.scraps)),
            renewal: Renewal::Possible,
            lanes: 0,
            paused: false,
            verifying: false,
            failures: 0,
            mismatches: 0,
            refetch: None,
            progress,
            trouble: None,
            failed: None,
        };
        Self { shared, declaration, state: Mutex::new(state), settled: Notify::new(), wanted: Notify::new() }
    }

    pub(super) fn sha1(&self) -> Sha1Digest {
        self.declaration.sha1
    }

    /// Adds a wish for a range of `file`; [`Flow::kick`] then begins. A flow that rests from a failure says so
    /// instead. The registry must be locked, so that the flow is not forgotten meanwhile.
    pub(super) fn join(
        &self,
        file: &Arc<SparseFile>,
        range: ByteRange,
        wish: Wish,
    ) -> Result<u64, TransferError> {
        let mut state = locked(&self.state);
        let now = self.shared.clock.instant();
        match &state.failed {
            Some((error, until)) if *until > now => return Err(error.clone()),
            Some(_) => {
                (state.failed, state.health, state.failures, state.trouble) = (None, None, 0, None);
                state.renewal = Renewal::Possible;
            }
            None if state.paused && wish.reader => return Err(TransferError::Stopped { sha1: self.sha1() }),
            None => {}
        }
        if file.is_dropped() {
            return Err(TransferError::Dropped { sha1: self.sha1() });
        }
        if !Arc::ptr_eq(&state.file, file) {
            state.file = Arc::clone(file);
            state.restart();
        }
        let id = state.plan.add(range, wish);
        self.wanted.notify_waiters();
        Ok(id)
    }

    /// Withdraws a wish.
    pub(super) fn leave(&self, id: u64) {
        let mut flows = locked(&self.shared.flows);
        let mut state = locked(&self.state);
        state.plan.remove(id);
        self.forget_if_idle(&mut flows, &state);
    }

    pub(super) fn forget_if_idle(&self, flows: &mut HashMap<Sha1Digest, Arc<Self>>, state: &State) {
        let idle = state.plan.is_idle() && state.lanes == 0 && !state.verifying && !state.paused;
        let resting = state.failed.as_ref().is_some_and(|(_, until)| *until > self.shared.clock.instant());
        if idle
            && !resting
            && flows.get(&self.sha1()).is_some_and(|flow| std::ptr::eq(&raw const **flow, self))
        {
            flows.remove(&self.sha1());
        }
    }

    /// Forgets a flow whose rest is over. True when it may be forgotten.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let state = locked(&self.state);
        state.plan.is_idle()
            && state.lanes == 0
            && state.failed.as_ref().is_some_and(|(_, until)| *until <= now)
    }

    /// Waits until the byte at `offset` is readable; says up to where, at most `limit`.
    pub(super) async fn ready(
        self: &Arc<Self>,
        file: &Arc<SparseFile>,
        id: u64,
        (offset, limit): (u64, u64),
        waiter: Waiter,
    ) -> Result<u64, TransferError> {
        let leaves = self.shared.clock.instant() + LONGEST_HELD.min(self.shared.config.patience);
        loop {
            let (landed, idle) = {
                let mut state = locked(&self.state);
                if file.is_dropped() {
                    return Err(TransferError::Dropped { sha1: self.sha1() });
                }
                state.plan.moved(id, offset);
                let end = file.held_until(offset, limit);
                if end > offset {
                    drop(state);
                    self.kick();
                    return Ok(end);
                }
                if let Some((error, _)) = &state.failed {
                    return Err(error.clone());
                }
                if state.paused {
                    return Err(TransferError::Stopped { sha1: self.sha1() });
                }
                if let Some(error) = state.spent(&self.shared) {
                    return Err(error);
                }
                if waiter == Waiter::Newcomer
                    && let Some(error) = self.in_vain(&state, leaves)
                {
                    return Err(error);
                }
                let (sender, landed) = oneshot::channel();
                state.waiter_id += 1;
                let key = (offset / PIECE, state.waiter_id);
                state.waiters.insert(key, sender);
                (landed, state.lanes == 0)
            };
            if idle {
                self.kick();
            }
            self.wait(landed, waiter, leaves).await?;
        }
    }

    /// A reader comes by `offset`, which is held. While others write, the next one who comes by tells it.
    pub(super) fn passes(self: &Arc<Self>, id: u64, offset: u64) {
        let Ok(mut state) = self.state.try_lock() else { return };
        state.plan.moved(id, offset);
        drop(state);
        let flow = Arc::clone(self);
        self.shared.tasks.spawn("transfer-ahead", async move { flow.kick() });
    }

    /// When no server that has the file can be reached, and none is to be tried just now.
    fn unreachable(&self, state: &State) -> Option<TransferError> {
        let now = self.shared.clock.instant();
        let until = state.down_until(&self.shared, now).filter(|until| *until > now)?;
        Some(TransferError::Unreachable { sha1: self.sha1(), again: (until - now).max(LEAST_AGAIN) })
    }

    /// Why a client that would leave at `leaves` need not wait until then.
    fn in_vain(&self, state: &State, leaves: Instant) -> Option<TransferError> {
        self.unreachable(state).or_else(|| {
            let now = self.shared.clock.instant();
            let until = state.resting_until(&self.shared, now).filter(|until| *until > leaves)?;
            let again = Duration::from_secs((until - now).as_secs() + 1);
            Some(TransferError::Deferred { sha1: self.sha1(), again })
        })
    }

    /// Waits for a landing, unless nothing of the file has come for too long. A newcomer is told earlier when nothing
    /// can come before it leaves.
    async fn wait(
        &self,
        mut landed: oneshot::Receiver<()>,
        waiter: Waiter,
        leaves: Instant,
    ) -> Result<(), TransferError> {
        let patience = match waiter {
            Waiter::Queue => QUEUE_PATIENCE,
            Waiter::Newcomer | Waiter::Reader => self.shared.config.patience,
        };
        let stopping = self.shared.tasks.stopping();
        let mut since = self.shared.clock.instant();
        loop {
            tokio::select! {
                // an error only says that everybody was woken
                _ = &mut landed => return Ok(()),
                () = stopping.cancelled() => return Err(TransferError::Stopping),
                // an outage shows while one waits
                () = tokio::time::sleep(LOOK), if waiter == Waiter::Newcomer => {
                    let state = locked(&self.state);
                    self.in_vain(&state, leaves).map_or(Ok(()), Err)?;
                }
                () = tokio::time::sleep_until(since + patience) => {
                    let (latest, down) = {
                        let state = locked(&self.state);
                        (state.progress, self.in_vain(&state, self.shared.clock.instant() + QUEUE_PATIENCE))
                    };
                    if waiter == Waiter::Queue {
                        // a link that is closed for the day, or a slow one, is nobody's fault
                        down.map_or(Ok(()), Err)?;
                        since = self.shared.clock.instant();
                        continue;
                    }
                    if latest <= since {
                        return Err(TransferError::TimedOut { sha1: self.sha1(), patience });
                    }
                    since = latest;
                }
            }
        }
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
            let keys: Vec<_> =
                state.waiters.range((pieces.start, 0)..(pieces.end, 0)).map(|(key, _)| *key).collect();
            for key in keys {
                if let Some(waiter) = state.waiters.remove(&key) {
                    // whoever left does not mind
                    let _ = waiter.send(());
                }
            }
            let complete = file.is_complete() && !state.verifying && Arc::ptr_eq(&state.file, file);
            state.verifying |= complete;
            complete
        };
        if complete {
            self.start_verifying(Arc::clone(file));
        }
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
            held: state.file.held(),
            class: state.plan.class().unwrap_or(Class::Background),
            state: doing,
            waiting: state.waiters.values().filter(|waiter| !waiter.is_closed()).count(),
            flights: state.plan.under_way(),
            trouble: state.trouble.clone(),
        }
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
        let mut flows = locked(&self.shared.flows);
        let state = locked(&self.state);
        self.forget_if_idle(&mut flows, &state);
    }

    /// Gives the file up; what has come is kept.
    pub(super) fn cancel(&self) {
        self.give_up(TransferError::Stopped { sha1: self.sha1() }, REST);
    }

    /// Gives every wish for the file at least this class.
    pub(super) fn raise(&self, class: Class) {
        locked(&self.state).plan.raise(class);
        self.wanted.notify_waiters();
    }
}

impl State {
    /// The file was dropped and begins anew.
    pub(super) fn restart(&mut self) {
        self.plan.restart();
        self.scraps.clear();
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
