//! Finished hours and days: a file a day.
//!
//! **Invariant:** hours are kept for [`KEEP_HOURS`] days and days for [`KEEP_DAYS`], each with a bounded number of rows,
//! so that the whole stays under 64 MB whatever is counted. A file that cannot be read is left out and said so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::journal::Hour;
use super::rows::{DAY_ROWS, HOUR_ROWS, Rows};
use super::{LedgerError, record};
use tailwater_domain::{Limit, limits};
use tailwater_durable::{Mode, Trouble, replace};

/// Days whose hours are kept apart.
pub(super) const KEEP_HOURS: i32 = 14;

/// Days kept: 13 months.
pub(super) const KEEP_DAYS: i32 = 400;

pub(super) const LIMITS: &[Limit] = limits![
    KEEP_HOURS in "days": "Days whose hours are kept" => "only the day is kept",
    KEEP_DAYS in "days": "Days that are kept" => "the oldest is removed",
];

/// A day of which the hours are no longer known.
#[derive(Debug, Serialize, Deserialize)]
struct Day {
    /// The last hour in it, as in [`Hour::serial`].
    serial: u64,
    rows: Rows,
}

/// The folder.
pub(super) struct Archive {
    folder: PathBuf,
}

/// What one day's files say.
pub(super) enum Stored {
    /// Hours by their first second.
    Hours(BTreeMap<i64, Rows>),
    /// The day as a whole.
    Day(Rows),
}

