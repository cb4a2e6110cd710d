//! How much arrived within the last second, what is in flight, and whether that is enough for a second. Pure; the time is given.
//!
//! What is paid in advance arrives later: several answers that begin at once, or a window that a kernel opens in one step,
//! arrive together. Whatever is granted now arrives one RTT later. So nothing is granted while what arrived within a second
//! less that RTT, and what is paid and in flight, are more than a second's worth together. Seldom all of it arrives within one
//! RTT; by how much more is still right is learned from the seconds that pass.
//!
//! **Invariant:** it throttles only while a second's worth has arrived or is in flight. It never grants anything.

use std::collections::VecDeque;
use std::time::Duration;

use tailwater_domain::{Limit, limits};
use tokio::time::Instant;

/// The span that is kept to the rate.
const SPAN: Duration = Duration::from_secs(1);

/// The longest RTT that is counted with.
const LONGEST: Duration = Duration::from_millis(700);

/// Samples that are remembered: those of a span, when each of several clients is sampled 50 times a second.
const MOST_SAMPLES: usize = 256;

/// Until the next try.
const AGAIN: Duration = Duration::from_millis(5);

/// What of the rate may have arrived or be in flight: at least, and how far that is raised while no second exceeds the rate.
const LEAST: f64 = 1.02;
const MOST: f64 = 2.0;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_SAMPLES in "samples": "Samples of what arrived that are remembered" => "the oldest is forgotten",
];

// not a limit: SPAN, LONGEST, MOST: gains of a controller

/// How fast that is learned, a second: slowly up while a second had less than this of the rate, at once down above that.
const UP: f64 = 0.05;
const DOWN: f64 = 0.5;
const TOO_LITTLE: f64 = 0.985;
const TOO_MUCH: f64 = 1.005;

/// What arrived lately, and what is in flight.
#[derive(Debug)]
pub(super) struct Arrivals {
    samples: VecDeque<(Instant, u64)>,
    /// Bytes of all of them.
    sum: u64,
    /// Paid and in flight at the last sample, and what was granted since.
    outstanding: u64,
    granted: u64,
    round_trip: Duration,
    factor: f64,
    throttled: bool,
    /// The first and the last sample of those that follow each other.
    since: Option<(Instant, Instant)>,
}

/// A sample of all connections of a client.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ArrivalSample {
    /// Bytes that arrived since the sample before.
    pub(crate) arrived: u64,
    /// Bytes that are paid for and did not arrive, then and now.
    pub(crate) outstanding_before: u64,
    pub(crate) outstanding: u64,
    /// The shortest RTT of one of them.
    pub(crate) round_trip: Duration,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            samples: VecDeque::new(),
            sum: 0,
            outstanding: 0,
            granted: 0,
            round_trip: Duration::ZERO,
            factor: LEAST,
            throttled: false,
            since: None,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52 bytes a second")]
fn real(bytes: u64) -> f64 {
    bytes as f64
}

impl Arrivals {
    pub(super) fn note(&mut self, sample: ArrivalSample, bytes_per_second: u64, now: Instant) {
        self.samples.push_back((now, sample.arrived));
        self.sum += sample.arrived;
        self.outstanding = (self.outstanding + sample.outstanding).saturating_sub(sample.outstanding_before);
        self.granted = 0;
        self.round_trip = sample.round_trip.min(LONGEST);
        self.forget(now);
        self.learn(real(bytes_per_second), now);
    }

    fn learn(&mut self, rate: f64, now: Instant) {
        let throttled = std::mem::take(&mut self.throttled);
        let Some((first, last)) = self.since.filter(|(_, last)| now - *last < SPAN) else {
            self.since = Some((now, now));
            return;
        };
        self.since = Some((first, now));
        let time = (now - last).as_secs_f64();
        if real(self.sum) > rate * TOO_MUCH {
            self.factor -= DOWN * time;
        } else if throttled && now - first > SPAN && real(self.sum) < rate * TOO_LITTLE {
            self.factor += UP * time;
        }
        self.factor = self.factor.clamp(LEAST, MOST);
    }

    fn forget(&mut self, now: Instant) {
        while self.samples.front().is_some_and(|(at, _)| now - *at >= SPAN)
            || self.samples.len() > MOST_SAMPLES
        {
            self.sum -= self.samples.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    /// So many bytes were granted.
    pub(super) fn grant(&mut self, bytes: u64) {
        self.granted += bytes;
    }

    /// Whether another grant of so many bytes would be too much at this rate; then after how long to ask again. Nothing
    /// is throttled before the first sample.
    pub(super) fn must_wait(&mut self, bytes: u64, bytes_per_second: u64, now: Instant) -> Option<Duration> {
        self.forget(now);
        self.samples.back()?;
        let span = SPAN.saturating_sub(self.round_trip);
        let recent: u64 =
            self.samples.iter().rev().take_while(|(at, _)| now - *at < span).map(|(_, bytes)| bytes).sum();
        let expected = recent + self.outstanding + self.granted + bytes;
        let must_wait = real(expected) > real(bytes_per_second) * self.factor;
        self.throttled |= must_wait;
        must_wait.then_some(AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(arrived: u64) -> ArrivalSample {
        ArrivalSample { arrived, ..ArrivalSample::default() }
    }

    #[test]
    fn what_came_and_what_is_to_come_is_a_seconds_worth_together() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(arrivals.must_wait(1_000_000, 100_000, at(0)), None, "nothing is known");
        for n in 0..10 {
            arrivals.note(arrived(9_000), 100_000, at(n * 50));
        }
        assert_eq!(arrivals.must_wait(10_000, 100_000, at(450)), None);
        arrivals.grant(10_000);
        assert_eq!(arrivals.must_wait(10_000, 100_000, at(450)), Some(AGAIN), "what was granted is to come");
        let sample = ArrivalSample {
            outstanding: 30_000,
            round_trip: Duration::from_millis(200),
            ..ArrivalSample::default()
        };
        arrivals.note(sample, 100_000, at(500));
        assert_eq!(arrivals.must_wait(1_000, 100_000, at(500)), Some(AGAIN), "so is what is in flight");
        assert_eq!(arrivals.must_wait(1_000, 200_000, at(500)), None, "at twice the rate there is room");
        // 30,000 to come, 72,000 and then 63,000 within the 800 ms before
        assert_eq!(arrivals.must_wait(1_000, 100_000, at(849)), Some(AGAIN));
        assert_eq!(
            arrivals.must_wait(1_000, 100_000, at(900)),
            None,
            "it comes 200 ms later, when others left the second"
        );
    }

    #[test]
    fn how_much_may_be_on_its_way_is_learned() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        let mut now = start;
        let mut second = |arrivals: &mut Arrivals, bytes: u64| {
            for _ in 0..50 {
                now += Duration::from_millis(20);
                let sample = ArrivalSample {
                    arrived: bytes,
                    outstanding_before: arrivals.outstanding,
                    outstanding: 60_000,
                    ..ArrivalSample::default()
                };
                arrivals.note(sample, 100_000, now);
                let _held = arrivals.must_wait(1, 100_000, now);
            }
        };
        for _ in 0..4 {
            second(&mut arrivals, 1_800);
        }
        assert!(arrivals.factor > 1.1, "90 % came while it throttled: {}", arrivals.factor);
        for _ in 0..2 {
            second(&mut arrivals, 2_100);
        }
        assert!(arrivals.factor <= LEAST, "105 % came: {}", arrivals.factor);
    }
}
