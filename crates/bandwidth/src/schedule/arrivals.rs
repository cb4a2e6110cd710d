//! How much arrived within the last second, what is still to come, and whether that is enough for a second. Pure; the time
//! is given.
//!
//! What is paid in advance comes later than it was paid: several answers that begin at once, or a window that a kernel opens
//! in one step, bring it together. Whatever is granted now comes a round trip later. So nothing is granted while what came
//! within a second less that round trip, and what is paid and did not come yet, are more than a second's worth together.
//! Seldom all of it comes within one round trip; by how much more is still right is learned from the seconds that pass.
//!
//! **Invariant:** it holds back only while a second's worth is there or on its way. It never grants anything.

use std::collections::VecDeque;
use std::time::Duration;

use tailwater_domain::{Limit, limits};
use tokio::time::Instant;

/// The span that is kept to the rate.
const SPAN: Duration = Duration::from_secs(1);

/// The longest round trip that is believed in.
const LONGEST: Duration = Duration::from_millis(700);

/// Looks that are remembered: those of a span, when each of several clients looks 50 times a second.
const MOST_LOOKS: usize = 256;

/// Until the next try.
const AGAIN: Duration = Duration::from_millis(5);

/// What of the rate may be there or on its way, and how far above it is learned that no second exceeds it.
const LEAST: f64 = 1.02;
const MOST: f64 = 2.0;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_LOOKS in "looks": "Looks at what arrived that are remembered" => "the oldest is forgotten",
];

// not a limit: SPAN, LONGEST, MOST: gains of a controller

/// How fast that is learned, a second: slowly up while a second had less than this of the rate, at once down above that.
const UP: f64 = 0.05;
const DOWN: f64 = 0.5;
const TOO_LITTLE: f64 = 0.985;
const TOO_MUCH: f64 = 1.005;

/// What arrived of late, and what is to come.
#[derive(Debug)]
pub(super) struct Arrivals {
    looks: VecDeque<(Instant, u64)>,
    /// Bytes of all of them.
    sum: u64,
    /// Paid and not there at the last look, and what was granted since.
    outstanding: u64,
    granted: u64,
    round_trip: Duration,
    most: f64,
    held: bool,
    /// The first and the last look of those that follow each other.
    since: Option<(Instant, Instant)>,
}

/// What a look at all connections of a client saw.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    /// Bytes that arrived since the look before.
    pub(crate) arrived: u64,
    /// Bytes that are paid for and did not arrive, then and now.
    pub(crate) outstanding_before: u64,
    pub(crate) outstanding: u64,
    /// The shortest way to one of them.
    pub(crate) round_trip: Duration,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            looks: VecDeque::new(),
            sum: 0,
            outstanding: 0,
            granted: 0,
            round_trip: Duration::ZERO,
            most: LEAST,
            held: false,
            since: None,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52 bytes a second")]
fn real(bytes: u64) -> f64 {
    bytes as f64
}

impl Arrivals {
    pub(super) fn note(&mut self, look: Look, bytes_per_second: u64, now: Instant) {
        self.looks.push_back((now, look.arrived));
        self.sum += look.arrived;
        self.outstanding = (self.outstanding + look.outstanding).saturating_sub(look.outstanding_before);
        self.granted = 0;
        self.round_trip = look.round_trip.min(LONGEST);
        self.forget(now);
        self.learn(real(bytes_per_second), now);
    }

    fn learn(&mut self, rate: f64, now: Instant) {
        let held = std::mem::take(&mut self.held);
        let Some((first, last)) = self.since.filter(|(_, last)| now - *last < SPAN) else {
            self.since = Some((now, now));
            return;
        };
        self.since = Some((first, now));
        let time = (now - last).as_secs_f64();
        if real(self.sum) > rate * TOO_MUCH {
            self.most -= DOWN * time;
        } else if held && now - first > SPAN && real(self.sum) < rate * TOO_LITTLE {
            self.most += UP * time;
        }
        self.most = self.most.clamp(LEAST, MOST);
    }

    fn forget(&mut self, now: Instant) {
        while self.looks.front().is_some_and(|(at, _)| now - *at >= SPAN) || self.looks.len() > MOST_LOOKS {
            self.sum -= self.looks.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    /// So many bytes were granted.
    pub(super) fn grant(&mut self, bytes: u64) {
        self.granted += bytes;
    }

    /// Whether another grant of so many bytes would be too much at this rate; then after how long to ask again. Only what
    /// is looked at holds back.
    pub(super) fn enough(&mut self, bytes: u64, bytes_per_second: u64, now: Instant) -> Option<Duration> {
        self.forget(now);
        self.looks.back()?;
        let span = SPAN.saturating_sub(self.round_trip);
        let recent: u64 =
            self.looks.iter().rev().take_while(|(at, _)| now - *at < span).map(|(_, bytes)| bytes).sum();
        let expected = recent + self.outstanding + self.granted + bytes;
        let enough = real(expected) > real(bytes_per_second) * self.most;
        self.held |= enough;
        enough.then_some(AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(arrived: u64) -> Look {
        Look { arrived, ..Look::default() }
    }

    #[test]
    fn what_came_and_what_is_to_come_is_a_seconds_worth_together() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(arrivals.enough(1_000_000, 100_000, at(0)), None, "nothing is known");
        for n in 0..10 {
            arrivals.note(arrived(9_000), 100_000, at(n * 50));
        }
        assert_eq!(arrivals.enough(10_000, 100_000, at(450)), None);
        arrivals.grant(10_000);
        assert_eq!(arrivals.enough(10_000, 100_000, at(450)), Some(AGAIN), "what was granted is to come");
        let look = Look { outstanding: 30_000, round_trip: Duration::from_millis(200), ..Look::default() };
        arrivals.note(look, 100_000, at(500));
        assert_eq!(arrivals.enough(1_000, 100_000, at(500)), Some(AGAIN), "so is what is on its way");
        assert_eq!(arrivals.enough(1_000, 200_000, at(500)), None, "at twice the rate there is room");
        // 30,000 to come, 72,000 and then 63,000 within the 800 ms before
        assert_eq!(arrivals.enough(1_000, 100_000, at(849)), Some(AGAIN));
        assert_eq!(
            arrivals.enough(1_000, 100_000, at(900)),
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
                let look = Look {
                    arrived: bytes,
                    outstanding_before: arrivals.outstanding,
                    outstanding: 60_000,
                    ..Look::default()
                };
                arrivals.note(look, 100_000, now);
                let _held = arrivals.enough(1, 100_000, now);
            }
        };
        for _ in 0..4 {
            second(&mut arrivals, 1_800);
        }
        assert!(arrivals.most > 1.1, "90 % came while it held back: {}", arrivals.most);
        for _ in 0..2 {
            second(&mut arrivals, 2_100);
        }
        assert!(arrivals.most <= LEAST, "105 % came: {}", arrivals.most);
    }
}
