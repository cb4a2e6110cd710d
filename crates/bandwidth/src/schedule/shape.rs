//! What a rate means for turns, windows and the number of transfers: pure arithmetic.
//!
//! What waits in the kernel's receive buffers has crossed the link already. So each connection's buffer is
//! small, and a request pays for it in advance (see [`super::deposit`]).

use std::time::Duration;

use tailwater_domain::{Limit, Rate, limits};

/// What follows from a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of one turn on the link; `u64::MAX` when unlimited.
    pub(crate) quantum: u64,
    bytes_per_second: Option<u64>,
    /// No connection's receive buffer is larger; `None` leaves it to the rate.
    most_window: Option<u64>,
    /// All receive buffers together are to hold the bandwidth-delay product, and little more.
    yielding: bool,
    /// How many exchanges share the link now.
    sharers: u32,
    /// How many transfers may be open at once.
    pub(super) transfers: usize,
    /// Unused grants kept for the next who asks; what exceeds them is lost, because sending it later would
    /// exceed the rate then.
    pub(super) spare_limit: u64,
}

const KIB: u64 = 1024;

/// Smaller receive buffers stall: a kernel counts its own overhead against them.
const LEAST_WINDOW: u64 = 8 * KIB;

/// The same at the lowest rates, of which it would be too large a part of a second.
const LEAST_SLOW_WINDOW: u64 = 6 * KIB;
const SLOW: u64 = 125_000;

/// More than Linux grants by default (`net.core.rmem_max` of 208 KiB, doubled).
const MOST_WINDOW: u64 = 416 * KIB;

/// The largest window of a connection without window scaling: RFC 7323 section 1.1, "TCP header uses a 16-bit field to report the
/// receive window size to the sender".
const MOST_UNSCALED: u64 = 65_535;

/// A budget of which less than this for each transfer is left has fewer of them: what is asked for should fit.
const BUDGET_PER_TRANSFER: u64 = 256 * KIB;

/// Transfers at once at the lowest rates: one that begins does not wait for the end of another.
const LEAST_TRANSFERS: usize = 2;

/// Transfers at once without a limit.
const MAX_TRANSFERS: usize = 32;

/// Round trips that all receive buffers together hold while transfers yield to others.
const YIELDING_RTTS: u128 = 2;

/// An RTT over which the windows of a few connections do not fill the link.
pub(crate) const LONG_RTT: Duration = Duration::from_millis(75);

/// What a connection over such an RTT begins with, in milliseconds of the rate.
const FIRST_LONG_MILLIS: u128 = 20;

/// So many times the transfers share a link at most because its RTT is long.
const MOST_FOLD: usize = 4;

/// What all windows together hold beside what is in flight, in milliseconds of the rate. What is in them comes without being
/// paid for again, so it is what a second may carry too much: under the 5 % that are allowed.
const SPARE_MILLIS: u128 = 35;

/// Tenths of a round trip that the windows of long paths may come to together, beside the spare: an exchange that begins
/// leaves its part to the others for a while. While transfers yield to others they come to no more.
const IN_FLIGHT_TENTHS: u128 = 11;
const YIELDING_IN_FLIGHT_TENTHS: u128 = 12;

/// An exchange alone gets no larger part than one of so many, and is not counted further than this.
const YIELDING_SHARERS: u32 = 2;
const LEAST_SHARERS: u32 = 4;
const MOST_SHARERS: u32 = 32;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_WINDOW in "bytes": "The receive window of a connection" => "it grows no further",
    MAX_TRANSFERS in "transfers": "Transfers at once on a link without a rate" => "they wait",
    MOST_SHARERS in "transfers": "Transfers that share a link" => "they wait",
    MOST_FOLD in "times": "How much more transfers share a long link" => "they wait",
];

// not a limit: KIB, SLOW, LONG_RTT, MOST_UNSCALED: how windows are shared

impl Shape {
    pub(crate) fn of(rate: Rate) -> Self {
        let Some(bytes) = rate.bytes_per_second() else {
            return Self {
                quantum: u64::MAX,
                bytes_per_second: None,
                most_window: None,
                yielding: false,
                sharers: 1,
                transfers: MAX_TRANSFERS,
                spare_limit: 0,
            };
        };
        Self::of_bytes(bytes)
    }

    /// Of a rate in bytes a second.
    pub(super) fn of_bytes(bytes: u64) -> Self {
        // quanta of about 8 ms of the link below 10 Mbit/s, of 4 ms above: short enough to take turns,
        // long enough for a timer of 1 ms and a system call each
        let quantum = match bytes {
            0..=40_000 => KIB,
            40_001..=150_000 => 2 * KIB,
            150_001..=1_250_000 => (bytes / 125).clamp(4 * KIB, 16 * KIB),
            _ => (bytes / 250).clamp(16 * KIB, 64 * KIB),
        };
        let transfers = match bytes {
            0..=125_000 => 2,
            125_001..=250_000 => 4,
            250_001..=2_500_000 => 8,
            2_500_001..=25_000_000 => 16,
            _ => 32,
        };
        Self {
            quantum: quantum / KIB * KIB,
            bytes_per_second: Some(bytes),
            most_window: None,
            yielding: false,
            sharers: 1,
            transfers,
            spare_limit: (bytes / 100).max(quantum * 2),
        }
    }

