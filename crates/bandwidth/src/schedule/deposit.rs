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

/// Where deposits are paid. Everyone who waits takes their own turns on the link, and all turns together
/// complete the deposit of the most urgent class; of these, requesters alternate.
#[derive(Clone)]
pub(crate) struct Desk {
    limiter: Limiter,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Paid, and not yet enough for the first in line.
    pot: u64,
    line: VecDeque<Ticket>,
}

/// Someone who waits for so many bytes.
struct Ticket {
    class: Class,
    requester: Requester,
    bytes: u64,
    ready: Arc<Notify>,
}

/// Holds a place in the line; leaving it early leaves what was paid to those behind.
struct Place<'a> {
    desk: &'a Desk,
    class: Class,
    ready: Arc<Notify>,
    /// What the deposit will be; 0 once it was handed over.
    bytes: u64,
}

impl Desk {
    pub(crate) fn new(limiter: &Limiter) -> Self {
        Self { limiter: limiter.clone(), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pays `bytes`; nothing while there is no limit.
    pub(crate) async fn pay(&self, purpose: Purpose, bytes: u64) -> Result<Deposit, LinkError> {
        let deposit =
            Deposit { limiter: self.limiter.clone(), class: purpose.class, held: AtomicU64::new(0) };
        if bytes == 0 || !self.limiter.is_limited() {
            return Ok(deposit);
        }
        let mut place = Place { desk: self, class: purpose.class, ready: Arc::default(), bytes };
        let Purpose { class, requester, .. } = purpose;
        self.line_up(Ticket { class, requester, bytes, ready: Arc::clone(&place.ready) });
        let mut lane = self.limiter.lane(purpose);
        loop {
            tokio::select! {
                biased;
                () = place.ready.notified() => {
                    deposit.put_back(std::mem::take(&mut place.bytes));
                    return Ok(deposit);
                }
                taken = lane.take(bytes) => self.add(class, taken?),
            }
        }
    }

    /// Before those that can wait, and before further ones of requesters who have as many in the line.
    fn line_up(&self, ticket: Ticket) {
        let mut state = self.state();
        let same = |other: &Ticket| other.class == ticket.class && other.requester == ticket.requester;
        let rank = (ticket.class, state.line.iter().filter(|other| same(other)).count());
        let mut seen: HashMap<(Class, Requester), usize> = HashMap::new();
        let behind = state.line.iter().position(|other| {
            let theirs = seen.entry((other.class, other.requester)).or_default();
            *theirs += 1;
            (other.class, *theirs - 1) > rank
        });
        let place = behind.unwrap_or(state.line.len());
        state.line.insert(place, ticket);
    }

    /// Puts what a turn brought into the pot, and lets go whose deposit is complete.
    fn add(&self, class: Class, bytes: u64) {
        let mut state = self.state();
        state.pot += bytes;
        while let Some(first) = state.line.front() {
            let needed = first.bytes;
            if state.pot < needed {
                return;
            }
            first.ready.notify_one();
            state.pot -= needed;
            state.line.pop_front();
        }
        let rest = std::mem::take(&mut state.pot);
        drop(state);
        self.limiter.give_back(class, rest);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.desk.state();
        let before = state.line.len();
        state.line.retain(|ticket| !Arc::ptr_eq(&ticket.ready, &self.ready));
        let was_served = state.line.len() == before;
        drop(state);
        if was_served && self.bytes > 0 {
            // its deposit was complete, and nobody is there to take it
            self.desk.limiter.give_back(self.class, self.bytes);
        }
        self.desk.add(self.class, 0);
    }
}

/// Bytes paid for before they can arrive. Dropping it gives back the rest.
pub(crate) struct Deposit {
    limiter: Limiter,
    class: Class,
    held: AtomicU64,
}
impl Deposit {
    /// What is left of it.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Uses up to `want` of it.
    pub(crate) fn draw(&self, want: u64) -> u64 {
        let mut drawn = 0;
        let _before = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            drawn = held.min(want);
            Some(held - drawn)
        });
        drawn
    }

    /// Takes back what was drawn and not used.
    pub(crate) fn put_back(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back everything but `keep`.
    pub(crate) fn keep(&self, keep: u64) {
        let surplus = self.draw(self.held().saturating_sub(keep));
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

    fn desk() -> (Desk, Tasks) {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        (Desk::new(&Limiter::new("8 Mbit/s".parse().unwrap(), &clock, &tasks)), tasks)
    }

    #[tokio::test(start_paused = true)]
    async fn a_deposit_is_paid_from_the_rate_and_comes_back() {
        let (desk, _tasks) = desk();
        let start = Instant::now();
        let deposit = desk.pay(Class::Normal.into(), 100_000).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(99), "{:?}", start.elapsed());
        assert_eq!((deposit.draw(60_000), deposit.held()), (60_000, 40_000));
        deposit.keep(10_000);
        let mut lane = desk.limiter.lane(Class::Normal);
        let again = Instant::now();
        lane.take(1_000).await.unwrap();
        assert!(again.elapsed() < Duration::from_millis(3), "{:?}", again.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn deposits_are_completed_one_after_the_other() {
        let (desk, tasks) = desk();
        let start = Instant::now();
        let waits: Vec<_> = (0..4)
            .map(|_| {
                let desk = desk.clone();
                tasks.spawn("asker", async move {
                    let deposit = desk.pay(Class::Normal.into(), 100_000).await.unwrap();
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
    async fn who_leaves_the_line_does_not_hold_up_the_others() {
        let (desk, _tasks) = desk();
        let impatient =
            tokio::time::timeout(Duration::from_millis(50), desk.pay(Class::Normal.into(), 10_000_000));
        let (left, served) = tokio::join!(impatient, desk.pay(Class::Metadata.into(), 50_000));
        assert!(left.is_err());
        assert_eq!(served.unwrap().held(), 50_000);
    }
}
