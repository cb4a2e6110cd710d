//! The index of files: what is held, how far, when it was last used, under which names.
//!
//! **Invariant:** it can be lost: everything but the names and last uses is read again from the maps. A
//! batch has at most [`BATCH`] operations and is durable when written here (flush, then sync of the `db`
//! file; flush alone is not). It never holds bytes of payloads.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::ContentError;
use super::versions::Version;
use tailwater_domain::{FileDeclaration, Sha1Digest, Sha256Digest};
use tailwater_durable::Disk;
use tailwater_kv::{Batch, Kv, KvError, MAX_BATCH, Opened, Setup};

/// Memory for the database's pages: an index of some thousand small records.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

const RECORD_VERSION: u8 = 1;
/// First byte of the keys of files, and of files that are to be fetched whole.
const FILE: u8 = b'f';
const PINNED: u8 = b'w';
/// Of versions; without a digest behind it, of the version of all files that are not listed.
const VERSION: u8 = b'v';
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
    kv: Kv,
    /// What was there could not be read.
    lost: bool,
}

fn key(kind: u8, sha1: &Sha1Digest) -> Vec<u8> {
    [&[kind][..], &sha1.0].concat()
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, ContentError> {
    postcard::to_extend(value, vec![RECORD_VERSION]).map_err(ContentError::Record)
}

fn decode<T: serde::de::DeserializeOwned>(value: &[u8]) -> Option<T> {
    let (version, raw) = value.split_first()?;
    (*version == RECORD_VERSION).then(|| postcard::from_bytes(raw).ok()).flatten()
}

impl Index {
    /// Opens or makes it; `true` when it was closed cleanly (a new one was not).
    pub(super) fn open(path: &Path, disk: &Disk) -> Result<(Self, bool), ContentError> {
        let setup = Setup {
            name: "index of payloads",
            dir: path.to_owned(),
            cache: CACHE_BYTES,
            trees: &[(FILE, "files"), (PINNED, "wishes")],
        };
        let (kv, opened) = Kv::open(setup, disk)?;
        let clean = opened == Opened::Whole && kv.get(CLEAN)?.is_some();
        let index = Self { kv, lost: opened == Opened::Anew };
        let mut running = Batch::default();
        running.remove(CLEAN);
        index.kv.note(&running)?;
        index.make_durable()?;
        Ok((index, clean))
    }

    /// On a disk that takes nothing it waits for that: all of it can be lost.
    fn make_durable(&self) -> Result<(), ContentError> {
        match self.kv.flush() {
            Err(error) if error.is_read_only() => Ok(()),
            other => Ok(other?),
        }
    }

    /// Every readable record; others are left out and found again by their maps.
    pub(super) fn load(&self) -> Result<HashMap<Sha1Digest, Record>, ContentError> {
        let mut records = HashMap::new();
        self.kv.scan(&[FILE], |key, value| {
            if let (Some(Ok(sha1)), Some(record)) = (key.get(1..).map(TryInto::try_into), decode(value)) {
                records.insert(Sha1Digest(sha1), record);
            }
            true
        })?;
        Ok(records)
    }

    fn note(
        &self,
        entries: impl Iterator<Item = Result<(Vec<u8>, Option<Vec<u8>>), ContentError>>,
    ) -> Result<(), ContentError> {
        let mut batch = Batch::default();
        for entry in entries {
            match entry? {
                (key, Some(value)) => batch.put(key, value),
                (key, None) => batch.remove(key),
            }
            if batch.len() == MAX_BATCH {
                self.kv.note(&std::mem::take(&mut batch))?;
            }
        }
        Ok(self.kv.note(&batch)?)
    }

    /// Writes records (`None` removes) and makes them durable.
    pub(super) fn write(&self, changes: &[(Sha1Digest, Option<Record>)]) -> Result<(), ContentError> {
        self.note(
            changes
                .iter()
                .map(|(sha1, record)| Ok((key(FILE, sha1), record.as_ref().map(encode).transpose()?))),
        )?;
        if changes.is_empty() { Ok(()) } else { self.make_durable() }
    }

    /// Remembers files that are to be fetched whole, durably.
    pub(super) fn pin_downloads(&self, files: &[FileDeclaration]) -> Result<(), ContentError> {
        self.note(files.iter().map(|file| Ok((key(PINNED, &file.sha1), Some(encode(file)?)))))?;
        if files.is_empty() { Ok(()) } else { Ok(self.kv.flush()?) }
    }

    /// Forgets one of them; durable with the next write.
    pub(super) fn complete_download(&self, sha1: &Sha1Digest) -> Result<(), ContentError> {
        self.note(std::iter::once(Ok((key(PINNED, sha1), None))))
    }

    /// Those that are remembered and can be read.
    pub(super) fn pinned_downloads(&self) -> Vec<FileDeclaration> {
        let mut found = Vec::new();
        let read = self.kv.scan(&[PINNED], |_key, value| {
            found.extend(decode::<FileDeclaration>(value));
            true
        });
        if let Err(error) = read {
            tracing::warn!(%error, "files that were to be fetched whole cannot be read");
        }
        found
    }

    /// Whether what was there could not be read when it was opened.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// The version of all files that are not listed, and of those that are. What cannot be read is left out, with a warning.
    pub(super) fn versions(&self) -> (u32, HashMap<Sha1Digest, Version>) {
        let (mut base, mut versions) = (0, HashMap::new());
        let read = self.kv.scan(&[VERSION], |key, value| {
            match (key.get(1..).map(TryInto::try_into), decode::<Version>(value)) {
                (Some(Ok(sha1)), Some(version)) => drop(versions.insert(Sha1Digest(sha1), version)),
                (Some(Err(_)), Some(version)) => base = version.count,
                _ => {}
            }
            true
        });
        if let Err(error) = read {
            tracing::warn!(%error, "the versions of payloads cannot be read");
        }
        (base, versions)
    }

    /// Writes versions, durably; no digest for that of all others. One that says nothing is removed.
    pub(super) fn write_versions(
        &self,
        changes: &[(Option<Sha1Digest>, Version)],
    ) -> Result<(), ContentError> {
        self.note(changes.iter().map(|(sha1, version)| {
            let key = sha1.map_or_else(|| vec![VERSION], |sha1| key(VERSION, &sha1));
            let value = (*version != Version::default()).then(|| encode(version)).transpose()?;
            Ok((key, value))
        }))?;
        if changes.is_empty() { Ok(()) } else { self.make_durable() }
    }

    /// Notes that everything is written and synced.
    pub(super) fn close(&self) -> Result<(), ContentError> {
        let mut clean = Batch::default();
        clean.put(CLEAN, [1]);
        match self.kv.apply(&clean).and_then(|()| self.kv.flush()) {
            // the next start counts again
            Err(KvError::ReadOnly { .. }) => Ok(()),
            other => Ok(other?),
        }
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
            let (index, clean) = Index::open(dir.path(), &Disk::unwatched()).unwrap();
            assert!(!clean);
            index.write(&changes).unwrap();
            index.write(&[(Sha1Digest([3; 20]), None)]).unwrap();
            index.pin_downloads(&[file(1), file(2)]).unwrap();
            index.complete_download(&Sha1Digest([1; 20])).unwrap();
            index.close().unwrap();
        }
        let (index, clean) = Index::open(dir.path(), &Disk::unwatched()).unwrap();
        assert!(clean);
        let records = index.load().unwrap();
        assert_eq!(records.len(), 249);
        assert_eq!(records.get(&Sha1Digest([9; 20])), Some(&record));
        assert_eq!(index.pinned_downloads(), [file(2)]);
    }
}
