//! Connections that are open, by address and subnet, and who gives way when all are in use.
//!
//! A connection can be taken back, so up to all of them may belong to one address while nobody else comes. Then room is
//! made for a newcomer: idle connections are closed, those of the largest holder first, then those whose client has taken
//! or sent nothing for [`STALLED`], and then running ones of an address that has at least twice as many as the newcomer's.
//!
//! **Invariant:** never more than the limit are counted as open; one that was told to give way answers nothing more. It
//! never closes anything while there is room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::activity::{Activity, millis_since};
use tailwater_domain::{Limit, Subnet, limits};
use tailwater_runtime::{Clock, Limits, Refused, Share, Shares};

/// A connection of an address with few gives way to a newcomer only after it waited for so long.
const FRESH: Duration = Duration::from_secs(2);

/// A client that took or sent nothing for so long gives way when there is no room.
const STALLED: Duration = Duration::from_secs(10);
/// Of all connections this part is looked for at once to give way, so that a crowd of newcomers is not looked up one by one.
const BATCH: usize = 32;
/// Of all connections this part may be in the TLS handshake at once, shared by address.
const HANDSHAKES: u64 = 4;
/// After nothing gave way for an address it is not looked for again for so long.
const NEXT_LOOK: Duration = Duration::from_millis(50);
/// Refusals are logged so often, with their count.
const LOG_EVERY: Duration = Duration::from_mins(1);
/// What an address is sure of while others hold nearly all.
const LEAST: u64 = 16;

pub(super) const LIMITS: &[Limit] = limits![
    key "server.max_connections" in "connections": "Connections of agents and downstream servers" => "idle ones and the largest holder's give way, else 503",
    STALLED: "The time for which a client may take or send nothing when there is no room" => "the connection is closed",
    FRESH: "The time for which an idle connection of an address with few is left alone when there is no room" => "it gives way",
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
pub struct Connections(Arc<ConnectionTable>);

struct ConnectionTable {
    limits: ConnectionLimits,
    shares: Shares,
    handshakes: Shares,
    clock: Clock,
    begin: Instant,
    state: Mutex<OpenConnections>,
}

#[derive(Default)]
struct OpenConnections {
    next: u64,
    open: HashMap<u64, Arc<Activity>>,
    /// For whom nothing gave way, and when.
    in_vain: Option<(IpAddr, Instant)>,
    refused: u64,
    closed: u64,
    logged_at: Option<Instant>,
    unlogged: u64,
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

/// The slot of an open connection among all; given back when dropped.
pub(super) struct ConnectionSlot {
    connections: Connections,
    number: u64,
    activity: Arc<Activity>,
}

impl ConnectionSlot {
    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.state().open.remove(&self.number);
        self.activity.give_back();
    }
}

/// How readily a connection gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Readiness {
    Idle,
    Stalled,
    Running,
}

impl OpenConnections {
    /// Lets these give way, and counts them.
    fn close(&mut self, chosen: &[Arc<Activity>]) {
        self.closed += chosen.len() as u64;
        for activity in chosen {
            activity.give_way();
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
        Self(Arc::new(ConnectionTable { limits, shares, handshakes, clock, begin, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, OpenConnections> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from this address; others give way for it where that is fair.
    pub(super) fn admit(&self, address: IpAddr) -> Result<ConnectionSlot, Refused> {
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
        let activity = Arc::new(Activity::new(address, share, self.0.begin, self.0.clock.clone()));
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.open.insert(number, Arc::clone(&activity));
        drop(state);
        Ok(ConnectionSlot { connections: self.clone(), number, activity })
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

    fn choose(&self, state: &OpenConnections, address: IpAddr, refused: Refused) -> Vec<Arc<Activity>> {
        let subnet = Subnet::of(address);
        let fits = |open: &Activity| match refused {
            Refused::Address => open.address() == address,
            Refused::Subnet => Subnet::of(open.address()) == subnet,
            Refused::Total | Refused::Entries => true,
        };
        let mut open_by: HashMap<IpAddr, usize> = HashMap::new();
        for open in state.open.values().filter(|open| open.stays()) {
            *open_by.entry(open.address()).or_default() += 1;
        }
        let own = open_by.get(&address).copied().unwrap_or(0);
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let (now, stalled, fresh) =
            (millis_since(self.0.begin, &self.0.clock), millis(STALLED), millis(FRESH));
        let mut found: Vec<_> = state
            .open
            .values()
            .filter(|open| fits(open) && open.stays())
            .filter_map(|open| {
                let since = open.waits_since();
                let count = open_by.get(&open.address()).copied().unwrap_or(0);
                // who just came has not had the time to ask
                let ripe = matches!(refused, Refused::Address | Refused::Subnet)
                    || count >= 2 * (own + 1)
                    || now.saturating_sub(since) >= fresh;
                let readiness = if since > 0 && ripe && !open.is_answering() {
                    Readiness::Idle
                } else if since > 0 && now.saturating_sub(since) >= stalled {
                    Readiness::Stalled
                } else if refused == Refused::Total && count >= 2 * (own + 1) {
                    Readiness::Running
                } else {
                    return None;
                };
                Some((readiness, std::cmp::Reverse(count), since, Arc::clone(open)))
            })
            .collect();
        found.sort_unstable_by_key(|(readiness, count, since, _)| (*readiness, *count, *since));
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

    /// Counts a refusal, and logs them once a minute.
    pub(super) fn refuse(&self, address: IpAddr, why: Refused) {
        let now = self.0.clock.instant();
        let mut state = self.state();
        state.refused += 1;
        state.unlogged += 1;
        if state.logged_at.is_none_or(|at| now >= at + LOG_EVERY) {
            state.logged_at = Some(now);
            let count = std::mem::take(&mut state.unlogged);
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

#[cfg(test)]
mod tests;
