//! Slots for the transfers of downstream tailwaters: so many at once, and children take turns.
//!
//! Turns are those of [`Turns`]: by address, then by child. A transfer whose reader takes nothing for [`PARKED`] while
//! others wait gives its slot up and goes on without one; when it moves again it takes a free one, or goes on as one of
//! as many transfers as there are slots, beyond which the longest parked ends. So a slow child loses nothing, and one
//! that does not read holds nobody up.
//!
//! **Invariant:** never more leases than slots, and never more than as many parked transfers beside them. It never knows
//! what is transferred.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use tailwater_domain::{Limit, ServerId, limits};
use tailwater_runtime::{Asker, Clock, NoTurn, Turn, TurnLimits, TurnStatus, Turns};

/// How long a request waits for its turn before it is told to retry: less than anything in between waits
/// for an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(25);
/// How long a child keeps its place while it is away.
const KEPT: Duration = Duration::from_mins(1);
/// A transfer whose reader takes nothing for so long gives its slot up while others wait.
const PARKED: Duration = Duration::from_secs(10);
/// How often such transfers are looked for while somebody waits.
const LOOK: Duration = Duration::from_secs(2);
/// Requests that wait, shared by address.
const MOST_WAITING: u64 = 4_096;

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST_WAIT: "The wait of a tailwater's transfer for its turn" => "503, and its place is kept",
    KEPT: "The time for which a tailwater keeps its place" => "it stands at the end",
    PARKED: "The time for which a reader may take nothing while others wait for its slot" => "it goes on without a slot",
    MOST_WAITING in "requests": "Requests of tailwaters that wait for a slot, shared by address" => "503",
];

// not a limit: LOOK: how often is looked

/// There is no slot for the request now: it must be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryLater {
    /// At once: its child keeps its place for a while.
    Now,
    /// Later: there is no place for it.
    Later,
}

/// The slots. Cheap to clone.
#[derive(Clone)]
pub struct Slots(Arc<SlotTable>);

struct SlotTable {
    turns: Turns,
    clock: Clock,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    leased: Vec<Arc<Transfer>>,
    /// Without a slot, the longest first.
    parked: VecDeque<Arc<Transfer>>,
}

struct Transfer {
    ended: AtomicBool,
    state: Mutex<Moving>,
}

struct Moving {
    turn: Option<Turn>,
    /// Since when its reader takes nothing; `None` while it waits for its next bytes.
    offered: Option<Instant>,
}

