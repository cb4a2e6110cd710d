//! What the list of files knows of one file, open or not.
//!
//! **Invariant:** its numbers are those of the open file, when there is one. It never touches the disk.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use jiff::Timestamp;

use super::index::Record;
use super::sparse::{Live, SparseFile};
use super::{FileState, FileStatus};
use tailwater_domain::{Limit, Sha1Digest, Sha256Digest, limits};

/// Names kept for a file; metadata may give one content hundreds.
const MAX_NAMES: usize = 8;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_NAMES in "names": "Names kept of one payload" => "they are forgotten",
];

/// A last use is written to the index when it moved by this much: it only orders what is dropped.
const COARSE_MS: u64 = 10 * 60 * 1000;

/// One file of the list.
pub(super) struct Entry {
    pub(super) size: u64,
    pub(super) sha256: Option<Sha256Digest>,
    pub(super) names: Vec<String>,
    pub(super) live: Arc<Live>,
    pub(super) open: Weak<SparseFile>,
    /// After an unclean stop, until its pieces were compared with their hashes.
    pub(super) doubtful: bool,
    saved: Option<Record>,
}

impl Entry {
    pub(super) fn new(size: u64, sha256: Option<Sha256Digest>) -> Self {
        Self {
            size,
            sha256,
            names: Vec::new(),
            live: Arc::new(Live::default()),
            open: Weak::new(),
            doubtful: false,
            saved: None,
        }
    }

    /// Takes over what a map says after an unclean stop.
    pub(super) fn doubt(&mut self, held: u64, verified: bool) {
        self.live.held.store(held, Ordering::Relaxed);
        self.live.verified.store(verified, Ordering::Relaxed);
        self.doubtful = !verified;
    }

    /// A last use that a clock noted which was ahead is now: it would keep the file for as long as that clock was wrong.
    pub(super) fn used_by(&self, now_ms: i64) {
        self.live.last_use_ms.fetch_min(now_ms, Ordering::Relaxed);
    }

    fn record(&self) -> Record {
        Record {
            size: self.size,
            sha256: self.sha256,
            names: self.names.clone(),
            held: self.live.held.load(Ordering::Relaxed),
            verified: self.live.verified.load(Ordering::Relaxed),
            last_use_ms: self.live.last_use_ms.load(Ordering::Relaxed),
        }
    }

    pub(super) fn from_record(record: Record, doubtful: bool) -> Self {
        let live = Live::default();
        live.held.store(record.held, Ordering::Relaxed);
        live.last_use_ms.store(record.last_use_ms, Ordering::Relaxed);
        live.verified.store(record.verified, Ordering::Relaxed);
        Self {
            size: record.size,
            sha256: record.sha256,
            names: record.names.clone(),
            live: Arc::new(live),
            open: Weak::new(),
            doubtful: doubtful && !record.verified,
            saved: Some(record),
        }
    }

    pub(super) fn name(&mut self, name: &str) {
        if self.names.len() < MAX_NAMES && !name.is_empty() && !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }

    pub(super) fn state(&self) -> FileState {
        if self.live.verified.load(Ordering::Relaxed) {
            FileState::Verified
        } else if self.live.held.load(Ordering::Relaxed) == self.size {
            FileState::Complete
        } else {
            FileState::Partial
        }
    }

    pub(super) fn status(&self, sha1: Sha1Digest) -> FileStatus {
        let last_use_ms = self.live.last_use_ms.load(Ordering::Relaxed);
        FileStatus {
            sha1,
            sha256: self.sha256,
            names: self.names.clone(),
            size: self.size,
            held: self.live.held.load(Ordering::Relaxed),
            state: self.state(),
            last_use: Timestamp::from_millisecond(last_use_ms).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    /// The record to write to the index, unless it has it already. `exact` counts every last use.
    pub(super) fn unsaved(&mut self, exact: bool) -> Option<Record> {
        let unchanged = self.saved.as_ref().is_some_and(|saved| {
            let used = self.live.last_use_ms.load(Ordering::Relaxed).abs_diff(saved.last_use_ms);
            saved.held == self.live.held.load(Ordering::Relaxed)
                && saved.verified == self.live.verified.load(Ordering::Relaxed)
                && saved.sha256 == self.sha256
                && saved.names.len() == self.names.len()
                && used < if exact { 1 } else { COARSE_MS }
        });
        if unchanged {
            return None;
        }
        self.saved = Some(self.record());
        self.saved.clone()
    }
}
