//! How the sources of one file behave, and which to ask next. Pure: the time is given.
//!
//! **Invariant:** the sources' own order is kept among those that behave; one whose bytes did not match goes
//! behind all others. It never gives a source up for good: that is for the next attempt to find out.

use std::time::Duration;

use tokio::time::Instant;

use super::Source;

/// The pause after a first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause between tries within one attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause that a source may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(5);

/// Failures in a row after which a last resort is used beside.
const MAX_TROUBLE: u32 = 3;

/// Sources kept for a file.
const MAX_SOURCES: usize = 8;

/// What is to be thought of a source after a request to it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// It may work again soon.
    Trouble,
    /// It asked to be left alone for so long.
    Busy(Duration),
    /// It does not have the file, or has another one under this address.
    Unfit,
}

/// Which source to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// This one, now.
    Now(usize),
    /// None before then.
    At(Instant),
    /// None has the file.
    Nobody,
}

#[derive(Debug)]
struct Entry {
    source: Source,
    failures: u32,
    until: Option<Instant>,
    unfit: bool,
    used: bool,
    lied: u32,
    /// Failures in a row that nobody asked for.
    trouble: u32,
}

impl Entry {
    /// Whether it makes a last resort unnecessary.
    fn is_good(&self) -> bool {
        !self.unfit && !self.source.last_resort && self.lied == 0 && self.trouble < MAX_TROUBLE
    }
}

/// The sources of one file.
#[derive(Debug)]
pub(super) struct Health(Vec<Entry>);

impl Health {
    pub(super) fn new(sources: Vec<Source>) -> Self {
        let entry = |source| Entry {
            source,
            failures: 0,
            until: None,
            unfit: false,
            used: false,
            lied: 0,
            trouble: 0,
        };
        Self(sources.into_iter().take(MAX_SOURCES).map(entry).collect())
    }

    /// The source to ask now.
    pub(super) fn pick(&self, now: Instant) -> Pick {
        let resort = !self.0.iter().any(Entry::is_good);
        let usable = |entry: &Entry| !entry.unfit && (resort || !entry.source.last_resort);
        let fit = || self.0.iter().enumerate().filter(|(_, entry)| usable(entry));
        let ready = fit().filter(|(_, entry)| entry.until.is_none_or(|until| until <= now));
        if let Some((index, _)) = ready.min_by_key(|(index, entry)| (entry.lied, *index)) {
            return Pick::Now(index);
        }
        fit().filter_map(|(_, entry)| entry.until).min().map_or(Pick::Nobody, Pick::At)
    }

    pub(super) fn source(&self, index: usize) -> Option<&Source> {
        self.0.get(index).map(|entry| &entry.source)
    }

    /// Pieces came from it.
    pub(super) fn delivered(&mut self, index: usize) {
        if let Some(entry) = self.0.get_mut(index) {
            entry.used = true;
            (entry.failures, entry.trouble) = (0, 0);
            entry.until = None;
        }
    }

    /// A request to it failed. `jitter` in 0..=1 spreads those who wait for the same source.
    pub(super) fn failed(&mut self, index: usize, blame: Blame, now: Instant, jitter: f64) {
        let Some(entry) = self.0.get_mut(index) else { return };
        // of several requests that fail together, the first tells it all
        if entry.until.is_some_and(|until| until > now) {
            return;
        }
        let doubled = FIRST_PAUSE * 2_u32.saturating_pow(entry.failures.min(16));
        let pause = doubled.min(LONGEST_PAUSE).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        entry.failures += 1;
        match blame {
            Blame::Trouble => {
                entry.until = Some(now + pause);
                entry.trouble += 1;
            }
            Blame::Busy(asked) => {
                entry.until = Some(now + asked.min(LONGEST_RETRY_AFTER) + pause);
            }
            Blame::Unfit => entry.unfit = true,
        }
    }

    /// The finished file did not match: everyone who sent some of it goes behind the others. Their
    /// addresses, to be reported.
    pub(super) fn lied(&mut self) -> Vec<String> {
        let used = self.0.iter_mut().filter(|entry| entry.used);
        used.map(|entry| {
            entry.used = false;
            entry.lied += 1;
            entry.source.shown().to_owned()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Health {
        Health::new(["http://a/x", "http://b/x"].map(|url| Source::from(url.to_owned())).to_vec())
    }

    #[test]
    fn a_source_in_trouble_rests_and_the_next_is_asked() {
        let (mut health, now) = (two(), Instant::now());
        assert_eq!(health.pick(now), Pick::Now(0));
        health.failed(0, Blame::Trouble, now, 1.0);
        assert_eq!(health.pick(now), Pick::Now(1));
        assert_eq!(health.pick(now + FIRST_PAUSE), Pick::Now(0));
    }

    #[test]
    fn pauses_grow_and_asked_ones_are_kept() {
        let (mut health, now) = (two(), Instant::now());
        health.failed(1, Blame::Unfit, now, 0.0);
        health.failed(0, Blame::Trouble, now, 1.0);
        let later = now + FIRST_PAUSE;
        health.failed(0, Blame::Trouble, later, 1.0);
        assert_eq!(health.pick(later), Pick::At(later + FIRST_PAUSE * 2));
        let later = later + FIRST_PAUSE * 2;
        health.failed(0, Blame::Busy(Duration::from_secs(9_999)), later, 0.0);
        assert_eq!(health.pick(later), Pick::At(later + LONGEST_RETRY_AFTER + FIRST_PAUSE * 2));
    }

    #[test]
    fn whoever_sent_wrong_bytes_goes_behind_the_others() {
        let (mut health, now) = (two(), Instant::now());
        health.delivered(0);
        assert_eq!(health.lied(), ["http://a/x"]);
        assert_eq!(health.pick(now), Pick::Now(1));
        assert!(health.lied().is_empty());
    }

    #[test]
    fn a_last_resort_is_used_while_the_others_cannot_be() {
        let now = Instant::now();
        let mut sources = ["http://a/x", "http://b/x"].map(|url| Source::from(url.to_owned())).to_vec();
        sources[1].last_resort = true;
        let mut health = Health::new(sources.clone());
        // a source that asks to be left alone is waited for
        health.failed(0, Blame::Busy(Duration::from_secs(1)), now, 0.0);
        assert!(matches!(health.pick(now), Pick::At(_)));
        let mut at = now + Duration::from_mins(1);
        for _ in 0..MAX_TROUBLE {
            assert_eq!(health.pick(at), Pick::Now(0));
            health.failed(0, Blame::Trouble, at, 1.0);
            at += Duration::from_mins(1);
        }
        assert_eq!(health.pick(at - Duration::from_mins(1)), Pick::Now(1), "while the first rests");
        health.delivered(0);
        health.failed(0, Blame::Trouble, at, 1.0);
        assert!(matches!(health.pick(at), Pick::At(_)));
        let mut health = Health::new(sources);
        health.failed(0, Blame::Unfit, now, 0.0);
        assert_eq!(health.pick(now), Pick::Now(1));
    }

    #[test]
    fn when_nobody_has_it_nobody_is_asked() {
        let (mut health, now) = (two(), Instant::now());
        health.failed(0, Blame::Unfit, now, 0.0);
        health.failed(1, Blame::Unfit, now, 0.0);
        assert_eq!(health.pick(now), Pick::Nobody);
        assert_eq!(Health::new(Vec::new()).pick(now), Pick::Nobody);
    }
}
