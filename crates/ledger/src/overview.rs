//! The kept hours in short: totals by day, and by name over the whole time that is kept.
//!
//! **Invariant:** it is the sum of what the archive holds, each hour once; the hour that runs is added by whoever asks.
//! It is derived: read from the archive when the ledger opens and when a day ends, never stored.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::Serialize;

use super::archive::{Archive, Stored};
use super::books::date_of;
use super::journal::Hour;
use super::rows::{By, Counts, DAY_ROWS, Rows};
use super::{Ledger, LedgerError, locked};

/// Days whose mean is the pace of a forecast.
const PACE_DAYS: i64 = 7;

/// The shortest time from which a pace is given, in seconds.
const LEAST_PACE: i64 = 3600;

// not a limit: LEAST_PACE: when a pace is shown

/// Totals of the time that is kept, at most 400 days, up to the last two seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The first day that anything is known of; `None` before the first byte.
    pub since: Option<Date>,
    /// Everything that is kept.
    pub total: Counts,
    /// Of that, the calendar month that runs, in the ledger's time zone.
    pub month: Counts,
    /// Of that, the day that runs.
    pub today: Counts,
    /// Payload that is held now and that nobody was served yet.
    pub ahead: u64,
}

/// Bytes received over a time, for forecasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes received from upstream.
    pub bytes: u64,
    /// In how many seconds; at least an hour.
    pub seconds: i64,
}

/// Sums of the closed hours.
#[derive(Debug, Default)]
pub(super) struct Overview {
    days: BTreeMap<Date, Counts>,
    rows: Rows,
    /// The first second that is known of.
    first: Option<i64>,
}

impl Overview {
    /// The sums of an archive. A day that cannot be read is left out and told in the log.
    pub(super) fn of(archive: &Archive, zone: &TimeZone) -> Result<Self, LedgerError> {
        let mut overview = Self::default();
        for date in archive.dates()? {
            match archive.stored(date) {
                Ok(Stored::Day(rows)) => {
                    let midnight =
                        date.to_zoned(zone.clone()).map_or(0, |zoned| zoned.timestamp().as_second());
                    overview.add(date, midnight, &rows);
                }
                Ok(Stored::Hours(hours)) => {
                    for (start, rows) in &hours {
                        overview.add(date, *start, rows);
                    }
                }
                Err(error) => tracing::warn!(%error, "a part of the ledger cannot be read"),
            }
        }
        Ok(overview)
    }

    /// Adds an hour that was closed.
    pub(super) fn add(&mut self, date: Date, start: i64, rows: &Rows) {
        self.first = Some(self.first.map_or(start, |first| first.min(start)));
        self.days.entry(date).or_default().add(&rows.total);
        self.rows.merge(rows);
        self.rows.shorten(DAY_ROWS);
    }

    /// The rows of all hours, of the one that runs too.
    pub(super) fn rows_with(&self, hour: &Hour) -> Rows {
        let mut rows = self.rows.clone();
        rows.merge(&hour.rows);
        rows
    }

    fn sum(&self, days: impl std::ops::RangeBounds<Date>) -> Counts {
        let mut sum = Counts::default();
        for (_, counts) in self.days.range(days) {
            sum.add(counts);
        }
        sum
    }

    fn kept(&self, hour: &Hour, now: Timestamp, zone: &TimeZone, ahead: u64) -> Kept {
        let today = date_of(now.as_second(), zone);
        let running = date_of(hour.start, zone);
        let with_hour = |mut counts: Counts, inside: bool| {
            if inside {
                counts.add(&hour.rows.total);
            }
            counts
        };
        let month = today.first_of_month()..=today.last_of_month();
        let known = (!hour.rows.is_empty()).then_some(running);
        Kept {
            since: self.days.keys().next().copied().into_iter().chain(known).min(),
            total: with_hour(self.sum(..), true),
            today: with_hour(self.sum(today..=today), running == today),
            month: with_hour(self.sum(month.clone()), month.contains(&running)),
            ahead,
        }
    }

    fn pace(&self, hour: &Hour, now: Timestamp, zone: &TimeZone) -> Option<Pace> {
        let today = date_of(now.as_second(), zone);
        let first = today.checked_sub((PACE_DAYS - 1).days()).ok()?;
        let midnight = first.to_zoned(zone.clone()).ok()?.timestamp().as_second();
        let known = self.first.unwrap_or(hour.start);
        let seconds = now.as_second() - midnight.max(known);
        let mut received = self.sum(first..=today).received;
        if (first..=today).contains(&date_of(hour.start, zone)) {
            received += hour.rows.total.received;
        }
        (seconds >= LEAST_PACE && received > 0).then_some(Pace { bytes: received, seconds })
    }
}

impl Ledger {
    /// The totals of the time that is kept. Cheap: nothing is read from the disk.
    pub fn kept(&self) -> Kept {
        let books = locked(&self.0.books);
        let (now, ahead) = (self.0.clock.now(), books.state.ahead.total());
        books.overview.kept(&books.state.hour, now, &self.0.zone, ahead)
    }

    /// What is kept of one name of a table, over the whole time. Cheap. A name that is among the lightest of hundreds
    /// may have been folded into the row `other`; its older bytes are not in the answer then.
    pub fn kept_of(&self, by: By, name: &str) -> Counts {
        let books = locked(&self.0.books);
        let mut counts = Counts::default();
        for rows in [&books.overview.rows, &books.state.hour.rows] {
            if let Some(row) = rows.table(by).and_then(|table| table.get(name)) {
                counts.add(row);
            }
        }
        counts
    }

    /// What was kept before this process began to count, in all. With what sockets count since then it is the total to
    /// the byte.
    pub fn before(&self) -> Counts {
        self.0.before.total
    }

    /// What was kept when this process began, and everything it counted since: never less than it was, for counters that
    /// others read; and what is ahead now.
    pub fn counted(&self) -> (Counts, u64) {
        let mut counts = self.0.before.total;
        let books = locked(&self.0.books);
        counts.add(&books.since_start);
        (counts, books.state.ahead.total())
    }

    /// The same of one purpose of transfers.
    pub fn before_of_class(&self, class: &str) -> Counts {
        self.0.before.classes.get(class).copied().unwrap_or_default()
    }

    /// How fast the link was used over the last seven days, or since the first byte; `None` until an hour is known.
    pub fn pace(&self) -> Option<Pace> {
        let books = locked(&self.0.books);
        books.overview.pace(&books.state.hour, self.0.clock.now(), &self.0.zone)
    }
}
