//! What crossed the link as the kernel saw it (`TCP_INFO`): bytes not read yet, duplicate segments, packet headers.
//!
//! Every open connection is sampled. What arrived is reported to the limiter, which pauses when a second had enough; duplicate
//! segments, and packet headers where they are to be counted, are paid and counted beside what was read.
//!
//! **Invariant:** nothing that a socket reads is counted here, only what comes on top of it. It never inspects what a connection
//! carries.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::account::Account;
use super::config::Counted;
use super::socket_options::{self, TcpInfo};
use crate::schedule::{ArrivalSample, Limiter, Meter};
use tailwater_domain::{Limit, limits};
use tailwater_runtime::{Clock, Tasks};

/// Between two samples: on a link with a rate, and without one.
const FAST_INTERVAL: Duration = Duration::from_millis(20);
const SLOW_INTERVAL: Duration = Duration::from_secs(1);

/// Connections that are sampled; far more than exchange slots and idle ones.
const MOST: usize = 512;

pub(super) const LIMITS: &[Limit] = limits![
    MOST in "connections": "Connections whose arrivals are counted" => "they are counted by what is read",
];

/// Header bytes of a segment over IPv4 and IPv6: IP (RFC 791 section 3.1, RFC 8200 section 3), TCP (RFC 9293 section 3.1), and
/// its time stamps with padding (RFC 7323 section 3.2).
const HEADER_BYTES: u64 = 20 + 20 + 12;
const HEADER_BYTES_V6: u64 = 40 + 20 + 12;

/// The open connections of one client. Cheap to clone.
#[derive(Clone)]
pub(super) struct ArrivalMonitor(Arc<Shared>);

struct Shared {
    counted: Counted,
    limiter: Limiter,
    meter: Meter,
    state: Mutex<MonitorState>,
    /// There is a connection.
    opened: Notify,
}

#[derive(Default)]
struct MonitorState {
    next: u64,
    open: HashMap<u64, MonitoredConnection>,
    duplicates: DuplicateSegments,
    /// What was paid and had not arrived at the last sample.
    outstanding: u64,
    /// What arrived on connections that closed since then.
    late: u64,
}

/// A connection that is sampled.
struct MonitoredConnection {
    socket: OwnedFd,
    header_bytes: u64,
    round_trip: Duration,
    account: Arc<Account>,
    last: TcpInfo,
    /// Segments beyond what the bytes need that were accounted for already.
    beyond: u64,
}

/// Keeps a connection monitored; dropping it ends that, after a last sample.
pub(super) struct MonitorGuard {
    monitor: ArrivalMonitor,
    id: u64,
}

