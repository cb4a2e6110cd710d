//! What one connection is doing, as far as that decides whether it gives way to others.
//!
//! **Invariant:** a connection that gave way, or was dropped, has no share. It never decides who gives way: that is for
//! [`super::connections`].

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http::body::{Observer, Polled};
use tailwater_runtime::{Clock, Share};

/// Milliseconds since `begin`, and one, so that 0 can stand for "not at all".
pub(super) fn millis_since(begin: Instant, clock: &Clock) -> u64 {
    let passed = clock.instant().saturating_duration_since(begin);
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX - 1) + 1
}

/// What a connection is doing, as far as that decides whether it gives way.
pub(super) struct Activity {
    address: IpAddr,
    begin: Instant,
    clock: Clock,
    /// Requests that are being answered: one, or none.
    answering: AtomicU64,
    /// Milliseconds since `begin` at which it began to wait for its client, and one; 0 while it does not.
    waits: AtomicU64,
    share: Mutex<Option<Share>>,
    leave: Notify,
}

impl Activity {
    /// A connection that has a share and waits for its client; times count from `begin`.
    pub(super) fn new(address: IpAddr, share: Share, begin: Instant, clock: Clock) -> Self {
        let waits = AtomicU64::new(millis_since(begin, &clock));
        let (answering, share, leave) = (AtomicU64::new(0), Mutex::new(Some(share)), Notify::new());
        Self { address, begin, clock, answering, waits, share, leave }
    }

    /// Where it comes from.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// Since when it waits for its client, as [`millis_since`] counts; 0 while it does not.
    pub(super) fn waits_since(&self) -> u64 {
        self.waits.load(Ordering::Acquire)
    }

    /// Whether it still counts as open.
    pub(super) fn stays(&self) -> bool {
        self.share().is_some()
    }

    /// It counts as open no more.
    pub(super) fn give_back(&self) {
        // dropped without the lock: that gives the share to others
        let share = self.share().take();
        drop(share);
    }

    /// It must give way: its share is free from now on, and the socket follows as soon as its task runs.
    pub(super) fn give_way(&self) {
        self.give_back();
        self.leave.notify_one();
    }

    fn share(&self) -> MutexGuard<'_, Option<Share>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        millis_since(self.begin, &self.clock)
    }

    pub(super) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Acquire) > 0
    }

    /// It is the client's turn; since when is kept.
    pub(super) fn waits_for_client(&self) {
        if self.waits.load(Ordering::Relaxed) == 0 {
            self.waits.store(self.now(), Ordering::Release);
        }
    }

    /// Bytes came.
    pub(super) fn came(&self) {
        self.waits.store(if self.is_answering() { 0 } else { self.now() }, Ordering::Release);
    }

    /// A request is there; answered when what this gives is dropped.
    pub(super) fn answers(self: &Arc<Self>) -> Answering {
        self.answering.fetch_add(1, Ordering::AcqRel);
        self.waits.store(0, Ordering::Release);
        Answering(Arc::clone(self))
    }

    /// Resolves when it must give way.
    pub(super) async fn must_leave(&self) {
        self.leave.notified().await;
    }
}

/// A request is being answered. As an observer of the answer's body it knows whose turn it is.
pub(super) struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::AcqRel);
        self.0.waits.store(self.0.now(), Ordering::Release);
    }
}

impl Observer for Answering {
    fn after(&mut self, polled: &Polled, _ended: bool) {
        // what is ready waits for the client; what is not waits for this server
        let since = if polled.is_ready() { self.0.now() } else { 0 };
        self.0.waits.store(since, Ordering::Release);
    }
}
