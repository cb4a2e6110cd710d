//! The hour that runs, on disk: a file that begins with a whole state and goes on with what came since.
//!
//! **Invariant:** a kill loses what was not appended yet, a torn tail only itself. It is written anew when an hour ends
//! and when it exceeds [`LONGEST`], beside the old one and renamed, so there is always a whole one.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ahead::Ahead;
use super::rows::Rows;
use super::{LedgerError, record};
use tailwater_domain::{ByteRange, Limit, Sha1Digest, limits};
use tailwater_durable::{Mode, write_anew};

/// A longer journal is written anew.
const LONGEST: u64 = 4 * 1024 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST in "bytes": "The journal of the ledger" => "it is written anew",
];

/// The hour that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hour {
    /// Hours closed before it, so that none is stored twice.
    pub(super) serial: u64,
    /// Its first second.
    pub(super) start: i64,
    pub(super) rows: Rows,
}

/// Everything that must survive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) hour: Hour,
    pub(super) ahead: Ahead,
}

/// A change of what is ahead.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Change {
    Stored([u8; 20], u64, u64),
    Served([u8; 20], u64, u64),
    Dropped([u8; 20]),
}

impl Change {
    /// Does it; what it means in bytes was counted when it happened.
    fn replay(self, ahead: &mut Ahead) {
        match self {
            Self::Stored(sha1, start, end) => ahead.stored(Sha1Digest(sha1), ByteRange { start, end }),
            Self::Served(sha1, start, end) => ahead.served(Sha1Digest(sha1), ByteRange { start, end }),
            Self::Dropped(sha1) => ahead.dropped(Sha1Digest(sha1)),
        };
    }
}

/// What came since the last record.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Delta {
    pub(super) rows: Rows,
    pub(super) changes: Vec<Change>,
}

/// The file.
pub(super) struct Journal {
    path: PathBuf,
    /// None while it could not be begun.
    file: Option<File>,
    length: u64,
}

impl Journal {
    /// Opens the journal of a folder with the state it holds; a new one begins with nothing.
    pub(super) fn open(folder: &Path) -> Result<(Self, State), LedgerError> {
        let path = folder.join("journal");
        let state = match File::open(&path) {
            Ok(file) => replay(file).map_err(|source| LedgerError::Io { path: path.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(source) => return Err(LedgerError::Io { path, source }),
        };
        let (file, length) = match begin(&path, &state) {
            Ok((file, length)) => (Some(file), length),
            // what is there was read; it goes on in memory until there is room
            Err(error) if error.trouble().is_some() => (None, 0),
            Err(error) => return Err(error),
        };
        Ok((Self { path, file, length }, state))
    }

    /// Whether it can be appended to; else it is to be written anew.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Appends; durable when it returns.
    pub(super) fn append(&mut self, delta: &Delta) -> Result<(), LedgerError> {
        let failed = |source| LedgerError::Io { path: self.path.clone(), source };
        let Some(file) = &mut self.file else { return Err(failed(io::ErrorKind::StorageFull.into())) };
        self.length += record::write(file, delta).map_err(failed)?;
        file.sync_data().map_err(failed)
    }

    pub(super) fn is_long(&self) -> bool {
        self.length > LONGEST
    }

    /// Begins anew with a whole state.
    pub(super) fn rewrite(&mut self, state: &State) -> Result<(), LedgerError> {
        let (file, length) = begin(&self.path, state)?;
        (self.file, self.length) = (Some(file), length);
        Ok(())
    }
}

fn replay(file: File) -> io::Result<State> {
    read_state(&mut BufReader::new(file))
}

/// The state that bytes hold.
#[cfg(fuzzing)]
pub(super) fn replayed(mut bytes: &[u8]) -> io::Result<State> {
    read_state(&mut bytes)
}

/// The state that a file holds.
fn read_state(input: &mut impl io::Read) -> io::Result<State> {
    let Some(mut state) = record::read::<State>(input)? else { return Ok(State::default()) };
    while let Some(delta) = record::read::<Delta>(input)? {
        state.hour.rows.merge(&delta.rows);
        for change in delta.changes {
            change.replay(&mut state.ahead);
        }
    }
    Ok(state)
}

/// A file that begins with this state, in the place of the old one; with its length.
fn begin(path: &Path, state: &State) -> Result<(File, u64), LedgerError> {
    let failed = |source| LedgerError::Io { path: path.to_owned(), source };
    let (file, length) =
        write_anew(path, Mode::Private, |file| record::write(file, state)).map_err(failed)?;
    // a long state of its own must not be written anew with every record
    Ok((file, length.min(LONGEST / 2)))
}
