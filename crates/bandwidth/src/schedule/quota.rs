//! How many bytes a rate allows by now: GCRA, by the crate governor, which nothing else here uses.
//!
//! GCRA (ITU-T I.371, ATM Forum TM 4.0 section 4.4.2), as virtual scheduling: a cell that arrives at `t` conforms when `t >=
//! TAT - L`, TAT being its theoretical arrival time; then `TAT = max(t, TAT) + I`. Here a cell is [`CELL`] bytes, the
//! increment I is a cell's time at the rate, and the limit L is [`BURST_TIME`] and one quantum.
//!
//! A quota starts empty, so that changing the rate never buys a burst. It is asked without waiting; who waits
//! sleeps on tokio's time (governor's own waiting follows a timer that a paused test clock does not move).

use std::num::NonZeroU32;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use tokio::time::Instant;

/// governor counts cells. Its interval between cells is whole nanoseconds: cells of one byte would be 1 % off
/// at 30 MB/s and no limit at 1 GB/s; at 1 KiB the error stays under 0.1 % up to 8 Gbit/s.
pub(super) const CELL: u64 = 1024;

/// The part of the rate that is left unused, in thousandths: the rate is a cap, and what arrives at the ends of any interval that
/// somebody measures (a quantum, a segment, an acknowledgement in flight) stays under it.
const HEADROOM: u128 = 5;

/// The same in bytes a second, up to [`MOST_HEADROOM`] thousandths: the receive buffer of a connection, which may be full at
/// one end of a second and empty at the other, is a larger part of a low rate.
const HEADROOM_BYTES: u128 = 4 * 1024;
const MOST_HEADROOM: u128 = 30;

/// Slack beside a quantum, so that a timer that fires late loses nothing.
const BURST_TIME: Duration = Duration::from_millis(10);

/// tokio's monotonic time for governor.
#[derive(Debug, Clone)]
struct MonotonicClock(Instant);

impl GovernorClock for MonotonicClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.elapsed())
    }
}

/// What a rate allows. Not fair by itself: only the dispatcher asks.
pub(crate) struct Quota {
    limiter: RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Nanos>>,
    clock: MonotonicClock,
    burst: u32,
}

impl Quota {
    /// For a rate of at least 1 byte a second, spent in portions of `quantum` bytes.
    pub(crate) fn new(bytes_per_second: u64, quantum: u64) -> Self {
        let rate = u128::from(bytes_per_second.max(1));
        let headroom = HEADROOM_BYTES.clamp(rate * HEADROOM / 1000, (rate * MOST_HEADROOM / 1000).max(1));
        let rate = (rate - headroom.min(rate - 1)).max(1);
        let slack = rate * BURST_TIME.as_nanos() / 1_000_000_000;
        let burst =
            u32::try_from((slack + u128::from(quantum)).div_ceil(u128::from(CELL))).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        // rounded up: never faster than asked
        let interval = (u128::from(CELL) * 1_000_000_000).div_ceil(rate);
        let interval = Duration::from_nanos(u64::try_from(interval).unwrap_or(u64::MAX).max(1));
        let quota = governor::Quota::with_period(interval)
            .unwrap_or_else(|| governor::Quota::per_second(NonZeroU32::MAX))
            .allow_burst(burst);
        let clock = MonotonicClock(Instant::now());
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        // starts empty; the answer is always yes, because nothing was taken before
        let _full = limiter.check_n(burst);
        Self { limiter, clock, burst: burst.get() }
    }

    /// Takes what holds `bytes`, rounded up to cells and at most the burst, and says how many bytes that
    /// was; otherwise says how long until it would be allowed.
    pub(crate) fn take(&self, bytes: u64) -> Result<u64, Duration> {
        let cells = u32::try_from(bytes.div_ceil(CELL)).unwrap_or(u32::MAX).clamp(1, self.burst);
        let cells = NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN);
        match self.limiter.check_n(cells) {
            Ok(Ok(())) => Ok(u64::from(cells.get()) * CELL),
            Ok(Err(later)) => Err(later.wait_time_from(self.clock.now())),
            // cannot be: cells never exceed the burst
            Err(_too_many) => Err(BURST_TIME),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_allows_the_rate_and_starts_empty() {
        for rate in [16_000_u64, 1_000_000, 12_500_000, 125_000_000, 1_250_000_000] {
            let quantum = if rate < 1_000_000 { CELL } else { 16 * CELL };
            let quota = Quota::new(rate, quantum);
            assert!(quota.take(quantum).is_err(), "{rate}");
            let (start, mut taken) = (Instant::now(), 0);
            while start.elapsed() < Duration::from_secs(20) {
                match quota.take(quantum) {
                    Ok(bytes) => taken += bytes,
                    Err(wait) => tokio::time::sleep(wait).await,
                }
            }
            let due = rate * 20;
            assert!(
                taken * 1000 >= due * if rate < 500_000 { 965 } else { 985 } && taken <= due + 20 * CELL,
                "{taken} of {due}"
            );
        }
    }
}
