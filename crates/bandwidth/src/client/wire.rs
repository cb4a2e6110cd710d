//! What crossed the link as the kernel saw it: bytes that wait to be read, segments that came twice, the heads of packets.
//!
//! The kernel of each connection is asked while it is open. What came is told to the limiter, which pauses when a second had
//! enough; what came twice, and where it is wanted the heads of packets, is paid and counted beside what was read.
//!
//! **Invariant:** nothing that a socket reads is counted here, only what comes on top of it. It never looks at what a
//! connection carries.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::account::Account;
use super::config::Counted;
use super::socket_options;
use super::socket_options::Seen;
use crate::schedule::{Limiter, Look, Meter};
use tailwater_domain::{Limit, limits};
use tailwater_runtime::{Clock, Tasks};

/// Between two looks: while a second is to be kept, and while bytes are only counted.
const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_secs(1);

/// Connections that are looked at; far more than places and idle ones.
const MOST: usize = 512;

pub(super) const LIMITS: &[Limit] = limits![
    MOST in "connections": "Connections whose arrivals are counted" => "they are counted by what is read",
];

/// Heads of a segment over IPv4 and IPv6: the packet's, TCP's, and its time stamps.
const HEADS: u64 = 20 + 20 + 12;
const HEADS_V6: u64 = 40 + 20 + 12;

/// The open connections of one client. Cheap to clone.
#[derive(Clone)]
pub(super) struct Wire(Arc<Shared>);

struct Shared {
    counted: Counted,
    limiter: Limiter,
    meter: Meter,
    state: Mutex<State>,
    /// There is a connection.
    opened: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    open: HashMap<u64, Watched>,
    doubles: Doubles,
    /// What was paid and had not arrived at the last look.
    outstanding: u64,
    /// What connections brought that closed since then.
    late: u64,
}

/// A connection that is looked at.
struct Watched {
    socket: OwnedFd,
    heads: u64,
    round_trip: Duration,
    account: Arc<Account>,
    last: Seen,
    /// Segments beyond what the bytes need that were looked into already.
    beyond: u64,
}

/// Being looked at; dropping it ends that, after a last look.
pub(super) struct Watch {
    wire: Wire,
    id: u64,
}

impl Wire {
    pub(super) fn new(
        counted: Counted,
        limiter: &Limiter,
        meter: &Meter,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Self {
        let wire = Self(Arc::new(Shared {
            counted,
            limiter: limiter.clone(),
            meter: meter.clone(),
            state: Mutex::default(),
            opened: Notify::new(),
        }));
        let (worker, clock, stopping) = (wire.clone(), clock.clone(), tasks.stopping());
        tasks.spawn("link-wire", async move {
            tokio::select! {
                () = worker.watch(&clock) => {}
                () = stopping.cancelled() => {}
            }
        });
        wire
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a connection from now on; `None` where the kernel tells nothing.
    pub(super) fn open(
        &self,
        stream: &TcpStream,
        account: &Arc<Account>,
        round_trip: Duration,
    ) -> Option<Watch> {
        let last = socket_options::seen(stream.as_fd())?;
        let heads = if stream.peer_addr().ok()?.is_ipv4() { HEADS } else { HEADS_V6 };
        let socket = stream.as_fd().try_clone_to_owned().ok()?;
        let mut state = self.state();
        if state.open.len() >= MOST {
            return None;
        }
        state.next += 1;
        let id = state.next;
        state
            .open
            .insert(id, Watched { socket, heads, round_trip, account: Arc::clone(account), last, beyond: 0 });
        drop(state);
        self.0.opened.notify_one();
        Some(Watch { wire: self.clone(), id })
    }

    async fn watch(&self, clock: &Clock) {
        loop {
            if self.state().open.is_empty() {
                self.0.opened.notified().await;
            }
            clock.sleep(if self.0.limiter.is_limited() { OFTEN } else { SELDOM }).await;
            self.look();
        }
    }

    fn look(&self) {
        let mut state = self.state();
        let State { open, doubles, outstanding: before, late, .. } = &mut *state;
        let late = std::mem::take(late);
        let arrived = late + open.values_mut().map(|watched| self.look_at(watched, doubles)).sum::<u64>();
        let outstanding = open.values().map(Watched::to_come).sum();
        let waited_for = open.values().filter(|watched| watched.to_come() > 0);
        let round_trip = waited_for.map(|watched| watched.round_trip).min().unwrap_or_default();
        let outstanding_before = std::mem::replace(before, outstanding);
        drop(state);
        self.0.limiter.arrived(Look { arrived, outstanding_before, outstanding, round_trip });
    }

    /// Looks at one connection: pays and counts what came beside what is read, and says how much came in all.
    fn look_at(&self, watched: &mut Watched, doubles: &mut Doubles) -> u64 {
        let Some(seen) = socket_options::seen(watched.socket.as_fd()) else { return 0 };
        let last = std::mem::replace(&mut watched.last, seen);
        let new = |now: u64, before: u64| now.saturating_sub(before);
        let beyond = seen.data_segments.saturating_sub(seen.received.div_ceil(seen.segment.max(1)));
        let twice = doubles.of(new(beyond, watched.beyond)) * seen.segment;
        watched.beyond = beyond.max(watched.beyond);
        let heads = match self.0.counted {
            Counted::Payload => 0,
            Counted::Packets => new(seen.segments, last.segments) * watched.heads,
        };
        let beside = twice + heads;
        if beside > 0 {
            self.0.meter.count_received(watched.account.purpose().class, beside);
            self.0.limiter.charge(beside);
        }
        new(seen.received, last.received) + beside
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.wire.state();
        let Some(mut watched) = state.open.remove(&self.id) else { return };
        let arrived = self.wire.look_at(&mut watched, &mut state.doubles);
        state.late += arrived;
    }
}

impl Watched {
    /// Bytes that may come without another grant: what is paid for, or what the kernel offered where that is more, up to
    /// the end of the answer. Kernels forget a bounded window when segments turn out to be of another size.
    fn to_come(&self) -> u64 {
        let unread = self.unread();
        let paid = self.account.deposited().saturating_sub(unread);
        let offered = self.last.window.unwrap_or(0).min(self.account.left().saturating_sub(unread));
        paid.max(offered)
    }

    /// Bytes that arrived and nobody read.
    fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.socket).unwrap_or(0)
    }
}

