//! The proof of what the link carried: every byte by purpose, file, source and hour, and what it saved.
//!
//! What is counted, and what the words mean, holds everywhere they are shown:
//!
//! - *received*: bytes from upstream at the sockets. Of these *payload*: bytes of files; the rest is metadata, heads, TLS.
//! - *served*: bytes of files sent to agents and downstream servers.
//! - *fetched*: those of them that left for the first time since they crossed the link; *avoided*: all others.
//! - *wasted*: payload of no use to anybody: already held, broken off within a piece, damaged, or dropped unserved.
//! - *ahead*: payload that is held and that nobody was served yet.
//!
//! **Invariant:** fetched + avoided = served, and payload = fetched + wasted + what came to be ahead, to the byte. A
//! kill loses at most [`TICK`] of attribution. It never holds up who serves or who stores: both leave a note and go on.

mod ahead;
mod archive;
mod error;
mod journal;
mod record;
mod report;
mod rows;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

pub use error::LedgerError;
pub use report::{Report, ReportRow};
pub use rows::{By, Counts, OTHER};

use crate::domain::{ByteRange, ServerId, Sha1Digest};
use crate::runtime::{Clock, Tasks};
use archive::Archive;
use journal::{Change, Delta, Hour, Journal, State};
use rows::{Rows, Table};

/// Between two writes of what was noted.
const TICK: Duration = Duration::from_secs(2);

/// Notes that wait for the next write; further ones are counted without their names.
const MAX_NOTES: usize = 65_536;

/// Ticks between two looks for files that are gone: about ten minutes.
const TICKS_PER_LOOK: u64 = 300;

/// The longest name of a source that is kept.
const MAX_NAME: usize = 120;

/// Who was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// An agent, by its address.
    Agent(IpAddr),
    /// A downstream server.
    Server(ServerId),
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Agent(address) => write!(f, "{address}"),
            Self::Server(id) => write!(f, "server {id}"),
        }
    }
}

/// What became of payload bytes that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They are held.
    Stored(ByteRange),
    /// They are of no use.
    Wasted(u64),
}

/// What the sockets counted since start, by class: name, received, sent.
pub type Sockets = Vec<(&'static str, u64, u64)>;

/// What the ledger asks others.
pub struct Witnesses {
    /// Counts at the sockets.
    pub sockets: Box<dyn Fn() -> Sockets + Send + Sync>,
    /// Whether anything of a file is held.
    pub holds: Box<dyn Fn(&Sha1Digest) -> bool + Send + Sync>,
}

/// Payload bytes that came.
#[derive(Debug, Clone)]
struct Came {
    class: &'static str,
    sha1: Sha1Digest,
    source: Arc<str>,
    fate: Fate,
}

/// Payload bytes that left.
#[derive(Debug, Clone, Copy)]
struct Left {
    client: Client,
    sha1: Sha1Digest,
    range: ByteRange,
}

/// Notes for the next write.
#[derive(Debug)]
struct Notes<T> {
    list: Vec<T>,
    /// Bytes of notes that there was no room for: of payloads that came to waste, or left.
    beside: u64,
    stored_beside: u64,
}

impl<T> Default for Notes<T> {
    fn default() -> Self {
        Self { list: Vec::new(), beside: 0, stored_beside: 0 }
    }
}

/// The ledger. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    came: Mutex<Notes<Came>>,
    left: Mutex<Notes<Left>>,
    witnesses: OnceLock<Witnesses>,
    /// Locked by writes and questions only.
    books: Mutex<Books>,
    zone: TimeZone,
    clock: Clock,
}

