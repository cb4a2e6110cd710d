//! The seam under indexes: ordered bytes to bytes, small atomic batches, and a flush that is durable.
//!
//! **Invariant:** a batch is applied whole or not at all, and what was applied before [`Kv::flush`]
//! returned survives the machine losing power. On a disk that takes nothing an index can still be read, and only what is
//! noted ([`Kv::note`]) is taken, into memory. It never holds documents: those lie in segments.

mod dump;
mod guarded;
#[cfg(test)]
mod guarded_tests;
mod memory;
mod opening;
mod sled;
#[cfg(test)]
mod suite;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::{Limit, joined_limits, limits};
use crate::durable::Disk;

/// The most operations in one batch. Larger ones make sled's heap grow without end.
pub const MAX_BATCH: usize = 100;

/// The most bytes of one key or one value, and of a field of a dump.
pub const MAX_ENTRY: usize = 64 << 20;

/// The limits of this file.
const OWN_LIMITS: &[Limit] = limits![
    MAX_BATCH in "entries": "Changes of the index that happen together" => "an error; nothing is changed",
    MAX_ENTRY in "bytes": "One key or value of the index" => "an error; nothing is changed",
];

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![OWN_LIMITS, guarded::LIMITS];

/// Why the index could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The engine's files are locked by another process.
    #[error("the index in {} is locked by another process", dir.display())]
    Locked {
        /// The engine's folder.
        dir: PathBuf,
    },
    /// The engine failed.
    #[error(
        "the index engine failed; check the disk, else make the index again: stop the server, and run `tailwater store \
         rebuild`"
    )]
    Engine(#[from] ::sled::Error),
    /// The engine's files cannot be read.
    #[error(
        "the index in {} is damaged ({reason}); stop the server, and run `tailwater store rebuild`", dir.display()
    )]
    Damaged {
        /// The engine's folder.
        dir: PathBuf,
        /// What the engine says.
        reason: String,
    },
    /// Nothing can be written, and this must be.
    #[error("the {name} cannot be written: {reason}")]
    ReadOnly {
        /// Which index.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// The engine's file could not be synced.
    #[error("{} could not be synced to disk", path.display())]
    Sync {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A dump could not be written, was cut short, or was altered.
    #[error("the dump is not usable after {records} records; make it again")]
    Dump {
        /// How many records were good.
        records: u64,
        /// The cause.
        source: io::Error,
    },
    /// A key or value is larger than an entry may be; nothing was changed.
    #[error("an entry of {len} bytes is larger than the {MAX_ENTRY} that the index keeps of one")]
    EntryTooLarge {
        /// Its length.
        len: usize,
    },
    /// More operations than a batch may have.
    #[error("a batch of {0} operations is larger than {MAX_BATCH}")]
    BatchTooLarge(usize),
}

impl KvError {
    /// What the system said, where the cause is an error of the disk.
    fn io(&self) -> Option<io::Error> {
        match self {
            Self::Engine(::sled::Error::Io(error)) => Some(io::Error::new(error.kind(), error.to_string())),
            Self::Sync { source, .. } => Some(io::Error::new(source.kind(), source.to_string())),
            _ => None,
        }
    }

    /// Whether the files are not what the engine wrote.
    pub fn is_damage(&self) -> bool {
        use ::sled::Error as Engine;
        match self {
            Self::Damaged { .. }
            | Self::Engine(
                Engine::Corruption { .. } | Engine::ReportableBug(_) | Engine::CollectionNotFound(_)
                // how it was set up cannot be read; there is one version of the engine and one set-up
                | Engine::Unsupported(_),
            ) => true,
            Self::Engine(Engine::Io(error)) => {
                matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
            }
            _ => false,
        }
    }

    /// Whether it is about a disk that takes nothing now.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly { .. })
            || self.io().is_some_and(|error| crate::durable::Trouble::of(&error).is_some())
    }
}

