//! What crossed the link: totals by class, and the rate of the last seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::time::Instant;

use tailwater_domain::Class;
use tailwater_runtime::Clock;

/// Seconds remembered; a power of two, more than [`WINDOW`].
const SLOTS: usize = 16;

/// Full seconds that the current rate is averaged over.
const WINDOW: u64 = 5;

/// Counts bytes at the sockets. Cheap to clone; clones count together. Never waits, never locks.
#[derive(Clone)]
pub struct Meter(Arc<Counts>);

struct Counts {
    clock: Clock,
    start: Instant,
    received: [AtomicU64; Class::ALL.len()],
    sent: [AtomicU64; Class::ALL.len()],
    seconds: [Slot; SLOTS],
}

/// Bytes received within one second; `second` counts from 1, so that 0 is "never used".
#[derive(Default)]
struct Slot {
    second: AtomicU64,
    bytes: AtomicU64,
}

/// What a [`Meter`] says at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct MeterReading {
    /// Bytes received since start, headers and TLS included.
    pub received: u64,
    /// Bytes sent since start.
    pub sent: u64,
    /// The same by class, most urgent first: class, received, sent.
    pub by_class: Vec<(Class, u64, u64)>,
    /// Bits a second received, averaged over the last 5 full seconds.
    pub bits_per_second: u64,
}

impl Meter {
    /// Nothing counted yet.
    pub fn new(clock: &Clock) -> Self {
        Self(Arc::new(Counts {
            clock: clock.clone(),
            start: clock.instant(),
            received: Default::default(),
            sent: Default::default(),
            seconds: Default::default(),
        }))
    }

    /// The second that runs now, from 1.
    fn second(&self) -> u64 {
        self.0.clock.instant().duration_since(self.0.start).as_secs() + 1
    }

    fn slot(&self, second: u64) -> &Slot {
        &self.0.seconds[usize::try_from(second).unwrap_or(0) % SLOTS]
    }

    /// Counts bytes that arrived.
    pub fn count_received(&self, class: Class, bytes: u64) {
        self.0.received[class.index()].fetch_add(bytes, Ordering::Relaxed);
        let now = self.second();
        let slot = self.slot(now);
        let seen = slot.second.load(Ordering::Relaxed);
        // the first to arrive in a new second empties the slot; bytes counted between the two steps by
        // another thread may be lost to the rate, never to the totals
        if seen != now
            && slot.second.compare_exchange(seen, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            slot.bytes.store(0, Ordering::Relaxed);
        }
        slot.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were sent.
    pub fn count_sent(&self, class: Class, bytes: u64) {
        self.0.sent[class.index()].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes received since start.
    pub fn received(&self) -> u64 {
        self.0.received.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Bytes received since start in one class.
    pub fn received_in(&self, class: Class) -> u64 {
        self.0.received[class.index()].load(Ordering::Relaxed)
    }

    /// Bytes sent since start.
    pub fn sent(&self) -> u64 {
        self.0.sent.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Bytes sent since start in one class.
    pub fn sent_in(&self, class: Class) -> u64 {
        self.0.sent[class.index()].load(Ordering::Relaxed)
    }

    /// Bits a second received, averaged over the last full seconds (at most 5, fewer after start).
    pub fn bits_per_second(&self) -> u64 {
        let now = self.second();
        let first = now.saturating_sub(WINDOW).max(1);
        let seconds = now - first;
        if seconds == 0 {
            return 0;
        }
        let bytes: u64 = (first..now)
            .map(|second| (second, self.slot(second)))
            .filter(|(second, slot)| slot.second.load(Ordering::Relaxed) == *second)
            .map(|(_, slot)| slot.bytes.load(Ordering::Relaxed))
            .sum();
        bytes * 8 / seconds
    }

    /// Everything at once.
    pub fn reading(&self) -> MeterReading {
        MeterReading {
            received: self.received(),
            sent: self.sent(),
            by_class: Class::ALL.map(|class| (class, self.received_in(class), self.sent_in(class))).to_vec(),
            bits_per_second: self.bits_per_second(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_full_seconds() {
        let clock = Clock::system();
        let meter = Meter::new(&clock);
        for _ in 0..20 {
            meter.count_received(Class::Metadata, 1_000);
            clock.sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(meter.bits_per_second(), 16_000);
        clock.sleep(Duration::from_secs(30)).await;
        assert_eq!(meter.bits_per_second(), 0);
        assert_eq!((meter.received(), meter.received_in(Class::Metadata), meter.sent()), (20_000, 20_000, 0));
    }
}
