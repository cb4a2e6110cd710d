//! The index of files: what is held, how far, when it was last used, under which names.
//!
//! **Invariant:** it can be lost: everything but the names and last uses is read again from the maps. A
//! batch has at most [`BATCH`] operations and is durable when written here (flush, then sync of the `db`
//! file; flush alone is not). It never holds bytes of payloads.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::ContentError;
use crate::domain::{FileDeclaration, Sha1Digest, Sha256Digest};
use crate::runtime::patiently;

/// Operations in one batch; larger ones grow the database's heap without end.
const BATCH: usize = 100;

/// Memory for the database's pages: an index of some thousand small records.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// A store that was closed lets go of its lock a moment later, when its threads have ended: 2 s.
const LOCK_ATTEMPTS: u32 = 100;

const RECORD_VERSION: u8 = 1;
const FILES: &str = "files";
const WISHES: &str = "wishes";
const CLEAN: &[u8] = b"stopped cleanly";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) size: u64,
    pub(super) sha256: Option<Sha256Digest>,
    pub(super) names: Vec<String>,
    pub(super) held: u64,
    pub(super) verified: bool,
    pub(super) last_use_ms: i64,
}

pub(super) struct Index {
    db: sled::Db,
    files: sled::Tree,
    wishes: sled::Tree,
    path: PathBuf,
}

impl Index {
    /// Opens or makes it; `true` when it was closed cleanly (a new one was not).
    pub(super) fn open(path: &Path) -> Result<(Self, bool), ContentError> {
        let failed = |source| ContentError::Index { path: path.to_owned(), source };
        let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let locked =
            |error: &sled::Error| matches!(error, sled::Error::Io(io) if io.to_string().contains("lock"));
        let db = patiently(LOCK_ATTEMPTS, locked, || config.open()).map_err(failed)?;
        let files = db.open_tree(FILES).map_err(failed)?;
        let wishes = db.open_tree(WISHES).map_err(failed)?;
        let clean = db.remove(CLEAN).map_err(failed)?.is_some();
        let index = Self { db, files, wishes, path: path.to_owned() };
        index.make_durable()?;
        Ok((index, clean))
    }

    fn failed(&self, source: sled::Error) -> ContentError {
        ContentError::Index { path: self.path.clone(), source }
    }

    fn make_durable(&self) -> Result<(), ContentError> {
        self.db.flush().map_err(|source| self.failed(source))?;
        let file = self.path.join("db");
        match File::open(&file).and_then(|file| file.sync_data()) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(ContentError::Io { action: "sync", path: file, source })
            }
            _ => Ok(()),
        }
    }

    /// Every readable record; others are left out and found again by their maps.
    pub(super) fn load(&self) -> Result<HashMap<Sha1Digest, Record>, ContentError> {
        let mut records = HashMap::new();
        for entry in &self.files {
            let (key, value) = entry.map_err(|source| self.failed(source))?;
            let record = value
                .split_first()
                .filter(|(version, _)| **version == RECORD_VERSION)
                .and_then(|(_, raw)| postcard::from_bytes(raw).ok());
            if let (Ok(key), Some(record)) = (<[u8; 20]>::try_from(&key[..]), record) {
                records.insert(Sha1Digest(key), record);
            }
        }
        Ok(records)
    }

    /// Writes records (`None` removes) and makes them durable.
    pub(super) fn write(&self, changes: &[(Sha1Digest, Option<Record>)]) -> Result<(), ContentError> {
        for part in changes.chunks(BATCH) {
            let mut batch = sled::Batch::default();
            for (key, record) in part {
                match record.as_ref().and_then(|record| postcard::to_stdvec(record).ok()) {
                    Some(mut raw) => {
                        raw.insert(0, RECORD_VERSION);
                        batch.insert(&key.0, raw);
                    }
                    None => batch.remove(&key.0),
                }
            }
            self.files.apply_batch(batch).map_err(|source| self.failed(source))?;
        }
        if changes.is_empty() { Ok(()) } else { self.make_durable() }
    }

    /// Remembers files that are to be fetched whole, durably.
    pub(super) fn wish(&self, files: &[FileDeclaration]) -> Result<(), ContentError> {
        for part in files.chunks(BATCH) {
            let mut batch = sled::Batch::default();
            for file in part {
                if let Ok(mut raw) = postcard::to_stdvec(file) {
                    raw.insert(0, RECORD_VERSION);
                    batch.insert(&file.sha1.0, raw);
                }
            }
            self.wishes.apply_batch(batch).map_err(|source| self.failed(source))?;
        }
        if files.is_empty() { Ok(()) } else { self.make_durable() }
    }

    /// Forgets one of them; durable with the next write.
    pub(super) fn fulfil(&self, sha1: &Sha1Digest) -> Result<(), ContentError> {
        self.wishes.remove(sha1.0).map(drop).map_err(|source| self.failed(source))
    }

    /// Those that are remembered and can be read.
    pub(super) fn wishes(&self) -> Vec<FileDeclaration> {
        let read = |raw: sled::IVec| {
            let (version, raw) = raw.split_first()?;
            (*version == RECORD_VERSION).then(|| postcard::from_bytes(raw).ok()).flatten()
        };
        self.wishes.iter().values().filter_map(|raw| raw.ok().and_then(read)).collect()
    }

    /// Notes that everything is written and synced.
    pub(super) fn close(&self) -> Result<(), ContentError> {
        self.db.insert(CLEAN, &[1]).map_err(|source| self.failed(source))?;
        self.make_durable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_a_clean_stop_survive_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let file = |n: u8| FileDeclaration {
            sha1: Sha1Digest([n; 20]),
            sha256: None,
            size: 10,
            name: format!("{n}.cab"),
            patching: None,
        };
        let record = Record {
            size: 10,
            sha256: None,
            names: vec!["a.cab".to_owned()],
            held: 10,
            verified: true,
            last_use_ms: 5,
        };
        let changes: Vec<_> = (0..250_u8).map(|n| (Sha1Digest([n; 20]), Some(record.clone()))).collect();
        {
            let (index, clean) = Index::open(dir.path()).unwrap();
            assert!(!clean);
            index.write(&changes).unwrap();
            index.write(&[(Sha1Digest([3; 20]), None)]).unwrap();
            index.wish(&[file(1), file(2)]).unwrap();
            index.fulfil(&Sha1Digest([1; 20])).unwrap();
            index.close().unwrap();
        }
        let (index, clean) = Index::open(dir.path()).unwrap();
        assert!(clean);
        let records = index.load().unwrap();
        assert_eq!(records.len(), 249);
        assert_eq!(records.get(&Sha1Digest([9; 20])), Some(&record));
        assert_eq!(index.wishes(), [file(2)]);
    }
}