/// How many segments this machine was sent twice: its kernel counts what it tells senders of that (RFC 2883), for all
/// connections together. One connection's segments beyond what its bytes need may also be short ones.
#[derive(Debug, Default)]
struct Doubles {
    last: Option<u64>,
    /// Told, and found in no connection yet.
    open: u64,
}

impl Doubles {
    /// How many of so many segments more than needed came twice.
    fn of(&mut self, beyond: u64) -> u64 {
        if self.last.is_some() && beyond == 0 {
            return 0;
        }
        let told = std::fs::read_to_string("/proc/self/net/netstat").ok();
        self.share(beyond, told.as_deref().and_then(told_twice))
    }

    fn share(&mut self, beyond: u64, told: Option<u64>) -> u64 {
        let Some(told) = told else { return 0 };
        let before = self.last.replace(told).unwrap_or(told);
        self.open += told.saturating_sub(before);
        let twice = self.open.min(beyond);
        self.open -= twice;
        twice
    }
}

/// Segments that came twice, out of `/proc/net/netstat`: pairs of lines, names and values.
fn told_twice(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    let counts = pairs.filter(|(name, _)| matches!(*name, "TCPDSACKOldSent" | "TCPDSACKOfoSent"));
    Some(counts.filter_map(|(_, value)| value.parse::<u64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_twice_is_read_from_the_kernels_counters() {
        let text = "TcpExt: SyncookiesSent TCPDSACKOldSent TCPDSACKOfoSent TCPDSACKRecv\nTcpExt: 1 40 2 7\nIpExt: InOctets\nIpExt: 5\n";
        assert_eq!(told_twice(text), Some(42));
        assert_eq!(told_twice("IpExt: A\nIpExt: 1\n"), None);
    }

    #[test]
    fn short_segments_are_not_taken_for_double_ones() {
        let mut doubles = Doubles::default();
        // segments beyond what the bytes need, what the kernel told so far, of which came twice
        let table = [
            (9, Some(100), 0),
            (50, Some(100), 0),
            (3, Some(105), 3),
            (1, Some(105), 1),
            (4, Some(106), 2),
            (4, None, 0),
            (4, Some(106), 0),
        ];
        for (at, (beyond, told, twice)) in table.into_iter().enumerate() {
            assert_eq!(doubles.share(beyond, told), twice, "{at}");
        }
    }
}
