//! The face of an index, whatever engine is below.
//!
//! **Invariant:** an engine only gets batches that fit; what is larger is refused whole or divided here. It never looks
//! into a key or a value.

use std::path::Path;
use std::sync::Arc;

use super::batch::{Batch, Op, batches};
use super::engine::{Backend, Opened, Setup};
use super::error::KvError;
use super::guarded::Guarded;
use super::memory::Memory;
use super::opening::open_sled;
use tailwater_durable::Disk;

/// A key-value store. Cheap to clone.
#[derive(Clone)]
pub struct Kv(Arc<dyn Backend>);

impl Kv {
    /// sled in this folder, with about `cache` bytes of pages in memory, on a disk that must take what is written.
    pub fn sled(dir: &Path, cache: u64) -> Result<Self, KvError> {
        let setup = Setup { name: "index", dir: dir.to_owned(), cache, trees: &[] };
        open_sled(&setup).map(|sled| Self(Arc::new(sled))).map_err(|failure| failure.into_error(&setup))
    }

    /// sled as set up, whatever state it and its disk are in: damaged files are set aside, and on a disk that takes
    /// nothing what the files say is read and what is noted waits. Blocks.
    ///
    /// # Errors
    /// When another process has it, or the engine does not know its format.
    pub fn open(setup: Setup, disk: &Disk) -> Result<(Self, Opened), KvError> {
        let (guarded, opened) = Guarded::open(setup, disk)?;
        Ok((Self(guarded), opened))
    }

    /// Nothing but memory: for tests and for loading dumps.
    pub fn memory() -> Self {
        Self(Arc::new(Memory::default()))
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.0.get(key)
    }

    /// Applies at most [`MAX_BATCH`] operations together.
    pub fn apply(&self, batch: &Batch) -> Result<(), KvError> {
        if batch.fits()? { self.0.apply(batch) } else { Ok(()) }
    }

    /// As [`Kv::apply`] for what need not be durable: on a disk that takes nothing it is kept in memory and written when
    /// there is room, or lost with the process.
    pub fn note(&self, batch: &Batch) -> Result<(), KvError> {
        if batch.fits()? { self.0.note(batch) } else { Ok(()) }
    }

    /// Applies any number of operations, each batch of them whole; durable after [`Kv::flush`].
    ///
    /// # Errors
    /// When a batch is refused; those before it are applied.
    pub fn apply_all(&self, ops: &[Op]) -> Result<(), KvError> {
        batches(ops.iter().map(|(key, value)| (&key[..], value.as_deref())))
            .try_for_each(|batch| self.apply(&batch))
    }

    /// As [`Kv::apply_all`] for what need not be durable; see [`Kv::note`].
    pub fn note_all(&self, ops: &[Op]) -> Result<(), KvError> {
        batches(ops.iter().map(|(key, value)| (&key[..], value.as_deref())))
            .try_for_each(|batch| self.note(&batch))
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
