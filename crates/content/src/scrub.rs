//! Going through everything that is held: counting again after an unclean stop, hashing again on demand,
//! dropping what nobody declares any more.
//!
//! **Invariant:** what does not match its hash is taken out of service before it is reported. It never
//! drops a file that is in use for being unused.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::entry::Entry;
use super::error::ContentError;
use super::map::{self, Header};
use super::sparse::SparseFile;
use super::store::Store;
use tailwater_domain::{ByteCount, Sha1Digest};

/// A file that was found damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Which.
    pub sha1: Sha1Digest,
    /// Its names.
    pub names: Vec<String>,
    /// Bytes taken out of service; they are fetched again when they are wanted.
    pub dropped: u64,
}

/// What hashing everything again showed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct VerifyReport {
    /// Files looked at.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Files that were not as they should be.
    pub damaged: Vec<Damage>,
    /// Whether it went through everything, or was told to stop.
    pub finished: bool,
}

/// What dropping the unused did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CollectReport {
    /// Files dropped.
    pub files: u64,
    /// Bytes freed.
    pub bytes: u64,
    /// Files that nobody declares but that were in use; the next collection takes them.
    pub in_use: u64,
}

impl Store {
    /// Hashes everything again: verified files against their digests, partial ones against the hashes of
    /// their pieces. Damaged pieces are dropped and reported. `go_on` is told how many files are done, of
    /// how many, and returns false to stop. Blocking.
    ///
    /// # Errors
    /// When the store itself fails; a file that cannot be read is damage, not an error.
    pub fn verify(&self, mut go_on: impl FnMut(u64, u64) -> bool) -> Result<VerifyReport, ContentError> {
        let all = self.digests();
        let mut report = VerifyReport::default();
        for sha1 in &all {
            if !go_on(report.files, all.len() as u64) {
                return Ok(report);
            }
            report.files += 1;
            let Some(before) = self.status(sha1) else { continue };
            report.bytes += before.held;
            let damaged = match self.held(sha1) {
                Ok(Some(file)) => self.check(&file)?,
                Ok(None) => true,
                Err(error) => {
                    tracing::warn!(%sha1, %error, "a held file cannot be opened");
                    false
                }
            };
            if damaged {
                let after = self.status(sha1).map_or(0, |status| status.held);
                let dropped = before.held.saturating_sub(after);
                tracing::warn!(%sha1, dropped = %ByteCount(dropped), "held bytes are damaged and were dropped");
                report.damaged.push(Damage { sha1: *sha1, names: before.names, dropped });
            }
        }
        report.finished = true;
        Ok(report)
    }

    /// True when something was damaged and is out of service now.
    fn check(&self, file: &Arc<SparseFile>) -> Result<bool, ContentError> {
        if file.is_verified() {
            match file.digests() {
                Ok(found)
                    if !found.collides
                        && found.sha1 == *file.sha1()
                        && file.sha256().is_none_or(|declared| *declared == found.sha256) =>
                {
                    return Ok(false);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(sha1 = %file.sha1(), %error, "a held file cannot be read"),
            }
        }
        match file.damaged_pieces() {
            Ok(pieces) if pieces.is_empty() && !file.is_verified() => Ok(false),
            Ok(pieces) if !pieces.is_empty() => self.forget_pieces(file, &pieces).map(|()| true),
            // the digests differ but every piece matches its hash, or the disk does not read: nothing of
            // the file can be trusted
            _ => {
                self.discard(file);
                Ok(true)
            }
        }
    }

    /// Drops every file that `live` does not want, unless it is in use. Blocking.
    pub fn collect(&self, live: impl Fn(&Sha1Digest) -> bool) -> CollectReport {
        let mut report = CollectReport::default();
        for sha1 in self.digests() {
            if live(&sha1) {
                continue;
            }
            let held = self.status(&sha1).map_or(0, |status| status.held);
            if self.drop_unused(&sha1) {
                report.files += 1;
                report.bytes += held;
            } else {
                report.in_use += 1;
            }
        }
        report
    }
}

/// Brings the list in line with the maps on disk.
pub(super) fn recount(dir: &Path, entries: &mut HashMap<Sha1Digest, Entry>) -> Result<(), ContentError> {
    let mut found = HashMap::new();
    for folder in 0..=u8::MAX {
        let folder = dir.join(format!("{folder:02X}"));
        let Ok(files) = std::fs::read_dir(&folder) else { continue };
        for path in files.flatten().map(|file| file.path()) {
            let sha1 = path.file_stem().and_then(|stem| stem.to_str()?.parse::<Sha1Digest>().ok());
            if let Some(sha1) = sha1.filter(|_| path.extension().is_some_and(|ext| ext == "map")) {
                found.insert(sha1, path);
            }
        }
    }
    entries.retain(|sha1, _| found.contains_key(sha1));
    for (sha1, path) in found {
        let known = entries.get(&sha1);
        if known.is_some_and(|entry| entry.live.verified.load(Ordering::Relaxed)) {
            continue;
        }
        let failed = |source| ContentError::Io { action: "read", path: path.clone(), source };
        let map = File::open(&path).map_err(failed)?;
        let Some(header) = Header::read(&map).map_err(failed)?.filter(|header| header.sha1 == sha1) else {
            tracing::warn!(%sha1, "the map of a held file is damaged; the file is fetched again when it is wanted");
            entries.remove(&sha1);
            continue;
        };
        let entry = entries.entry(sha1).or_insert_with(|| Entry::new(header.size, header.sha256));
        let mut held = 0;
        if header.verified {
            held = header.size;
        } else {
            map::each_held(&map, header.size, |index, _| held += map::piece_len(header.size, index))
                .map_err(failed)?;
        }
        entry.doubt(held, header.verified);
    }
    Ok(())
}
