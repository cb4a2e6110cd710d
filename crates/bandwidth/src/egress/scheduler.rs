//! Whose turn it is to be sent to: round robin over clients, one quantum each, as far as three levels of rates allow.
//!
//! Fair queueing as in RFC 970 ("Fairness in packet switching systems"): clients are served in turn, however many connections
//! they have.
//!
//! **Invariant:** a turn is paid for at all three levels or at none. A client whose own rate or subnet is used up is throttled
//! without delaying others, and comes back in the order in which it went. It never sleeps; [`super::limiter`] drives it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::IpAddr;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::rates::EgressRates;
use crate::schedule::Quota;
use tailwater_domain::{Rate, Subnet};

/// One rate that is spent by several.
struct RateLevel {
    quota: Option<Quota>,
    spare: u64,
    /// Until when it is used up: one time for all who ask, so that they go on in the order in which they came.
    throttled_until: Option<Instant>,
}

struct Client {
    level: RateLevel,
    subnet: Subnet,
    /// Connections with something to send, in the order of their turns.
    waiting: VecDeque<u64>,
    /// In the round robin or throttled.
    listed: bool,
    connections: usize,
}

struct Connection {
    client: IpAddr,
    granted: u64,
    queued: bool,
    waker: Option<Waker>,
}

pub(super) struct Scheduler {
    quantum: u64,
    total: RateLevel,
    subnets: HashMap<Subnet, (RateLevel, usize)>,
    clients: HashMap<IpAddr, Client>,
    connections: HashMap<u64, Connection>,
    next_id: u64,
    /// Clients whose turn can come.
    queue: VecDeque<IpAddr>,
    /// Clients that used up their rate, or their subnet's, until when; the number keeps the order of those that may go
    /// on at once.
    throttled: BinaryHeap<Reverse<(Instant, u64, IpAddr)>>,
    throttle_count: u64,
    pub(super) sent: u64,
    /// Nothing more is limited: the server is stopping.
    pub(super) closed: bool,
}

impl RateLevel {
    fn new(rate: Rate, quantum: u64) -> Self {
        Self {
            quota: rate.bytes_per_second().map(|bytes| Quota::new(bytes, quantum)),
            spare: 0,
            throttled_until: None,
        }
    }

    /// Makes sure that `bytes` can be spent, or says when to ask again.
    fn prepare(&mut self, bytes: u64, now: Instant) -> Result<(), Instant> {
        let Some(quota) = self.quota.as_ref().filter(|_| self.spare < bytes) else { return Ok(()) };
        if let Some(until) = self.throttled_until.filter(|until| *until > now) {
            return Err(until);
        }
        match quota.take(bytes - self.spare) {
            Ok(taken) => {
                self.spare += taken;
                self.throttled_until = None;
                Ok(())
            }
            Err(wait) => {
                let until = now + wait;
                self.throttled_until = Some(until);
                Err(until)
            }
        }
    }

    fn spend(&mut self, bytes: u64) {
        self.spare = self.spare.saturating_sub(bytes);
    }

    /// What was not used; more than a turn of it is forgotten, because sending it later would exceed the rate then.
    fn give_back(&mut self, bytes: u64, quantum: u64) {
        self.spare = self.spare.saturating_add(bytes).min(2 * quantum);
    }
}

impl Scheduler {
    pub(super) fn new(rates: &EgressRates) -> Self {
        let quantum = rates.quantum();
        Self {
            quantum,
            total: RateLevel::new(rates.rate, quantum),
            subnets: HashMap::new(),
            clients: HashMap::new(),
            connections: HashMap::new(),
            next_id: 0,
            queue: VecDeque::new(),
            throttled: BinaryHeap::new(),
            throttle_count: 0,
            sent: 0,
            closed: false,
        }
    }

    /// Addresses that are connected, and those of them that wait for a turn.
    pub(super) fn clients(&self) -> (usize, usize) {
        let waiting = self.clients.values().filter(|client| !client.waiting.is_empty()).count();
        (self.clients.len(), waiting)
    }

    pub(super) fn open(&mut self, address: IpAddr, rates: &EgressRates) -> u64 {
        self.next_id += 1;
        let (quantum, net) = (self.quantum, Subnet::of(address));
        let client = self.clients.entry(address).or_insert_with(|| {
            let level = RateLevel::new(rates.per_client, quantum);
            self.subnets.entry(net).or_insert_with(|| (RateLevel::new(rates.per_subnet, quantum), 0)).1 += 1;
            Client { level, subnet: net, waiting: VecDeque::new(), listed: false, connections: 0 }
        });
        client.connections += 1;
        let connection = Connection { client: address, granted: 0, queued: false, waker: None };
        self.connections.insert(self.next_id, connection);
        self.next_id
    }

    pub(super) fn shut(&mut self, id: u64, credit: u64) {
        self.give_back(id, credit);
        let Some(connection) = self.connections.remove(&id) else { return };
        let Some(client) = self.clients.get_mut(&connection.client) else { return };
        client.connections -= 1;
        client.waiting.retain(|other| *other != id);
        if client.connections == 0
            && let Some(client) = self.clients.remove(&connection.client)
        {
            // who comes back would otherwise have its old position and a new one, and two turns for each of the others
            if client.listed {
                self.queue.retain(|other| *other != connection.client);
                self.throttled.retain(|Reverse((_, _, other))| *other != connection.client);
            }
            if let Some((_, clients)) = self.subnets.get_mut(&client.subnet) {
                *clients -= 1;
                if *clients == 0 {
                    self.subnets.remove(&client.subnet);
                }
            }
        }
    }

