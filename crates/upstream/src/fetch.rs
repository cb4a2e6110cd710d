//! Fetching documents: several requests at once, bounded together, and what was asked for either stored or
//! named as missing.
//!
//! Invariant: revisions asked for and not yet durable never exceed one batch of the upstream. A revision is
//! given up only after it was asked for by itself. It never makes anything visible.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addresses::Renewals;
use super::client::delay;
use super::error::SyncError;
use super::ingest::{Ingested, Related, chain, ingest};
use super::peer::{PeerClient, PeerError};
use super::report::{Missing, SyncProgress};
use super::session::{Session, SessionError};
use tailwater_catalog::Staging;
use tailwater_domain::{Limit, UpdateIdentity, limits};
use tailwater_runtime::{Clock, Tasks};
use tailwater_wire::server_sync::get_update_data;
use tailwater_wire::update_metadata::Languages;

/// Requests under way at once; each asks for this part of the upstream's batch.
const WORKERS: usize = 4;
/// How often a revision that comes damaged, or is refused, is asked for by itself.
const MOST_TRIES: u32 = 3;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_TRIES in "tries": "Tries of one revision that comes damaged" => "it is missing, shown, and asked for with the next synchronisation",
];

/// Why a revision is given up that hits a fault wherever it stands.
const FAULT: &str = "handling it hit a fault of the program; see the log, and report this";

/// What fetching gave.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// Revisions stored.
    pub(super) stored: usize,
    /// What they need.
    pub(super) related: Related,
    /// What is missing.
    pub(super) missing: Vec<Missing>,
}

/// A part of the work.
struct Batch {
    revisions: Vec<UpdateIdentity>,
    /// How often exactly these were asked for without any of them coming.
    tries: u32,
}

/// What fetching works with, whatever is fetched.
#[derive(Clone)]
pub(super) struct FetchContext {
    pub(super) session: Arc<Session>,
    pub(super) progress: Arc<watch::Sender<SyncProgress>>,
    pub(super) cancel: CancellationToken,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    /// Waited for before a synchronisation counts as over: what is being stored is stored to its end.
    pub(super) workers: TaskTracker,
    /// Keeps addresses that may not be stored.
    pub(super) renewals: Arc<Mutex<Renewals>>,
}

/// Fetches. Cheap to clone.
#[derive(Clone)]
pub(super) struct Fetcher {
    pub(super) context: FetchContext,
    /// The shorter way, where the upstream is a tailwater.
    pub(super) peer: Option<Arc<PeerClient>>,
    pub(super) staging: Staging,
    pub(super) languages: Arc<Languages>,
    /// The upstream's limit of one request, in revisions.
    pub(super) batch: usize,
    /// The languages that are available now; none for all.
    pub(super) kept: Arc<Option<Vec<String>>>,
    /// What is asked for is held, and stored once more.
    pub(super) again: bool,
}

