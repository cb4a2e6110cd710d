//! The background queue: whole files, one after the other, until they are held.
//!
//! **Invariant:** a file that is wanted always waits or runs, whoever looks; at most [`MAX_QUEUE`] files wait; [`WORKERS`] are fetched at once, and beside them [`SIDE_WORKERS`] small
//! or more urgent ones, [`MAX_ENDING`] of which everything was asked for, and [`MAX_EXPEDITED`] that an administrator raised. A file that fails comes again after a pause, for
//! as long as it is wanted. It never competes with a reader: its demands are of a class below.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::handle::Handle;
use super::plan;
use super::shared::locked;
use super::{Prefetch, TransferError};
use tailwater_content::{FileState, Store};
use tailwater_domain::{ByteCount, Class, FileDeclaration, Limit, Sha1Digest, limits};

/// Files that wait; more are given again with the next list.
const MAX_QUEUE: usize = 65_536;

/// Files fetched at once: each has several requests of its own.
const WORKERS: usize = 2;

/// Files fetched beside them that are small or more urgent, so that they never stand behind a large one.
const SIDE_WORKERS: usize = 2;

/// What is small: a minute of 2 Mbit/s.
const SMALL: u64 = 16 * 1024 * 1024;

/// Files fetched beside them of which every piece was asked for already: on a long way the last answers of a file do not
/// fill the link.
const MAX_ENDING: usize = 4;

/// Files fetched beside them because an administrator raised them.
const MAX_EXPEDITED: usize = 8;

/// The pause before a file that failed is tried again; it doubles with each further failure.
const AGAIN: Duration = Duration::from_secs(30);

/// The longest such pause.
const LONGEST_AGAIN: Duration = Duration::from_mins(10);

/// The pause of a worker that has nothing to do.
const IDLE: Duration = Duration::from_mins(5);

/// Between two looks at a budget that is spent.
const SPENT: Duration = Duration::from_secs(5);

/// Files shown in lists.
const SHOWN: usize = 1_000;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_QUEUE in "files": "Files that wait to be fetched ahead of demand" => "they are given again with the next list",
    MAX_ENDING in "files": "Files of which everything was asked for, beside those of the queue" => "the next file waits",
    MAX_EXPEDITED in "files": "Files fetched at once because an administrator raised them" => "they wait",
    LONGEST_AGAIN: "The pause before a file of the queue is tried again" => "it grows no further",
    SHOWN in "files": "Files shown in a list of transfers" => "only their number is shown",
];

// not a limit: SMALL: which files go first

struct QueuedDownload {
    file: FileDeclaration,
    class: Class,
    not_before: Option<Instant>,
    failures: u32,
    /// Its servers could not be reached: it comes back with the first of them.
    cut_off: bool,
    /// Named by [`Handle::prefetch`], so that the next list replaces it.
    listed: bool,
}

/// What waits.
pub(super) struct Queue {
    waiting: Mutex<VecDeque<QueuedDownload>>,
    /// Files that an administrator stopped, until they go on or the server starts anew.
    paused: Mutex<HashSet<Sha1Digest>>,
    running: Mutex<HashMap<Sha1Digest, Running>>,
    /// Places for what an administrator raised.
    expedited: Arc<Semaphore>,
    /// Places for files of which every piece was asked for.
    ending: Arc<Semaphore>,
    changed: Notify,
}

/// What is fetched.
struct Running {
    file: FileDeclaration,
    class: Class,
    /// Cancelled when a later list does not name it any more, and when it is given up.
    withdrawn: CancellationToken,
    listed: bool,
}

/// A download that is being fetched; the token says when it is wanted no more.
type Begun = (QueuedDownload, CancellationToken);

/// Which downloads a worker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// All.
    Any,
    /// Small files, and what is more urgent than whatever runs.
    Aside,
}

/// What became of a download that was raised.
enum Raised {
    /// It is fetched now.
    Begins(Begun, OwnedSemaphorePermit),
    /// It is the next, or begins just now.
    First,
    /// It does not wait here.
    Unknown,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            paused: Mutex::default(),
            running: Mutex::default(),
            expedited: Arc::new(Semaphore::new(MAX_EXPEDITED)),
            ending: Arc::new(Semaphore::new(MAX_ENDING)),
            changed: Notify::new(),
        }
    }
}

