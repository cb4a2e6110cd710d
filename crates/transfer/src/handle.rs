//! The one way to ask for bytes that are not held.
//!
//! **Invariant:** there is one [`Flow`] a file, however many ask. Interest lives as long as its [`Want`]. It
//! never answers a client: it says what can be read and why the rest cannot.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::time::Instant;

use super::flow::{Flow, Waiter};
use super::plan::Demand;
use super::queue::Queue;
use super::shared::{Shared, locked};
use super::{Config, Policy, Prefetch, SourceStatus, Sources, TransferError, TransferState, TransferStatus};
use tailwater_bandwidth::LinkClient;
use tailwater_content::{ContentError, FileState, PIECE, SparseFile, Store};
use tailwater_domain::{
    ByteCount, ByteRange, Class, FileDeclaration, Limit, Rate, Requester, Sha1Digest, limits,
};
use tailwater_runtime::{Clock, Tasks};

/// Ranges that are waited for at once, over all clients.
const MAX_WANTS: usize = 65_536;

/// Flows kept, those that rest from a failure included.
const MAX_FLOWS: usize = 16_384;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_WANTS in "ranges": "Ranges that clients wait for at once" => "503 with Retry-After",
    MAX_FLOWS in "files": "Files with a transfer at once, resting ones included" => "503 with Retry-After; the queue tries again",
];

/// What [`Want::ready`] says at a time, so that it learns where its reader is and fetches on ahead of it.
const STRIDE: u64 = 1024 * 1024;

/// A reader that finds so much held ahead of it need not be followed: more than is fetched ahead of one.
const FAR: u64 = 8 * 1024 * 1024;

/// Asks for files. Cheap to clone.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Queue,
    wants: AtomicUsize,
}

/// Interest in a range of a file; dropping it withdraws the interest, and the run that is under way for it
/// stops after its current window.
pub struct Want {
    file: Arc<SparseFile>,
    range: ByteRange,
    /// `None` when everything was held from the start.
    flow: Option<(Arc<Flow>, u64)>,
    reader: bool,
    class: Class,
    /// The file cannot be kept whole: what is held of it may go while it is read.
    passes: bool,
    /// Something of it was readable already.
    begun: AtomicBool,
    inner: Arc<Inner>,
}

impl Handle {
    /// Transfers into `store` over `link`. Its workers run in `tasks`: they verify what a stop left
    /// unverified, and fetch in the background what [`Handle::prefetch`] and [`Handle::fetch`] name.
    pub fn new(
        config: Config,
        store: Store,
        link: LinkClient,
        sources: Arc<dyn Sources>,
        clock: Clock,
        tasks: Tasks,
    ) -> Self {
        let shared = Arc::new(Shared::new(config, store, link, sources, clock, tasks));
        let handle = Self(Arc::new(Inner { shared, queue: Queue::default(), wants: AtomicUsize::new(0) }));
        super::queue::start(&handle);
        super::pinned::resume(&handle);
        let finishing = handle.clone();
        handle.0.shared.tasks.spawn("verify leftovers", async move { finishing.verify_leftovers().await });
        handle
    }

    /// Files whose last piece came just before a stop.
    async fn verify_leftovers(&self) {
        let store = self.0.shared.store.clone();
        let left = store.list().into_iter().filter(|file| file.state == FileState::Complete);
        for status in left {
            let declaration = FileDeclaration {
                sha1: status.sha1,
                sha256: status.sha256,
                size: status.size,
                name: status.names.into_iter().next().unwrap_or_default(),
                patching: None,
            };
            if let Ok(want) = self.register(&declaration, None, Demand::own(Class::Background)).await {
                drop(want);
            }
        }
    }

    /// Wants a range that a client reads. It begins to be fetched, if it is not held and not on its way, for
    /// whoever asks: turns on the link are shared between requesters.
    ///
    /// # Errors
    /// When the file cannot be taken at all; what goes wrong later shows in [`Want::ready`].
    pub async fn want(
        &self,
        file: &FileDeclaration,
        range: ByteRange,
        class: Class,
        requester: Requester,
    ) -> Result<Want, TransferError> {
        self.register(file, Some(range), Demand { class, requester, reader: true }).await
    }

