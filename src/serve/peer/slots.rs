//! Turns for the transfers of downstream tailwaters: so many at once, and children take turns.
//!
//! A child that asks while all slots are taken waits in a ring of children. A slot that becomes free goes to the
//! child at the front; a child that wants more stands at the end again. So nobody waits longer than one transfer
//! of each of the others, however many requests one child makes.
//!
//! **Invariant:** never more leases than slots. A child that vanished loses its lease after [`STALLED`], and its
//! place after [`KEPT`]. It never knows what is transferred.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::domain::ServerId;
use crate::runtime::Clock;

/// How long a request waits for its turn before it is told to come again: less than anything in between waits
/// for an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(25);
/// How long a child keeps its place while it is away.
const KEPT: Duration = Duration::from_mins(1);
/// A lease whose transfer did not move for so long is taken back.
const STALLED: Duration = Duration::from_mins(2);
/// How often stalled leases are looked for while somebody waits.
const LOOK: Duration = Duration::from_secs(5);
/// Children in the ring.
const MOST_CHILDREN: usize = 10_000;
/// Requests of one child that wait: as many as a tailwater has under way.
const MOST_EACH: usize = 64;

/// The request must come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ComeAgain {
    /// At once: its child keeps its place for a while.
    Now,
    /// Later: there is no place for it.
    Later,
}

/// The slots. Cheap to clone.
#[derive(Clone)]
pub struct Slots(Arc<Inner>);

struct Inner {
    limit: usize,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    leases: Vec<Arc<Held>>,
    ring: VecDeque<Place>,
    /// The most leases there ever were at once.
    most: usize,
}

/// A child's place in the ring.
struct Place {
    child: ServerId,
    waiting: VecDeque<oneshot::Sender<Lease>>,
    kept_until: Instant,
}

struct Held {
    lost: AtomicBool,
    moved: Mutex<Instant>,
}

/// A slot that is taken; let go when dropped.
pub(super) struct Lease {
    held: Arc<Held>,
    slots: Slots,
}

/// What the slots are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// Transfers that may run at once.
    pub slots: usize,
    /// Transfers that run.
    pub running: usize,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// The most that ever ran at once.
    pub most: usize,
}