impl Queue {
    /// Adds one in front of the listed ones. False when the queue is full.
    pub(super) fn push(&self, file: FileDeclaration, class: Class) -> bool {
        let mut waiting = locked(&self.waiting);
        if waiting.len() >= MAX_QUEUE {
            return false;
        }
        waiting.retain(|download| download.file.sha1 != file.sha1);
        let place = waiting.iter().position(|download| download.listed).unwrap_or(waiting.len());
        waiting.insert(place, QueuedDownload { listed: false, ..QueuedDownload::new(file, class) });
        drop(waiting);
        self.changed.notify_waiters();
        true
    }

    /// Replaces the listed ones, leaving out what is verified. Says how many did not fit.
    pub(super) fn replace(&self, files: Vec<Prefetch>, store: &Store) -> usize {
        let lacking = |ahead: &Prefetch| {
            store.status(&ahead.file.sha1).is_none_or(|status| status.state != FileState::Verified)
        };
        let mut lacking: VecDeque<_> = files.into_iter().filter(lacking).collect();
        let named: HashSet<Sha1Digest> = lacking.iter().map(|ahead| ahead.file.sha1).collect();
        let running = locked(&self.running);
        let mut waiting = locked(&self.waiting);
        // one that failed keeps its pause
        let pause = |download: &QueuedDownload| {
            (download.file.sha1, (download.not_before, download.failures, download.cut_off))
        };
        let paused: HashMap<_, _> = waiting.iter().filter(|download| download.listed).map(pause).collect();
        waiting.retain(|download| !download.listed);
        let others: HashSet<Sha1Digest> = waiting.iter().map(|download| download.file.sha1).collect();
        while waiting.len() < MAX_QUEUE {
            let Some(Prefetch { file, class }) = lacking.pop_front() else { break };
            if !running.contains_key(&file.sha1) && !others.contains(&file.sha1) {
                let (not_before, failures, cut_off) = paused.get(&file.sha1).copied().unwrap_or_default();
                waiting.push_back(QueuedDownload {
                    file,
                    class,
                    not_before,
                    failures,
                    cut_off,
                    listed: true,
                });
            }
        }
        drop(waiting);
        for (_, gone) in running.iter().filter(|(sha1, running)| running.listed && !named.contains(sha1)) {
            gone.withdrawn.cancel();
        }
        drop(running);
        self.changed.notify_waiters();
        lacking.len()
    }

    /// Gives a file up, whether it waits or runs. False when it does neither.
    pub(super) fn remove(&self, sha1: &Sha1Digest) -> bool {
        let running = locked(&self.running);
        let mut waiting = locked(&self.waiting);
        let before = waiting.len();
        waiting.retain(|download| download.file.sha1 != *sha1);
        let runs = running.get(sha1).inspect(|running| running.withdrawn.cancel());
        runs.is_some() || waiting.len() < before
    }

    /// Makes a download at least so urgent and takes it out, with a place beside the workers; without one it goes to the
    /// front.
    fn raise(&self, sha1: &Sha1Digest, class: Class) -> Raised {
        let place = Arc::clone(&self.expedited).try_acquire_owned().ok();
        let mut running = locked(&self.running);
        let is_paused = self.is_paused(sha1);
        let mut waiting = locked(&self.waiting);
        if let Some(running) = running.get_mut(sha1) {
            running.class = running.class.min(class);
            return Raised::First;
        }
        let found =
            waiting.iter().position(|download| download.file.sha1 == *sha1).and_then(|at| waiting.remove(at));
        let Some(mut download) = found else { return Raised::Unknown };
        download.class = download.class.min(class);
        download.not_before = None;
        // from now on it is the administrator's, and no new list takes it back
        download.listed = false;
        if let Some(place) = place.filter(|_| !is_paused) {
            return Raised::Begins(begin(&mut running, download), place);
        }
        waiting.push_front(download);
        drop((waiting, running));
        self.changed.notify_waiters();
        Raised::First
    }

    /// Stops a file, or lets it go on. False when there is no room to remember it, or nothing to go on with.
    pub(super) fn pause(&self, sha1: &Sha1Digest, paused: bool) -> bool {
        let mut all = locked(&self.paused);
        if paused {
            return all.contains(sha1) || (all.len() < MAX_QUEUE && all.insert(*sha1));
        }
        let was = all.remove(sha1);
        drop(all);
        self.changed.notify_waiters();
        was
    }

