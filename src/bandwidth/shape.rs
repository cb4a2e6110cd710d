//! What a rate means for turns, windows and the number of transfers: pure arithmetic.
//!
//! What waits in the kernel's receive buffers has crossed the link already. So each connection's buffer is
//! small, and a request pays for it in advance (see [`super::limiter::Deposit`]).

use crate::domain::Rate;

/// What follows from a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes of one turn on the link; `u64::MAX` when unlimited.
    pub(super) quantum: u64,
    /// What a connection's receive buffer is set to, and what a request pays in advance; `None` leaves the
    /// kernel's own tuning.
    pub(super) window: Option<u32>,
    /// How many transfers may be open at once.
    pub(super) transfers: usize,
    /// Unused grants kept for the next who asks; what exceeds them is lost, because sending it later would
    /// exceed the rate then.
    pub(super) spare_limit: u64,
}

const KIB: u64 = 1024;

/// Transfers at once without a limit.
const MAX_TRANSFERS: usize = 64;

impl Shape {
    pub(super) fn of(rate: Rate) -> Self {
        let Some(bytes) = rate.bytes_per_second() else {
            return Self { quantum: u64::MAX, window: None, transfers: MAX_TRANSFERS, spare_limit: 0 };
        };
        // quanta of about 8 ms of the link below 10 Mbit/s, of 4 ms above: short enough to take turns,
        // long enough for a timer of 1 ms and a system call each
        let quantum = match bytes {
            0..=40_000 => KIB,
            40_001..=150_000 => 2 * KIB,
            150_001..=1_250_000 => (bytes / 125).clamp(4 * KIB, 16 * KIB),
            _ => (bytes / 250).clamp(16 * KIB, 64 * KIB),
        };
        let transfers = match bytes {
            0..=62_500 => 2,
            62_501..=250_000 => 4,
            250_001..=2_500_000 => 8,
            2_500_001..=25_000_000 => 16,
            _ => 32,
        };
        // 32 ms of the link in one window: all transfers together cover round trips of 130 ms and more
        let window = (bytes / 32).clamp(8 * KIB, 256 * KIB);
        Self {
            quantum: quantum / KIB * KIB,
            window: u32::try_from(window).ok(),
            transfers,
            spare_limit: (bytes / 50).max(quantum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_and_windows_follow_the_rate() {
        let table = [
            ("64 kbit/s", 1, 8, 2),
            ("1 Mbit/s", 2, 8, 4),
            ("8 Mbit/s", 7, 30, 8),
            ("20 Mbit/s", 16, 76, 8),
            ("100 Mbit/s", 48, 256, 16),
            ("1 Gbit/s", 64, 256, 32),
        ];
        for (rate, quantum, window, transfers) in table {
            let shape = Shape::of(rate.parse().unwrap());
            assert_eq!(shape.quantum / KIB, quantum, "{rate}");
            assert_eq!(u64::from(shape.window.unwrap()) / KIB, window, "{rate}");
            assert_eq!(shape.transfers, transfers, "{rate}");
        }
        assert_eq!(Shape::of(Rate::Unlimited).window, None);
    }
}