    /// `None` wants the whole file.
    pub(super) async fn register(
        &self,
        declaration: &FileDeclaration,
        range: Option<ByteRange>,
        demand: Demand,
    ) -> Result<Want, TransferError> {
        match self.try_register(declaration, range, demand).await {
            // it was dropped between opening and joining; the file that takes its place is there already
            Err(TransferError::Dropped { .. }) => self.try_register(declaration, range, demand).await,
            other => other,
        }
    }

    async fn try_register(
        &self,
        declaration: &FileDeclaration,
        range: Option<ByteRange>,
        demand: Demand,
    ) -> Result<Want, TransferError> {
        let shared = &self.0.shared;
        let sha1 = declaration.sha1;
        let end = range.map_or(declaration.size, |range| range.end.min(declaration.size));
        let range = ByteRange { start: range.map_or(0, |range| range.start.min(end)), end };
        let file = self.open(declaration).await?;
        let (reader, class, begun) = (demand.reader, demand.class, AtomicBool::new(false));
        let passes = !file.is_verified() && shared.store.window(file.size()).is_some();
        if passes {
            self.watch(declaration, &file).await?;
        }
        let mut want =
            Want { range, flow: None, reader, class, passes, begun, inner: Arc::clone(&self.0), file };
        if self.0.wants.fetch_add(1, Ordering::Relaxed) >= MAX_WANTS {
            return Err(TransferError::Crowded);
        }
        let held = want.file.holds(range) || range.is_empty();
        if range.is_empty() || (held && !passes && (want.file.is_verified() || !want.file.is_complete())) {
            return Ok(want);
        }
        // complete, it only waits for its digests
        let here = held || want.file.is_complete();
        if !here && passes && !demand.reader {
            let beyond = ContentError::Beyond { sha1, size: ByteCount(declaration.size) };
            return Err(beyond.into());
        }
        if !here && self.0.queue.is_paused(&sha1) {
            return Err(TransferError::Stopped { sha1 });
        }
        if !here && demand.reader && shared.config.policy == Policy::None {
            let url = shared.sources.origin(declaration).await;
            return Err(TransferError::Elsewhere { sha1, url });
        }
        if let (false, Some(until)) = (here, shared.link.limiter().spent_until(demand.class)) {
            return Err(TransferError::Spent { until });
        }
        let (flow, id) = self.join(declaration, &want.file, range, demand)?;
        if here {
            flow.verify_if_complete(&want.file);
        }
        if self.0.queue.is_paused(&sha1) {
            // while it was opened
            flow.pause(true);
        }
        flow.kick();
        want.flow = Some((flow, id));
        Ok(want)
    }

    async fn open(&self, declaration: &FileDeclaration) -> Result<Arc<SparseFile>, TransferError> {
        let store = self.0.shared.store.clone();
        let agrees = |file: &Arc<SparseFile>| {
            file.size() == declaration.size
                && declaration.sha256.is_none_or(|sha256| file.sha256() == Some(&sha256))
        };
        if let Some(file) = store.cached(&declaration.sha1).filter(agrees) {
            return Ok(file);
        }
        let declaration = declaration.clone();
        let opened = tokio::task::spawn_blocking(move || store.prepare(&declaration)).await;
        Ok(opened.map_err(|_join| TransferError::Stopping)??)
    }

