//! How much of the link the classes that yield may take, from the queueing delay on it: LEDBAT (RFC 6817; rLEDBAT of RFC 9840 is
//! its form for a receiver), for a receiver that sets one rate for all of its connections. Pure.
//!
//! A rate takes the place of LEDBAT's congestion window. Above the target it decreases multiplicatively, from what arrives, in
//! proportion to how far it is exceeded (see `step_back`); below it, it increases: exponentially until a queue was seen, as
//! slow start does, then slowly, and faster the longer no queue appears (see `rise`). After a decrease the queue drains and
//! the base RTT is seen again.
//!
//! **Invariant:** while more than [`TARGET`] queues, the rate only falls, down to [`LEAST`]; it never exceeds the
//! calendar's. It never rises on what is not used.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::delay::DelayEstimate;

/// The queueing delay that is aimed at: well below what people notice in a call. RFC 6817 section 2.5: "TARGET MUST be 100
/// milliseconds or less".
const TARGET: Duration = Duration::from_millis(12);

/// The least rate, so that transfers go on: 64 kbit/s, or a thirtieth of what the link carried lately.
const LEAST: f64 = 8_192.0;
const LEAST_SHARE: f64 = 0.03;

/// Where an unknown link is begun with: 1 Mbit/s, and connections for eight times that.
const START: f64 = 125_000.0;
const START_PEAK: f64 = 8.0 * START;

/// Connections are made for what the link was seen to carry and a little more. The rate in force may be far above what
/// it carries while no queue was seen; until then buffers may be what limits, and leave more room.
const MARGIN: f64 = 1.15;
const START_MARGIN: f64 = 1.5;

/// Growth a second, as an exponent, while no queue was seen yet: twice as much each second.
const SLOW_START: f64 = 0.7;

/// The same after a queue, back to [`NEAR`] of what the link carried before.
const RECOVERING: f64 = 0.8;
const NEAR: f64 = 0.92;

/// Growth a second near the link's rate, and when it begins to double each second because no queue comes.
const INCREASE: f64 = 0.02;
const STABLE: Duration = Duration::from_secs(4);
const MOST_INCREASE: f64 = 0.8;

/// How long there must be no queue before the rate rises again.
const CALM: Duration = Duration::from_secs(1);

/// The least and the most step back, and the part of a step for each target above the target.
const LEAST_STEP: f64 = 0.03;
const MOST_STEP: f64 = 0.4;
const STEP: f64 = 0.05;

/// How long a step needs to show, beside two round trips: the probes of one filter.
const SETTLE: Duration = Duration::from_millis(400);

/// What arrives is averaged over this long.
const AVERAGE: Duration = Duration::from_millis(500);

/// The most that arrived is remembered for so many spans of so long.
const SPANS: usize = 10;
const SPAN: Duration = Duration::from_secs(30);

/// After so long without work the link may be another: half of what was known is begun with.
const STALE: Duration = Duration::from_secs(30);

// not a limit: TARGET, STABLE, MOST_INCREASE, CALM, MOST_STEP, AVERAGE, SPANS, SPAN, STALE: gains of a controller

/// Why the yielding classes are throttled to their rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CapReason {
    /// Nothing that yields is fetched.
    Idle,
    /// Nothing was measured yet, or the upstream answers no probe.
    Blind,
    /// The link is free, and how much it carries is not known yet.
    Starting,
    /// The link is free; the rate rises.
    Rising,
    /// Something queues, or the rate is not used up.
    Steady,
    /// Others use the link: the rate falls or stays low.
    Yielding,
    /// As fast as the calendar allows.
    Calendar,
}

/// What is seen in one observation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation {
    pub(super) now: Instant,
    /// Bytes received in yielding classes since start.
    pub(super) yielding: u64,
    /// Bytes received since start.
    pub(super) total: u64,
    /// Whether something that yields waits for its turn or slot.
    pub(super) wanted: bool,
    /// The link's rate in bytes a second, if there is one.
    pub(super) limit: Option<u64>,
    pub(super) delay: Option<DelayEstimate>,
}