    pub(super) fn is_paused(&self, sha1: &Sha1Digest) -> bool {
        locked(&self.paused).contains(sha1)
    }

    pub(super) fn holds(&self, sha1: &Sha1Digest) -> bool {
        let running = locked(&self.running);
        running.contains_key(sha1) || locked(&self.waiting).iter().any(|download| download.file.sha1 == *sha1)
    }

    /// What runs, whether its transfer has begun or not, and then what waits, up to [`SHOWN`].
    pub(super) fn known(&self) -> Vec<(FileDeclaration, Class)> {
        let running = locked(&self.running);
        let waiting = locked(&self.waiting);
        let runs = running.values().map(|running| (&running.file, running.class));
        let waits = waiting.iter().filter(|download| !running.contains_key(&download.file.sha1));
        let waits = waits.map(|download| (&download.file, download.class));
        runs.chain(waits).take(SHOWN).map(|(file, class)| (file.clone(), class)).collect()
    }

    /// How many more may wait.
    pub(super) fn room(&self) -> usize {
        MAX_QUEUE.saturating_sub(self.len())
    }

    pub(super) fn len(&self) -> usize {
        locked(&self.waiting).len()
    }

    /// Begins the next one that is due and may cross the link, or says when one will be.
    fn next(
        &self,
        takes: Takes,
        now: Instant,
        may: impl Fn(Class) -> bool,
    ) -> Result<Begun, Option<Instant>> {
        let may = Class::ALL.map(may);
        let mut running = locked(&self.running);
        let urgent = running.values().map(|running| running.class).min();
        let paused = locked(&self.paused);
        let mut waiting = locked(&self.waiting);
        let may_go = |download: &QueuedDownload| {
            (takes == Takes::Any
                || download.file.size <= SMALL
                || urgent.is_some_and(|class| download.class < class))
                && (paused.is_empty() || !paused.contains(&download.file.sha1))
        };
        let due = |download: &QueuedDownload| {
            // one that runs and was asked for again is looked at when it has ended
            let idle = !running.contains_key(&download.file.sha1);
            download.not_before.is_none_or(|at| at <= now)
                && may_go(download)
                && may[download.class as usize]
                && idle
        };
        match waiting.iter().position(due).and_then(|place| waiting.remove(place)) {
            Some(download) => Ok(begin(&mut running, download)),
            None if waiting.iter().any(|download| may_go(download) && !may[download.class as usize]) => {
                Err(Some(now + SPENT))
            }
            None => Err(waiting
                .iter()
                .filter(|download| may_go(download))
                .filter_map(|download| download.not_before)
                .min()),
        }
    }

    /// The class that a running file was raised to.
    fn raised(&self, sha1: &Sha1Digest) -> Option<Class> {
        locked(&self.running).get(sha1).map(|running| running.class)
    }

    /// A file is there, or is wanted no more.
    fn end(&self, download: &QueuedDownload) {
        locked(&self.running).remove(&download.file.sha1);
        self.changed.notify_waiters();
    }

    /// A file failed: it goes behind the others.
    fn again(&self, download: QueuedDownload, error: &TransferError, now: Instant) {
        let mut running = locked(&self.running);
        let class = running.remove(&download.file.sha1).map_or(download.class, |running| running.class);
        let download = QueuedDownload { class, ..download };
        let cut_off = matches!(error, TransferError::Unreachable { .. });
        // a source that asked to be left alone did not fail, and says itself when to come again
        let deferred = match error {
            TransferError::Deferred { again, .. } => Some(*again),
            _ => None,
        };
        let stopped = matches!(error, TransferError::Stopped { .. } | TransferError::Spent { .. });
        let failures =
            if cut_off || stopped || deferred.is_some() { 0 } else { download.failures.saturating_add(1) };
        let pause = AGAIN * 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
        // what an administrator or a budget stopped is due as soon as they let it go on
        let not_before = (!stopped).then(|| now + deferred.unwrap_or(pause).min(LONGEST_AGAIN));
        let mut waiting = locked(&self.waiting);
        if waiting.len() < MAX_QUEUE && waiting.iter().all(|other| other.file.sha1 != download.file.sha1) {
            waiting.push_back(QueuedDownload { not_before, failures, cut_off, ..download });
        }
        drop((waiting, running));
        self.changed.notify_waiters();
    }