    /// Joins the flow of a file, or begins one.
    fn join(
        &self,
        declaration: &FileDeclaration,
        file: &Arc<SparseFile>,
        range: ByteRange,
        demand: Demand,
    ) -> Result<(Arc<Flow>, u64), TransferError> {
        let shared = &self.0.shared;
        let mut flows = locked(&shared.flows);
        if flows.len() >= MAX_FLOWS && !flows.contains_key(&declaration.sha1) {
            let now = shared.clock.instant();
            flows.retain(|_, flow| !flow.is_stale(now));
            if flows.len() >= MAX_FLOWS {
                return Err(TransferError::Crowded);
            }
        }
        let begin = || Arc::new(Flow::new(Arc::clone(shared), declaration.clone(), Arc::clone(file)));
        let flow = Arc::clone(flows.entry(declaration.sha1).or_insert_with(begin));
        let id = flow.join(file, range, demand)?;
        Ok((flow, id))
    }

    /// Fetches the whole file in the background, whatever the policy, until it is there or the server stops.
    ///
    /// # Errors
    /// [`TransferError::Crowded`] when the queue is full.
    pub fn fetch(&self, file: &FileDeclaration, class: Class) -> Result<(), TransferError> {
        if self.0.queue.push(file.clone(), class) { Ok(()) } else { Err(TransferError::Crowded) }
    }

    /// Says which files are to be held ahead of demand, those first that are to come first; replaces the list given
    /// before: what is under way and no longer named stops after its current window, and what came of it stays. Only
    /// the policies `approved`, `learned` and `all` follow it. The answer is how many were left out because the queue
    /// is full.
    pub fn prefetch(&self, files: Vec<Prefetch>) -> usize {
        match self.0.shared.config.policy {
            Policy::Approved | Policy::Learned | Policy::All => {
                self.0.queue.replace(files, &self.0.shared.store)
            }
            Policy::Demand | Policy::None => 0,
        }
    }

    /// Running, waiting and recently failed transfers, then those in the queue (the first thousand).
    pub fn list(&self) -> Vec<TransferStatus> {
        let flows: HashMap<_, _> = locked(&self.0.shared.flows).clone();
        let mut list: Vec<_> = flows.values().map(|flow| flow.status()).collect();
        list.sort_unstable_by_key(|status| (status.class, status.sha1));
        let queued = self.0.queue.known().into_iter().filter(|(file, _)| !flows.contains_key(&file.sha1));
        list.extend(queued.map(|(file, class)| TransferStatus {
            sha1: file.sha1,
            held: self.0.shared.store.status(&file.sha1).map_or(0, |status| status.held),
            name: file.name,
            size: file.size,
            class,
            state: if self.0.queue.is_paused(&file.sha1) {
                TransferState::Paused
            } else {
                TransferState::Queued
            },
            waiting: 0,
            flights: 0,
            trouble: None,
        }));
        list
    }

    /// What the link may carry now.
    pub fn rate(&self) -> Rate {
        self.0.shared.link.limiter().rate()
    }

    /// The steady time, as transfers see it.
    pub fn instant(&self) -> Instant {
        self.0.shared.clock.instant()
    }

    /// Whether a file is to be fetched whole, whoever asks for it meanwhile.
    pub fn is_queued(&self, sha1: &Sha1Digest) -> bool {
        self.0.queue.holds(sha1)
    }

    /// The time of day, as transfers see it.
    pub fn now(&self) -> jiff::Timestamp {
        self.0.shared.clock.now()
    }

    /// The servers that payloads come from, the cheapest first.
    pub fn servers(&self) -> Vec<SourceStatus> {
        self.0.shared.origins.status(self.0.shared.clock.instant())
    }

    /// How many transfers wait in the background queue.
    pub fn queued(&self) -> usize {
        self.0.queue.len()
    }

    pub(super) fn with_flow(&self, sha1: &Sha1Digest, act: impl FnOnce(&Arc<Flow>)) -> bool {
        let flow = locked(&self.0.shared.flows).get(sha1).cloned();
        flow.as_ref().map(act).is_some()
    }

    /// Stops asking for a file until [`Handle::resume`] or a new start; who waits for bytes of it is told. False when it
    /// is neither queued nor being transferred.
    pub fn pause(&self, sha1: &Sha1Digest) -> bool {
        let known = self.0.queue.holds(sha1) || locked(&self.0.shared.flows).contains_key(sha1);
        if known && self.0.queue.pause(sha1, true) {
            self.with_flow(sha1, |flow| flow.pause(true));
            return true;
        }
        false
    }

