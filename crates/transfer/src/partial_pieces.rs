//! The beginnings of pieces whose exchange broke off, so that only their rest is asked for.
//!
//! **Invariant:** over all files at most [`MOST_BYTES`] are kept, in memory only: after a crash a cut piece begins
//! anew. A beginning is given out once. It never counts as held.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::tally::Tally;
use tailwater_domain::{Limit, limits};

/// Kept over all files: 512 cut pieces.
const MOST_BYTES: u64 = 32 * 1024 * 1024;

/// Kept of one file: more than it has requests at once.
const MOST_PIECES: usize = 64;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_BYTES in "bytes": "Beginnings of cut pieces kept in memory" => "they are fetched again",
    MOST_PIECES in "pieces": "Beginnings of cut pieces kept of one file" => "they are fetched again",
];

/// The beginning of a piece.
pub(super) struct PartialPiece {
    /// Its first bytes.
    pub(super) bytes: Vec<u8>,
    /// Who sent them, to be blamed with the others when the file does not match.
    pub(super) from: Vec<String>,
    /// Their account; a piece in a test has none.
    pub(super) tally: Option<Tally>,
}

/// Those of one file.
pub(super) struct PartialPieces {
    pieces: BTreeMap<u64, PartialPiece>,
    total: Arc<AtomicU64>,
}

impl PartialPieces {
    /// `total` counts what all files keep.
    pub(super) fn new(total: Arc<AtomicU64>) -> Self {
        Self { pieces: BTreeMap::new(), total }
    }

    /// Keeps the beginning of a piece, where there is room for it.
    pub(super) fn keep(&mut self, piece: u64, partial: PartialPiece) {
        let bytes = partial.bytes.len() as u64;
        if bytes == 0 || self.pieces.len() >= MOST_PIECES {
            return;
        }
        if self.total.fetch_add(bytes, Ordering::Relaxed) + bytes > MOST_BYTES {
            self.total.fetch_sub(bytes, Ordering::Relaxed);
            return;
        }
        if let Some(old) = self.pieces.insert(piece, partial) {
            self.total.fetch_sub(old.bytes.len() as u64, Ordering::Relaxed);
        }
    }

    /// Gives the beginning of a piece out.
    pub(super) fn take(&mut self, piece: u64) -> Option<PartialPiece> {
        let partial = self.pieces.remove(&piece)?;
        self.total.fetch_sub(partial.bytes.len() as u64, Ordering::Relaxed);
        Some(partial)
    }

    /// Whether a piece has begun.
    pub(super) fn has(&self, piece: u64) -> bool {
        self.pieces.contains_key(&piece)
    }

    /// The file begins anew.
    pub(super) fn clear(&mut self) {
        let bytes: u64 = self.pieces.values().map(|partial| partial.bytes.len() as u64).sum();
        self.total.fetch_sub(bytes, Ordering::Relaxed);
        self.pieces.clear();
    }
}

impl Drop for PartialPieces {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partial(len: usize) -> PartialPiece {
        PartialPiece { bytes: vec![7; len], from: Vec::new(), tally: None }
    }

    #[test]
    fn what_is_kept_is_bounded_over_all_files_and_given_out_once() {
        let total = Arc::new(AtomicU64::new(0));
        let mut files: Vec<_> = (0..20).map(|_| PartialPieces::new(Arc::clone(&total))).collect();
        for file in &mut files {
            (0..100).for_each(|piece| file.keep(piece, partial(60_000)));
        }
        let kept = total.load(Ordering::Relaxed);
        assert!(kept <= MOST_BYTES && kept > MOST_BYTES - 60_000);
        assert!(files[0].has(3) && !files[0].has(99), "at most {MOST_PIECES} of a file");
        assert_eq!(files[0].take(3).unwrap().bytes.len(), 60_000);
        assert!(files[0].take(3).is_none());
        files[0].keep(4, partial(10));
        drop(files);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }
}