    /// A server answers again: what waited for one need not wait any longer.
    fn expedite(&self) {
        for download in locked(&self.waiting).iter_mut().filter(|download| download.cut_off) {
            (download.not_before, download.cut_off) = (None, false);
        }
        self.changed.notify_waiters();
    }
}

/// Notes that a download is being fetched.
fn begin(running: &mut HashMap<Sha1Digest, Running>, download: QueuedDownload) -> Begun {
    let (withdrawn, file) = (CancellationToken::new(), download.file.clone());
    let entry =
        Running { file, class: download.class, withdrawn: withdrawn.clone(), listed: download.listed };
    running.insert(download.file.sha1, entry);
    (download, withdrawn)
}

impl QueuedDownload {
    fn new(file: FileDeclaration, class: Class) -> Self {
        Self { file, class, not_before: None, failures: 0, cut_off: false, listed: false }
    }
}

/// Starts the workers.
pub(super) fn start(handle: &Handle) {
    for takes in [[Takes::Any; WORKERS], [Takes::Aside; SIDE_WORKERS]].concat() {
        let worker = handle.clone();
        handle.0.shared.tasks.spawn("background transfers", async move { work(&worker, takes).await });
    }
    let watching = handle.clone();
    handle.0.shared.tasks.spawn("return of servers", async move {
        let stopping = watching.0.shared.tasks.stopping();
        loop {
            let back = watching.0.shared.origins.back.notified();
            tokio::select! {
                () = back => watching.0.queue.expedite(),
                () = stopping.cancelled() => break,
            }
        }
        // flows know what knows them
        locked(&watching.0.shared.flows).clear();
    });
}

async fn work(handle: &Handle, takes: Takes) {
    let shared = &handle.0.shared;
    let queue = &handle.0.queue;
    let stopping = shared.tasks.stopping();
    while !stopping.is_cancelled() {
        let changed = queue.changed.notified();
        let may = |class| shared.link.limiter().spent_until(class).is_none();
        match queue.next(takes, shared.clock.instant(), may) {
            Ok(begun) => work_on(handle, begun).await,
            Err(due) => {
                let due = due.unwrap_or_else(|| shared.clock.instant() + IDLE);
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(due) => {}
                    () = stopping.cancelled() => {}
                }
            }
        }
    }
}

/// Fetches one until it is there, or until all of it was asked for and there is a place for its end.
async fn work_on(handle: &Handle, begun: Begun) {
    let asked_for = Arc::new(Notify::new());
    let mut fetch = Box::pin({
        let (handle, asked_for) = (handle.clone(), Arc::clone(&asked_for));
        async move { download(&handle, begun, &asked_for).await }
    });
    let place = async {
        asked_for.notified().await;
        Arc::clone(&handle.0.queue.ending).acquire_owned().await
    };
    tokio::select! {
        () = &mut fetch => {}
        Ok(place) = place => {
            handle.0.shared.tasks.spawn("end of a transfer", async move {
                fetch.await;
                drop(place);
            });
        }
    }
}

/// Fetches one; what fails comes again later. Says when all of it was asked for.
async fn download(handle: &Handle, (download, withdrawn): Begun, asked_for: &Notify) {
    let (shared, queue) = (&handle.0.shared, &handle.0.queue);
    let size = ByteCount(download.file.size);
    let fetched = tokio::select! {
        fetched = whole(handle, &download, asked_for) => fetched,
        () = withdrawn.cancelled() => Ok(()),
    };
    match fetched {
        _ if withdrawn.is_cancelled() => queue.end(&download),
        Err(error @ TransferError::Stopped { .. }) if queue.is_paused(&download.file.sha1) => {
            queue.again(download, &error, shared.clock.instant());
        }
        Ok(()) => {
            queue.end(&download);
            super::pinned::forget(shared, download.file.sha1);
        }
        Err(TransferError::Stopping | TransferError::Stopped { .. }) => queue.end(&download),
        Err(
            error @ (TransferError::Spent { .. }
            | TransferError::Unreachable { .. }
            | TransferError::Deferred { .. }),
        ) => {
            tracing::info!(sha1 = %download.file.sha1, %size, %error, "a file waits for the link");
            queue.again(download, &error, shared.clock.instant());
        }
        Err(error) => {
            tracing::warn!(sha1 = %download.file.sha1, %size, %error, "a file could not be fetched ahead; it is tried again");
            queue.again(download, &error, shared.clock.instant());
        }
    }
}

