//! Connections that are open, by address and subnet, and who gives way when all are in use.
//!
//! A connection can be taken back, so up to all of them may belong to one address while nobody else comes. Then room is
//! made for a newcomer: idle connections are closed, those of the largest holder first, then those whose client has taken
//! or sent nothing for [`STALLED`], and then running ones of an address that has at least twice as many as the newcomer's.
//!
//! **Invariant:** never more than the limit are counted as open; one that was told to give way answers nothing more. It
//! never closes anything while there is room.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::Body;
use crate::domain::{Limit, Subnet, limits};
use crate::runtime::{Clock, Limits, Refused, Share, Shares};

/// A connection of one who holds few gives way to a newcomer only after it waited for so long.
const FRESH: Duration = Duration::from_secs(2);

/// A client that took or sent nothing for so long gives way when there is no room.
const STALLED: Duration = Duration::from_secs(10);
/// Of all connections this part is looked for at once to give way, so that a crowd of newcomers is not looked up one by one.
const BATCH: usize = 32;
/// Of all connections this part may be in the TLS handshake at once, shared by address.
const HANDSHAKES: u64 = 4;
/// After nothing gave way for an address it is not looked for again for so long.
const NEXT_LOOK: Duration = Duration::from_millis(50);
/// Refusals are told in the log so often, with their count.
const TELL_EVERY: Duration = Duration::from_mins(1);
/// What an address is sure of while others hold nearly all.
const LEAST: u64 = 16;

pub(super) const LIMITS: &[Limit] = limits![
    key "server.max_connections" in "connections": "Connections of agents and downstream servers" => "idle ones and the largest holder's give way, else 503",
    STALLED: "The time for which a client may take or send nothing when there is no room" => "the connection is closed",
    FRESH: "The time for which an idle connection of who holds few is left alone when there is no room" => "it gives way",
    HANDSHAKES in "th part of all connections": "Connections in the TLS handshake at once, shared by address" => "the connection is closed",
];

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub total: usize,
    /// As the configuration has it; more than `total` where the system does not allow as many.
    pub wanted: usize,
    /// Of one address; 0 for no bound of its own.
    pub per_address: usize,
    /// Of one subnet; 0 for no bound of its own.
    pub per_subnet: usize,
}

/// The connections of one or several listeners. Cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    limits: ConnectionLimits,
    shares: Shares,
    handshakes: Shares,
    clock: Clock,
    begin: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    open: HashMap<u64, Arc<Activity>>,
    /// For whom nothing gave way, and when.
    in_vain: Option<(IpAddr, Instant)>,
    refused: u64,
    closed: u64,
    told: Option<Instant>,
    untold: u64,
}

/// What the connections are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ConnectionStatus {
    /// Open now.
    pub open: u64,
    /// Open at once at the most.
    pub limit: u64,
    /// As the configuration has it; more than `limit` where the system does not allow as many.
    pub configured: u64,
    /// The most that were open at once.
    pub most: u64,
    /// Addresses that have some.
    pub addresses: usize,
    /// Refused since start.
    pub refused: u64,
    /// Closed since start to make room for others.
    pub closed_for_others: u64,
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
    fn now(&self) -> u64 {
        let passed = self.clock.instant().saturating_duration_since(self.begin);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX - 1) + 1
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

/// A request is being answered.
pub(super) struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::AcqRel);
        self.0.waits.store(self.0.now(), Ordering::Release);
    }
}

/// An open connection's place.
pub(super) struct Place {
    connections: Connections,
    number: u64,
    activity: Arc<Activity>,
}

