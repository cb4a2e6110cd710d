//! How long the way to the upstream takes now, and how long it takes when nobody queues on it. Pure.
//!
//! **Invariant:** a queue is what a sample has above the shortest of its own kind towards the same server within
//! [`HISTORY`] minutes, so what a server thinks is no queue. It never keeps more than [`RECENT`] samples and
//! [`MAX_WAYS`] servers.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Origin;
use tailwater_domain::{Limit, limits};

/// Minutes whose shortest delays are remembered (`BASE_HISTORY` of RFC 6817): a longer way is taken for a queue so long.
const HISTORY: usize = 10;

/// The length of one entry of the history.
const MINUTE: Duration = Duration::from_mins(1);

/// Samples of which the shortest is the queue now (`CURRENT_FILTER` of RFC 6817): a busy server or a hiccup of this
/// machine is no queue.
const FILTER: usize = 5;

/// Samples kept, and how long.
const RECENT: usize = 24;
const RECENT_TIME: Duration = Duration::from_secs(2);

/// Servers remembered, each with its kinds of samples; far more than one site has sources.
const MAX_WAYS: usize = 16;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_WAYS in "servers": "Servers whose delays are remembered" => "the one used longest ago is forgotten",
    RECENT in "samples": "Samples kept of a delay" => "the oldest is forgotten",
];

// not a limit: HISTORY, MINUTE, FILTER, RECENT_TIME: filters of RFC 6817

/// What was timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Timed {
    /// From a request to the first byte of its answer.
    Answer,
    /// Making a connection.
    Connection,
}

/// One look at the delays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// The way without a queue, of the kind timed last.
    pub(super) base: Duration,
    /// What queues now: the shortest of the last samples.
    pub(super) queue: Duration,
    /// What a quarter of the samples of the last two seconds stay under.
    pub(super) usual: Duration,
}

/// Delays towards the servers of the link.
#[derive(Debug, Default)]
pub(super) struct Delays {
    ways: HashMap<(Origin, Timed), VecDeque<(Instant, Duration)>>,
    recent: VecDeque<(Instant, Duration)>,
    base: Option<Duration>,
}

impl Delays {
    /// Takes a sample.
    pub(super) fn note(&mut self, origin: &Origin, timed: Timed, took: Duration, now: Instant) {
        if self.ways.len() >= MAX_WAYS && !self.ways.contains_key(&(origin.clone(), timed)) {
            self.ways.clear();
        }
        let minutes = self.ways.entry((origin.clone(), timed)).or_default();
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

    /// What the samples say; `None` when there is no fresh one. A probe that has no answer for `open` by now says
    /// that the way takes at least that long.
    pub(super) fn read(&self, now: Instant, open: Option<Duration>) -> Option<Reading> {
        let base = self.base?;
        let late = open.unwrap_or_default().saturating_sub(base);
        let fresh = |(at, _): &&(Instant, Duration)| now.duration_since(*at) < RECENT_TIME;
        let last = self.recent.iter().rev().take(FILTER).filter(fresh).map(|(_, queue)| *queue).min();
        let mut recent: Vec<Duration> = self.recent.iter().filter(fresh).map(|(_, queue)| *queue).collect();
        recent.sort_unstable();
        let usual = recent.get(recent.len() / 4).copied().unwrap_or_default();
        match last {
            None if late.is_zero() => None,
            queue => {
                let queue = queue.unwrap_or_default();
                // the answer that is waited for is one more sample of the filter
                let queue = if late > queue.saturating_mul(2) + FAR_TOO_LATE { late } else { queue };
                Some(Reading { base, queue, usual: usual.max(queue) })
            }
        }
    }
}

/// An answer so much later than those before it is believed to be late before it is there.
const FAR_TOO_LATE: Duration = Duration::from_millis(150);

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
    fn a_queue_is_what_lasts_above_the_shortest_way() {
        let (mut delays, mut now) = (Delays::default(), Instant::now());
        assert_eq!(delays.read(now, None), None);
        for took in [42, 40, 41, 95, 41] {
            delays.note(&origin("a"), Timed::Answer, ms(took), now);
            now += ms(150);
        }
        let reading = delays.read(now, None).unwrap();
        assert_eq!((reading.base, reading.queue), (ms(40), ms(0)), "one late sample is no queue");
        for took in [70, 80, 90, 85, 75] {
            delays.note(&origin("a"), Timed::Answer, ms(took), now);
            now += ms(150);
        }
        assert_eq!(delays.read(now, None).unwrap().queue, ms(30));
        assert_eq!(delays.read(now, Some(ms(540))).unwrap().queue, ms(500), "the answer that does not come");
        assert_eq!(delays.read(now + ms(3_000), None), None);
    }

    #[test]
    fn each_server_and_kind_has_its_own_way() {
        let (mut delays, now) = (Delays::default(), Instant::now());
        delays.note(&origin("near"), Timed::Answer, ms(5), now);
        delays.note(&origin("far"), Timed::Answer, ms(80), now);
        delays.note(&origin("far"), Timed::Connection, ms(60), now);
        delays.note(&origin("far"), Timed::Answer, ms(82), now);
        let reading = delays.read(now, None).unwrap();
        assert_eq!((reading.base, reading.queue, reading.usual), (ms(80), ms(0), ms(0)));
    }

    #[test]
    fn a_way_that_became_longer_is_believed_after_the_history() {
        let (mut delays, mut now) = (Delays::default(), Instant::now());
        delays.note(&origin("a"), Timed::Answer, ms(20), now);
        for _ in 0..HISTORY {
            now += MINUTE;
            delays.note(&origin("a"), Timed::Answer, ms(60), now);
        }
        assert_eq!(delays.read(now, None).unwrap().base, ms(60));
    }
}
