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
mod books;
mod error;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing;
mod journal;
mod overview;
mod record;
mod report;
mod rows;

use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use error::LedgerError;
pub use overview::{Kept, Pace};
pub use report::{Report, ReportRow};
pub use rows::{By, Counts, OTHER};

use books::{Books, Came, Left, Notes};
use rows::Rows;
use tailwater_domain::{ByteRange, Limit, ServerId, Sha1Digest, joined_limits, limits};
use tailwater_durable::Disk;
use tailwater_runtime::{Clock, Tasks};

/// Between two writes of what was noted.
const TICK: Duration = Duration::from_secs(2);

/// Notes that wait for the next write; further ones are counted without their names.
const MAX_NOTES: usize = 65_536;

const OWN_LIMITS: &[Limit] = limits![
    MAX_NOTES in "notes": "Notes that wait to be written" => "they are counted without their names",
];

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    OWN_LIMITS,
    ahead::LIMITS,
    archive::LIMITS,
    books::LIMITS,
    journal::LIMITS,
    record::LIMITS,
    rows::LIMITS,
];

/// Ticks between two looks for files that are gone: about ten minutes.
const TICKS_PER_LOOK: u64 = 300;

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

/// The ledger. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    came: Mutex<Notes<Came>>,
    left: Mutex<Notes<Left>>,
    witnesses: OnceLock<Witnesses>,
    /// Locked by writes and questions only.
    books: Mutex<Books>,
    in_trouble: AtomicBool,
    /// Who is told that it cannot be written.
    disk: OnceLock<Disk>,
    /// What was kept when the ledger was opened.
    before: Rows,
    zone: TimeZone,
    clock: Clock,
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
        let books = Books::open(folder, &zone)?;
        let before = books.kept_rows();
        let inner = Inner {
            came: Mutex::default(),
            left: Mutex::default(),
            witnesses: OnceLock::new(),
            books: Mutex::new(books),
            in_trouble: AtomicBool::new(false),
            disk: OnceLock::new(),
            before,
            zone,
            clock: clock.clone(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Says to whoever asks about the disk when it cannot be written. Only the first call does anything.
    pub fn report_to(&self, disk: &Disk) {
        let _ = self.0.disk.set(disk.clone());
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

    /// Puts what was noted into the books, and the books onto the disk.
    fn write(&self, look: bool) {
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
        let kept = books.keep(&delta, &self.0.clock, &self.0.zone);
        if let Some(disk) = self.0.disk.get() {
            match &kept {
                Err(LedgerError::Io { source, .. }) => disk.failed("ledger", source),
                Err(LedgerError::Damaged { .. }) => {}
                Ok(()) => disk.works("ledger"),
            }
        }
        match kept {
            Err(error) if !self.0.in_trouble.swap(true, Ordering::Relaxed) => {
                tracing::error!(%error, "the ledger cannot be written; it goes on in memory");
            }
            Ok(()) if self.0.in_trouble.swap(false, Ordering::Relaxed) => {
                tracing::info!("the ledger can be written again");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
