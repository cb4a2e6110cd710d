//! Notes of what came and left, and the books that they are entered into.
//!
//! **Invariant:** a note is entered once; what cannot be written to the disk is kept and written with the next whole
//! state. The books never ask anybody: they are told.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::archive::Archive;
use super::journal::{Change, Delta, Hour, Journal, State};
use super::overview::Overview;
use super::rows::{Counts, OTHER, Rows, Table};
use super::{Client, Fate, LedgerError, Sockets};
use tailwater_domain::{ByteRange, Limit, Sha1Digest, limits};
use tailwater_runtime::{Ageing, Clock};

/// The longest name of a source that is kept.
const MAX_NAME: usize = 120;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_NAME in "characters": "The name of a source" => "it is cut",
];

/// Payload bytes that came.
#[derive(Debug, Clone)]
pub(super) struct Came {
    pub(super) class: &'static str,
    pub(super) sha1: Sha1Digest,
    pub(super) source: Arc<str>,
    pub(super) fate: Fate,
}

/// Payload bytes that left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub(super) client: Client,
    pub(super) sha1: Sha1Digest,
    pub(super) range: ByteRange,
}

/// Notes for the next write.
#[derive(Debug)]
pub(super) struct Notes<T> {
    pub(super) list: Vec<T>,
    /// Bytes of notes that there was no room for: of payloads that came to waste, or left.
    pub(super) beside: u64,
    pub(super) stored_beside: u64,
}

impl<T> Default for Notes<T> {
    fn default() -> Self {
        Self { list: Vec::new(), beside: 0, stored_beside: 0 }
    }
}

/// What is known, in memory and on disk.
pub(super) struct Books {
    pub(super) state: State,
    journal: Journal,
    pub(super) archive: Archive,
    /// What the sockets had counted at the last write.
    sockets: Sockets,
    /// Everything since start.
    pub(super) since_start: Counts,
    /// The closed hours in short.
    pub(super) overview: Overview,
    /// The journal could not be written to its end.
    torn: bool,
    /// Whether days may be thrown away by the clock's time.
    ageing: Ageing,
}

/// The first second of the hour, on the clocks of a zone.
fn hour_of(now: Timestamp, zone: &TimeZone) -> i64 {
    let wall = zone.to_datetime(now);
    now.as_second() - i64::from(wall.minute()) * 60 - i64::from(wall.second())
}

pub(super) fn date_of(second: i64, zone: &TimeZone) -> Date {
    zone.to_datetime(Timestamp::from_second(second).unwrap_or_default()).date()
}

impl Books {
    /// The books of a folder.
    pub(super) fn open(folder: &Path, zone: &TimeZone) -> Result<Self, LedgerError> {
        let archive = Archive::open(folder)?;
        let (journal, mut state) = Journal::open(folder)?;
        // after a kill between the two writes that close an hour it is in both places
        if archive.holds(date_of(state.hour.start, zone), state.hour.serial)? {
            state.hour.rows = Rows::default();
        }
        let overview = Overview::of(&archive, zone)?;
        let torn = !journal.is_open();
        let newest = archive.dates()?.into_iter().max();
        let newest = newest.and_then(|date| Some(date.to_zoned(zone.clone()).ok()?.timestamp()));
        Ok(Self {
            ageing: Ageing::after(newest),
            state,
            journal,
            archive,
            sockets: Sockets::new(),
            since_start: Counts::default(),
            overview,
            torn,
        })
    }

    /// Everything that is kept, the hour that runs included.
    pub(super) fn kept_rows(&self) -> Rows {
        self.overview.rows_with(&self.state.hour)
    }

    /// What notes come to.
    pub(super) fn settle(&mut self, came: Notes<Came>, left: Notes<Left>) -> Delta {
        let mut delta = Delta::default();
        for note in came.list {
            self.settle_came(&note, &mut delta);
        }
        for Left { client, sha1, range } in left.list {
            let fetched = self.state.ahead.served(sha1, range);
            if fetched > 0 {
                delta.changes.push(Change::Served(sha1.0, range.start, range.end));
            }
            let counts = Counts { served: range.len(), fetched, ..Counts::default() };
            delta.rows.total.add(&counts);
            Rows::count(&mut delta.rows.files, &sha1.hex(), &counts);
            Rows::count(&mut delta.rows.clients, &client.to_string(), &counts);
        }
        let beside = [
            // what has no name cannot be followed: the sums hold when all of it counts as wasted
            Counts {
                payload: came.beside + came.stored_beside,
                wasted: came.beside + came.stored_beside,
                ..Counts::default()
            },
            Counts { served: left.beside, ..Counts::default() },
        ];
        for counts in beside.into_iter().filter(|counts| *counts != Counts::default()) {
            delta.rows.total.add(&counts);
            let Rows { classes, files, sources, clients, .. } = &mut delta.rows;
            let tables: [&mut Table; 3] = if counts.served > 0 {
                [files, clients, &mut Table::new()]
            } else {
                [classes, files, sources]
            };
            for table in tables {
                Rows::count(table, OTHER, &counts);
            }
        }
        delta
    }