impl Archive {
    pub(super) fn open(folder: &Path) -> Result<Self, LedgerError> {
        match std::fs::create_dir_all(folder) {
            // nothing is kept there then, until there is room
            Err(error) if Trouble::of(&error).is_none() => {
                return Err(LedgerError::Io { path: folder.to_owned(), source: error });
            }
            _ => {}
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Makes the folder that could not be made when it was opened.
    pub(super) fn make(&self) -> Result<(), LedgerError> {
        let failed = |source| LedgerError::Io { path: self.folder.clone(), source };
        std::fs::create_dir_all(&self.folder).map_err(failed)
    }

    fn path(&self, date: Date, kind: &str) -> PathBuf {
        self.folder.join(format!("{date}.{kind}"))
    }

    /// Stores an hour that ended, unless it is there.
    pub(super) fn close(&self, date: Date, hour: &Hour) -> Result<(), LedgerError> {
        let path = self.path(date, "hours");
        let failed = |source| LedgerError::Io { path: path.clone(), source };
        let mut hours = self.hours(date)?;
        if hours.iter().any(|stored| stored.serial == hour.serial) {
            return Ok(());
        }
        let mut hour = hour.clone();
        hour.rows.shorten(HOUR_ROWS);
        hours.push(hour);
        let write = |file: &mut File| hours.iter().try_for_each(|hour| record::write(file, hour).map(drop));
        replace(&path, Mode::Private, write).map_err(failed)
    }

    /// Whether an hour is stored already. A file that cannot be read holds nothing.
    pub(super) fn holds(&self, date: Date, serial: u64) -> Result<bool, LedgerError> {
        match self.hours(date) {
            Ok(hours) => Ok(hours.iter().any(|hour| hour.serial == serial)),
            Err(LedgerError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn hours(&self, date: Date) -> Result<Vec<Hour>, LedgerError> {
        let path = self.path(date, "hours");
        let failed = |source| LedgerError::Io { path: path.clone(), source };
        let mut input = match File::open(&path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut hours = Vec::new();
        while let Some(hour) = record::read(&mut input).map_err(failed)? {
            hours.push(hour);
        }
        Ok(hours)
    }

    fn day(&self, date: Date) -> Result<Option<Day>, LedgerError> {
        let path = self.path(date, "day");
        let failed = |source| LedgerError::Io { path: path.clone(), source };
        match File::open(&path) {
            Ok(mut file) => {
                let day = record::read(&mut file).map_err(failed)?;
                day.map(Some).ok_or(LedgerError::Damaged { path })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// What is stored of a day.
    pub(super) fn stored(&self, date: Date) -> Result<Stored, LedgerError> {
        let (day, hours) = (self.day(date)?, self.hours(date)?);
        let later = |hour: &&Hour| day.as_ref().is_none_or(|day| day.serial < hour.serial);
        let Some(day) = &day else {
            let mut found: BTreeMap<i64, Rows> = BTreeMap::new();
            for hour in &hours {
                found.entry(hour.start).or_default().merge(&hour.rows);
            }
            return Ok(Stored::Hours(found));
        };
        let mut rows = day.rows.clone();
        hours.iter().filter(later).for_each(|hour| rows.merge(&hour.rows));
        Ok(Stored::Day(rows))
    }

    /// Every day that something is stored of.
    pub(super) fn dates(&self) -> Result<Vec<Date>, LedgerError> {
        let failed = |source| LedgerError::Io { path: self.folder.clone(), source };
        let mut dates = Vec::new();
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(dates),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let date: Option<Date> =
                name.to_str().and_then(|name| name.split_once('.')).and_then(|(date, _)| date.parse().ok());
            dates.extend(date);
        }
        dates.sort_unstable();
        dates.dedup();
        Ok(dates)
    }

    /// Makes days of old hours, and lets old days go.
    pub(super) fn compact(&self, today: Date) -> Result<(), LedgerError> {
        for date in self.dates()? {
            let age = (today - date).get_days();
            if age > KEEP_DAYS {
                remove(&self.path(date, "day"))?;
                remove(&self.path(date, "hours"))?;
            } else if age > KEEP_HOURS && self.path(date, "hours").exists() {
                self.fold(date)?;
            }
        }
        Ok(())
    }

    fn fold(&self, date: Date) -> Result<(), LedgerError> {
        let serial = self.hours(date)?.iter().map(|hour| hour.serial).max().unwrap_or_default();
        let mut rows = match self.stored(date)? {
            Stored::Day(rows) => rows,
            Stored::Hours(hours) => {
                let mut rows = Rows::default();
                for hour in hours.values() {
                    rows.merge(hour);
                }
                rows
            }
        };
        rows.shorten(DAY_ROWS);
        let path = self.path(date, "day");
        let day = Day { serial, rows };
        replace(&path, Mode::Private, |file| record::write(file, &day).map(drop))
            .map_err(|source| LedgerError::Io { path: path.clone(), source })?;
        remove(&self.path(date, "hours"))
    }
}

fn remove(path: &Path) -> Result<(), LedgerError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LedgerError::Io { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Counts;

    fn hour(serial: u64, start: i64, served: u64) -> Hour {
        let total = Counts { served, ..Counts::default() };
        let files = [("file".to_owned(), total)].into();
        Hour { serial, start, rows: Rows { total, files, ..Rows::default() } }
    }

    fn served(archive: &Archive, date: Date) -> u64 {
        match archive.stored(date).unwrap() {
            Stored::Day(rows) => rows.total.served,
            Stored::Hours(hours) => hours.values().map(|rows| rows.total.served).sum(),
        }
    }

    #[test]
    fn hours_become_days_and_days_go_and_no_hour_counts_twice() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(folder.path()).unwrap();
        let date: Date = "2026-11-01".parse().unwrap();
        for (serial, bytes) in [(1, 10), (2, 20), (2, 20), (3, 30)] {
            archive.close(date, &hour(serial, i64::try_from(serial).unwrap() * 3600, bytes)).unwrap();
        }
        assert_eq!(served(&archive, date), 60);
        archive.compact("2026-11-15".parse().unwrap()).unwrap();
        assert!(matches!(archive.stored(date).unwrap(), Stored::Hours(hours) if hours.len() == 3));
        archive.compact("2026-11-16".parse().unwrap()).unwrap();
        assert!(matches!(archive.stored(date).unwrap(), Stored::Day(_)));
        assert_eq!(served(&archive, date), 60);
        // the clock was set back: an hour of a day that was folded already
        archive.close(date, &hour(4, 0, 5)).unwrap();
        assert_eq!(served(&archive, date), 65);
        archive.compact("2026-11-16".parse().unwrap()).unwrap();
        assert_eq!((served(&archive, date), archive.hours(date).unwrap().len()), (65, 0));
        archive.compact("2027-12-07".parse().unwrap()).unwrap();
        assert_eq!(archive.dates().unwrap(), []);
    }

    #[test]
    fn a_torn_hour_costs_itself() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(folder.path()).unwrap();
        let date: Date = "2026-11-01".parse().unwrap();
        archive.close(date, &hour(1, 0, 10)).unwrap();
        let whole = std::fs::read(archive.path(date, "hours")).unwrap();
        archive.close(date, &hour(2, 3600, 20)).unwrap();
        let both = std::fs::read(archive.path(date, "hours")).unwrap();
        for length in whole.len()..both.len() {
            std::fs::write(archive.path(date, "hours"), &both[..length]).unwrap();
            assert_eq!(served(&archive, date), 10, "{length}");
        }
    }
}