    /// Goes on with a paused file.
    pub fn resume(&self, sha1: &Sha1Digest) -> bool {
        let queued = self.0.queue.pause(sha1, false);
        self.with_flow(sha1, |flow| flow.pause(false)) || queued
    }

    /// Gives a file up; what has come is kept. True when it was queued or being transferred.
    pub fn cancel(&self, sha1: &Sha1Digest) -> bool {
        self.0.queue.pause(sha1, false);
        super::pinned::forget(&self.0.shared, *sha1);
        let queued = self.0.queue.remove(sha1);
        self.with_flow(sha1, |flow| flow.cancel()) || queued
    }

    /// Gives a file at least this class; one that was queued begins.
    pub fn raise(&self, sha1: &Sha1Digest, class: Class) -> bool {
        let queued = super::queue::expedite(self, sha1, class);
        self.with_flow(sha1, |flow| flow.raise(class)) || queued
    }
}

impl Want {
    /// The file, to read from what [`Want::ready`] says is there.
    pub fn file(&self) -> &Arc<SparseFile> {
        &self.file
    }

    /// The range that is wanted.
    pub fn range(&self) -> ByteRange {
        self.range
    }

    /// The same as a part of an answer that has begun: it waits out what a newcomer is told.
    #[must_use]
    pub fn in_answer(self) -> Self {
        self.begun.store(true, Ordering::Relaxed);
        self
    }

    /// Waits until the byte at `offset` can be read, and says up to where bytes can be read without a gap,
    /// at most 1 MiB further. Call it as the reader moves: what is fetched ahead follows it.
    ///
    /// # Errors
    /// When the byte cannot be had.
    pub async fn ready(&self, offset: u64) -> Result<u64, TransferError> {
        let limit = self.range.end.min(offset.saturating_add(STRIDE));
        let Some((flow, id)) = &self.flow else {
            let dropped = self.file.is_dropped();
            return if dropped { Err(TransferError::Dropped { sha1: *self.file.sha1() }) } else { Ok(limit) };
        };
        let held = self.file.held_until(offset, limit);
        // whoever reads what is held waits for no lock, but tells where it is before it reaches what is missing
        let ready = if held > offset && !self.passes && !self.file.is_dropped() {
            if held < limit || !self.is_far(limit) {
                flow.passes(*id, offset);
            }
            held
        } else {
            if self.reader && held == offset && offset / PIECE + 1 == self.file.size().div_ceil(PIECE) {
                Handle(Arc::clone(&self.inner)).prove(flow, &self.file, self.class);
            }
            let waiter = match self.reader {
                false => Waiter::Queue,
                true if self.begun.load(Ordering::Relaxed) => Waiter::Reader,
                true => Waiter::Newcomer,
            };
            flow.ready(&self.file, *id, (offset, limit), waiter).await?
        };
        self.begun.store(true, Ordering::Relaxed);
        Ok(ready)
    }

    /// Whether so much is held behind `offset` that nothing need be fetched for this reader yet.
    fn is_far(&self, offset: u64) -> bool {
        let far = self.range.end.min(offset.saturating_add(FAR));
        self.reader && !self.file.is_dropped() && self.file.held_until(offset, far) == far
    }

    /// Waits until the whole file is verified.
    pub(super) async fn settled(&self) -> Result<(), TransferError> {
        match &self.flow {
            Some((flow, _)) => flow.settled(&self.file).await,
            None => Ok(()),
        }
    }
}

impl Drop for Want {
    fn drop(&mut self) {
        self.inner.wants.fetch_sub(1, Ordering::Relaxed);
        if let Some((flow, id)) = &self.flow {
            flow.leave(*id);
        }
    }
}

#[cfg(test)]
mod tests;
