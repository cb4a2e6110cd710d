//! One file on its way: who waits for which piece, which runs are under way, what went wrong.
//!
//! **Invariant:** whoever waits is woken when the piece lands, when the flow fails, or when the file is
//! dropped; nobody polls. A flow that nobody wants and that does nothing is forgotten. It never holds a
//! lock while it waits.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

use super::health::{Health, Pick};
use super::plan::{self, Plan, Run};
use super::{Config, Source, Sources, TransferError, TransferState, TransferStatus};
use crate::bandwidth::{Class, LinkClient};
use crate::content::{SparseFile, Store, Verdict};
use crate::domain::{ByteRange, FileDeclaration, Sha1Digest};
use crate::runtime::{Clock, Tasks};

/// Requests for one file at once, so that a distant source is filled.
const LANES: usize = 4;

/// Requests that fail one after the other without a new piece before a flow gives up for [`REST`].
const MAX_FAILURES: u32 = 12;

/// How long a flow that gave up tells newcomers so without asking the sources again.
const REST: Duration = Duration::from_secs(20);

/// The same when no source has the file.
const REST_GONE: Duration = Duration::from_secs(10);

/// The same when the file did not match [`MAX_MISMATCHES`] times.
const REST_MISMATCH: Duration = Duration::from_mins(10);

/// The same when the store cannot take bytes.
const REST_STORE: Duration = Duration::from_secs(5);

/// How often a file whose digests do not match is fetched again.
const MAX_MISMATCHES: u32 = 3;

/// Origins whose support of ranges is remembered.
const MAX_ORIGINS: usize = 64;

/// What all flows share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) link: LinkClient,
    pub(super) sources: Arc<dyn Sources>,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) flights: Arc<Semaphore>,
    pub(super) hashing: Arc<Semaphore>,
    pub(super) flows: Mutex<HashMap<Sha1Digest, Arc<Flow>>>,
    origins: Mutex<HashMap<String, bool>>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn origin(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    &url[..url[authority..].find('/').map_or(url.len(), |at| authority + at)]
}

impl Shared {
    pub(super) fn new(
        config: Config,
        store: Store,
        link: LinkClient,
        sources: Arc<dyn Sources>,
        clock: Clock,
        tasks: Tasks,
    ) -> Self {
        Self {
            flights: Arc::new(Semaphore::new(config.max_flights.max(1))),
            hashing: Arc::new(Semaphore::new(1)),
            flows: Mutex::default(),
            origins: Mutex::default(),
            config,
            store,
            link,
            sources,
            clock,
            tasks,
        }
    }

    /// Whether an origin answers ranges; `None` until it was seen.
    fn takes_ranges(&self, url: &str) -> Option<bool> {
        locked(&self.origins).get(origin(url)).copied()
    }

    pub(super) fn note_ranges(&self, url: &str, takes: bool) -> bool {
        let mut origins = locked(&self.origins);
        if origins.len() >= MAX_ORIGINS && !origins.contains_key(origin(url)) {
            origins.clear();
        }
        origins.insert(origin(url).to_owned(), takes) != Some(takes)
    }

    /// Requests one file may have open: fewer when the link carries few and several files share it.
    fn lanes(&self) -> usize {
        let files = locked(&self.flows).len().max(1);
        (self.link.max_transfers() / files).clamp(1, LANES)
    }
}

/// One file on its way.
pub(super) struct Flow {
    pub(super) shared: Arc<Shared>,
    pub(super) declaration: FileDeclaration,
    state: Mutex<State>,
    /// Fires when the file was verified, dropped or given up.
    settled: Notify,
}

struct State {
    file: Arc<SparseFile>,
    plan: Plan,
    waiters: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    waiter_id: u64,
    health: Option<Health>,
    lanes: usize,
    paused: bool,
    verifying: bool,
    failures: u32,
    mismatches: u32,
    refetch: Option<u64>,
    progress: Instant,
    trouble: Option<String>,
    failed: Option<(TransferError, Instant)>,
}

/// What a lane does next.
enum Step {
    Fetch { id: u64, run: Run, index: usize, source: Source, file: Arc<SparseFile> },
    Learn,
    Pause(Instant),
    End,
}