impl ArrivalMonitor {
    pub(super) fn new(
        counted: Counted,
        limiter: &Limiter,
        meter: &Meter,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Self {
        let monitor = Self(Arc::new(Shared {
            counted,
            limiter: limiter.clone(),
            meter: meter.clone(),
            state: Mutex::default(),
            opened: Notify::new(),
        }));
        let (worker, clock, stopping) = (monitor.clone(), clock.clone(), tasks.stopping());
        tasks.spawn("link-monitor", async move {
            tokio::select! {
                () = worker.run(&clock) => {}
                () = stopping.cancelled() => {}
            }
        });
        monitor
    }

    fn state(&self) -> MutexGuard<'_, MonitorState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples a connection from now on; `None` where the kernel counts nothing.
    pub(super) fn open(
        &self,
        stream: &TcpStream,
        account: &Arc<Account>,
        round_trip: Duration,
    ) -> Option<MonitorGuard> {
        let last = socket_options::tcp_info(stream.as_fd())?;
        let header_bytes = if stream.peer_addr().ok()?.is_ipv4() { HEADER_BYTES } else { HEADER_BYTES_V6 };
        let socket = stream.as_fd().try_clone_to_owned().ok()?;
        let mut state = self.state();
        if state.open.len() >= MOST {
            return None;
        }
        state.next += 1;
        let id = state.next;
        state.open.insert(
            id,
            MonitoredConnection {
                socket,
                header_bytes,
                round_trip,
                account: Arc::clone(account),
                last,
                beyond: 0,
            },
        );
        drop(state);
        self.0.opened.notify_one();
        Some(MonitorGuard { monitor: self.clone(), id })
    }

    async fn run(&self, clock: &Clock) {
        loop {
            if self.state().open.is_empty() {
                self.0.opened.notified().await;
            }
            clock.sleep(if self.0.limiter.is_limited() { FAST_INTERVAL } else { SLOW_INTERVAL }).await;
            self.sample();
        }
    }

    fn sample(&self) {
        let mut state = self.state();
        let MonitorState { open, duplicates, outstanding: before, late, .. } = &mut *state;
        let late = std::mem::take(late);
        let arrived = late
            + open.values_mut().map(|monitored| self.sample_connection(monitored, duplicates)).sum::<u64>();
        let outstanding = open.values().map(MonitoredConnection::in_flight).sum();
        let waited_for = open.values().filter(|monitored| monitored.in_flight() > 0);
        let round_trip = waited_for.map(|monitored| monitored.round_trip).min().unwrap_or_default();
        let outstanding_before = std::mem::replace(before, outstanding);
        drop(state);
        self.0.limiter.arrived(ArrivalSample { arrived, outstanding_before, outstanding, round_trip });
    }

    /// Samples one connection: pays and counts what arrived beside what is read, and says how much arrived in all.
    fn sample_connection(
        &self,
        monitored: &mut MonitoredConnection,
        duplicates: &mut DuplicateSegments,
    ) -> u64 {
        let Some(tcp_info) = socket_options::tcp_info(monitored.socket.as_fd()) else { return 0 };
        let last = std::mem::replace(&mut monitored.last, tcp_info);
        let new = |now: u64, before: u64| now.saturating_sub(before);
        let beyond =
            tcp_info.data_segments.saturating_sub(tcp_info.received.div_ceil(tcp_info.segment.max(1)));
        let twice = duplicates.of(new(beyond, monitored.beyond)) * tcp_info.segment;
        monitored.beyond = beyond.max(monitored.beyond);
        let header_bytes = match self.0.counted {
            Counted::Payload => 0,
            Counted::Packets => new(tcp_info.segments, last.segments) * monitored.header_bytes,
        };
        let beside = twice + header_bytes;
        if beside > 0 {
            self.0.meter.count_received(monitored.account.purpose().class, beside);
            self.0.limiter.charge(beside);
        }
        new(tcp_info.received, last.received) + beside
    }
}

impl Drop for MonitorGuard {
    fn drop(&mut self) {
        let mut state = self.monitor.state();
        let Some(mut monitored) = state.open.remove(&self.id) else { return };
        let arrived = self.monitor.sample_connection(&mut monitored, &mut state.duplicates);
        state.late += arrived;
    }
}

impl MonitoredConnection {
    /// Bytes that may come without another grant: what is paid for, or what the kernel offered where that is more, up to
    /// the end of the answer. Kernels forget a bounded window when segments turn out to be of another size.
    fn in_flight(&self) -> u64 {
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

/// How many segments this machine received twice: its kernel counts the D-SACK blocks that it sends, for all connections
/// together. RFC 2883 section 4: a receiver of a duplicate segment reports its sequence numbers in the first SACK block. One
/// connection's segments beyond what its bytes need may also be short ones.
#[derive(Debug, Default)]
struct DuplicateSegments {
    last: Option<u64>,
    /// Reported, and attributed to no connection yet.
    open: u64,
}

impl DuplicateSegments {
    /// How many of so many segments more than needed are duplicates.
    fn of(&mut self, beyond: u64) -> u64 {
        if self.last.is_some() && beyond == 0 {
            return 0;
        }
        let reported = std::fs::read_to_string("/proc/self/net/netstat").ok();
        self.share(beyond, reported.as_deref().and_then(duplicates_reported))
    }

    fn share(&mut self, beyond: u64, reported: Option<u64>) -> u64 {
        let Some(reported) = reported else { return 0 };
        let before = self.last.replace(reported).unwrap_or(reported);
        self.open += reported.saturating_sub(before);
        let duplicated = self.open.min(beyond);
        self.open -= duplicated;
        duplicated
    }
}

/// Duplicate segments, out of `/proc/net/netstat`: pairs of lines, names and values.
fn duplicates_reported(text: &str) -> Option<u64> {
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
        assert_eq!(duplicates_reported(text), Some(42));
        assert_eq!(duplicates_reported("IpExt: A\nIpExt: 1\n"), None);
    }

    #[test]
    fn short_segments_are_not_taken_for_double_ones() {
        let mut duplicates = DuplicateSegments::default();
        // segments beyond what the bytes need, what the kernel reported so far, of which duplicates
        let table = [
            (9, Some(100), 0),
            (50, Some(100), 0),
            (3, Some(105), 3),
            (1, Some(105), 1),
            (4, Some(106), 2),
            (4, None, 0),
            (4, Some(106), 0),
        ];
        for (at, (beyond, reported, duplicated)) in table.into_iter().enumerate() {
            assert_eq!(duplicates.share(beyond, reported), duplicated, "{at}");
        }
    }
}