    /// Bytes that came beside what was asked for and are still to be paid, at most: a second of the rate.
    pub(super) fn most_owed(&self) -> u64 {
        self.bytes_per_second.unwrap_or(0)
    }

    /// The same on a link with a budget of which so much is left. Buffers are bounded without a rate too, since what
    /// they hold is spent; all deposits together stay under half of what is left, so that its end can be used.
    pub(super) fn with_budget(self, left: u64) -> Self {
        let transfers = usize::try_from(left / BUDGET_PER_TRANSFER).unwrap_or(usize::MAX);
        Self {
            quantum: self.quantum.min(64 * KIB),
            most_window: Some((left / MAX_TRANSFERS as u64 / 2).clamp(LEAST_WINDOW, MOST_WINDOW)),
            transfers: self.transfers.min(transfers.max(2)),
            ..self
        }
    }

    /// While transfers yield to others: connections and their buffers for what the link was seen to carry. A buffer
    /// fills at once when an answer begins, and all of it queues; so each holds its part of what fills the link.
    pub(super) fn yielding(rate: Rate, peak: u64) -> Self {
        let bytes = rate.bytes_per_second().unwrap_or(u64::MAX).min(peak);
        let quantum = Self::of(rate).quantum;
        Self { quantum, yielding: true, ..Self::of_bytes(bytes) }
    }

    /// The same while so many exchanges are open, those that still connect included.
    pub(crate) fn shared_by(self, exchanges: usize) -> Self {
        let sharers = u32::try_from(exchanges).unwrap_or(u32::MAX).clamp(1, MOST_SHARERS);
        Self { sharers, ..self }
    }

    /// What the receive buffer of a connection with this RTT is bounded to, and what a request on it pays in advance; `None`
    /// leaves the kernel its own tuning.
    ///
    /// What fills a link is its bandwidth-delay product: RFC 1323 section 1.1, it "measures the amount of data that would
    /// "fill the pipe"; it is the buffer space required at sender and receiver to obtain maximum throughput". All windows
    /// together hold little more, because what is in them arrives in one burst; each gets its part. Over a long RTT they begin
    /// with less and grow as an answer goes on, see [`Shape::max_window`].
    pub(crate) fn window(&self, round_trip: Duration) -> Option<u32> {
        let micros = if self.yielding {
            // a kernel counts its own overhead against a buffer: about half of it holds data
            let in_flight =
                round_trip.as_micros() * YIELDING_RTTS / u128::from(self.sharers.max(YIELDING_SHARERS));
            in_flight.clamp(8_000, 100_000)
        } else {
            let in_flight = round_trip.as_micros() + SPARE_MILLIS * 1000;
            let part = in_flight / u128::from(self.sharers.max(LEAST_SHARERS));
            if round_trip >= LONG_RTT { part.min(FIRST_LONG_MILLIS * 1000) } else { part }
        };
        let most = self.most_window.unwrap_or(MOST_WINDOW);
        let bytes = match self.bytes_per_second {
            Some(rate) => u128::from(rate) * micros / 1_000_000,
            None => u128::from(self.most_window?),
        };
        let least = self.least_window();
        let bytes = bytes.clamp(u128::from(least), u128::from(most.max(least)));
        u32::try_from(bytes).ok()
    }

    fn least_window(&self) -> u64 {
        let slow = self.bytes_per_second.is_some_and(|rate| rate <= SLOW);
        if slow { LEAST_SLOW_WINDOW } else { LEAST_WINDOW }
    }

    /// How many transfers may be open at once with this RTT. A kernel opens a window by half of it at a time: over a long RTT
    /// many small ones make smaller bursts than a few large ones. No more than have room in flight with the least window.
    pub(crate) fn transfers_over(&self, round_trip: Duration) -> usize {
        let fold = usize::try_from(round_trip.as_millis() / LONG_RTT.as_millis()).unwrap_or(MOST_FOLD);
        let many = (self.transfers * fold.clamp(1, MOST_FOLD)).min(self.transfers.max(MAX_TRANSFERS));
        let (Some(rate), true) = (self.bytes_per_second, round_trip >= LONG_RTT) else { return many };
        let in_flight =
            u128::from(rate) * (round_trip.as_millis() * IN_FLIGHT_TENTHS / 10 + SPARE_MILLIS) / 1000;
        many.min(
            usize::try_from(in_flight / u128::from(self.least_window())).unwrap_or(many).max(LEAST_TRANSFERS),
        )
    }