impl Flow {
    pub(super) fn new(shared: Arc<Shared>, declaration: FileDeclaration, file: Arc<SparseFile>) -> Self {
        let progress = shared.clock.instant();
        let state = State {
            file,
            plan: Plan::default(),
            waiters: BTreeMap::new(),
            waiter_id: 0,
            health: None,
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
        Self { shared, declaration, state: Mutex::new(state), settled: Notify::new() }
    }

    fn sha1(&self) -> Sha1Digest {
        self.declaration.sha1
    }

    /// Adds a wish for a range of `file`; [`Flow::kick`] then begins. A flow that rests from a failure says so
    /// instead. The registry must be locked, so that the flow is not forgotten meanwhile.
    pub(super) fn join(
        &self,
        file: &Arc<SparseFile>,
        range: ByteRange,
        class: Class,
        reader: bool,
    ) -> Result<u64, TransferError> {
        let mut state = locked(&self.state);
        let now = self.shared.clock.instant();
        match &state.failed {
            Some((error, until)) if *until > now => return Err(error.clone()),
            Some(_) => {
                (state.failed, state.health, state.failures, state.trouble) = (None, None, 0, None);
            }
            None if state.paused && reader => return Err(TransferError::Stopped { sha1: self.sha1() }),
            None => {}
        }
        if file.is_dropped() {
            return Err(TransferError::Dropped { sha1: self.sha1() });
        }
        if !Arc::ptr_eq(&state.file, file) {
            state.file = Arc::clone(file);
            state.plan.restart();
        }
        Ok(state.plan.add(range, class, reader))
    }

    /// Withdraws a wish.
    pub(super) fn leave(&self, id: u64) {
        let mut flows = locked(&self.shared.flows);
        let mut state = locked(&self.state);
        state.plan.remove(id);
        self.forget_if_idle(&mut flows, &state);
    }

    fn forget_if_idle(&self, flows: &mut HashMap<Sha1Digest, Arc<Self>>, state: &State) {
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
        offset: u64,
        limit: u64,
    ) -> Result<u64, TransferError> {
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
                let (sender, landed) = oneshot::channel();
                state.waiter_id += 1;
                let key = (offset / crate::content::PIECE, state.waiter_id);
                state.waiters.insert(key, sender);
                (landed, state.lanes == 0)
            };
            if idle {
                self.kick();
            }
            self.wait(landed).await?;
        }
    }

    /// Waits for a landing, unless nothing of the file has come for too long.
    async fn wait(&self, mut landed: oneshot::Receiver<()>) -> Result<(), TransferError> {
        let patience = self.shared.config.patience;
        let stopping = self.shared.tasks.stopping();
        let mut since = self.shared.clock.instant();
        loop {
            tokio::select! {
                // an error only says that everybody was woken
                _ = &mut landed => return Ok(()),
                () = stopping.cancelled() => return Err(TransferError::Stopping),
                () = tokio::time::sleep_until(since + patience) => {
                    let latest = locked(&self.state).progress;
                    if latest <= since {
                        return Err(TransferError::TimedOut { sha1: self.sha1(), patience });
                    }
                    since = latest;
                }
            }
        }
    }

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
            let Ok(permit) = Arc::clone(&self.shared.flights).acquire_owned().await else { break };
            match self.step() {
                Step::Fetch { id, run, index, source, file } => {
                    let before = file.held();
                    let ended = super::fetch::run(&self, &file, id, run, index, &source).await;
                    self.ended(id, index, &ended, file.held() > before);
                }
                Step::Learn => {
                    let sources = self.shared.sources.sources(&self.declaration).await;
                    locked(&self.state).health.get_or_insert_with(|| Health::new(sources));
                }
                Step::Pause(until) => {
                    drop(permit);
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

    fn step(&self) -> Step {
        let window = plan::window(self.shared.link.limiter().rate().bytes_per_second());
        let step = locked(&self.state).step(&self.shared, self.sha1(), window);
        if matches!(step, Step::End) {
            let mut flows = locked(&self.shared.flows);
            let state = locked(&self.state);
            self.forget_if_idle(&mut flows, &state);
        }
        step
    }

    /// A run is over.
    fn ended(self: &Arc<Self>, id: u64, index: usize, result: &Result<(), super::fetch::Fault>, came: bool) {
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
        state.failures += u32::from(!came);
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

    /// Pieces are readable.
    pub(super) fn landed(self: &Arc<Self>, file: &Arc<SparseFile>, index: usize, pieces: Range<u64>) {
        let complete = {
            let mut state = locked(&self.state);
            state.progress = self.shared.clock.instant();
            if let Some(health) = &mut state.health {
                health.delivered(index);
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

    /// Verifies a file that is complete without this flow having fetched its last piece.
    pub(super) fn verify_if_complete(self: &Arc<Self>, file: &Arc<SparseFile>) {
        self.landed(file, usize::MAX, 0..0);
    }

    fn start_verifying(self: &Arc<Self>, file: Arc<SparseFile>) {
        let flow = Arc::clone(self);
        self.shared.tasks.spawn("verify", async move {
            let _turn = flow.shared.hashing.acquire().await;
            let (store, hashed) = (flow.shared.store.clone(), Arc::clone(&file));
            let verdict = tokio::task::spawn_blocking(move || store.finish(&hashed)).await;
            match verdict {
                Ok(Ok(Verdict::Verified)) => flow.verified(),
                Ok(Ok(Verdict::Mismatch { found })) => flow.mismatched(&found).await,
                Ok(Err(error)) => flow.give_up(error.into(), REST_STORE),
                Err(_) => flow.give_up(TransferError::Stopping, REST_STORE),
            }
        });
    }

    fn verified(&self) {
        let mut flows = locked(&self.shared.flows);
        let mut state = locked(&self.state);
        tracing::info!(sha1 = %self.sha1(), size = self.declaration.size, "verified");
        (state.verifying, state.mismatches, state.trouble) = (false, 0, None);
        if let Some(id) = state.refetch.take() {
            state.plan.remove(id);
        }
        state.waiters.clear();
        self.settled.notify_waiters();
        self.forget_if_idle(&mut flows, &state);
    }

    fn give_up(&self, error: TransferError, rest: Duration) {
        tracing::warn!(sha1 = %self.sha1(), %error, "a transfer is given up for now");
        let mut state = locked(&self.state);
        state.verifying = false;
        state.trouble = Some(error.to_string());
        state.fail(error, self.shared.clock.instant() + rest);
        drop(state);
        self.settled.notify_waiters();
    }

    /// The bytes were not what was declared; the store has dropped them. Fetches everything again.
    async fn mismatched(self: &Arc<Self>, found: &Sha1Digest) {
        let mismatches = {
            let mut state = locked(&self.state);
            let liars = state.health.as_mut().map(Health::lied).unwrap_or_default();
            tracing::warn!(
                sha1 = %self.sha1(), %found, sources = ?liars,
                "what was fetched does not match its digest and was dropped"
            );
            state.mismatches += 1;
            state.waiters.clear();
            state.mismatches
        };
        if mismatches >= MAX_MISMATCHES {
            self.give_up(TransferError::Mismatch { sha1: self.sha1() }, REST_MISMATCH);
            return;
        }
        let (store, declaration) = (self.shared.store.clone(), self.declaration.clone());
        let made = tokio::task::spawn_blocking(move || store.prepare(&declaration)).await;
        let Ok(Ok(file)) = made else {
            self.give_up(TransferError::Dropped { sha1: self.sha1() }, REST_STORE);
            return;
        };
        {
            let mut state = locked(&self.state);
            state.file = file;
            state.plan.restart();
            state.verifying = false;
            state.trouble = Some("the bytes did not match the digest; fetching again".to_owned());
            if let (None, Some(whole)) = (state.refetch, ByteRange::new(0, self.declaration.size)) {
                let id = state.plan.add(whole, Class::Normal, false);
                state.refetch = Some(id);
            }
        }
        self.settled.notify_waiters();
        self.kick();
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
    }

    /// Gives the file up; what has come is kept.
    pub(super) fn cancel(&self) {
        self.give_up(TransferError::Stopped { sha1: self.sha1() }, REST);
    }

    /// Gives every wish for the file at least this class.
    pub(super) fn raise(&self, class: Class) {
        locked(&self.state).plan.raise(class);
    }

    /// A source sends the whole file: which pieces the run `id` may take. `None` when the whole is on its
    /// way already.
    pub(super) fn widen(&self, id: u64, file: &SparseFile) -> Option<Vec<bool>> {
        let mut state = locked(&self.state);
        if state.plan.is_whole_under_way() {
            return None;
        }
        Some(state.plan.widen(id, file, self.declaration.size.div_ceil(crate::content::PIECE)))
    }
}

impl State {
    fn has_work(&mut self) -> bool {
        let file = Arc::clone(&self.file);
        !file.is_complete() && self.plan.has_work(&*file)
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

    fn fail(&mut self, error: TransferError, until: Instant) {
        self.failed = Some((error, until));
        self.waiters.clear();
        // nobody waits for it: from here on it is fetched when somebody asks
        if let Some(id) = self.refetch.take() {
            self.plan.remove(id);
        }
    }

    /// Decides what a lane does; when it ends, it no longer counts.
    fn step(&mut self, shared: &Shared, sha1: Sha1Digest, window: u64) -> Step {
        let now = shared.clock.instant();
        if self.failed.is_some() || self.paused || !self.has_work() {
            self.lanes -= 1;
            return Step::End;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_ends_before_the_path() {
        let table = [
            ("http://a:8530/Content/x?y", "http://a:8530"),
            ("https://b/", "https://b"),
            ("http://c", "http://c"),
        ];
        for (url, expected) in table {
            assert_eq!(origin(url), expected);
        }
    }
}