struct FetchQueue {
    queue: Mutex<VecDeque<Batch>>,
    fetched: Mutex<Fetched>,
    /// Fires when a worker failed: the others stop as well.
    stop: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fetcher {
    /// Fetches and stores `wanted`. `listed` says that the upstream itself named them, so that a refusal may
    /// pass.
    pub(super) async fn fetch(
        &self,
        wanted: &[UpdateIdentity],
        listed: bool,
    ) -> Result<Fetched, SessionError> {
        if wanted.is_empty() {
            return Ok(Fetched::default());
        }
        self.context.progress.send_modify(|progress| progress.to_fetch += wanted.len());
        let (workers, size) = self.shape();
        let batches = wanted.chunks(size).map(|part| Batch { revisions: part.to_vec(), tries: 0 });
        let shared = Arc::new(FetchQueue {
            queue: Mutex::new(batches.collect()),
            fetched: Mutex::default(),
            stop: self.context.cancel.child_token(),
        });
        let handles: Vec<_> = (0..workers)
            .map(|_| {
                let (fetcher, shared) = (self.clone(), Arc::clone(&shared));
                let work = async move { fetcher.work(&shared, listed).await };
                self.context.tasks.spawn("fetch of documents", self.context.workers.track_future(work))
            })
            .collect();
        let mut outcome: Result<(), SessionError> = Ok(());
        for handle in handles {
            let ended = handle.await.unwrap_or(Err(SessionError::Failed(SyncError::Worker)));
            // the reason is what stopped the first worker, not that the others were stopped then
            let stopped = matches!(outcome, Err(SessionError::Failed(SyncError::Cancelled)));
            if outcome.is_ok() || (stopped && ended.is_err()) {
                outcome = ended;
            }
        }
        outcome?;
        Ok(std::mem::take(&mut *lock(&shared.fetched)))
    }

    fn good_peer(&self) -> Option<&Arc<PeerClient>> {
        self.peer.as_ref().filter(|peer| peer.is_good())
    }

    /// How many requests at once, and for how many revisions each. A pack is one request: what is in flight is lost
    /// with a kill.
    fn shape(&self) -> (usize, usize) {
        if let Some(peer) = self.good_peer() {
            return (1, peer.batch());
        }
        let workers = WORKERS.min(self.batch).max(1);
        (workers, (self.batch / workers).max(1))
    }

    async fn work(&self, shared: &FetchQueue, listed: bool) -> Result<(), SessionError> {
        loop {
            let Some(batch) = lock(&shared.queue).pop_front() else { return Ok(()) };
            if let Err(error) = self.one(shared, batch, listed).await {
                shared.stop.cancel();
                return Err(error);
            }
        }
    }

    /// Asks for one batch and stores what comes; what does not come goes back into the queue or is missing.
    async fn one(&self, shared: &FetchQueue, batch: Batch, listed: bool) -> Result<(), SessionError> {
        let Batch { revisions, tries } = batch;
        let asked: Arc<[UpdateIdentity]> = revisions.into();
        let lenient = tries + 1 >= MOST_TRIES;
        if let Some(peer) = self.good_peer() {
            let pack = peer.pack(Arc::clone(&asked), Arc::clone(&self.languages), lenient);
            let packed = tokio::select! {
                packed = pack => packed,
                () = shared.stop.cancelled() => return Err(SyncError::Cancelled.into()),
            };
            match packed {
                Ok(ingested) => return self.settle(shared, &asked, tries, ingested).await,
                Err(PeerError::Failed(error)) => return Err(error),
                Err(PeerError::Strange(reason)) => peer.distrust(&reason),
            }
        }
        // a batch that was meant for packs may be larger than the upstream takes
        if asked.len() > self.batch {
            let mut queue = lock(&shared.queue);
            for part in asked.chunks(self.batch) {
                queue.push_back(Batch { revisions: part.to_vec(), tries: 0 });
            }
            return Ok(());
        }
        let read = {
            let (asked, languages) = (Arc::clone(&asked), Arc::clone(&self.languages));
            move |answer| ingest(answer, &asked, &languages, lenient)
        };
        let answer = tokio::select! {
            answer = self.context.session.call(|cookie| get_update_data(cookie, &asked), read) => answer,
            () = shared.stop.cancelled() => Err(SyncError::Cancelled.into()),
        };
        let ingested = match answer {
            Ok(ingested) => ingested,
            Err(SessionError::Failed(SyncError::Worker)) => {
                self.refused(shared, &asked, tries, false, FAULT.to_owned()).await;
                return Ok(());
            }
            Err(SessionError::Refused { operation, fault }) => {
                let code = fault.code.as_deref();
                if !matches!(code, Some("InternalServerError" | "InvalidParameters")) {
                    return Err(SessionError::Refused { operation, fault });
                }
                let reason = format!("the upstream refuses to hand it out: {fault}");
                self.refused(shared, &asked, tries, listed, reason).await;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match self.settle(shared, &asked, tries, ingested).await {
            Err(SessionError::Failed(SyncError::Worker)) => {
                self.refused(shared, &asked, tries, false, FAULT.to_owned()).await;
                Ok(())
            }
            settled => settled,
        }
    }

    /// A whole batch was refused because of something in it: ask for its halves, at last one by one.
    async fn refused(
        &self,
        shared: &FetchQueue,
        asked: &[UpdateIdentity],
        tries: u32,
        listed: bool,
        reason: String,
    ) {
        if let [_, _, ..] = asked {
            let (left, right) = asked.split_at(asked.len() / 2);
            let mut queue = lock(&shared.queue);
            for half in [right, left] {
                queue.push_front(Batch { revisions: half.to_vec(), tries: 0 });
            }
            return;
        }
        if listed && tries + 1 < MOST_TRIES {
            self.context.clock.sleep(delay(tries + 1)).await;
            lock(&shared.queue).push_back(Batch { revisions: asked.to_vec(), tries: tries + 1 });
            return;
        }
        self.miss(shared, asked, &reason);
    }

    fn miss(&self, shared: &FetchQueue, revisions: &[UpdateIdentity], reason: &str) {
        self.context.progress.send_modify(|progress| {
            progress.to_fetch = progress.to_fetch.saturating_sub(revisions.len());
        });
        let missing =
            revisions.iter().map(|identity| Missing { identity: *identity, reason: reason.to_owned() });
        lock(&shared.fetched).missing.extend(missing);
    }

    /// Stores what came and decides about what did not.
    async fn settle(
        &self,
        shared: &FetchQueue,
        asked: &[UpdateIdentity],
        tries: u32,
        ingested: Ingested,
    ) -> Result<(), SessionError> {
        let Ingested { mut revisions, damaged, related, signed } = ingested;
        for revision in &mut revisions {
            revision.facts.kept.clone_from(&self.kept);
        }
        lock(&self.context.renewals).learn(signed, self.context.clock.now());
        let absent: Vec<UpdateIdentity> = asked
            .iter()
            .filter(|identity| !revisions.iter().any(|revision| revision.facts.identity == **identity))
            .filter(|identity| !damaged.iter().any(|(other, _)| other == *identity))
            .copied()
            .collect();
        let count = revisions.len();
        let came = count + damaged.len();
        if count > 0 {
            let (staging, again) = (self.staging.clone(), self.again);
            let store = move || staging.store_each(revisions, again);
            let stored = tokio::task::spawn_blocking(store).await;
            let stored = stored.map_err(|_e| SyncError::Worker)?.map_err(SyncError::Catalog)?;
            let good = count - stored.refused.len().min(count);
            let mut fetched = lock(&shared.fetched);
            fetched.stored += good;
            fetched.related.merge(related);
            drop(fetched);
            self.context.progress.send_modify(|progress| progress.fetched += good);
            for (identity, error) in stored.refused {
                // asking again at once would bring the same
                self.miss(shared, &[identity], &chain(&error));
            }
        }
        for (identity, reason) in damaged {
            tracing::debug!(update = %identity, reason, "a document came damaged");
            if tries + 1 < MOST_TRIES {
                lock(&shared.queue).push_back(Batch { revisions: vec![identity], tries: tries + 1 });
            } else {
                self.miss(shared, &[identity], &reason);
            }
        }
        match (absent.is_empty(), came, tries) {
            (true, ..) => {}
            // a short answer: servers keep answers to a size
            (false, 1.., _) => lock(&shared.queue).push_front(Batch { revisions: absent, tries: 0 }),
            (false, 0, 0) => lock(&shared.queue).push_back(Batch { revisions: absent, tries: 1 }),
            (false, 0, _) => self.miss(shared, &absent, "the upstream does not have it"),
        }
        Ok(())
    }
}