/// A transfer that is under way, with a slot or parked; released when dropped.
pub(super) struct Lease {
    transfer: Arc<Transfer>,
    slots: Slots,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slots {
    /// So many at once.
    pub fn new(limit: usize, clock: Clock) -> Self {
        let limits = TurnLimits { waiting: MOST_WAITING, kept: KEPT, ..TurnLimits::of(limit, LONGEST_WAIT) };
        let turns = Turns::new(limits, clock.clone());
        Self(Arc::new(SlotTable { turns, clock, running: Mutex::default() }))
    }

    /// Waits for a slot.
    pub(super) async fn lease(&self, child: ServerId, from: IpAddr) -> Result<Lease, RetryLater> {
        let asker = Asker { key: child.0.as_u128(), ..Asker::at(from) };
        let turn = self.0.turns.take(asker);
        tokio::pin!(turn);
        let turn = loop {
            self.park();
            tokio::select! {
                biased;
                turn = &mut turn => break turn,
                () = self.0.clock.sleep(LOOK) => {}
            }
        };
        let turn = turn.map_err(|refused| match refused {
            NoTurn::Full => RetryLater::Later,
            NoTurn::Patience => RetryLater::Now,
        })?;
        let moving = Moving { turn: Some(turn), offered: None };
        let transfer = Arc::new(Transfer { ended: AtomicBool::new(false), state: Mutex::new(moving) });
        locked(&self.0.running).leased.push(Arc::clone(&transfer));
        Ok(Lease { transfer, slots: self.clone() })
    }

    /// Takes the slots of those who read nothing. Their turns are dropped without a lock: that gives them to others.
    fn park(&self) {
        if !self.0.turns.are_all_taken() {
            return;
        }
        let (now, places) = (self.0.clock.instant(), self.0.turns.places());
        let mut freed = Vec::new();
        let mut running = locked(&self.0.running);
        let Running { leased, parked } = &mut *running;
        leased.retain(|transfer| {
            let mut state = locked(&transfer.state);
            let idle = state.offered.is_some_and(|since| now.saturating_duration_since(since) >= PARKED);
            if idle {
                freed.extend(state.turn.take());
                drop(state);
                parked.push_back(Arc::clone(transfer));
            }
            !idle
        });
        while parked.len() > places {
            if let Some(longest) = parked.pop_front() {
                longest.ended.store(true, Ordering::Release);
            }
        }
        drop(running);
        drop(freed);
    }

    fn forget(&self, transfer: &Arc<Transfer>) {
        let mut running = locked(&self.0.running);
        running.leased.retain(|other| !Arc::ptr_eq(other, transfer));
        running.parked.retain(|other| !Arc::ptr_eq(other, transfer));
        drop(running);
        let turn = locked(&transfer.state).turn.take();
        drop(turn);
    }

    /// What goes on.
    pub fn turns(&self) -> TurnStatus {
        self.0.turns.status()
    }
}

impl Lease {
    /// The reader wants more. False when the transfer must end: it was parked, and others were parked after it.
    pub(super) fn moves(&self) -> bool {
        if self.transfer.ended.load(Ordering::Acquire) {
            return false;
        }
        let mut state = locked(&self.transfer.state);
        state.offered = None;
        if state.turn.is_none()
            && let Some(turn) = self.slots.0.turns.try_take()
        {
            state.turn = Some(turn);
            drop(state);
            let mut running = locked(&self.slots.0.running);
            running.parked.retain(|other| !Arc::ptr_eq(other, &self.transfer));
            running.leased.push(Arc::clone(&self.transfer));
        }
        true
    }

    /// Bytes are ready for the reader: from now on it is the reader who is waited for.
    pub(super) fn offers(&self) {
        locked(&self.transfer.state).offered = Some(self.slots.0.clock.instant());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.slots.forget(&self.transfer);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn child(number: u128) -> ServerId {
        ServerId(Uuid::from_u128(number))
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_gives_its_slot_up_and_loses_nothing() {
        let slots = Slots::new(1, Clock::system());
        let slow = slots.lease(child(1), HERE).await.unwrap();
        slow.offers();
        let began = Instant::now();
        let next = slots.lease(child(2), HERE).await.unwrap();
        assert!(began.elapsed() <= PARKED + LOOK, "{:?}", began.elapsed());
        assert!(slow.moves(), "it goes on without a slot");
        assert_eq!(slots.turns().running, 1);
        drop(next);
        assert_eq!(slots.turns().running, 0);
        assert!(slow.moves());
        assert_eq!(slots.turns().running, 1, "it has one again");
        drop(slow);
        assert_eq!(slots.turns().running, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_this_server_keeps_its_slot() {
        let slots = Slots::new(1, Clock::system());
        let waits = slots.lease(child(1), HERE).await.unwrap();
        assert!(waits.moves(), "its reader wants more, which does not come");
        assert_eq!(slots.lease(child(2), HERE).await.err(), Some(RetryLater::Now));
        waits.offers();
        assert!(slots.lease(child(2), HERE).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_never_read_are_bounded() {
        let slots = Slots::new(2, Clock::system());
        let mut leases = Vec::new();
        for number in 0..10 {
            let lease = slots.lease(child(number), HERE).await.unwrap();
            lease.offers();
            leases.push(lease);
        }
        assert_eq!(leases.iter().filter(|lease| lease.moves()).count(), 4, "two with a slot, two parked");
        drop(leases);
        assert_eq!(slots.turns().running, 0);
        assert!(locked(&slots.0.running).parked.is_empty());
    }
}