/// The state of the control.
#[derive(Debug)]
pub(super) struct Control {
    cap: f64,
    reason: CapReason,
    /// A queue was seen: what the link carries is known.
    known: bool,
    last: Option<Instant>,
    stepped: Option<Instant>,
    /// Since when the link is free.
    calm: Option<Instant>,
    /// Since when the rate increases slowly.
    increasing: Option<Instant>,
    busy: Option<Instant>,
    arrivals: VecDeque<(Instant, u64, u64)>,
    /// The most that arrived in a second, by span.
    most: VecDeque<(Instant, f64)>,
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            cap: START,
            reason: CapReason::Idle,
            known: false,
            last: None,
            stepped: None,
            calm: None,
            increasing: None,
            busy: None,
            arrivals: VecDeque::new(),
            most: VecDeque::new(),
        }
    }

    pub(super) fn reason(&self) -> CapReason {
        self.reason
    }

    /// Bytes a second that the yielding classes may take together.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 8 KiB and 10 GB")]
    pub(super) fn cap(&self) -> u64 {
        self.cap as u64
    }

    /// Bytes a second that connections are made for.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 8 KiB and 10 GB")]
    pub(super) fn peak(&self) -> u64 {
        let most = self.most();
        (if self.known { MARGIN * most } else { (START_MARGIN * most).max(START_PEAK) }).max(LEAST) as u64
    }

    fn most(&self) -> f64 {
        self.most.iter().map(|(_, most)| *most).fold(0.0, f64::max)
    }

    /// Takes an observation, and decides.
    pub(super) fn observe(&mut self, observation: &Observation) {
        let since = self.last.replace(observation.now).map_or(Duration::ZERO, |last| observation.now - last);
        let (arrives, all) = self.arrived(observation);
        if all > 0.0 {
            self.remember(observation.now, all);
        }
        self.reason = if observation.wanted || arrives > 0.0 {
            if self.busy.replace(observation.now).is_some_and(|busy| observation.now - busy > STALE) {
                self.begin_again();
            }
            self.decide(observation, arrives, since.as_secs_f64().min(1.0))
        } else {
            (self.calm, self.increasing) = (None, None);
            CapReason::Idle
        };
        self.cap = self.cap.max(LEAST.max(LEAST_SHARE * self.most()));
        if let Some(limit) = observation.limit.map(as_rate).filter(|limit| self.cap >= *limit) {
            self.cap = limit.max(1.0);
            if matches!(self.reason, CapReason::Rising | CapReason::Starting | CapReason::Steady) {
                self.reason = CapReason::Calendar;
            }
        }
    }

    fn begin_again(&mut self) {
        self.cap = self.cap.min(self.most() / 2.0).max(START);
    }

    fn decide(&mut self, observation: &Observation, arrives: f64, since: f64) -> CapReason {
        let Some(delay) = observation.delay else { return CapReason::Blind };
        if delay.queue > TARGET {
            (self.calm, self.increasing) = (None, None);
            self.known = true;
            self.step_back(observation.now, delay, arrives);
            return CapReason::Yielding;
        }
        if delay.typical > TARGET / 2 {
            self.increasing = None;
            return CapReason::Steady;
        }
        let calm = observation.now - *self.calm.get_or_insert(observation.now);
        // three of four: the last grant may be unused, and a request waits for its answer
        if arrives < self.cap * 0.75 {
            return CapReason::Steady;
        }
        self.rise(observation.now, calm, since)
    }

    /// Until a queue was seen the rate grows exponentially, as the window does in slow start (RFC 5681 section 3.1: by what
    /// was acknowledged, so twofold in a round trip); here by time, twofold in a second. After that it grows quickly up to
    /// near what the link carried, then slowly, and faster the longer no queue appears.
    fn rise(&mut self, now: Instant, calm: Duration, since: f64) -> CapReason {
        let goal = NEAR * self.most();
        if !self.known {
            self.cap *= (SLOW_START * since).exp();
            return CapReason::Starting;
        }
        if self.cap < goal {
            self.increasing = None;
            if calm < CALM {
                return CapReason::Steady;
            }
            self.cap = (self.cap * (RECOVERING * since).exp()).min(goal);
            return CapReason::Rising;
        }
        let increasing = now - *self.increasing.get_or_insert(now);
        let doublings = increasing.saturating_sub(STABLE).as_secs_f64();
        self.cap *= 1.0 + (INCREASE * doublings.exp2()).min(MOST_INCREASE) * since;
        CapReason::Rising
    }

    /// Steps back from what arrives, once for each time that a step needs to show.
    ///
    /// RFC 6817 section 2.4.2: `off_target = (TARGET - queuing_delay) / TARGET` and `cwnd += GAIN * off_target *
    /// bytes_newly_acked * MSS / cwnd`. `over` is `-off_target`, and [`STEP`] the gain of a decrease; section 2.5 allows a
    /// higher gain for decreases than for increases.
    fn step_back(&mut self, now: Instant, delay: DelayEstimate, arrives: f64) {
        let settle = SETTLE + delay.base * 2;
        if self.stepped.is_some_and(|stepped| now - stepped < settle) {
            return;
        }
        self.stepped = Some(now);
        let over = delay.queue.saturating_sub(TARGET).as_secs_f64() / TARGET.as_secs_f64();
        let step = (STEP * over).clamp(LEAST_STEP, MOST_STEP);
        let from = if arrives > 0.0 { self.cap.min(arrives) } else { self.cap };
        self.cap = from * (1.0 - step);
    }

    /// Bytes a second lately: of yielding classes, and of all.
    fn arrived(&mut self, observation: &Observation) -> (f64, f64) {
        self.arrivals.push_back((observation.now, observation.yielding, observation.total));
        while self.arrivals.get(1).is_some_and(|(at, ..)| observation.now - *at >= AVERAGE) {
            self.arrivals.pop_front();
        }
        let Some((at, yielding, total)) = self.arrivals.front().copied() else { return (0.0, 0.0) };
        let time = (observation.now - at).as_secs_f64();
        if time <= 0.0 {
            return (0.0, 0.0);
        }
        (as_rate(observation.yielding - yielding) / time, as_rate(observation.total - total) / time)
    }

    fn remember(&mut self, now: Instant, rate: f64) {
        match self.most.back_mut() {
            Some((since, most)) if now - *since < SPAN => *most = rate.max(*most),
            _ => self.most.push_back((now, rate)),
        }
        while self.most.len() > SPANS {
            self.most.pop_front();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn as_rate(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests;
