//! The seam under the index: ordered bytes to bytes, small atomic batches, and a flush that is durable.
//!
//! **Invariant:** a batch is applied whole or not at all, and what was applied before [`Kv::flush`]
//! returned survives the machine losing power. It never holds documents: those lie in segments.

mod dump;
mod memory;
mod sled;
#[cfg(test)]
mod suite;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::{Limit, limits};

/// The most operations in one batch. Larger ones make sled's heap grow without end.
pub const MAX_BATCH: usize = 100;

/// The most bytes of one key or one value, and of a field of a dump.
pub const MAX_ENTRY: usize = 64 << 20;

/// What is limited here.
pub(super) const LIMITS: &[Limit] = limits![
    MAX_BATCH in "entries": "Changes of the index that happen together" => "an error; nothing is changed",
    MAX_ENTRY in "bytes": "One key or value of the index" => "an error; nothing is changed",
];

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
    #[error("the index engine failed; check the disk, else rebuild the index from the segments")]
    Engine(#[from] ::sled::Error),
    /// The engine's file could not be synced.
    #[error("{} could not be synced to disk", path.display())]
    Sync {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A dump could not be written, was cut short, or was altered.
    #[error("the dump is not usable after {records} records; make it again")]
    Dump {
        /// How many records were good.
        records: u64,
        /// The cause.
        source: std::io::Error,
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
    /// Calls `visit` in key order until it says stop.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError>;
    fn flush(&self) -> Result<(), KvError>;
}

/// A key-value store. Cheap to clone.
#[derive(Clone)]
pub struct Kv(Arc<dyn Backend>);

impl Kv {
    /// sled in this folder, with about `cache` bytes of pages in memory.
    pub fn sled(dir: &Path, cache: u64) -> Result<Self, KvError> {
        Ok(Self(Arc::new(sled::Sled::open(dir, cache)?)))
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
        let longest = batch.ops().map(|(key, value)| key.len().max(value.map_or(0, <[u8]>::len))).max();
        if let Some(len) = longest.filter(|len| *len > MAX_ENTRY) {
            return Err(KvError::EntryTooLarge { len });
        }
        match batch.len() {
            0 => Ok(()),
            1..=MAX_BATCH => self.0.apply(batch),
            many => Err(KvError::BatchTooLarge(many)),
        }
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
