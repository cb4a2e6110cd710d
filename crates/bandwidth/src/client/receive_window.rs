//! TCP receive windows that grow during an answer over a path with a long RTT.
//!
//! Bytes in flight are paid for before they can arrive. Over a long path the link is only full with more in flight than may
//! arrive in one burst. So a connection begins with a small window, and whenever there is nothing to read it pays for a little
//! more and opens its window by that much. Data arrives at the pace at which it was paid for; the end of the answer, paid for by
//! then, closes the window again.
//!
//! The window grows at most twofold in one RTT, like the congestion window in slow start: RFC 5681 section 3.1, "cwnd += min (N,
//! SMSS)", N being the bytes acknowledged.
//!
//! **Invariant:** a window never exceeds what its deposit holds, and is back at its first size when its exchange ends.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::socket_options;
use crate::schedule::{ExchangeSlots, LONG_RTT, Limiter, can_scale};
use tailwater_domain::{Limit, limits};

/// Windows are opened by no less while they may grow further: a few segments.
const LEAST_STEP: u64 = 4 * 1024;

/// The last step may be as small as a segment.
const SEGMENT: u64 = 1460;

/// A receive buffer that holds the largest window of a connection, in bytes as the kernel is told.
const MOST_BUFFER: u32 = 208 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_BUFFER in "bytes": "The receive buffer of a connection" => "it grows no further",
];

/// The window of one connection.
pub(super) struct ReceiveWindow {
    limiter: Limiter,
    slots: ExchangeSlots,
    round_trip: Duration,
    /// What it was made with; 0 leaves it to the kernel.
    first: u64,
    /// What is paid for, and how much of that the kernel advertises.
    paid: u64,
    advertised: u64,
    /// By how much it may grow until more arrives.
    growth: u64,
}

impl ReceiveWindow {
    pub(super) fn new(
        first: Option<u32>,
        round_trip: Duration,
        limiter: &Limiter,
        slots: &ExchangeSlots,
    ) -> Self {
        let first = u64::from(first.unwrap_or(0));
        let (limiter, slots) = (limiter.clone(), slots.clone());
        Self { limiter, slots, round_trip, first, paid: first, advertised: first, growth: 0 }
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Whether the RTT is too long for the first window to fill the link.
    pub(super) fn is_long(&self) -> bool {
        self.first > 0 && self.round_trip >= LONG_RTT
    }

    /// What the kernel was told of the receive buffer last, in bytes; `None` where it was left to it.
    pub(super) fn buffer(&self) -> Option<usize> {
        let bytes = if self.is_long() { self.advertised } else { self.first / 2 };
        usize::try_from(bytes).ok().filter(|bytes| *bytes > 0)
    }

    /// By how many bytes the window may still grow, when so many of the answer are not paid for yet.
    pub(super) fn room_to_grow(&self, unpaid: u64) -> u64 {
        if self.growth == 0 || unpaid == 0 {
            return 0;
        }
        let most = self.limiter.shape().shared_by(self.slots.transfers()).max_window(self.round_trip);
        most.saturating_sub(self.paid).min(unpaid).min(self.growth)
    }

    /// So many bytes arrived.
    pub(super) fn received(&mut self, bytes: u64) {
        self.growth = (self.growth + bytes).min(self.paid);
    }

    /// So many bytes more were paid for.
    pub(super) fn grow(&mut self, stream: &TcpStream, bytes: u64) {
        self.paid += bytes;
        self.growth = self.growth.saturating_sub(bytes);
        if self.paid >= self.advertised + LEAST_STEP {
            self.advertise(stream);
        }
    }

    /// It does not grow further for now: what is paid for is advertised.
    pub(super) fn advertise_rest(&mut self, stream: &TcpStream) {
        if self.paid >= self.advertised + SEGMENT {
            self.advertise(stream);
        }
    }

    fn advertise(&mut self, stream: &TcpStream) {
        // a kernel that does not know how keeps the first window
        if set(stream, self.paid).is_ok() {
            self.advertised = self.paid;
        }
    }

    /// How much of the deposit may be in flight, where that is known.
    pub(super) fn grown(&self) -> Option<u64> {
        (self.advertised > self.first).then_some(self.paid)
    }

    /// The rest of the answer is paid for: no more is to come than that.
    pub(super) fn close(&mut self, stream: &TcpStream) {
        if self.advertised > self.first {
            let _kept = set(stream, self.first);
        }
        (self.paid, self.advertised, self.growth) = (self.first, self.first, 0);
    }
}

/// The receive buffer that a connection with this RTT is made with, in bytes as the kernel is told, which doubles them:
/// up to all of it holds data when segments are large. The unit in which windows are advertised later follows from it.
pub(super) fn first_buffer(window: u32, round_trip: Duration) -> u32 {
    let scaled = cfg!(target_os = "linux") && round_trip >= LONG_RTT && can_scale(window);
    if scaled { MOST_BUFFER } else { window / 2 }
}

/// Bounds the window of a connection that was just made over a path with a long RTT. Segments are small there, and a kernel
/// counts as much for itself as they hold: the buffer has room for both.
pub(super) fn clamp(stream: &TcpStream, window: u32, round_trip: Duration) -> io::Result<()> {
    if round_trip < LONG_RTT {
        return Ok(());
    }
    match set(stream, u64::from(window)) {
        // where windows cannot be bounded, buffers are
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        other => other,
    }
}

/// Bounds a window, and the buffer below it.
fn set(stream: &TcpStream, window: u64) -> io::Result<()> {
    socket_options::clamp_window(stream, window)?;
    SockRef::from(stream).set_recv_buffer_size(usize::try_from(window).unwrap_or(usize::MAX))
}
