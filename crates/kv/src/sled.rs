//! sled 0.34, used as measurements taught: one tree with prefixed keys, batches of at most 100 operations,
//! a small page cache, no compression of its own, and an explicit sync of its file after each flush.
//!
//! **Invariant:** [`Backend::flush`] returns only after the engine's file was synced; `sled::Db::flush`
//! alone uses `sync_file_range`, which neither commits the file's size nor empties the device's cache.
//! It never opens a second tree, because batches over two trees are not atomic together.

use std::fs::File;
use std::path::PathBuf;

use super::batch::Batch;
use super::engine::{Backend, Setup};
use super::error::KvError;

/// How often sled itself writes out what nobody flushed, such as computers' last contact.
const FLUSH_EVERY_MS: u64 = 1_000;
/// The least page cache with which sled works well.
const LEAST_CACHE: u64 = 4 << 20;

pub(super) struct Sled {
    db: ::sled::Db,
    /// By the first byte of the keys in them.
    trees: Vec<(u8, ::sled::Tree)>,
    file: File,
    path: PathBuf,
}

impl Sled {
    pub(super) fn open(setup: &Setup) -> Result<Self, KvError> {
        let config = ::sled::Config::new()
            .path(&setup.dir)
            .cache_capacity(setup.cache.max(LEAST_CACHE))
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        let db = config.open()?;
        let trees = setup.trees.iter().map(|(first, name)| Ok((*first, db.open_tree(name)?)));
        let trees = trees.collect::<Result<Vec<_>, ::sled::Error>>()?;
        let path = setup.dir.join("db");
        let file = File::open(&path).map_err(|source| KvError::Sync { path: path.clone(), source })?;
        Ok(Self { db, trees, file, path })
    }

    /// The tree of a key, and its key there.
    fn route<'a>(&self, key: &'a [u8]) -> (&::sled::Tree, &'a [u8]) {
        let found = key.split_first().and_then(|(first, rest)| {
            let (_, tree) = self.trees.iter().find(|(known, _)| known == first)?;
            Some((tree, rest))
        });
        found.unwrap_or((&self.db, key))
    }
}

/// sled tells it only in words.
pub(super) fn is_locked(error: &KvError) -> bool {
    matches!(error, KvError::Engine(::sled::Error::Io(io)) if io.to_string().contains("could not acquire lock"))
}

impl Backend for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let (tree, key) = self.route(key);
        Ok(tree.get(key)?.map(|value| value.to_vec()))
    }

    fn apply(&self, batch: &Batch) -> Result<(), KvError> {
        let mut changes: Vec<(&::sled::Tree, ::sled::Batch)> = Vec::new();
        for (key, value) in batch.ops() {
            let (tree, key) = self.route(key);
            let at = changes.iter().position(|(known, _)| std::ptr::eq(*known, tree));
            let at = at.unwrap_or_else(|| {
                changes.push((tree, ::sled::Batch::default()));
                changes.len() - 1
            });
            match value {
                Some(value) => changes[at].1.insert(key, value),
                None => changes[at].1.remove(key),
            }
        }
        Ok(changes.into_iter().try_for_each(|(tree, changes)| tree.apply_batch(changes))?)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        let (tree, inner) = self.route(prefix);
        let first = self.trees.iter().find(|(_, known)| std::ptr::eq(known, tree)).map(|(first, _)| *first);
        for entry in tree.scan_prefix(inner) {
            let (key, value) = entry?;
            let goes_on = match first {
                Some(first) => visit(&[&[first][..], &key].concat(), &value),
                None => visit(&key, &value),
            };
            if !goes_on {
                return Ok(());
            }
        }
        if !prefix.is_empty() {
            return Ok(());
        }
        for (first, tree) in &self.trees {
            for entry in tree {
                let (key, value) = entry?;
                if !visit(&[&[*first][..], &key].concat(), &value) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        self.db.flush()?;
        self.file.sync_data().map_err(|source| KvError::Sync { path: self.path.clone(), source })
    }
}