/// Makes a queued file at least so urgent and begins it, beside what runs. False when it is not queued.
pub(super) fn expedite(handle: &Handle, sha1: &Sha1Digest, class: Class) -> bool {
    match handle.0.queue.raise(sha1, class) {
        Raised::Begins(begun, place) => {
            let worker = handle.clone();
            handle.0.shared.tasks.spawn("raised transfer", async move {
                download(&worker, begun, &Notify::new()).await;
                drop(place);
            });
            true
        }
        Raised::First => true,
        Raised::Unknown => false,
    }
}

/// Fetches a whole file and waits until it is verified.
async fn whole(handle: &Handle, download: &QueuedDownload, asked_for: &Notify) -> Result<(), TransferError> {
    let want = handle.register(&download.file, None, plan::Demand::own(download.class)).await?;
    // while it was opened there was nothing yet to raise
    if let Some(class) = handle.0.queue.raised(&download.file.sha1).filter(|class| *class < download.class) {
        handle.with_flow(&download.file.sha1, |flow| flow.raise(class));
    }
    let mut offset = want.range().start;
    while offset < want.range().end {
        offset = want.ready(offset).await?;
        handle.with_flow(&download.file.sha1, |flow| {
            if flow.is_asked_for() {
                asked_for.notify_one();
            }
        });
    }
    want.settled().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn download(number: u8, size: u64, class: Class) -> QueuedDownload {
        let name = format!("{number}.cab");
        let file =
            FileDeclaration { sha1: Sha1Digest([number; 20]), sha256: None, size, name, patching: None };
        QueuedDownload { listed: true, ..QueuedDownload::new(file, class) }
    }

    #[test]
    fn small_and_urgent_files_do_not_stand_behind_large_ones() {
        let (queue, now) = (Queue::default(), Instant::now());
        let next = |takes| queue.next(takes, now, |_| true).ok().map(|(download, _)| download.file.sha1.0[0]);
        for (number, size, class) in [
            (1, 9 << 30, Class::Security),
            (2, 8 << 30, Class::Security),
            (3, 7 << 30, Class::Security),
            (4, 1 << 20, Class::Normal),
            (5, 6 << 30, Class::Deadline),
        ] {
            locked(&queue.waiting).push_back(download(number, size, class));
        }
        assert_eq!((next(Takes::Any), next(Takes::Any)), (Some(1), Some(2)));
        assert_eq!((next(Takes::Aside), next(Takes::Aside)), (Some(4), Some(5)));
        assert_eq!(next(Takes::Aside), None, "a large file like those that run waits for them");
        assert!(queue.pause(&Sha1Digest([3; 20]), true));
        assert!(
            queue.next(Takes::Any, now, |_| true).is_err_and(|due| due.is_none()),
            "nor is it waited for while paused"
        );
        assert!(queue.pause(&Sha1Digest([3; 20]), false));
        assert_eq!(next(Takes::Any), Some(3));
    }

    #[test]
    fn a_file_that_begins_is_listed_raised_and_given_up_like_any_other() {
        let (queue, now) = (Queue::default(), Instant::now());
        let sha1 = Sha1Digest([1; 20]);
        assert!(queue.push(download(1, 9, Class::Background).file, Class::Background));
        let Ok((begun, withdrawn)) = queue.next(Takes::Any, now, |_| true) else { panic!("it is due") };
        let listed = |queue: &Queue| queue.known().iter().map(|(_, class)| *class).collect::<Vec<_>>();
        assert_eq!((queue.len(), listed(&queue)), (0, vec![Class::Background]));
        assert!(queue.holds(&sha1) && matches!(queue.raise(&sha1, Class::Deadline), Raised::First));
        assert_eq!(queue.raised(&sha1), Some(Class::Deadline));
        // asked for again, it waits for its own end
        assert!(queue.push(begun.file.clone(), Class::Normal));
        assert!(queue.next(Takes::Any, now, |_| true).is_err());
        assert!(queue.remove(&sha1) && withdrawn.is_cancelled() && queue.len() == 0);
        queue.end(&begun);
        assert!(listed(&queue).is_empty() && !queue.remove(&sha1));
    }
}
