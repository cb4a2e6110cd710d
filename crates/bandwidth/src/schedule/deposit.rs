//! Paying in advance for what may cross the link unread.
//!
//! Whatever fits into a connection's receive buffer arrives as soon as a request is sent, read or not. So a
//! request first pays for that much (its *deposit*), pays for what it reads as it reads, and reads the end of
//! its answer, which has arrived by then, against the deposit.
//!
//! **Invariant:** what may have crossed the link was paid for. Deposits are completed one after the other:
//! if those who wait filled theirs in step, the link would idle and then take all their answers at once.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::limiter::Limiter;
use crate::LinkError;
use tailwater_domain::{Class, Purpose, Requester};

/// The queue of those who pay deposits. Everyone who waits takes their own turns on the link, and all turns together
/// complete the deposit of the most urgent class; of these, requesters alternate.
#[derive(Clone)]
pub(crate) struct DepositQueue {
    limiter: Limiter,
    state: Arc<Mutex<QueueState>>,
}

#[derive(Default)]
struct QueueState {
    /// Paid, and not yet enough for the first in the queue.
    collected: u64,
    queue: VecDeque<Ticket>,
}

/// Someone who waits for so many bytes.
struct Ticket {
    class: Class,
    requester: Requester,
    bytes: u64,
    ready: Arc<Notify>,
}

/// A position in the queue; leaving it early leaves what was paid to those behind.
struct Waiter<'a> {
    deposits: &'a DepositQueue,
    class: Class,
    ready: Arc<Notify>,
    /// What the deposit will be; 0 once it was handed over.
    bytes: u64,
}

impl DepositQueue {
    pub(crate) fn new(limiter: &Limiter) -> Self {
        Self { limiter: limiter.clone(), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pays `bytes`; nothing while there is no limit.
    pub(crate) async fn pay(&self, purpose: Purpose, bytes: u64) -> Result<Deposit, LinkError> {
        let deposit =
            Deposit { limiter: self.limiter.clone(), class: purpose.class, balance: AtomicU64::new(0) };
        if bytes == 0 || !self.limiter.is_limited() {
            return Ok(deposit);
        }
        let mut waiter = Waiter { deposits: self, class: purpose.class, ready: Arc::default(), bytes };
        let Purpose { class, requester, .. } = purpose;
        self.enqueue(Ticket { class, requester, bytes, ready: Arc::clone(&waiter.ready) });
        let mut lane = self.limiter.lane(purpose);
        loop {
            tokio::select! {
                biased;
                () = waiter.ready.notified() => {
                    deposit.put_back(std::mem::take(&mut waiter.bytes));
                    return Ok(deposit);
                }
                taken = lane.take(bytes) => self.add(class, taken?),
            }
        }
    }

    /// Before those that can wait, and before further ones of requesters who have as many in the queue.
    fn enqueue(&self, ticket: Ticket) {
        let mut state = self.state();
        let same = |other: &Ticket| other.class == ticket.class && other.requester == ticket.requester;
        let rank = (ticket.class, state.queue.iter().filter(|other| same(other)).count());
        let mut seen: HashMap<(Class, Requester), usize> = HashMap::new();
        let behind = state.queue.iter().position(|other| {
            let theirs = seen.entry((other.class, other.requester)).or_default();
            *theirs += 1;
            (other.class, *theirs - 1) > rank
        });
        let at = behind.unwrap_or(state.queue.len());
        state.queue.insert(at, ticket);
    }

    /// Collects what a turn brought, and wakes those whose deposit is complete.
    fn add(&self, class: Class, bytes: u64) {
        let mut state = self.state();
        state.collected += bytes;
        while let Some(first) = state.queue.front() {
            let needed = first.bytes;
            if state.collected < needed {
                return;
            }
            first.ready.notify_one();
            state.collected -= needed;
            state.queue.pop_front();
        }
        let rest = std::mem::take(&mut state.collected);
        drop(state);
        self.limiter.give_back(class, rest);
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.deposits.state();
        let before = state.queue.len();
        state.queue.retain(|ticket| !Arc::ptr_eq(&ticket.ready, &self.ready));
        let was_served = state.queue.len() == before;
        drop(state);
        if was_served && self.bytes > 0 {
            // its deposit was complete, and nobody is there to take it
            self.deposits.limiter.give_back(self.class, self.bytes);
        }
        self.deposits.add(self.class, 0);
    }
}

/// Bytes paid for before they can arrive. Dropping it gives back the rest.
pub(crate) struct Deposit {
    limiter: Limiter,
    class: Class,
    balance: AtomicU64,
}
impl Deposit {
    /// What is left of it.
    pub(crate) fn balance(&self) -> u64 {
        self.balance.load(Ordering::Relaxed)
    }

    /// Uses up to `want` of it.
    pub(crate) fn draw(&self, want: u64) -> u64 {
        let mut drawn = 0;
        let _before = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |balance| {
            drawn = balance.min(want);
            Some(balance - drawn)
        });
        drawn
    }

    /// Takes back what was drawn and not used.
    pub(crate) fn put_back(&self, bytes: u64) {
        self.balance.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back everything but `keep`.
    pub(crate) fn keep(&self, keep: u64) {
        let surplus = self.draw(self.balance().saturating_sub(keep));
        if surplus > 0 {
            self.limiter.give_back(self.class, surplus);
        }
    }
}

impl Drop for Deposit {
    fn drop(&mut self) {
        self.keep(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use tailwater_runtime::{Clock, Tasks};

    fn deposits() -> (DepositQueue, Tasks) {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        (DepositQueue::new(&Limiter::new("8 Mbit/s".parse().unwrap(), &clock, &tasks)), tasks)
    }

    #[tokio::test(start_paused = true)]
    async fn a_deposit_is_paid_from_the_rate_and_comes_back() {
        let (deposits, _tasks) = deposits();
        let start = Instant::now();
        let deposit = deposits.pay(Class::Normal.into(), 100_000).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(99), "{:?}", start.elapsed());
        assert_eq!((deposit.draw(60_000), deposit.balance()), (60_000, 40_000));
        deposit.keep(10_000);
        let mut lane = deposits.limiter.lane(Class::Normal);
        let again = Instant::now();
        lane.take(1_000).await.unwrap();
        assert!(again.elapsed() < Duration::from_millis(3), "{:?}", again.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn deposits_are_completed_one_after_the_other() {
        let (deposits, tasks) = deposits();
        let start = Instant::now();
        let waits: Vec<_> = (0..4)
            .map(|_| {
                let deposits = deposits.clone();
                tasks.spawn("asker", async move {
                    let deposit = deposits.pay(Class::Normal.into(), 100_000).await.unwrap();
                    let at = start.elapsed();
                    deposit.draw(100_000);
                    at.as_millis()
                })
            })
            .collect();
        for (place, wait) in waits.into_iter().enumerate() {
            let due = 100 * (place as u128 + 1);
            let at = wait.await.unwrap();
            assert!(at.abs_diff(due) <= 15, "{place}: after {at} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_does_not_hold_up_the_others() {
        let (deposits, _tasks) = deposits();
        let impatient =
            tokio::time::timeout(Duration::from_millis(50), deposits.pay(Class::Normal.into(), 10_000_000));
        let (left, served) = tokio::join!(impatient, deposits.pay(Class::Metadata.into(), 50_000));
        assert!(left.is_err());
        assert_eq!(served.unwrap().balance(), 50_000);
    }
}