struct Books {
    state: State,
    journal: Journal,
    archive: Archive,
    /// What the sockets had counted at the last write.
    sockets: Sockets,
    /// Everything since start.
    since_start: Counts,
    trouble: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// Opens the ledger of a folder; days follow this zone. Blocking.
    ///
    /// # Errors
    /// When the folder or the journal cannot be read or made.
    pub fn open(folder: &Path, zone: TimeZone, clock: &Clock) -> Result<Self, LedgerError> {
        let archive = Archive::open(folder)?;
        let (journal, state) = Journal::open(folder)?;
        let books = Books {
            state,
            journal,
            archive,
            sockets: Sockets::new(),
            since_start: Counts::default(),
            trouble: false,
        };
        let inner = Inner {
            came: Mutex::default(),
            left: Mutex::default(),
            witnesses: OnceLock::new(),
            books: Mutex::new(books),
            zone,
            clock: clock.clone(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Writes until shutdown. Only the first call does anything.
    pub fn start(&self, witnesses: Witnesses, tasks: &Tasks) {
        let (ledger, stopping) = (self.clone(), tasks.stopping());
        if self.0.witnesses.set(witnesses).is_err() {
            return;
        }
        tasks.spawn("ledger", async move {
            let mut ticks = 0;
            loop {
                let over = tokio::select! {
                    () = ledger.0.clock.sleep(TICK) => false,
                    () = stopping.cancelled() => true,
                };
                let ledger = ledger.clone();
                let look = ticks % TICKS_PER_LOOK == 0;
                let written = tokio::task::spawn_blocking(move || ledger.write(look)).await;
                if let Err(error) = written {
                    tracing::warn!(%error, "the ledger was not written");
                }
                if over {
                    return;
                }
                ticks += 1;
            }
        });
    }

    /// Writes what is left, when nobody counts any more. Blocking.
    pub fn close(&self) {
        self.write(false);
    }

    /// The time that a text names: a month, a day, an hour or a moment; its first instant and the first after it.
    pub fn span_of(&self, text: &str) -> Option<(Timestamp, Timestamp)> {
        report::span_of(text, &self.0.zone)
    }

    /// Payload bytes came. `source` is where from, without a path.
    pub fn came(&self, class: &'static str, sha1: Sha1Digest, source: &Arc<str>, fate: Fate) {
        let mut notes = locked(&self.0.came);
        if notes.list.len() < MAX_NOTES {
            notes.list.push(Came { class, sha1, source: Arc::clone(source), fate });
            return;
        }
        match fate {
            Fate::Stored(range) => notes.stored_beside += range.len(),
            Fate::Wasted(bytes) => notes.beside += bytes,
        }
    }

    /// Bytes of a file left for a client.
    pub fn served(&self, client: Client, sha1: Sha1Digest, range: ByteRange) {
        let mut notes = locked(&self.0.left);
        if notes.list.len() < MAX_NOTES {
            notes.list.push(Left { client, sha1, range });
        } else {
            notes.beside += range.len();
        }
    }

    /// Since start, and what is ahead now.
    pub fn since_start(&self) -> (Counts, u64) {
        let books = locked(&self.0.books);
        (books.since_start, books.state.ahead.total())
    }

    /// Puts what was noted into the books, and the books onto the disk.
    fn write(&self, look: bool) {
        let now = self.0.clock.now();
        let Some(witnesses) = self.0.witnesses.get() else { return };
        let mut books = locked(&self.0.books);
        // who left notes after these finds the others' there: a byte is stored before it leaves
        let left = std::mem::take(&mut *locked(&self.0.left));
        let came = std::mem::take(&mut *locked(&self.0.came));
        let mut delta = books.settle(came, left);
        books.count_sockets((witnesses.sockets)(), &mut delta.rows);
        if look {
            books.look_for_dropped(&witnesses.holds, &mut delta);
        }
        if let Err(error) = books.keep(&delta, hour_of(now, &self.0.zone), &self.0.zone) {
            if !std::mem::replace(&mut books.trouble, true) {
                tracing::error!(%error, "the ledger cannot be written; it goes on in memory");
            }
        } else if std::mem::take(&mut books.trouble) {
            tracing::info!("the ledger can be written again");
        }
    }
}

/// The first second of the hour, on the clocks of a zone.
fn hour_of(now: Timestamp, zone: &TimeZone) -> i64 {
    let wall = zone.to_datetime(now);
    now.as_second() - i64::from(wall.minute()) * 60 - i64::from(wall.second())
}

fn date_of(second: i64, zone: &TimeZone) -> Date {
    zone.to_datetime(Timestamp::from_second(second).unwrap_or_default()).date()
}

impl Books {
    /// What notes come to.
    fn settle(&mut self, came: Notes<Came>, left: Notes<Left>) -> Delta {
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
            Counts { payload: came.beside + came.stored_beside, wasted: came.beside, ..Counts::default() },
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
    fn count_sockets(&mut self, now: Sockets, rows: &mut Rows) {
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
    fn look_for_dropped(&mut self, holds: &dyn Fn(&Sha1Digest) -> bool, delta: &mut Delta) {
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

    /// Adds to the hour that runs; closes the one before when it is over.
    fn keep(&mut self, delta: &Delta, hour: i64, zone: &TimeZone) -> Result<(), LedgerError> {
        let is_over = self.state.hour.start != hour;
        self.since_start.add(&delta.rows.total);
        if is_over && !self.state.hour.rows.is_empty() {
            let date = date_of(self.state.hour.start, zone);
            self.archive.close(date, &self.state.hour)?;
            self.archive.compact(date_of(hour, zone))?;
        }
        if is_over {
            let serial = self.state.hour.serial + 1;
            self.state.hour = Hour { serial, start: hour, rows: Rows::default() };
        }
        if delta.rows.is_empty() && delta.changes.is_empty() && !is_over {
            return Ok(());
        }
        self.state.hour.rows.merge(&delta.rows);
        if is_over || self.journal.is_long() {
            self.journal.rewrite(&self.state)
        } else {
            self.journal.append(delta)
        }
    }
}

#[cfg(test)]
mod tests;
