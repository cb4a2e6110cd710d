//! How the sources of one file behave, and which to ask next. Pure: the time is given.
//!
//! **Invariant:** a dearer source is asked only while no cheaper one does well; among equals the sources' own order
//! is kept, and one whose bytes did not match goes behind all others. One odd answer gives no source up: it is asked
//! again after a pause, a few times, more often when some of the file came from it. It never gives a source up for good:
//! that is for the next attempt to find out.

use std::time::Duration;

use tokio::time::Instant;

use super::Source;
use super::origins::{Closed, origin};
use tailwater_domain::{Limit, limits};

/// The pause after a first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause between tries within one attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause that a source may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(5);

/// The pause after a first answer without the range that was asked for; it doubles as well.
const FIRST_UNRANGED_PAUSE: Duration = Duration::from_secs(2);

/// The longest such pause.
const LONGEST_UNRANGED_PAUSE: Duration = Duration::from_mins(5);

/// Failures in a row after which a dearer source, or a last resort, is used beside.
const MAX_TROUBLE: u32 = 3;

/// Who asks to be left alone for longer is not waited for while a dearer source is there.
const LONG_BUSY: Duration = Duration::from_secs(10);

/// Refusals of a source, less one for each delivery, after which it is given up: one that has not delivered yet is soon,
/// so that who asks for what nobody has is told so at once.
const MAX_REFUSALS: u32 = 3;

/// The same for one that has delivered: within about three seconds.
const MAX_REFUSALS_PROVEN: u32 = 7;

/// The same for an address with a signature, which may have expired: a new one is asked for instead.
const MAX_REFUSALS_SIGNED: u32 = 2;

/// The pause after a first refusal; it doubles with each further one.
const FIRST_REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// The longest such pause.
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(2);

/// Sources kept for a file.
const MAX_SOURCES: usize = 16;

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST_PAUSE: "The pause between two tries of a source" => "it grows no further",
    LONGEST_RETRY_AFTER: "The pause that a source may ask for" => "it is asked again after this",
    LONGEST_UNRANGED_PAUSE: "The pause of a source that answers without ranges" => "it grows no further",
    LONGEST_REFUSED_PAUSE: "The pause after refusals" => "it grows no further",
    MAX_TROUBLE in "failures": "Failures in a row of a source" => "a dearer source is used beside it",
    MAX_REFUSALS in "refusals": "Refusals of a source that has delivered nothing yet" => "it is given up for the file",
    MAX_REFUSALS_PROVEN in "refusals": "Refusals of a source that has delivered" => "it is given up for the file",
    MAX_REFUSALS_SIGNED in "refusals": "Refusals of a signed address" => "a new address is asked for",
    MAX_SOURCES in "sources": "Sources of one file" => "it is not used",
];

/// What is to be thought of a source after a request to it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// It may work again soon.
    Trouble,
    /// Its server did not answer at all.
    Unreachable,
    /// It asked to be left alone for so long.
    Busy(Duration),
    /// It would send the whole file for a small part.
    Unranged,
    /// It does not have the file.
    Gone,
    /// It does not let us have the file, or has another one under this address.
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
#[expect(clippy::struct_excessive_bools, reason = "each is seen by itself, and most together")]
struct Entry {
    source: Source,
    failures: u32,
    until: Option<Instant>,
    unfit: bool,
    gone: bool,
    used: bool,
    /// Some of the file came from it.
    proven: bool,
    /// The upstream said again that this is an address of the file.
    renewed: bool,
    /// Answers that there is nothing to be had, less one for each delivery since.
    refusals: u32,
    /// Rests from one until then, whatever runs that began before deliver.
    refused_until: Option<Instant>,
    lied: u32,
    /// Failures in a row that nobody asked for.
    trouble: u32,
    /// Answers in a row that had the whole file for a part of it.
    unranged: u32,
}

impl Entry {
    /// From when on it may be asked.
    fn free_at(&self, closed: Option<Closed>) -> Option<Instant> {
        self.until.max(self.refused_until).max(closed.map(|closed| closed.until))
    }

    /// Refusals after which it is given up.
    fn most_refusals(&self) -> u32 {
        match self.proven {
            // an address with a query is signed for a time
            _ if self.is_signed() && !self.renewed => MAX_REFUSALS_SIGNED,
            true => MAX_REFUSALS_PROVEN,
            false => MAX_REFUSALS,
        }
    }

    fn is_signed(&self) -> bool {
        self.source.url.contains('?')
    }

