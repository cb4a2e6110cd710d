//! sled 0.34, used as measurements taught: one tree with prefixed keys, batches of at most 100 operations,
//! a small page cache, no compression of its own, and an explicit sync of its file after each flush.
//!
//! **Invariant:** [`Backend::flush`] returns only after the engine's file was synced; `sled::Db::flush`
//! alone uses `sync_file_range`, which neither commits the file's size nor empties the device's cache.
//! It never opens a second tree, because batches over two trees are not atomic together.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{Backend, Batch, KvError};
use crate::runtime::patiently;

/// How often sled itself writes out what nobody flushed, such as computers' last contact.
const FLUSH_EVERY_MS: u64 = 1_000;
/// A store that was closed lets go of its lock a moment later, when its threads have ended: 2 s.
const LOCK_ATTEMPTS: u32 = 100;
/// The least page cache with which sled works well.
const LEAST_CACHE: u64 = 4 << 20;

pub(super) struct Sled {
    db: ::sled::Db,
    file: File,
    path: PathBuf,
}

impl Sled {
    pub(super) fn open(dir: &Path, cache: u64) -> Result<Self, KvError> {
        let config = ::sled::Config::new()
            .path(dir)
            .cache_capacity(cache.max(LEAST_CACHE))
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        let db = patiently(LOCK_ATTEMPTS, is_locked, || config.open()).map_err(|error| {
            if is_locked(&error) {
                KvError::Locked { dir: dir.to_path_buf() }
            } else {
                KvError::Engine(error)
            }
        })?;
        let path = dir.join("db");
        let file = File::open(&path).map_err(|source| KvError::Sync { path: path.clone(), source })?;
        Ok(Self { db, file, path })
    }
}

/// sled tells it only in words.
fn is_locked(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(io) if io.to_string().contains("lock"))
}

impl Backend for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.db.get(key)?.map(|value| value.to_vec()))
    }

    fn apply(&self, batch: &Batch) -> Result<(), KvError> {
        let mut changes = ::sled::Batch::default();
        for (key, value) in batch.ops() {
            match value {
                Some(value) => changes.insert(key, value),
                None => changes.remove(key),
            }
        }
        Ok(self.db.apply_batch(changes)?)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        for entry in self.db.scan_prefix(prefix) {
            let (key, value) = entry?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        self.db.flush()?;
        self.file.sync_data().map_err(|source| KvError::Sync { path: self.path.clone(), source })
    }
}
