//! Memory for what clients send: bodies on their way, what they unpack to, and what is made of them.
//!
//! Everything is charged to one budget (`server.request_memory`), in which an address and a subnet have their shares
//! ([`tailwater_runtime::Shares`]). When the budget is short, bodies that are still arriving give way to smaller and
//! younger ones: what occupies most memory for the longest time goes first, so that a client which sends slowly on many
//! connections displaces itself and nobody else.
//!
//! **Invariant:** memory is charged before it is taken, by capacity and not by content; a body that was read whole is
//! never displaced. It never reads anything itself.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use tailwater_domain::{ByteCount, Limit, Subnet, limits};
use tailwater_runtime::{Clock, InUse, Limits, Share, Shares};

/// What an address may have when nearly all is in use: real agents' requests have 1 to 50 KB.
const LEAST: usize = 512 * 1024;
/// Requests up to this size, with what is made of them, go before larger ones.
const SMALL: usize = 512 * 1024;
/// Addresses that have something in memory at once.
const MAX_ADDRESSES: usize = 16_384;
/// A body that is younger is not displaced: an honest one has arrived by then.
const GRACE: Duration = Duration::from_millis(50);
/// Between two looks for a body that could give way, so that many who wait do not look all the time.
const LOOK: Duration = Duration::from_millis(5);

pub(super) const LIMITS: &[Limit] = limits![
    key "server.request_memory" in "bytes": "Memory for all requests: bodies, what they unpack to, what is made of them" => "503, ServerBusy",
    LEAST in "bytes": "What an address is sure of when nearly all of it is in use" => "503, ServerBusy",
    SMALL in "bytes": "Requests that go before larger ones when memory is short" => "a wait, then 503, ServerBusy",
    MAX_ADDRESSES in "addresses": "Addresses with a request in memory" => "503, ServerBusy",
    GRACE: "Age from which a body that still arrives gives way to younger ones" => "503, ServerBusy",
];

/// There is not enough memory for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the memory for requests is in use")]
pub struct Short;

/// The budget. Cheap to clone; clones share it.
#[derive(Clone)]
pub(super) struct RequestMemory(Arc<MemoryBudget>);

struct MemoryBudget {
    shares: Shares,
    total: usize,
    clock: Clock,
    arriving: Mutex<Arriving>,
    freed: Notify,
}

#[derive(Default)]
struct Arriving {
    next: u64,
    /// When somebody looked for one that could give way.
    looked: Option<Instant>,
    bodies: HashMap<u64, Body>,
    /// Small requests that wait for memory; the youngest is next, because the others have waited in vain.
    waiting: BTreeSet<u64>,
}

/// A body that is on its way.
struct Body {
    address: IpAddr,
    reserved: usize,
    since: Instant,
    give_way: CancellationToken,
}

impl Body {
    /// Memory and time that it occupied.
    fn occupied(&self, now: Instant) -> u128 {
        self.reserved as u128 * now.saturating_duration_since(self.since).as_micros()
    }
}

/// Memory reserved for one request; released when dropped.
pub struct Reservation {
    memory: RequestMemory,
    share: Share,
    address: IpAddr,
    number: u64,
    /// Until it is read whole.
    arriving: Option<CancellationToken>,
}

/// A small request while it waits.
struct Waiting<'a>(&'a RequestMemory, u64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.arriving().waiting.remove(&self.1);
        self.0.0.freed.notify_waiters();
    }
}

impl RequestMemory {
    /// A budget of so many bytes.
    pub(super) fn new(bytes: ByteCount, clock: &Clock) -> Self {
        let limits = Limits { least: LEAST as u64, entries: MAX_ADDRESSES, ..Limits::of(bytes.0) };
        Self(Arc::new(MemoryBudget {
            shares: Shares::new(limits),
            total: usize::try_from(bytes.0).unwrap_or(usize::MAX),
            clock: clock.clone(),
            arriving: Mutex::default(),
            freed: Notify::new(),
        }))
    }

    /// The most that one request may take when it is alone.
    pub(super) fn largest(&self) -> usize {
        self.0.total / 2
    }

    /// What is in use.
    pub(super) fn in_use(&self) -> InUse {
        self.0.shares.in_use()
    }

