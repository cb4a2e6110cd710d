//! Pieces that leave a file while it is read: one that the store cannot keep whole is passed through to its readers.
//!
//! **Invariant:** a release takes pieces out first, then counts itself, and only then lets their bytes go; a read that saw
//! the same count before and after has seen no byte that was gone. Who releases and who writes take turns, so that no
//! piece goes that was just written. It never decides what goes.

use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::fs::FallocateFlags;

use super::{SparseFile, io_error};
use crate::error::ContentError;
use crate::map::{self, PIECE};
use tailwater_domain::ByteRange;
use tailwater_durable::holes;

/// Whether it was said that parts of files keep their room.
static NO_HOLES: AtomicBool = AtomicBool::new(false);

fn tell_once(path: &Path, error: &io::Error) {
    if !NO_HOLES.swap(true, Ordering::Relaxed) {
        tracing::warn!(path = %path.display(), %error,
            "this file system cannot give back parts of files: one that is passed through takes its whole size on the disk; \
             put the data directory on ext4, XFS or btrfs where that is too much");
    }
}

impl SparseFile {
    /// Reads, and returns nothing when pieces left in the meantime.
    pub(super) fn read_held(
        &self,
        buffer: &mut [u8],
        offset: u64,
        read: impl FnOnce(&mut [u8]) -> io::Result<Option<usize>>,
    ) -> io::Result<Option<usize>> {
        let releases = self.releases.load(Ordering::SeqCst);
        let mut len = buffer.len();
        if releases > 0 {
            let end = offset.saturating_add(len as u64);
            len = usize::try_from(self.held_until(offset, end) - offset).unwrap_or(len).min(len);
        }
        let got = read(&mut buffer[..len])?;
        fence(Ordering::SeqCst);
        if self.releases.load(Ordering::SeqCst) != releases {
            return Ok(Some(0));
        }
        Ok(got)
    }

    /// Takes held pieces out and gives their room on the disk back; the number of bytes that are no longer held, and
    /// whether the file system gave their room back. What is read meanwhile is either what was there or nothing. A file
    /// that is complete loses nothing. Blocking.
    pub(crate) fn release(&self, pieces: &[u64]) -> (u64, Result<(), ContentError>) {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_verified() || self.is_complete() || self.is_dropped() {
            return (0, Ok(()));
        }
        let mut gone: Vec<u64> = pieces.iter().copied().filter(|index| self.unmark(*index)).collect();
        if gone.is_empty() {
            return (0, Ok(()));
        }
        self.releases.fetch_add(1, Ordering::SeqCst);
        self.unsynced.store(true, Ordering::Relaxed);
        gone.sort_unstable();
        let bytes = gone.iter().map(|index| map::piece_len(self.size, *index)).sum();
        (bytes, self.punch(&gone))
    }

    /// Gives the room of pieces back that are no longer marked.
    fn punch(&self, gone: &[u64]) -> Result<(), ContentError> {
        for span in gone.chunk_by(|one, next| one + 1 == *next) {
            let (Some(first), Some(last)) = (span.first(), span.last()) else { continue };
            for index in span {
                map::write_entry(&self.map, *index, [0; map::HASH]).map_err(io_error("write", &self.path))?;
            }
            let (start, end) = (first * PIECE, ((last + 1) * PIECE).min(self.size));
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let punch = || Ok(rustix::fs::fallocate(&self.data, flags, start, end - start)?);
            let punched = holes().and_then(|()| punch());
            match punched {
                // the pieces are released all the same; their room comes back with the whole file
                Err(error) if error.kind() == io::ErrorKind::Unsupported => tell_once(&self.path, &error),
                punched => punched.map_err(io_error("give back a part of", &self.path))?,
            }
        }
        Ok(())
    }

    /// Clears the bit of a piece; true when it was set.
    fn unmark(&self, index: u64) -> bool {
        let Some(word) = usize::try_from(index / 64).ok().and_then(|word| self.present.get(word)) else {
            return false;
        };
        let bit = 1 << (index % 64);
        let was = word.fetch_and(!bit, Ordering::SeqCst) & bit != 0;
        if was {
            self.live.held.fetch_sub(map::piece_len(self.size, index), Ordering::Relaxed);
        }
        was
    }

    /// Withholds the last piece until [`SparseFile::give_out`]: of a file whose pieces are never there together, so that
    /// they are hashed as they pass.
    pub fn withhold_last(&self) {
        self.withheld.store(map::pieces(self.size), Ordering::Release);
    }

    /// Gives the last piece out: what passed has the declared digests.
    pub fn give_out(&self) {
        let last = map::pieces(self.size);
        // a completing piece that is withheld stays so: then all are there, and hashed together
        let _ = self.withheld.compare_exchange(last, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Reads a whole piece (the last may be shorter), withheld or not, into a buffer of its length; no bytes when it is not
    /// held. It waits for who writes or releases pieces. Blocking.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_piece(&self, buffer: &mut [u8], index: u64) -> io::Result<usize> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.holds_piece(index) { map::read_up_to(&self.data, buffer, index * PIECE) } else { Ok(0) }
    }

    /// Bytes of a range whose pieces are not held.
    pub fn missing_of(&self, range: ByteRange) -> u64 {
        let pieces = range.start / PIECE..range.end.min(self.size()).div_ceil(PIECE);
        let missing = pieces.filter(|piece| !self.holds_piece(*piece));
        missing.map(|piece| ((piece + 1) * PIECE).min(range.end) - (piece * PIECE).max(range.start)).sum()
    }

    /// The pieces that are held, in order.
    pub fn held_pieces(&self) -> Vec<u64> {
        let words = self.present.iter().zip(0_u64..);
        let bits = words.flat_map(|(word, at)| {
            let word = word.load(Ordering::Acquire);
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| at * 64 + bit)
        });
        bits.collect()
    }
}