    /// It says that there is nothing to be had.
    fn refuses(&mut self, is_gone: bool, now: Instant, spread: f64) {
        // of several requests that are refused together, the first tells it all
        if self.refused_until.is_some_and(|until| until > now) {
            return;
        }
        let doubled = FIRST_REFUSED_PAUSE * 2_u32.saturating_pow(self.refusals.min(16));
        self.refused_until = Some(now + doubled.min(LONGEST_REFUSED_PAUSE).mul_f64(spread));
        self.refusals += 1;
        self.unfit = self.refusals >= self.most_refusals();
        self.gone = is_gone && !self.is_signed();
    }

    /// Whether it makes a dearer source, or a last resort, unnecessary.
    fn is_good(&self, now: Instant, closed: Option<Closed>, strictly: bool) -> bool {
        let well = !self.unfit && !self.source.last_resort && self.lied == 0 && self.trouble < MAX_TROUBLE;
        let down = closed.is_some_and(|closed| closed.known);
        // a last resort must not shorten a wait that the source itself asked for
        let busy = !strictly && self.until.is_some_and(|until| until > now + LONG_BUSY);
        well && !down && !busy
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
            gone: false,
            used: false,
            proven: false,
            renewed: false,
            refusals: 0,
            refused_until: None,
            lied: 0,
            trouble: 0,
            unranged: 0,
        };
        let mut entries: Vec<_> = sources.into_iter().take(MAX_SOURCES).map(entry).collect();
        entries.sort_by_key(|entry| entry.source.cost);
        Self(entries)
    }

    /// The sources that come into question, each with why its server is not to be asked.
    fn usable(
        &self,
        now: Instant,
        closed: impl Fn(&str) -> Option<Closed>,
    ) -> Vec<(usize, &Entry, Option<Closed>)> {
        let entries: Vec<_> =
            self.0.iter().map(|entry| (entry, closed(&entry.source.url))).enumerate().collect();
        let good = |strictly: bool| {
            let good = entries.iter().filter(|(_, (entry, closed))| entry.is_good(now, *closed, strictly));
            good.map(|(_, (entry, _))| entry.source.cost).min()
        };
        let (tier, resort) = (good(false).unwrap_or(u32::MAX), good(true).is_none());
        let usable = |entry: &Entry| {
            !entry.unfit && (entry.source.cost <= tier) && (resort || !entry.source.last_resort)
        };
        let fit = entries.into_iter().filter(|(_, (entry, _))| usable(entry));
        fit.map(|(index, (entry, closed))| (index, entry, closed)).collect()
    }

    /// The source to ask now; `closed` says which servers are not to be asked.
    pub(super) fn pick(&self, now: Instant, closed: impl Fn(&str) -> Option<Closed>) -> Pick {
        let fit = self.usable(now, closed);
        let ready =
            fit.iter().filter(|(_, entry, closed)| entry.free_at(*closed).is_none_or(|until| until <= now));
        let order = |entry: &Entry| {
            (entry.lied, entry.source.cost, entry.trouble >= MAX_TROUBLE || entry.refusals > 0)
        };
        if let Some((index, ..)) = ready.min_by_key(|(index, entry, _)| (order(entry), *index)) {
            return Pick::Now(*index);
        }
        fit.iter()
            .filter_map(|(_, entry, closed)| entry.free_at(*closed))
            .min()
            .map_or(Pick::Nobody, Pick::At)
    }

    /// Until when nobody is asked, as far as that is known: each source asked to be left alone, rests from its
    /// failures, or has a server that is known to be down. `None` while one may be asked, or while a request finds out
    /// whether its server is back.
    pub(super) fn resting_until(
        &self,
        now: Instant,
        closed: impl Fn(&str) -> Option<Closed>,
    ) -> Option<Instant> {
        let mut soonest: Option<Instant> = None;
        for (_, entry, closed) in self.usable(now, closed) {
            let down = closed.filter(|closed| closed.known).map(|closed| closed.until);
            let until = entry.until.max(down).filter(|until| *until > now)?;
            soonest = Some(soonest.map_or(until, |known| known.min(until)));
        }
        soonest
    }

    /// When the server of some source is asked again, while those of all of them are known to be down.
    pub(super) fn down_until(&self, closed: impl Fn(&str) -> Option<Closed>) -> Option<Instant> {
        let mut soonest: Option<Instant> = None;
        for entry in self.0.iter().filter(|entry| !entry.unfit) {
            let closed = closed(&entry.source.url).filter(|closed| closed.known)?;
            soonest = Some(soonest.map_or(closed.until, |until| until.min(closed.until)));
        }
        soonest
    }

    /// Adds the addresses that are new. What runs from the others goes on.
    pub(super) fn renew(&mut self, sources: Vec<Source>) {
        for entry in Self::new(sources).0 {
            let known = self.0.iter().position(|old| old.source.url == entry.source.url);
            match known {
                Some(index) => {
                    let known = &mut self.0[index];
                    known.source.headers = entry.source.headers;
                    known.renewed = true;
                    known.unfit &= known.refusals >= known.most_refusals();
                }
                None if self.0.len() < 2 * MAX_SOURCES => self.0.push(entry),
                None => {}
            }
        }
    }

    /// Whether every source says that it does not have the file.
    pub(super) fn is_gone(&self) -> bool {
        self.0.iter().all(|entry| entry.gone)
    }

    pub(super) fn source(&self, index: usize) -> Option<&Source> {
        self.0.get(index).map(|entry| &entry.source)
    }

    /// How often in a row a source answered without the range.
    pub(super) fn unranged(&self, index: usize) -> u32 {
        self.0.get(index).map_or(0, |entry| entry.unranged)
    }

    /// Whether another source than this one may have the file.
    pub(super) fn has_other(&self, index: usize) -> bool {
        let fit = |entry: &Entry| !entry.unfit && entry.lied == 0 && entry.trouble == 0;
        self.0.iter().enumerate().any(|(other, entry)| {
            other != index
                && fit(entry)
                && !self.source(index).is_some_and(|source| same(source, &entry.source))
        })
    }

    /// Pieces came from it.
    pub(super) fn delivered(&mut self, index: usize, now: Instant) {
        if let Some(entry) = self.0.get_mut(index) {
            (entry.used, entry.proven) = (true, true);
            (entry.failures, entry.trouble) = (0, 0);
            entry.until = None;
            // what was on its way before a refusal does not shorten its pause
            if entry.refused_until.is_none_or(|until| until <= now) {
                entry.refusals = entry.refusals.saturating_sub(1);
            }
            entry.unfit &= entry.refusals >= entry.most_refusals();
        }
    }

    /// It sent the range that it was asked for.
    pub(super) fn ranged(&mut self, index: usize) {
        if let Some(entry) = self.0.get_mut(index) {
            entry.unranged = 0;
        }
    }

    /// The beginning of a piece came from these addresses.
    pub(super) fn contributed(&mut self, from: &[String]) {
        for entry in self.0.iter_mut().filter(|entry| from.contains(&entry.source.url)) {
            entry.used = true;
        }
    }

    /// A request to it failed. `jitter` in 0..=1 spreads those who wait for the same source.
    pub(super) fn failed(&mut self, index: usize, blame: Blame, now: Instant, jitter: f64) {
        let Some(entry) = self.0.get_mut(index) else { return };
        let spread = 0.5 + jitter.clamp(0.0, 1.0) / 2.0;
        if matches!(blame, Blame::Unfit | Blame::Gone) {
            entry.refuses(blame == Blame::Gone, now, spread);
            return;
        }
        // of several requests that fail together, the first tells it all
        if entry.until.is_some_and(|until| until > now) {
            return;
        }
        let doubled = FIRST_PAUSE * 2_u32.saturating_pow(entry.failures.min(16));
        let pause = doubled.min(LONGEST_PAUSE).mul_f64(spread);
        match blame {
            Blame::Trouble => {
                entry.until = Some(now + pause);
                (entry.trouble, entry.failures) = (entry.trouble + 1, entry.failures + 1);
            }
            // the server's own pause counts, and is the same for all files
            Blame::Unreachable => entry.trouble += 1,
            Blame::Busy(asked) => {
                entry.until = Some(now + asked.min(LONGEST_RETRY_AFTER) + pause);
                entry.failures += 1;
            }
            Blame::Unranged => {
                let doubled = FIRST_UNRANGED_PAUSE * 2_u32.saturating_pow(entry.unranged.min(16));
                entry.until = Some(now + doubled.min(LONGEST_UNRANGED_PAUSE).mul_f64(spread));
                entry.unranged += 1;
            }
            Blame::Unfit | Blame::Gone => {}
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

/// Whether two addresses are of one server.
fn same(one: &Source, other: &Source) -> bool {
    origin(&one.url) == origin(&other.url)
}

#[cfg(test)]
mod tests;