    /// What was granted to the connection; otherwise it waits for its turn.
    pub(super) fn ask(&mut self, id: u64, waker: &Waker) -> Option<u64> {
        let Self { connections, clients, queue, .. } = self;
        let connection = connections.get_mut(&id)?;
        if connection.granted > 0 {
            return Some(std::mem::take(&mut connection.granted));
        }
        if !connection.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            connection.waker = Some(waker.clone());
        }
        if !connection.queued
            && let Some(client) = clients.get_mut(&connection.client)
        {
            connection.queued = true;
            client.waiting.push_back(id);
            if !client.listed {
                client.listed = true;
                queue.push_back(connection.client);
            }
        }
        None
    }

    pub(super) fn give_back(&mut self, id: u64, bytes: u64) {
        let Self { quantum, total, subnets, clients, connections, .. } = self;
        let Some(connection) = connections.get(&id).filter(|_| bytes > 0) else { return };
        total.give_back(bytes, *quantum);
        if let Some(client) = clients.get_mut(&connection.client) {
            client.level.give_back(bytes, *quantum);
            if let Some((level, _)) = subnets.get_mut(&client.subnet) {
                level.give_back(bytes, *quantum);
            }
        }
    }

    /// Gives turns as far as the rates allow; says after how long there is more to give, `None` when nobody waits.
    pub(super) fn serve(&mut self, now: Instant, wake: &mut Vec<Waker>) -> Option<Duration> {
        while let Some(Reverse((at, _, _))) = self.throttled.peek()
            && *at <= now
            && let Some(Reverse((_, _, client))) = self.throttled.pop()
        {
            self.queue.push_back(client);
        }
        // once around: who was served must be able to ask again before somebody with many connections has a second turn
        for _ in 0..self.queue.len() {
            let Some(address) = self.queue.front().copied() else { break };
            match self.turn(address, now) {
                TurnOutcome::Granted(waker) => wake.extend(waker),
                TurnOutcome::NothingQueued => {}
                TurnOutcome::Throttled(until) => {
                    self.queue.pop_front();
                    self.throttle_count += 1;
                    self.throttled.push(Reverse((until, self.throttle_count, address)));
                }
                TurnOutcome::AllThrottled(until) => return Some(until.saturating_duration_since(now)),
            }
        }
        if !self.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        self.throttled.peek().map(|Reverse((at, _, _))| at.saturating_duration_since(now))
    }

    /// One turn of the client at the front of the queue.
    fn turn(&mut self, address: IpAddr, now: Instant) -> TurnOutcome {
        let Self { quantum, total, subnets, clients, connections, queue, .. } = self;
        let Some(client) = clients.get_mut(&address) else {
            queue.pop_front();
            return TurnOutcome::NothingQueued;
        };
        let Some(id) = client.waiting.front().copied() else {
            client.listed = false;
            queue.pop_front();
            return TurnOutcome::NothingQueued;
        };
        if let Err(until) = client.level.prepare(*quantum, now) {
            return TurnOutcome::Throttled(until);
        }
        let mut network = subnets.get_mut(&client.subnet).map(|(level, _)| level);
        if let Some(Err(until)) = network.as_mut().map(|level| level.prepare(*quantum, now)) {
            return TurnOutcome::Throttled(until);
        }
        if let Err(until) = total.prepare(*quantum, now) {
            return TurnOutcome::AllThrottled(until);
        }
        total.spend(*quantum);
        client.level.spend(*quantum);
        if let Some(level) = network {
            level.spend(*quantum);
        }
        client.waiting.pop_front();
        queue.rotate_left(1);
        match connections.get_mut(&id) {
            Some(connection) => {
                connection.queued = false;
                connection.granted += *quantum;
                TurnOutcome::Granted(connection.waker.take())
            }
            None => TurnOutcome::NothingQueued,
        }
    }

    pub(super) fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        self.connections.values_mut().filter_map(|connection| connection.waker.take()).collect()
    }
}

/// What became of a client's turn.
enum TurnOutcome {
    /// A connection may send.
    Granted(Option<Waker>),
    /// It has nothing to send.
    NothingQueued,
    /// Its own rate or its subnet's is used up until then.
    Throttled(Instant),
    /// The rate of all is used up until then.
    AllThrottled(Instant),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone_leaves_nothing_behind() {
        let mut state = Scheduler::new(&EgressRates {
            rate: Rate::BitsPerSecond(8_000.try_into().unwrap()),
            ..EgressRates::default()
        });
        let rates = EgressRates::default();
        let ids =
            ["10.0.0.1", "10.0.0.1", "10.0.0.2"].map(|client| state.open(client.parse().unwrap(), &rates));
        assert_eq!((state.clients().0, state.subnets.len()), (2, 1));
        for id in ids {
            state.shut(id, 0);
        }
        assert!(state.clients.is_empty() && state.subnets.is_empty() && state.connections.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_back_is_queued_once() {
        let rate = || "8 kbit/s".parse().unwrap();
        let rates = EgressRates { rate: rate(), per_subnet: rate(), ..EgressRates::default() };
        let mut state = Scheduler::new(&rates);
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        for _ in 0..10 {
            let id = state.open(address, &rates);
            assert!(state.ask(id, Waker::noop()).is_none());
            let mut wake = Vec::new();
            state.serve(Instant::now(), &mut wake);
            assert_eq!(state.queue.len() + state.throttled.len(), 1);
            state.shut(id, 0);
        }
        assert!(state.queue.is_empty() && state.throttled.is_empty());
    }
}