    /// A request begins to arrive; it holds nothing yet.
    ///
    /// # Errors
    /// When too many addresses are in the budget.
    pub(super) fn begin(&self, address: IpAddr) -> Result<Reservation, Short> {
        let address = address.to_canonical();
        let share = self.0.shares.try_take(address, 0).map_err(|_refused| Short)?;
        let give_way = CancellationToken::new();
        let body = Body { address, reserved: 0, since: self.0.clock.instant(), give_way: give_way.clone() };
        let mut arriving = self.arriving();
        let number = arriving.next;
        arriving.next += 1;
        arriving.bodies.insert(number, body);
        drop(arriving);
        Ok(Reservation { memory: self.clone(), share, address, number, arriving: Some(give_way) })
    }

    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        self.0.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the bodies that occupy most to give way, when `wanted` more bytes for another are worth it.
    fn make_room(&self, reserved: &Reservation, wanted: usize) {
        let now = self.0.clock.instant();
        let mut arriving = self.arriving();
        let size = reserved.bytes() + wanted;
        let pause = if size <= SMALL { LOOK / 5 } else { LOOK };
        if arriving.looked.is_some_and(|looked| now.saturating_duration_since(looked) < pause) {
            return;
        }
        arriving.looked = Some(now);
        let own = reserved.arriving.is_some().then_some(reserved.number);
        let since = own.and_then(|number| arriving.bodies.get(&number)).map_or(now, |body| body.since);
        let occupies = size as u128 * now.saturating_duration_since(since).as_micros();
        // of its own address first, then of its subnet, then of addresses that hold more than its own
        let rank = |body: &Body| {
            if body.address == reserved.address {
                Some(2)
            } else if Subnet::of(body.address) == Subnet::of(reserved.address) {
                Some(1)
            } else {
                let theirs = self.0.shares.held_by(body.address);
                let ours = self.0.shares.held_by(reserved.address) + wanted as u64;
                (size <= SMALL || theirs > ours).then_some(0)
            }
        };
        let (mut leaving, mut others) = (0, Vec::new());
        for (number, body) in &arriving.bodies {
            if body.give_way.is_cancelled() {
                leaving += body.reserved;
            } else if own != Some(*number)
                && body.reserved > 0
                && now.saturating_duration_since(body.since) >= GRACE
                && body.occupied(now) > occupies
                && let Some(rank) = rank(body)
            {
                others.push((rank, body.occupied(now), body));
            }
        }
        others.sort_unstable_by_key(|(rank, occupied, _)| (*rank, *occupied));
        // what is on its way out may do
        while leaving < wanted
            && let Some((_, _, body)) = others.pop()
        {
            leaving += body.reserved;
            body.give_way.cancel();
        }
    }
}

impl Reservation {
    /// Bytes reserved.
    pub fn bytes(&self) -> usize {
        usize::try_from(self.share.units()).unwrap_or(usize::MAX)
    }

    /// Takes more, at once or not at all.
    ///
    /// # Errors
    /// When there is not so much.
    pub fn try_grow(&mut self, bytes: usize) -> Result<(), Short> {
        if self.has_given_way() {
            return Err(Short);
        }
        if self.bytes() + bytes > SMALL && !self.memory.arriving().waiting.is_empty() {
            return Err(Short);
        }
        self.share.grow(bytes as u64).map_err(|_refused| Short)?;
        self.note();
        Ok(())
    }

    /// Takes more; waits for it for a while, in which bodies that occupy more give way.
    ///
    /// # Errors
    /// When there was not so much for all of `patience`, or this body had to give way itself.
    pub async fn grow(&mut self, bytes: usize, patience: Duration) -> Result<(), Short> {
        if self.try_grow(bytes).is_ok() {
            return Ok(());
        }
        let memory = self.memory.clone();
        let is_small = self.bytes() + bytes <= SMALL;
        let _waiting = is_small.then(|| {
            memory.arriving().waiting.insert(self.number);
            Waiting(&memory, self.number)
        });
        let mut over = pin!(memory.0.clock.sleep(patience));
        loop {
            // before it is tried again, so that nothing is missed that is freed meanwhile
            let mut freed = pin!(memory.0.freed.notified());
            freed.as_mut().enable();
            let is_next = !is_small || memory.arriving().waiting.last() == Some(&self.number);
            if is_next {
                if self.try_grow(bytes).is_ok() {
                    return Ok(());
                }
                memory.make_room(self, bytes);
            }
            let mut look_again = pin!(memory.0.clock.sleep(GRACE));
            tokio::select! {
                biased;
                () = self.gives_way() => return Err(Short),
                () = &mut freed => {}
                // bodies grow old enough meanwhile
                () = &mut look_again => {}
                () = &mut over => return Err(Short),
            }
        }
    }

    /// Gives some back.
    pub fn shrink(&mut self, bytes: usize) {
        self.share.shrink(bytes as u64);
        self.note();
        self.memory.0.freed.notify_waiters();
    }

    /// Ready when this body must give way: its memory is worth more to others.
    pub async fn gives_way(&self) {
        match &self.arriving {
            Some(give_way) => give_way.cancelled().await,
            None => std::future::pending().await,
        }
    }

    fn has_given_way(&self) -> bool {
        self.arriving.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// The request is whole: it is worked on and no longer displaced.
    pub fn arrived(&mut self) {
        if self.arriving.take().is_some() {
            self.memory.arriving().bodies.remove(&self.number);
        }
    }

    /// The most that a request may take when it is alone.
    pub fn largest(&self) -> usize {
        self.memory.largest()
    }

    fn note(&self) {
        if self.arriving.is_some()
            && let Some(body) = self.memory.arriving().bodies.get_mut(&self.number)
        {
            body.reserved = self.bytes();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.arrived();
        // the share itself is given back after this; those who wait look when they are woken
        self.share.shrink(self.share.units());
        self.memory.0.freed.notify_waiters();
    }
}