    fn settle_came(&mut self, note: &Came, delta: &mut Delta) {
        let counts = match note.fate {
            Fate::Stored(range) => {
                delta.changes.push(Change::Stored(note.sha1.0, range.start, range.end));
                let twice = self.state.ahead.stored(note.sha1, range);
                Counts { payload: range.len(), wasted: twice, ..Counts::default() }
            }
            Fate::Wasted(bytes) => Counts { payload: bytes, wasted: bytes, ..Counts::default() },
        };
        let source: String = note.source.chars().take(MAX_NAME).collect();
        delta.rows.total.add(&counts);
        Rows::count(&mut delta.rows.classes, note.class, &counts);
        Rows::count(&mut delta.rows.files, &note.sha1.hex(), &counts);
        Rows::count(&mut delta.rows.sources, &source, &counts);
    }

    /// What the sockets counted since the last time.
    pub(super) fn count_sockets(&mut self, now: Sockets, rows: &mut Rows) {
        for (index, (class, received, sent)) in now.iter().enumerate() {
            let (_, before, before_sent) = self.sockets.get(index).copied().unwrap_or((class, 0, 0));
            let counts = Counts {
                received: received.saturating_sub(before),
                sent: sent.saturating_sub(before_sent),
                ..Counts::default()
            };
            if counts != Counts::default() {
                rows.total.add(&counts);
                Rows::count(&mut rows.classes, class, &counts);
            }
        }
        self.sockets = now;
    }

    /// Bytes of files that were dropped before anybody had them came for nothing.
    pub(super) fn look_for_dropped(&mut self, holds: &dyn Fn(&Sha1Digest) -> bool, delta: &mut Delta) {
        for sha1 in self.state.ahead.files() {
            if holds(&sha1) {
                continue;
            }
            let wasted = self.state.ahead.dropped(sha1);
            let counts = Counts { wasted, ..Counts::default() };
            delta.changes.push(Change::Dropped(sha1.0));
            delta.rows.total.add(&counts);
            Rows::count(&mut delta.rows.files, &sha1.hex(), &counts);
            Rows::count(&mut delta.rows.classes, OTHER, &counts);
            Rows::count(&mut delta.rows.sources, OTHER, &counts);
        }
    }

    /// Adds to the hour that runs; closes the one before when it is over. What cannot be written is kept in memory,
    /// and written with the next whole state.
    pub(super) fn keep(&mut self, delta: &Delta, clock: &Clock, zone: &TimeZone) -> Result<(), LedgerError> {
        self.since_start.add(&delta.rows.total);
        let hour = hour_of(clock.now(), zone);
        // there may have been no room for it at the start
        let made = if self.journal.is_open() { Ok(()) } else { self.archive.make() };
        let is_over = self.state.hour.start != hour;
        let closed = if is_over { self.close(hour, clock, zone) } else { Ok(()) };
        self.state.hour.rows.merge(&delta.rows);
        let written = if is_over || self.torn || self.journal.is_long() {
            self.journal.rewrite(&self.state)
        } else if delta.rows.is_empty() && delta.changes.is_empty() {
            Ok(())
        } else {
            self.journal.append(delta)
        };
        // a record that is cut in its middle would hide those behind it
        self.torn = written.is_err();
        closed.and(made).and(written)
    }

    /// Puts the hour that is over away and begins another.
    fn close(&mut self, hour: i64, clock: &Clock, zone: &TimeZone) -> Result<(), LedgerError> {
        if !self.state.hour.rows.is_empty() {
            let date = date_of(self.state.hour.start, zone);
            self.archive.close(date, &self.state.hour)?;
            self.overview.add(date, self.state.hour.start, &self.state.hour.rows);
        }
        let next_day = date_of(self.state.hour.start, zone) != date_of(hour, zone);
        let serial = self.state.hour.serial + 1;
        self.state.hour = Hour { serial, start: hour, rows: Rows::default() };
        if self.ageing.is_believed(clock) {
            self.archive.compact(date_of(hour, zone))?;
        }
        if next_day {
            // days that are no longer kept leave the sums
            self.overview = Overview::of(&self.archive, zone)?;
        }
        Ok(())
    }
}