/// Where an index lies and how it is used.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What it is called in reports and errors.
    pub name: &'static str,
    /// The engine's folder.
    pub dir: PathBuf,
    /// About how many bytes of pages are kept in memory.
    pub cache: u64,
    /// Keys that begin with such a byte lie in a tree of this name, without the byte. A batch over several trees is not
    /// atomic, and a scan over several is in order within each.
    pub trees: &'static [(u8, &'static str)],
}

/// How an index was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// As it was left.
    Whole,
    /// It could not be read, and begins with nothing.
    Anew,
}

/// Changes that happen together.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    ops: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push((key.into(), Some(value.into())));
    }

    /// Removes a key, if present.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.ops.push((key.into(), None));
    }

    /// How many operations.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The operations in order; `None` removes.
    pub fn ops(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.ops.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }
}

/// What an engine must do.
trait Backend: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;
    fn apply(&self, batch: &Batch) -> Result<(), KvError>;
    /// As `apply`, and into memory where nothing can be written.
    fn note(&self, batch: &Batch) -> Result<(), KvError> {
        self.apply(batch)
    }
    /// Calls `visit` in key order until it says stop.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError>;
    fn flush(&self) -> Result<(), KvError>;
}

/// A key-value store. Cheap to clone.
#[derive(Clone)]
pub struct Kv(Arc<dyn Backend>);

/// Whether there is something to do; a batch that is larger than it may be is refused whole.
fn fits(batch: &Batch) -> Result<bool, KvError> {
    let longest = batch.ops().map(|(key, value)| key.len().max(value.map_or(0, <[u8]>::len))).max();
    if let Some(len) = longest.filter(|len| *len > MAX_ENTRY) {
        return Err(KvError::EntryTooLarge { len });
    }
    match batch.len() {
        0 => Ok(false),
        1..=MAX_BATCH => Ok(true),
        many => Err(KvError::BatchTooLarge(many)),
    }
}

impl Kv {
    /// sled in this folder, with about `cache` bytes of pages in memory, on a disk that must take what is written.
    pub fn sled(dir: &Path, cache: u64) -> Result<Self, KvError> {
        let setup = Setup { name: "index", dir: dir.to_owned(), cache, trees: &[] };
        opening::open_sled(&setup)
            .map(|sled| Self(Arc::new(sled)))
            .map_err(|failure| failure.into_error(&setup))
    }

    /// sled as set up, whatever state it and its disk are in: damaged files are set aside, and on a disk that takes
    /// nothing what the files say is read and what is noted waits. Blocks.
    ///
    /// # Errors
    /// When another process has it, or the engine does not know its format.
    pub fn open(setup: Setup, disk: &Disk) -> Result<(Self, Opened), KvError> {
        let (guarded, opened) = guarded::Guarded::open(setup, disk)?;
        Ok((Self(guarded), opened))
    }

    /// Nothing but memory: for tests and for loading dumps.
    pub fn memory() -> Self {
        Self(Arc::new(memory::Memory::default()))
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.0.get(key)
    }

    /// Applies at most [`MAX_BATCH`] operations together.
    pub fn apply(&self, batch: &Batch) -> Result<(), KvError> {
        if fits(batch)? { self.0.apply(batch) } else { Ok(()) }
    }

    /// As [`Kv::apply`] for what need not be durable: on a disk that takes nothing it is kept in memory and written when
    /// there is room, or lost with the process.
    pub fn note(&self, batch: &Batch) -> Result<(), KvError> {
        if fits(batch)? { self.0.note(batch) } else { Ok(()) }
    }

    /// Visits every entry whose key begins with `prefix`, in key order, until `visit` answers false.
    pub fn scan(&self, prefix: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        self.0.scan(prefix, &mut visit)
    }

    /// Makes everything applied so far durable.
    pub fn flush(&self) -> Result<(), KvError> {
        self.0.flush()
    }
}
