//! The base RTT towards the upstream and the queueing delay on top of it. Pure.
//!
//! LEDBAT (RFC 6817) measures one-way delays; here they are round trips, which also see a queue towards the upstream.
//!
//! **Invariant:** the queueing delay is what a sample has above the base RTT of its own kind towards the same server, so that a
//! server's processing time is no queue. It never keeps more than [`RECENT`] samples and
//! [`MAX_PATHS`] servers.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Origin;
use tailwater_domain::{Limit, limits};

/// Minutes whose delay minima are remembered (`BASE_HISTORY` of RFC 6817 section 2.5): a longer path counts as a queue so long.
const HISTORY: usize = 10;

/// The length of one entry of the history.
const MINUTE: Duration = Duration::from_mins(1);

/// Samples whose minimum is the current delay (`CURRENT_FILTER` of RFC 6817 section 2.5): one late sample of a busy server or of
/// this machine is no queue.
const FILTER: usize = 5;

/// Samples kept, and how long.
const RECENT: usize = 24;
const RECENT_TIME: Duration = Duration::from_secs(2);

/// Servers remembered, each with its kinds of samples; far more than one site has sources.
const MAX_PATHS: usize = 16;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_PATHS in "servers": "Servers whose delays are remembered" => "the one used longest ago is forgotten",
    RECENT in "samples": "Samples kept of a delay" => "the oldest is forgotten",
];

// not a limit: HISTORY, MINUTE, FILTER, RECENT_TIME: filters of RFC 6817

/// What was timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ProbeKind {
    /// From a request to the first byte of its answer.
    Answer,
    /// Making a connection.
    Connection,
}

/// What the samples say at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DelayEstimate {
    /// The base RTT, of the kind timed last.
    pub(super) base: Duration,
    /// The queueing delay: the minimum of the last samples, less the base RTT.
    pub(super) queue: Duration,
    /// What a quarter of the samples of the last two seconds stay under.
    pub(super) typical: Duration,
}

/// Base RTTs and recent samples, by server.
#[derive(Debug, Default)]
pub(super) struct DelayEstimator {
    paths: HashMap<(Origin, ProbeKind), VecDeque<(Instant, Duration)>>,
    recent: VecDeque<(Instant, Duration)>,
    base: Option<Duration>,
}

impl DelayEstimator {
    /// Takes a sample.
    ///
    /// RFC 6817 section 2.4.2, `update_base_delay`: "Maintain `BASE_HISTORY` delay-minima. Each minimum is measured over a
    /// period of a minute."
    pub(super) fn note(&mut self, origin: &Origin, kind: ProbeKind, took: Duration, now: Instant) {
        if self.paths.len() >= MAX_PATHS && !self.paths.contains_key(&(origin.clone(), kind)) {
            self.paths.clear();
        }
        let minutes = self.paths.entry((origin.clone(), kind)).or_default();
        match minutes.back_mut() {
            Some((since, shortest)) if now.duration_since(*since) < MINUTE => *shortest = took.min(*shortest),
            _ => minutes.push_back((now, took)),
        }
        while minutes.len() > HISTORY {
            minutes.pop_front();
        }
        let base = minutes.iter().map(|(_, shortest)| *shortest).min().unwrap_or(took);
        self.base = Some(base);
        self.recent.push_back((now, took.saturating_sub(base)));
        while self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// RFC 6817 section 2.4.2: `queuing_delay = FILTER(current_delays) - MIN(base_delays)`, where `FILTER` is the minimum of
    /// the last samples here. `None` when there is no fresh one. A probe that has no answer for `open` by now says that the
    /// RTT is at least that long.
    pub(super) fn read(&self, now: Instant, open: Option<Duration>) -> Option<DelayEstimate> {
        let base = self.base?;
        let late = open.unwrap_or_default().saturating_sub(base);
        let fresh = |(at, _): &&(Instant, Duration)| now.duration_since(*at) < RECENT_TIME;
        let last = self.recent.iter().rev().take(FILTER).filter(fresh).map(|(_, queue)| *queue).min();
        let mut recent: Vec<Duration> = self.recent.iter().filter(fresh).map(|(_, queue)| *queue).collect();
        recent.sort_unstable();
        let typical = recent.get(recent.len() / 4).copied().unwrap_or_default();
        match last {
            None if late.is_zero() => None,
            queue => {
                let queue = queue.unwrap_or_default();
                // the answer that is waited for is one more sample of the filter
                let queue = if late > queue.saturating_mul(2) + OVERDUE { late } else { queue };
                Some(DelayEstimate { base, queue, typical: typical.max(queue) })
            }
        }
    }
}

/// An answer so much later than those before it is believed to be late before it is there.
const OVERDUE: Duration = Duration::from_millis(150);

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(host: &str) -> Origin {
        Origin { https: false, host: host.to_owned(), port: 80 }
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_queue_is_what_lasts_above_the_base_rtt() {
        let (mut delays, mut now) = (DelayEstimator::default(), Instant::now());
        assert_eq!(delays.read(now, None), None);
        for took in [42, 40, 41, 95, 41] {
            delays.note(&origin("a"), ProbeKind::Answer, ms(took), now);
            now += ms(150);
        }
        let reading = delays.read(now, None).unwrap();
        assert_eq!((reading.base, reading.queue), (ms(40), ms(0)), "one late sample is no queue");
        for took in [70, 80, 90, 85, 75] {
            delays.note(&origin("a"), ProbeKind::Answer, ms(took), now);
            now += ms(150);
        }
        assert_eq!(delays.read(now, None).unwrap().queue, ms(30));
        assert_eq!(delays.read(now, Some(ms(540))).unwrap().queue, ms(500), "the answer that does not come");
        assert_eq!(delays.read(now + ms(3_000), None), None);
    }

    #[test]
    fn each_server_and_kind_has_its_own_base_rtt() {
        let (mut delays, now) = (DelayEstimator::default(), Instant::now());
        delays.note(&origin("near"), ProbeKind::Answer, ms(5), now);
        delays.note(&origin("far"), ProbeKind::Answer, ms(80), now);
        delays.note(&origin("far"), ProbeKind::Connection, ms(60), now);
        delays.note(&origin("far"), ProbeKind::Answer, ms(82), now);
        let reading = delays.read(now, None).unwrap();
        assert_eq!((reading.base, reading.queue, reading.typical), (ms(80), ms(0), ms(0)));
    }

    #[test]
    fn a_longer_path_becomes_the_base_rtt_after_the_history() {
        let (mut delays, mut now) = (DelayEstimator::default(), Instant::now());
        delays.note(&origin("a"), ProbeKind::Answer, ms(20), now);
        for _ in 0..HISTORY {
            now += MINUTE;
            delays.note(&origin("a"), ProbeKind::Answer, ms(60), now);
        }
        assert_eq!(delays.read(now, None).unwrap().base, ms(60));
    }
}
