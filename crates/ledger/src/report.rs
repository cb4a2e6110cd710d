//! Questions to the ledger: a time, and by what the bytes are to be told apart.
//!
//! **Invariant:** the total of an answer is the sum of the hours in it, whatever the rows are; what is not on the disk
//! yet is in it. Times before the kept hours are answered by days.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::archive::Stored;
use super::books::date_of;
use super::rows::{By, Counts, Rows};
use super::{Ledger, LedgerError, locked};

/// One row of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportRow {
    /// An hour (`2026-11-22T14`), a day, a month, or a name.
    pub name: String,
    /// Its bytes.
    pub counts: Counts,
}

/// An answer.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// By time in its order; by name the heaviest first.
    pub rows: Vec<ReportRow>,
    /// Of the whole time.
    pub total: Counts,
    /// Payload that is held now and that nobody was served yet.
    pub ahead: u64,
    /// Whose days and hours these are.
    pub time_zone: String,
}

/// The time that a text names on the clocks of a zone.
pub(super) fn span_of(text: &str, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
    let text = text.trim();
    let midnight = |date: Date| date.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp());
    if let Ok(date) = text.parse::<Date>()
        && text.len() == 10
    {
        return Some((midnight(date)?, midnight(date.tomorrow().ok()?)?));
    }
    if let (7, Ok(date)) = (text.len(), format!("{text}-01").parse::<Date>()) {
        return Some((midnight(date)?, midnight(date.last_of_month().tomorrow().ok()?)?));
    }
    if let (13, Ok(hour)) = (text.len(), format!("{text}:00").parse::<jiff::civil::DateTime>()) {
        let begin = zone.to_timestamp(hour).ok()?;
        return Some((begin, begin.checked_add(jiff::Span::new().hours(1)).ok()?));
    }
    let moment: Timestamp = text.parse().ok()?;
    Some((moment, moment))
}

struct Gathering<'a> {
    by: By,
    zone: &'a TimeZone,
    total: Counts,
    rows: BTreeMap<String, Counts>,
}

impl Gathering<'_> {
    /// Adds an hour, or a whole day.
    fn add(&mut self, start: Option<i64>, date: Date, rows: &Rows) {
        self.total.add(&rows.total);
        if let Some(table) = rows.table(self.by) {
            for (name, counts) in table {
                self.rows.entry(name.clone()).or_default().add(counts);
            }
            return;
        }
        let hour = start.and_then(|start| Timestamp::from_second(start).ok());
        let name = match (self.by, hour) {
            (By::Hour, Some(hour)) => self.zone.to_datetime(hour).strftime("%Y-%m-%dT%H").to_string(),
            (By::Month, _) => date.strftime("%Y-%m").to_string(),
            _ => date.to_string(),
        };
        self.rows.entry(name).or_default().add(&rows.total);
    }
}

impl Ledger {
    /// What was counted from one moment (the hour it is in, for days whose hours are known) to before another.
    /// Blocking.
    ///
    /// # Errors
    /// When the folder cannot be read; a damaged file is left out and told in the log.
    pub fn report(&self, from: Timestamp, to: Timestamp, by: By) -> Result<Report, LedgerError> {
        // what was noted since the last write belongs to the answer
        self.write(false);
        let zone = &self.0.zone;
        let mut gathering = Gathering { by, zone, total: Counts::default(), rows: BTreeMap::new() };
        let inside = |start: i64| start + 3600 > from.as_second() && start < to.as_second();
        let (first, last) = (date_of(from.as_second(), zone), date_of(to.as_second() - 1, zone));
        let books = locked(&self.0.books);
        for date in books.archive.dates()?.into_iter().filter(|date| (first..=last).contains(date)) {
            match books.archive.stored(date) {
                Ok(Stored::Day(rows)) => gathering.add(None, date, &rows),
                Ok(Stored::Hours(hours)) => {
                    for (start, rows) in hours.iter().filter(|(start, _)| inside(**start)) {
                        gathering.add(Some(*start), date, rows);
                    }
                }
                Err(error @ LedgerError::Damaged { .. }) => {
                    tracing::warn!(%error, "a part of the ledger is lost");
                }
                Err(error) => return Err(error),
            }
        }
        let hour = &books.state.hour;
        if inside(hour.start) {
            gathering.add(Some(hour.start), date_of(hour.start, zone), &hour.rows);
        }
        let ahead = books.state.ahead.total();
        drop(books);
        let mut rows: Vec<ReportRow> =
            gathering.rows.into_iter().map(|(name, counts)| ReportRow { name, counts }).collect();
        if !matches!(by, By::Hour | By::Day | By::Month) {
            let weight = |row: &ReportRow| row.counts.received.max(row.counts.payload) + row.counts.served;
            rows.sort_by_key(|row| std::cmp::Reverse(weight(row)));
        }
        let time_zone = zone.iana_name().unwrap_or("this machine's").to_owned();
        Ok(Report { rows, total: gathering.total, ahead, time_zone })
    }
}
