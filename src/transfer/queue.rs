//! The background queue: whole files, one after the other, until they are held.
//!
//! **Invariant:** at most [`MAX_QUEUE`] files wait and [`WORKERS`] are fetched at once. A file that fails
//! comes again after a pause, for as long as it is wanted. It never competes with a reader: its wishes are
//! of a class below.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::handle::Handle;
use super::plan;
use super::shared::locked;
use super::{Ahead, TransferError};
use crate::bandwidth::Class;
use crate::content::{FileState, Store};
use crate::domain::{ByteCount, FileDeclaration, Sha1Digest};

/// Files that wait; more are given again with the next list.
const MAX_QUEUE: usize = 65_536;

/// Files fetched at once: each has several requests of its own.
const WORKERS: usize = 2;

/// The pause before a file that failed is tried again.
const AGAIN: Duration = Duration::from_mins(5);

/// Between two looks at a budget that is spent.
const SPENT: Duration = Duration::from_secs(5);

/// Files shown in lists.
const SHOWN: usize = 1_000;

struct Wish {
    file: FileDeclaration,
    class: Class,
    not_before: Option<Instant>,
    /// Named by [`Handle::hold`], so that the next list replaces it.
    listed: bool,
}

/// What waits.
#[derive(Default)]
pub(super) struct Queue {
    wishes: Mutex<VecDeque<Wish>>,
    /// Files that an administrator stopped, until they go on or the server starts anew.
    paused: Mutex<HashSet<Sha1Digest>>,
    /// What is fetched because it was listed; cancelled when a later list does not name it.
    running: Mutex<HashMap<Sha1Digest, CancellationToken>>,
    changed: Notify,
}

impl Queue {
    /// Adds one in front of the listed ones. False when the queue is full.
    pub(super) fn push(&self, file: FileDeclaration, class: Class) -> bool {
        let mut wishes = locked(&self.wishes);
        if wishes.len() >= MAX_QUEUE {
            return false;
        }
        wishes.retain(|wish| wish.file.sha1 != file.sha1);
        let place = wishes.iter().position(|wish| wish.listed).unwrap_or(wishes.len());
        wishes.insert(place, Wish { file, class, not_before: None, listed: false });
        drop(wishes);
        self.changed.notify_one();
        true
    }

    /// Replaces the listed ones, leaving out what is verified. Says how many did not fit.
    pub(super) fn replace(&self, files: Vec<Ahead>, store: &Store) -> usize {
        let lacking = |ahead: &Ahead| {
            store.status(&ahead.file.sha1).is_none_or(|status| status.state != FileState::Verified)
        };
        let mut lacking: VecDeque<_> = files.into_iter().filter(lacking).collect();
        let named: HashSet<Sha1Digest> = lacking.iter().map(|ahead| ahead.file.sha1).collect();
        let mut running = locked(&self.running);
        let mut wishes = locked(&self.wishes);
        // one that failed keeps its pause
        let paused: HashMap<Sha1Digest, Option<Instant>> =
            wishes.iter().filter(|wish| wish.listed).map(|wish| (wish.file.sha1, wish.not_before)).collect();
        wishes.retain(|wish| !wish.listed);
        let others: HashSet<Sha1Digest> = wishes.iter().map(|wish| wish.file.sha1).collect();
        while wishes.len() < MAX_QUEUE {
            let Some(Ahead { file, class }) = lacking.pop_front() else { break };
            if !running.contains_key(&file.sha1) && !others.contains(&file.sha1) {
                let not_before = paused.get(&file.sha1).copied().flatten();
                wishes.push_back(Wish { file, class, not_before, listed: true });
            }
        }
        drop(wishes);
        for (_, withdrawn) in running.iter_mut().filter(|(sha1, _)| !named.contains(sha1)) {
            withdrawn.cancel();
        }
        drop(running);
        self.changed.notify_waiters();
        self.changed.notify_one();
        lacking.len()
    }

    pub(super) fn remove(&self, sha1: &Sha1Digest) -> bool {
        let mut wishes = locked(&self.wishes);
        let before = wishes.len();
        wishes.retain(|wish| wish.file.sha1 != *sha1);
        wishes.len() < before
    }

    pub(super) fn raise(&self, sha1: &Sha1Digest, class: Class) -> bool {
        let mut wishes = locked(&self.wishes);
        let Some(place) = wishes.iter().position(|wish| wish.file.sha1 == *sha1) else { return false };
        if let Some(mut wish) = wishes.remove(place) {
            wish.class = wish.class.min(class);
            wish.not_before = None;
            // from now on it is the administrator's, and no new list takes it back
            wish.listed = false;
            wishes.push_front(wish);
        }
        drop(wishes);
        self.changed.notify_one();
        true
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
        self.changed.notify_one();
        was
    }