impl Slots {
    /// So many at once.
    pub fn new(limit: usize, clock: Clock) -> Self {
        Self(Arc::new(Inner { limit: limit.max(1), clock, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a slot.
    pub(super) async fn lease(&self, child: ServerId) -> Result<Lease, ComeAgain> {
        let mut granted = self.queue(child)?;
        let deadline = self.0.clock.instant() + LONGEST_WAIT;
        loop {
            let left = deadline.saturating_duration_since(self.0.clock.instant());
            tokio::select! {
                biased;
                lease = &mut granted => return lease.map_err(|_closed| ComeAgain::Now),
                () = self.0.clock.sleep(left.min(LOOK)) => {
                    self.take_back();
                    if left.is_zero() {
                        return Err(ComeAgain::Now);
                    }
                }
            }
        }
    }

    /// Takes a place in the ring, which may be granted at once.
    fn queue(&self, child: ServerId) -> Result<oneshot::Receiver<Lease>, ComeAgain> {
        let (sender, receiver) = oneshot::channel();
        let now = self.0.clock.instant();
        let mut state = self.state();
        state.ring.retain(|place| !place.waiting.is_empty() || place.kept_until > now);
        let known = state.ring.iter().position(|place| place.child == child);
        let place = match known {
            Some(at) => &mut state.ring[at],
            None if state.ring.len() >= MOST_CHILDREN => return Err(ComeAgain::Later),
            None => {
                state.ring.push_back(Place { child, waiting: VecDeque::new(), kept_until: now });
                let last = state.ring.len() - 1;
                &mut state.ring[last]
            }
        };
        place.kept_until = now + LONGEST_WAIT + KEPT;
        place.waiting.retain(|waiting| !waiting.is_closed());
        if place.waiting.len() >= MOST_EACH {
            return Err(ComeAgain::Later);
        }
        place.waiting.push_back(sender);
        let refused = self.grant(&mut state);
        drop(state);
        drop(refused);
        Ok(receiver)
    }

    /// Gives free slots to those at the front. What comes back was for somebody who had just left, and must be
    /// dropped without the lock.
    fn grant(&self, state: &mut State) -> Vec<Lease> {
        let mut refused = Vec::new();
        let now = self.0.clock.instant();
        while state.leases.len() < self.0.limit {
            let Some((child, waiting)) = state.next() else { break };
            let held = Arc::new(Held { lost: AtomicBool::new(false), moved: Mutex::new(now) });
            let lease = Lease { held: Arc::clone(&held), slots: self.clone() };
            match waiting.send(lease) {
                Ok(()) => {
                    state.leases.push(held);
                    state.most = state.most.max(state.leases.len());
                    state.put_last(child);
                }
                Err(lease) => refused.push(lease),
            }
        }
        refused
    }

    fn release(&self, held: &Arc<Held>) {
        let mut state = self.state();
        state.leases.retain(|other| !Arc::ptr_eq(other, held));
        let refused = self.grant(&mut state);
        drop(state);
        drop(refused);
    }

    /// Takes leases back that do not move.
    fn take_back(&self) {
        let now = self.0.clock.instant();
        let mut state = self.state();
        state.leases.retain(|held| {
            let stalled = now.saturating_duration_since(held.moved()) >= STALLED;
            if stalled {
                held.lost.store(true, Ordering::Release);
            }
            !stalled
        });
        let refused = self.grant(&mut state);
        drop(state);
        drop(refused);
    }

    /// What goes on.
    pub fn turns(&self) -> Turns {
        let state = self.state();
        let open = |place: &Place| place.waiting.iter().filter(|waiting| !waiting.is_closed()).count();
        Turns {
            slots: self.0.limit,
            running: state.leases.len(),
            waiting: state.ring.iter().map(open).sum(),
            most: state.most,
        }
    }
}

impl State {
    /// The first request of the first child that is here.
    fn next(&mut self) -> Option<(ServerId, oneshot::Sender<Lease>)> {
        for place in &mut self.ring {
            while let Some(waiting) = place.waiting.pop_front() {
                if !waiting.is_closed() {
                    return Some((place.child, waiting));
                }
            }
        }
        None
    }

    /// A child had its turn.
    fn put_last(&mut self, child: ServerId) {
        let Some(at) = self.ring.iter().position(|place| place.child == child) else { return };
        if let Some(place) = self.ring.remove(at).filter(|place| !place.waiting.is_empty()) {
            self.ring.push_back(place);
        }
    }
}

impl Held {
    fn moved(&self) -> Instant {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// The transfer moved. False when the lease was taken back: it must end.
    pub(super) fn moves(&self) -> bool {
        *self.held.moved.lock().unwrap_or_else(PoisonError::into_inner) = self.slots.0.clock.instant();
        !self.held.lost.load(Ordering::Acquire)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.slots.release(&self.held);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::runtime::Tasks;

    fn child(number: u128) -> ServerId {
        ServerId(Uuid::from_u128(number))
    }

    #[tokio::test(start_paused = true)]
    async fn children_take_turns_whatever_one_of_them_asks() {
        let slots = Slots::new(1, Clock::system());
        let first = slots.lease(child(1)).await.unwrap();
        let tasks = Tasks::new();
        let (order, mut served) = tokio::sync::mpsc::channel(16);
        // the greedy one asks four times before the others come
        for number in [1, 1, 1, 1, 2, 3] {
            let (slots, order) = (slots.clone(), order.clone());
            tasks.spawn("child", async move {
                let lease = slots.lease(child(number)).await.unwrap();
                order.send(number).await.unwrap();
                drop(lease);
            });
            tokio::task::yield_now().await;
        }
        assert_eq!((slots.turns().running, slots.turns().waiting), (1, 6));
        drop(first);
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(served.recv().await.unwrap());
        }
        assert_eq!(seen, [1, 2, 3, 1, 1, 1]);
        assert_eq!(slots.turns(), Turns { slots: 1, running: 0, waiting: 0, most: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_told_to_come_again_keeps_its_place() {
        let slots = Slots::new(1, Clock::system());
        let busy = slots.lease(child(1)).await.unwrap();
        assert_eq!(slots.lease(child(2)).await.err(), Some(ComeAgain::Now));
        let late = {
            let slots = slots.clone();
            Tasks::new().spawn("late", async move { slots.lease(child(3)).await.map(drop) })
        };
        tokio::task::yield_now().await;
        let back = {
            let slots = slots.clone();
            Tasks::new().spawn("back", async move { slots.lease(child(2)).await })
        };
        tokio::task::yield_now().await;
        drop(busy);
        let lease = back.await.unwrap().unwrap();
        assert!(!late.is_finished(), "the one that came first is first");
        drop(lease);
        late.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_vanishes_loses_its_lease() {
        let slots = Slots::new(1, Clock::system());
        let vanished = slots.lease(child(1)).await.unwrap();
        assert!(vanished.moves());
        tokio::time::advance(STALLED.saturating_sub(LOOK)).await;
        let next = slots.lease(child(2)).await.unwrap();
        assert!(!vanished.moves(), "it was taken back");
        drop(vanished);
        assert_eq!(slots.turns().running, 1);
        drop(next);
        assert_eq!(slots.turns().running, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_while_waiting_costs_nobody_a_turn() {
        let slots = Slots::new(1, Clock::system());
        let busy = slots.lease(child(1)).await.unwrap();
        for number in 2..50 {
            let waited = tokio::time::timeout(Duration::from_millis(1), slots.lease(child(number))).await;
            assert!(waited.is_err());
        }
        assert_eq!(slots.turns().waiting, 0);
        drop(busy);
        assert!(slots.lease(child(99)).await.is_ok());
    }
}
