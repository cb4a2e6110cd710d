//! What a connection's socket and the exchange above it share: what the exchange is for, its progress, and what is paid.
//!
//! **Invariant:** a deposit belongs to one exchange and ends with it. It never reads from a socket or asks the limiter for a
//! turn.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::schedule::Deposit;
use tailwater_domain::Purpose;

/// What a connection's socket and the exchange above it share.
pub(super) struct Account {
    purpose: Mutex<Purpose>,
    /// Counts bytes read and turns waited for; timeouts compare it.
    progress: AtomicU64,
    /// The socket waits for its turn on the link.
    awaiting_turn: AtomicBool,
    /// Bytes read since the exchange began.
    read: AtomicU64,
    /// Bytes after which the answer ends, counted like `read`; `u64::MAX` while unknown.
    ends_at: AtomicU64,
    deposit: Mutex<Option<Deposit>>,
    /// The budget was spent before the answer ended.
    spent: AtomicBool,
    /// Microseconds since the connection was made, counted from 1: when a request left last, and when the first byte
    /// after it was there to be read, whether or not it might be read then; 0 while there is none.
    asked_at: AtomicU64,
    came_at: AtomicU64,
    made: Instant,
}

impl Account {
    pub(super) fn new(purpose: Purpose) -> Self {
        Self {
            purpose: Mutex::new(purpose),
            progress: AtomicU64::new(0),
            awaiting_turn: AtomicBool::new(false),
            read: AtomicU64::new(0),
            ends_at: AtomicU64::new(u64::MAX),
            deposit: Mutex::new(None),
            spent: AtomicBool::new(false),
            asked_at: AtomicU64::new(0),
            came_at: AtomicU64::new(0),
            made: Instant::now(),
        }
    }

    /// A request goes out.
    pub(super) fn begin(&self, purpose: Purpose, deposit: Deposit) {
        *self.purpose.lock().unwrap_or_else(PoisonError::into_inner) = purpose;
        self.read.store(0, Ordering::Relaxed);
        self.ends_at.store(u64::MAX, Ordering::Relaxed);
        *self.deposit.lock().unwrap_or_else(PoisonError::into_inner) = Some(deposit);
    }

    /// The head of the answer arrived; `whole` is its length and that of its body, where it says so.
    pub(super) fn answered(&self, whole: Option<u64>) {
        let Some(whole) = whole else { return };
        self.ends_at.store(whole, Ordering::Relaxed);
        let left = whole.saturating_sub(self.read.load(Ordering::Relaxed));
        if let Some(deposit) = &*self.deposit.lock().unwrap_or_else(PoisonError::into_inner) {
            deposit.keep(left);
        }
    }

    /// The answer ended, or is given up.
    pub(super) fn end(&self) {
        *self.deposit.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Something that changes with every byte read and every turn waited for; `None` while the socket waits
    /// for its turn, which is nobody's fault.
    pub(super) fn progress(&self) -> Option<u64> {
        (!self.awaiting_turn.load(Ordering::Relaxed)).then(|| self.progress.load(Ordering::Relaxed))
    }

    /// Whether the socket waits for its turn; waiting and going on count as progress.
    pub(super) fn note_turn(&self, waits: bool) {
        if self.awaiting_turn.swap(waits, Ordering::Relaxed) != waits {
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The budget was spent before the answer ended.
    pub(super) fn note_spent(&self) {
        self.spent.store(true, Ordering::Relaxed);
    }

    /// Whether the exchange broke off because the budget was spent.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// How long the first byte of the answer took from the request's last byte on; `None` before it is there.
    pub(super) fn answer_took(&self) -> Option<Duration> {
        let (asked, came) = (self.asked_at.load(Ordering::Relaxed), self.came_at.load(Ordering::Relaxed));
        (asked > 0 && came > 0).then(|| Duration::from_micros(came.saturating_sub(asked)))
    }

    fn age(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }

    pub(super) fn note_asked(&self) {
        self.came_at.store(0, Ordering::Relaxed);
        self.asked_at.store(self.age(), Ordering::Relaxed);
    }

    pub(super) fn note_came(&self) {
        if self.came_at.load(Ordering::Relaxed) == 0 {
            self.came_at.store(self.age(), Ordering::Relaxed);
        }
    }

    pub(super) fn purpose(&self) -> Purpose {
        *self.purpose.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is left of the deposit.
    pub(super) fn deposited(&self) -> u64 {
        self.deposit.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Deposit::balance)
    }

    /// Draws up to `want` of the deposit where it is more than what may still arrive without another grant: `fills`, the most
    /// that the receive buffer was seen to hold, or the rest of the answer.
    pub(super) fn draw(&self, want: u64, fills: u64) -> u64 {
        let left = self.ends_at.load(Ordering::Relaxed).saturating_sub(self.read.load(Ordering::Relaxed));
        match &*self.deposit.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(deposit) if deposit.balance() >= left => deposit.draw(want),
            Some(deposit) => deposit.draw(want.min(deposit.balance().saturating_sub(fills))),
            None => 0,
        }
    }

    /// Bytes of the answer that were not read yet; 0 while nothing is asked for, `u64::MAX` while its length is unknown.
    pub(super) fn left(&self) -> u64 {
        if self.deposit.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return 0;
        }
        match self.ends_at.load(Ordering::Relaxed) {
            u64::MAX => u64::MAX,
            ends_at => ends_at.saturating_sub(self.read.load(Ordering::Relaxed)),
        }
    }

    /// How much of the rest of the answer is not paid for; 0 while its length is unknown.
    pub(super) fn unpaid(&self) -> u64 {
        let ends_at = self.ends_at.load(Ordering::Relaxed);
        if ends_at == u64::MAX {
            return 0;
        }
        let left = ends_at.saturating_sub(self.read.load(Ordering::Relaxed));
        let deposit = self.deposit.lock().unwrap_or_else(PoisonError::into_inner);
        deposit.as_ref().map_or(0, |deposit| left.saturating_sub(deposit.balance()))
    }

    pub(super) fn put_back(&self, bytes: u64) {
        if let Some(deposit) = &*self.deposit.lock().unwrap_or_else(PoisonError::into_inner) {
            deposit.put_back(bytes);
        }
    }

    pub(super) fn count_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        self.progress.fetch_add(1, Ordering::Relaxed);
    }
}