    pub(super) fn is_paused(&self, sha1: &Sha1Digest) -> bool {
        locked(&self.paused).contains(sha1)
    }

    pub(super) fn holds(&self, sha1: &Sha1Digest) -> bool {
        locked(&self.wishes).iter().any(|wish| wish.file.sha1 == *sha1)
    }

    pub(super) fn waiting(&self) -> Vec<(FileDeclaration, Class)> {
        locked(&self.wishes).iter().take(SHOWN).map(|wish| (wish.file.clone(), wish.class)).collect()
    }

    pub(super) fn len(&self) -> usize {
        locked(&self.wishes).len()
    }

    /// The next one that is due and may cross the link, or when one will be.
    fn next(&self, now: Instant, may: impl Fn(Class) -> bool) -> Result<Wish, Option<Instant>> {
        let may = Class::ALL.map(may);
        let paused = locked(&self.paused);
        let mut wishes = locked(&self.wishes);
        let due = |wish: &Wish| {
            wish.not_before.is_none_or(|at| at <= now)
                && (paused.is_empty() || !paused.contains(&wish.file.sha1))
                && may[wish.class as usize]
        };
        match wishes.iter().position(due).and_then(|place| wishes.remove(place)) {
            Some(wish) => Ok(wish),
            None if wishes.iter().any(|wish| !may[wish.class as usize]) => Err(Some(now + SPENT)),
            None => Err(wishes.iter().filter_map(|wish| wish.not_before).min()),
        }
    }

    /// Notes that a wish is being fetched; the token says when it is wanted no more.
    fn begin(&self, wish: &Wish) -> CancellationToken {
        let withdrawn = CancellationToken::new();
        if wish.listed {
            locked(&self.running).insert(wish.file.sha1, withdrawn.clone());
        }
        withdrawn
    }

    fn end(&self, wish: &Wish) {
        locked(&self.running).remove(&wish.file.sha1);
    }

    fn again(&self, wish: Wish, at: Instant) {
        let mut wishes = locked(&self.wishes);
        if wishes.len() < MAX_QUEUE && wishes.iter().all(|other| other.file.sha1 != wish.file.sha1) {
            wishes.push_back(Wish { not_before: Some(at), ..wish });
        }
    }
}

/// Starts the workers.
pub(super) fn start(handle: &Handle) {
    for _ in 0..WORKERS {
        let worker = handle.clone();
        handle.0.shared.tasks.spawn("background transfers", async move { work(&worker).await });
    }
}

async fn work(handle: &Handle) {
    let shared = &handle.0.shared;
    let queue = &handle.0.queue;
    let stopping = shared.tasks.stopping();
    while !stopping.is_cancelled() {
        let changed = queue.changed.notified();
        let may = |class| shared.link.limiter().spent_until(class).is_none();
        match queue.next(shared.clock.instant(), may) {
            Ok(wish) => {
                let size = ByteCount(wish.file.size);
                let withdrawn = queue.begin(&wish);
                let fetched = tokio::select! {
                    fetched = whole(handle, &wish) => fetched,
                    () = withdrawn.cancelled() => Ok(()),
                };
                queue.end(&wish);
                match fetched {
                    Err(TransferError::Stopped { sha1 }) if queue.is_paused(&sha1) => {
                        queue.again(wish, shared.clock.instant());
                    }
                    Ok(()) | Err(TransferError::Stopping | TransferError::Stopped { .. }) => {}
                    Err(error @ TransferError::Spent { .. }) => {
                        tracing::info!(sha1 = %wish.file.sha1, %size, %error, "a file waits for the link's budget");
                        queue.again(wish, shared.clock.instant());
                    }
                    Err(error) => {
                        tracing::warn!(sha1 = %wish.file.sha1, %size, %error, "a file could not be fetched ahead; it is tried again");
                        queue.again(wish, shared.clock.instant() + AGAIN);
                    }
                }
            }
            Err(due) => {
                let due = due.unwrap_or_else(|| shared.clock.instant() + AGAIN);
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(due) => {}
                    () = stopping.cancelled() => {}
                }
            }
        }
    }
}

/// Fetches a whole file and waits until it is verified.
async fn whole(handle: &Handle, wish: &Wish) -> Result<(), TransferError> {
    let want = handle.register(&wish.file, None, plan::Wish::own(wish.class)).await?;
    let mut offset = want.range().start;
    while offset < want.range().end {
        offset = want.ready(offset).await?;
    }
    want.settled().await
}
