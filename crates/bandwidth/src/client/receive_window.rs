//! Windows that grow while an answer comes from far away.
//!
//! What a connection may have on its way is paid before it can come. A far upstream fills the link only with more on
//! its way than may come in one burst; so a connection begins with a small window, and whenever nothing is there to be
//! read, it pays for a little more and opens its window by that much, no faster than a kernel does: twofold in a round
//! trip. What comes has the pace at which it was paid, and the end of the answer, paid for by then, closes the window
//! again.
//!
//! **Invariant:** a window never exceeds what its deposit holds, and is back at its first size when its exchange ends.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::socket_options;
use crate::schedule::{FAR, Limiter, Places, can_scale};
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
pub(super) struct Reach {
    limiter: Limiter,
    places: Places,
    round_trip: Duration,
    /// What it was made with; 0 leaves it to the kernel.
    first: u64,
    /// What is paid for, and what of that the kernel knows.
    paid: u64,
    told: u64,
    /// By how much it may grow until more has come.
    may: u64,
}

impl Reach {
    pub(super) fn new(first: Option<u32>, round_trip: Duration, limiter: &Limiter, places: &Places) -> Self {
        let first = u64::from(first.unwrap_or(0));
        let (limiter, places) = (limiter.clone(), places.clone());
        Self { limiter, places, round_trip, first, paid: first, told: first, may: 0 }
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Whether the upstream is too far for the first window.
    pub(super) fn is_far(&self) -> bool {
        self.first > 0 && self.round_trip >= FAR
    }

    /// What the kernel was told of the receive buffer last, in bytes; `None` where it was left to it.
    pub(super) fn buffer(&self) -> Option<usize> {
        let bytes = if self.is_far() { self.told } else { self.first / 2 };
        usize::try_from(bytes).ok().filter(|bytes| *bytes > 0)
    }

    /// By how many bytes the window may still grow, when so many of the answer are not paid for yet.
    pub(super) fn lacks(&self, unpaid: u64) -> u64 {
        if self.may == 0 || unpaid == 0 {
            return 0;
        }
        let most = self.limiter.shape().shared_by(self.places.transfers()).reach(self.round_trip);
        most.saturating_sub(self.paid).min(unpaid).min(self.may)
    }

    /// So many bytes came.
    pub(super) fn came(&mut self, bytes: u64) {
        self.may = (self.may + bytes).min(self.paid);
    }

    /// So many bytes more were paid for.
    pub(super) fn grow(&mut self, stream: &TcpStream, bytes: u64) {
        self.paid += bytes;
        self.may = self.may.saturating_sub(bytes);
        if self.paid >= self.told + LEAST_STEP {
            self.tell(stream);
        }
    }

    /// It does not grow further for now: what is paid for is offered.
    pub(super) fn settle(&mut self, stream: &TcpStream) {
        if self.paid >= self.told + SEGMENT {
            self.tell(stream);
        }
    }

    fn tell(&mut self, stream: &TcpStream) {
        // a kernel that does not know how keeps the first window
        if set(stream, self.paid).is_ok() {
            self.told = self.paid;
        }
    }

    /// What of the deposit can come unpaid at any moment, where that is known; else it is what was seen to come.
    pub(super) fn grown(&self) -> Option<u64> {
        (self.told > self.first).then_some(self.paid)
    }

    /// The rest of the answer is paid for: no more is to come than that.
    pub(super) fn close(&mut self, stream: &TcpStream) {
        if self.told > self.first {
            let _kept = set(stream, self.first);
        }
        (self.paid, self.told, self.may) = (self.first, self.first, 0);
    }
}

/// The receive buffer that a connection over such a way is made with, in bytes as the kernel is told, which doubles them:
/// up to all of it holds data when segments are large. The unit in which windows are told later follows from it.
pub(super) fn first_buffer(window: u32, round_trip: Duration) -> u32 {
    let scaled = cfg!(target_os = "linux") && round_trip >= FAR && can_scale(window);
    if scaled { MOST_BUFFER } else { window / 2 }
}

/// Bounds the window of a connection that was just made over a long way. Segments are small there, and a kernel counts as
/// much for itself as they hold: the buffer has room for both.
pub(super) fn begin(stream: &TcpStream, window: u32, round_trip: Duration) -> io::Result<()> {
    if round_trip < FAR {
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