    /// What the window of an exchange may grow to while the RTT is too long for [`Shape::window`] to fill the link: its part
    /// of what is in flight. 0 without a rate.
    pub(crate) fn max_window(&self, round_trip: Duration) -> u64 {
        let (Some(rate), Some(window)) = (self.bytes_per_second, self.window(round_trip)) else { return 0 };
        if round_trip < LONG_RTT {
            return 0;
        }
        let most = if can_scale(window) { MOST_WINDOW } else { MOST_UNSCALED };
        let millis = if self.yielding {
            round_trip.as_millis() * YIELDING_IN_FLIGHT_TENTHS / 10
        } else {
            round_trip.as_millis() * IN_FLIGHT_TENTHS / 10 + SPARE_MILLIS
        };
        let in_flight = u128::from(rate) * millis / 1000;
        let part = u64::try_from(in_flight / u128::from(self.sharers)).unwrap_or(u64::MAX);
        part.min(most).min(self.most_window.unwrap_or(most))
    }

    /// Whether a connection made with this window still suits.
    pub(crate) fn suits(&self, window: Option<u32>, round_trip: Duration) -> bool {
        match (window, self.window(round_trip)) {
            (None, None) => true,
            (Some(has), Some(wanted)) => {
                // what was made while the link was not known yet would keep it from being filled
                let more = if self.yielding { has.saturating_add(has / 5) } else { has.saturating_mul(2) };
                has <= wanted.saturating_mul(2) && wanted <= more
            }
            _ => false,
        }
    }
}

/// Whether a connection that begins with this window can be made so that it grows beyond [`MOST_UNSCALED`]: a kernel
/// opens that much at once then.
pub(crate) fn can_scale(window: u32) -> bool {
    u64::from(window) > MOST_UNSCALED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_and_windows_follow_the_rate() {
        // KiB of a turn, KiB of the windows of a near and a far upstream, transfers
        let table = [
            ("64 kbit/s", 1, 6, 6, 2),
            ("1 Mbit/s", 2, 6, 6, 2),
            ("2 Mbit/s", 4, 8, 8, 4),
            ("8 Mbit/s", 7, 8, 19, 8),
            ("20 Mbit/s", 16, 21, 48, 8),
            ("100 Mbit/s", 48, 106, 244, 16),
            ("1 Gbit/s", 64, 416, 416, 32),
        ];
        for (rate, quantum, near, far, transfers) in table {
            let shape = Shape::of(rate.parse().unwrap());
            let window = |millis| u64::from(shape.window(Duration::from_millis(millis)).unwrap()) / KIB;
            assert_eq!((shape.quantum / KIB, shape.transfers), (quantum, transfers), "{rate}");
            assert_eq!((window(0), window(300)), (near, far), "{rate}");
        }
        assert_eq!(Shape::of(Rate::Unlimited).window(Duration::ZERO), None);
    }

    #[test]
    fn far_upstreams_fill_the_link_together() {
        // what each of so many exchanges may have in flight, in KiB
        let table = [
            ("2 Mbit/s", 600, 1, 63),
            ("2 Mbit/s", 600, 16, 10),
            ("2 Mbit/s", 150, 8, 6),
            ("8 Mbit/s", 150, 16, 12),
            ("100 Mbit/s", 300, 32, 139),
            ("20 Mbit/s", 1, 8, 0),
        ];
        for (rate, millis, exchanges, expected) in table {
            let shape = Shape::of(rate.parse().unwrap()).shared_by(exchanges);
            assert_eq!(
                shape.max_window(Duration::from_millis(millis)) / KIB,
                expected,
                "{rate}, {millis} ms"
            );
        }
        let transfers = |millis| Shape::of_bytes(250_000).transfers_over(Duration::from_millis(millis));
        assert_eq!([0, 74, 150, 600].map(transfers), [4, 4, 6, 16]);
        assert_eq!(Shape::of(Rate::Unlimited).max_window(Duration::from_secs(1)), 0);
    }

    #[test]
    fn a_connection_of_another_rate_is_not_used_again() {
        let shape = |rate: &str| Shape::of(rate.parse().unwrap());
        let near = Duration::from_millis(1);
        let window = shape("8 Mbit/s").window(near);
        assert!(shape("8 Mbit/s").suits(window, near));
        assert!(shape("10 Mbit/s").suits(window, near));
        assert!(!shape("100 Mbit/s").suits(window, near));
        assert!(!shape("unlimited").suits(window, near));
        assert!(!shape("8 Mbit/s").suits(None, near));
        let (yielding, far) = (|peak| Shape::yielding(Rate::Unlimited, peak), Duration::from_millis(40));
        let window = yielding(1_000_000).window(far);
        let all = |sharers: usize| {
            let each = yielding(2_000_000).shared_by(sharers).window(Duration::from_millis(100));
            u64::from(each.unwrap()) * sharers as u64
        };
        assert_eq!((all(2), all(4), all(8)), (400_000, 400_000, 400_000), "two round trips, shared");
        assert!(yielding(1_100_000).suits(window, far) && yielding(600_000).suits(window, far));
        assert!(!yielding(1_300_000).suits(window, far));
    }
}