impl Place {
    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.state().open.remove(&self.number);
        let share = locked(&self.activity.share).take();
        drop(share);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How readily a connection gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Readiness {
    Idle,
    Stalled,
    Running,
}

impl State {
    /// Lets these give way, and counts them.
    fn close(&mut self, chosen: &[Arc<Activity>]) {
        self.closed += chosen.len() as u64;
        for activity in chosen {
            // what it held is free from now on; the socket follows as soon as its task runs
            let share = locked(&activity.share).take();
            drop(share);
            activity.leave.notify_one();
        }
    }
}

impl Connections {
    /// None is open.
    pub fn new(limits: ConnectionLimits, clock: Clock) -> Self {
        let total = limits.total.max(1) as u64;
        let own = |bound: usize| if bound == 0 { u64::MAX } else { bound as u64 };
        let shares = Shares::new(Limits {
            total,
            per_subnet: own(limits.per_subnet),
            per_address: own(limits.per_address),
            free: total,
            least: LEAST,
            entries: limits.total.max(1),
        });
        let handshakes = (total / HANDSHAKES).max(LEAST);
        let handshakes = Shares::new(Limits { least: 2, ..Limits::of(handshakes) });
        let begin = clock.instant();
        Self(Arc::new(Inner { limits, shares, handshakes, clock, begin, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.0.state)
    }

    /// A place for a connection from this address; others give way for it where that is fair.
    pub(super) fn admit(&self, address: IpAddr) -> Result<Place, Refused> {
        let address = address.to_canonical();
        let share = match self.0.shares.try_take(address, 1) {
            Ok(share) => share,
            Err(refused) => {
                if !self.make_room(address, refused) {
                    return Err(refused);
                }
                self.0.shares.try_take(address, 1)?
            }
        };
        let activity = Arc::new(Activity {
            address,
            begin: self.0.begin,
            clock: self.0.clock.clone(),
            answering: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            share: Mutex::new(Some(share)),
            leave: Notify::new(),
        });
        activity.waits_for_client();
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.open.insert(number, Arc::clone(&activity));
        drop(state);
        Ok(Place { connections: self.clone(), number, activity })
    }

    /// A place in a handshake.
    pub(super) fn handshake(&self, address: IpAddr) -> Result<Share, Refused> {
        self.0.handshakes.try_take(address, 1)
    }

    /// Lets connections give way for one of `address`; whether any did.
    fn make_room(&self, address: IpAddr, refused: Refused) -> bool {
        let now = self.0.clock.instant();
        let mut state = self.state();
        let lately = |(whose, at): (IpAddr, Instant)| whose == address && now < at + NEXT_LOOK;
        if state.in_vain.is_some_and(lately) {
            return false;
        }
        let chosen = self.choose(&state, address, refused);
        if chosen.is_empty() {
            state.in_vain = Some((address, now));
            return false;
        }
        state.close(&chosen);
        true
    }

    /// Closes connections that wait for their clients, so that there are files to open.
    pub(super) fn shed(&self) {
        let mut state = self.state();
        let nobody = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let chosen = self.choose(&state, nobody, Refused::Total);
        state.close(&chosen);
    }

    fn choose(&self, state: &State, address: IpAddr, refused: Refused) -> Vec<Arc<Activity>> {
        let subnet = Subnet::of(address);
        let fits = |open: &Activity| match refused {
            Refused::Address => open.address == address,
            Refused::Subnet => Subnet::of(open.address) == subnet,
            Refused::Total | Refused::Entries => true,
        };
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        let stays = |open: &Activity| locked(&open.share).is_some();
        for open in state.open.values().filter(|open| stays(open)) {
            *held.entry(open.address).or_default() += 1;
        }
        let own = held.get(&address).copied().unwrap_or(0);
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let (now, stalled, fresh) = (self.now(), millis(STALLED), millis(FRESH));
        let mut found: Vec<_> = state
            .open
            .values()
            .filter(|open| fits(open) && stays(open))
            .filter_map(|open| {
                let since = open.waits.load(Ordering::Acquire);
                let holds = held.get(&open.address).copied().unwrap_or(0);
                // who just came has not had the time to ask
                let ripe = matches!(refused, Refused::Address | Refused::Subnet)
                    || holds >= 2 * (own + 1)
                    || now.saturating_sub(since) >= fresh;
                let readiness = if since > 0 && ripe && !open.is_answering() {
                    Readiness::Idle
                } else if since > 0 && now.saturating_sub(since) >= stalled {
                    Readiness::Stalled
                } else if refused == Refused::Total && holds >= 2 * (own + 1) {
                    Readiness::Running
                } else {
                    return None;
                };
                Some((readiness, std::cmp::Reverse(holds), since, Arc::clone(open)))
            })
            .collect();
        found.sort_unstable_by_key(|(readiness, holds, since, _)| (*readiness, *holds, *since));
        let Some(first) = found.first().map(|(readiness, ..)| *readiness) else { return Vec::new() };
        let batch = match first {
            // an answer is cut off for one newcomer only
            Readiness::Running => 1,
            _ => (self.0.limits.total / BATCH).max(1),
        };
        found.retain(|(readiness, ..)| *readiness == first);
        found.truncate(batch);
        found.into_iter().map(|(.., open)| open).collect()
    }

    fn now(&self) -> u64 {
        let passed = self.0.clock.instant().saturating_duration_since(self.0.begin);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Counts a refusal, and tells of them once a minute.
    pub(super) fn refuse(&self, address: IpAddr, why: Refused) {
        let now = self.0.clock.instant();
        let mut state = self.state();
        state.refused += 1;
        state.untold += 1;
        if state.told.is_none_or(|told| now >= told + TELL_EVERY) {
            state.told = Some(now);
            let count = std::mem::take(&mut state.untold);
            drop(state);
            tracing::warn!(count, last = %address, %why, open = self.0.shares.in_use().used,
                "connections were refused; server.max_connections says how many there may be");
        }
    }

    /// What goes on.
    pub fn status(&self) -> ConnectionStatus {
        let (in_use, state) = (self.0.shares.in_use(), self.state());
        ConnectionStatus {
            open: in_use.used,
            limit: in_use.total,
            configured: self.0.limits.wanted as u64,
            most: in_use.most,
            addresses: in_use.addresses,
            refused: state.refused,
            closed_for_others: state.closed,
        }
    }
}

/// The body of an answer, which tells whose turn it is.
pub(super) struct Answered {
    body: Body,
    answering: Answering,
}

impl Answered {
    pub(super) fn new(body: Body, answering: Answering) -> Self {
        Self { body, answering }
    }
}

impl http_body::Body for Answered {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let activity = &self.answering.0;
        let since = if polled.is_ready() { activity.now() } else { 0 };
        activity.waits.store(since, Ordering::Release);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(total: usize, per_address: usize, per_subnet: usize) -> Connections {
        Connections::new(ConnectionLimits { total, wanted: total, per_address, per_subnet }, Clock::system())
    }

    fn address(subnet: u8, host: u8) -> IpAddr {
        IpAddr::from([10, 0, subnet, host])
    }

    /// Whether it was told to give way.
    fn leaves(place: &Place) -> bool {
        locked(&place.activity.share).is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn idle_ones_of_the_largest_holder_give_way_first() {
        let connections = connections(10, 0, 0);
        let other = connections.admit(address(2, 1)).unwrap();
        let held: Vec<_> = (0..9).map(|_| connections.admit(address(1, 1)).unwrap()).collect();
        let answers = held[0].activity().answers();
        tokio::time::advance(Duration::from_secs(1)).await;
        let newcomer = connections.admit(address(3, 1)).unwrap();
        assert_eq!(held.iter().filter(|place| leaves(place)).count(), 1);
        assert!(!leaves(&held[0]) && !leaves(&other) && !leaves(&newcomer));
        assert_eq!((connections.status().open, connections.status().closed_for_others), (10, 1));
        drop((answers, held, other, newcomer));
        assert_eq!(connections.status().open, 0);
        assert!(connections.state().open.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn readers_that_take_nothing_give_way_and_running_answers_only_to_smaller_holders() {
        let connections = connections(4, 0, 0);
        let held: Vec<_> = (0..4).map(|_| connections.admit(address(1, 1)).unwrap()).collect();
        let _answers: Vec<_> = held.iter().map(|place| place.activity().answers()).collect();
        assert_eq!(
            connections.admit(address(1, 1)).err(),
            Some(Refused::Total),
            "nobody gives way to itself"
        );
        held[2].activity().waits_for_client();
        tokio::time::advance(STALLED).await;
        let second = connections.admit(address(1, 1)).unwrap();
        assert!(leaves(&held[2]));
        let _answers = second.activity().answers();
        let small = connections.admit(address(2, 1)).unwrap();
        assert_eq!(held.iter().chain([&second]).filter(|place| leaves(place)).count(), 2);
        let _answers = small.activity().answers();
        assert_eq!(connections.admit(address(2, 1)).err(), Some(Refused::Total), "three are not twice two");
    }

    #[tokio::test(start_paused = true)]
    async fn bounds_by_address_and_subnet_hold_and_own_idle_ones_give_way() {
        let connections = connections(100, 2, 3);
        let one = connections.admit(address(1, 1)).unwrap();
        let _answers = one.activity().answers();
        let two = connections.admit(address(1, 1)).unwrap();
        let third = connections.admit(address(1, 1)).unwrap();
        assert!(leaves(&two) && !leaves(&one));
        let fourth = connections.admit(address(1, 2)).unwrap();
        let _answers = fourth.activity().answers();
        let _answers = third.activity().answers();
        assert_eq!(connections.admit(address(1, 3)).err(), Some(Refused::Subnet));
        assert_eq!(connections.admit(address(1, 1)).err(), Some(Refused::Address));
        assert!(connections.admit(address(2, 1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_of_attackers_makes_room_for_whoever_comes() {
        let connections = connections(1_000, 0, 0);
        let attackers: Vec<_> =
            (0..200).cycle().take(1_000).map(|n| connections.admit(address(n, 1)).unwrap()).collect();
        let _answers: Vec<_> = attackers.iter().map(|place| place.activity().answers()).collect();
        let honest: Vec<_> = (1..=100).map(|host| connections.admit(address(250, host)).unwrap()).collect();
        assert!(honest.iter().all(|place| !leaves(place)));
        assert_eq!(connections.status().open, 1_000);
    }
}
