//! One payload on disk: a sparse file and the map of its pieces.
//!
//! **Invariant:** what a read returns was held while it was read. Pieces leave a file only by [`SparseFile::release`];
//! when a file must lose bytes for another reason, the value is marked dropped and its readers end. Reading takes no
//! lock and never waits for a writer. It never reads a piece that is not held.

mod release;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::Advice;
use rustix::io::ReadWriteFlags;

use super::error::ContentError;
use super::map::{self, Header, PIECE};
use super::verify;
use tailwater_domain::{ByteRange, Sha1Digest, Sha256Digest};
use tailwater_durable::{Mode, Trouble, set_mode};

/// An open payload. Shared by all who read or write it; one value a digest at a time.
pub struct SparseFile {
    sha1: Sha1Digest,
    sha256: OnceLock<Sha256Digest>,
    size: u64,
    data: File,
    map: File,
    path: PathBuf,
    present: Box<[AtomicU64]>,
    live: Arc<Live>,
    dropped: AtomicBool,
    unsynced: AtomicBool,
    /// One past the piece that is not given out even when it is held, 0 for none: until the digests matched, the one that
    /// made the file complete, and the last of one that passes through. Whoever has all the others does not have the file.
    withheld: AtomicU64,
    /// How often pieces were released.
    releases: AtomicU64,
    /// Held by whoever writes or releases pieces.
    changing: Mutex<()>,
}

/// What the store's list knows of a file without opening it.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Bytes held.
    pub(super) held: AtomicU64,
    /// When it was last used, in milliseconds since 1970.
    pub(super) last_use_ms: AtomicI64,
    /// Whether every declared digest matched.
    pub(super) verified: AtomicBool,
    /// Which version of its bytes is given out.
    pub(super) version: AtomicU32,
}

/// The map's path beside a data path.
pub(super) fn map_path(data: &Path) -> PathBuf {
    data.with_extension("map")
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ContentError + use<> {
    let path = path.to_owned();
    move |source| ContentError::Io { action, path, source }
}

/// Opens a file; for reading alone where the disk takes nothing.
fn open_file(path: &Path, write: bool) -> io::Result<File> {
    match OpenOptions::new().read(true).write(write).open(path) {
        Err(error) if write && Trouble::of(&error).is_some() => File::open(path),
        opened => opened,
    }
}

/// Whether a file was opened for reading alone.
fn is_read_only(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error())
}

impl SparseFile {
    /// Makes an empty file of the declared length.
    pub(super) fn create(path: &Path, header: Header, live: Arc<Live>) -> Result<Self, ContentError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io_error("make folder", folder))?;
        }
        // a data file without a usable map is worth nothing; begin again with a new inode, so that whoever
        // still reads the old one is not shown zeros
        for old in [path, &map_path(path)] {
            if std::fs::remove_file(old).is_err() {
                // a folder in its place; what is in it is nobody's
                let _ = std::fs::remove_dir(old);
            }
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let data = options.open(path).map_err(io_error("make", path))?;
        data.set_len(header.size).map_err(io_error("make", path))?;
        let map = options.open(map_path(path)).map_err(io_error("make", &map_path(path)))?;
        header.write(&map).map_err(io_error("write", &map_path(path)))?;
        let file = Self::assemble(path, header, data, map, live);
        file.unsynced.store(true, Ordering::Relaxed);
        Ok(file)
    }

    /// Opens what is there; `None` when it is absent or its map is worthless. With `doubtful`, pieces are
    /// compared with their hashes first and those that differ do not count.
    pub(super) fn open(path: &Path, doubtful: bool, live: Arc<Live>) -> Result<Option<Self>, ContentError> {
        let map_path = map_path(path);
        let opened = |result: io::Result<File>, path: &Path| match result {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("open", path)(error)),
        };
        let Some(map) = opened(open_file(&map_path, true), &map_path)? else {
            return Ok(None);
        };
        let Some(header) = Header::read(&map).map_err(io_error("read", &map_path))? else { return Ok(None) };
        let data = opened(open_file(path, !header.verified), path)?;
        let Some(data) = data else { return Ok(None) };
        let length = data.metadata().map_err(io_error("read", path))?.len();
        if length != header.size {
            return Ok(None);
        }
        let file = Self::assemble(path, header, data, map, live);
        if header.verified {
            file.mark_all();
        } else {
            file.load(doubtful).map_err(io_error("read", path))?;
            if file.is_complete() {
                file.withheld.store(map::pieces(file.size), Ordering::Release);
            }
        }
        Ok(Some(file))
    }

    fn assemble(path: &Path, header: Header, data: File, map: File, live: Arc<Live>) -> Self {
        live.held.store(0, Ordering::Relaxed);
        live.verified.store(header.verified, Ordering::Relaxed);
        let words = usize::try_from(map::pieces(header.size).div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            sha1: header.sha1,
            sha256: header.sha256.map(OnceLock::from).unwrap_or_default(),
            size: header.size,
            data,
            map,
            path: path.to_owned(),
            present: (0..words).map(|_| AtomicU64::new(0)).collect(),
            live,
            dropped: AtomicBool::new(false),
            unsynced: AtomicBool::new(false),
            withheld: AtomicU64::new(0),
            releases: AtomicU64::new(0),
            changing: Mutex::new(()),
        }
    }

    fn mark_all(&self) {
        for index in 0..map::pieces(self.size) {
            self.mark(index);
        }
    }

    /// Takes over the pieces that the map names.
    fn load(&self, doubtful: bool) -> io::Result<()> {
        let mut held = Vec::new();
        map::each_held(&self.map, self.size, |index, entry| held.push((index, entry)))?;
        let mut buffer = vec![0; usize::try_from(PIECE).unwrap_or(usize::MAX)];
        let mut lost = 0_u64;
        for (index, entry) in held {
            if doubtful && !self.piece_matches(index, entry, &mut buffer)? {
                // on a disk that takes nothing it is found again at the next start
                match map::write_entry(&self.map, index, [0; map::HASH]) {
                    Err(error) if Trouble::of(&error).is_none() && !is_read_only(&error) => {
                        return Err(error);
                    }
                    _ => lost += 1,
                }
                continue;
            }
            self.mark(index);
        }
        if lost > 0 {
            tracing::warn!(file = %self.sha1, pieces = lost, "pieces did not survive an unclean stop and are fetched again");
        }
        Ok(())
    }

    fn piece_matches(&self, index: u64, entry: [u8; map::HASH], buffer: &mut [u8]) -> io::Result<bool> {
        let len = usize::try_from(map::piece_len(self.size, index)).unwrap_or(usize::MAX);
        let piece = &mut buffer[..len];
        let got = map::read_up_to(&self.data, piece, index * PIECE)?;
        Ok(got == len && map::hash(piece) == entry)
    }

    /// Sets the bit of a piece; true when it was not set before.
    fn mark(&self, index: u64) -> bool {
        let Some(word) = usize::try_from(index / 64).ok().and_then(|word| self.present.get(word)) else {
            return false;
        };
        let bit = 1 << (index % 64);
        let fresh = word.fetch_or(bit, Ordering::Release) & bit == 0;
        if fresh {
            self.live.held.fetch_add(map::piece_len(self.size, index), Ordering::Relaxed);
        }
        fresh
    }

    /// The digest that names it.
    pub fn sha1(&self) -> &Sha1Digest {
        &self.sha1
    }

    /// The SHA-256 that was declared, or computed when it was verified.
    pub fn sha256(&self) -> Option<&Sha256Digest> {
        self.sha256.get()
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are held.
    pub fn held(&self) -> u64 {
        self.live.held.load(Ordering::Acquire)
    }

    /// Whether every piece is there.
    pub fn is_complete(&self) -> bool {
        self.held() == self.size
    }

    /// Whether every declared digest matched.
    pub fn is_verified(&self) -> bool {
        self.live.verified.load(Ordering::Acquire)
    }

    /// Which version of its bytes is given out: it changes when what was given out may have been wrong, so that what a
    /// client has is not continued with it (RFC 9110 13.1.5).
    pub fn version(&self) -> u32 {
        self.live.version.load(Ordering::Acquire)
    }

    /// Whether it was dropped: readers end, and ask again for the file that takes its place.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    /// Whether piece `index` (of [`PIECE`] bytes) is held.
    pub fn holds_piece(&self, index: u64) -> bool {
        usize::try_from(index / 64)
            .ok()
            .and_then(|word| self.present.get(word))
            .is_some_and(|word| word.load(Ordering::Acquire) & (1 << (index % 64)) != 0)
    }

    /// Whether a piece waits for the digests.
    fn withholds(&self, piece: u64) -> bool {
        self.withheld.load(Ordering::Acquire) == piece + 1 && !self.is_verified()
    }

    /// The end of what is held and given out without a gap from `offset` on, at most `limit`; `offset` itself when its
    /// piece is missing.
    pub fn held_until(&self, offset: u64, limit: u64) -> u64 {
        let limit = limit.min(self.size);
        if self.is_verified() {
            return limit.max(offset);
        }
        let mut end = offset;
        let given_out = |piece: u64| self.holds_piece(piece) && !self.withholds(piece);
        while end < limit && given_out(end / PIECE) {
            end = (end / PIECE + 1) * PIECE;
        }
        end.min(limit).max(offset)
    }

    /// Whether all of a range is held.
    pub fn holds(&self, range: ByteRange) -> bool {
        self.held_until(range.start, range.end) >= range.end
    }

    /// Reads what the page cache has, without waiting for the disk. `None` when it would have to wait; 0 when what is
    /// there was released meanwhile, or is not held.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        self.read_held(buffer, offset, |buffer| {
            let mut slices = [io::IoSliceMut::new(buffer)];
            match rustix::io::preadv2(&self.data, &mut slices, offset, ReadWriteFlags::NOWAIT) {
                Ok(read) => Ok(Some(read)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Fills the buffer, waiting for the disk (call it where blocking is allowed); short at the end, and where pieces
    /// were released.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_waiting(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read =
            self.read_held(buffer, offset, |buffer| map::read_up_to(&self.data, buffer, offset).map(Some));
        read.map(Option::unwrap_or_default)
    }

    /// Tells the system that a range will be read soon.
    pub fn will_read(&self, range: ByteRange) {
        // advice only; a system that does not take it loses nothing
        let _ = rustix::fs::fadvise(
            &self.data,
            range.start,
            std::num::NonZeroU64::new(range.len()),
            Advice::WillNeed,
        );
    }

    /// Stores one whole piece (the last may be shorter) and then its hash. True when it was not held before; then it is
    /// left as it is. Blocking.
    ///
    /// # Errors
    /// [`ContentError::Io`]; the piece then counts as missing.
    pub(super) fn write_piece(&self, index: u64, piece: &[u8]) -> Result<bool, ContentError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_dropped() {
            return Err(ContentError::Dropped { sha1: self.sha1 });
        }
        if self.holds_piece(index) || piece.len() as u64 != map::piece_len(self.size, index) {
            return Ok(false);
        }
        self.data.write_all_at(piece, index * PIECE).map_err(io_error("write", &self.path))?;
        map::write_entry(&self.map, index, map::hash(piece)).map_err(io_error("write", &self.path))?;
        self.unsynced.store(true, Ordering::Relaxed);
        if self.held() + piece.len() as u64 == self.size {
            self.withheld.store(index + 1, Ordering::Release);
        }
        Ok(self.mark(index))
    }

    /// The hashes of pieces `first..end` as the map has them: zeros for a piece that is not held.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn piece_hashes(&self, first: u64, end: u64) -> Result<Vec<map::PieceHash>, ContentError> {
        let end = end.min(map::pieces(self.size));
        map::read_entries(&self.map, first, end).map_err(io_error("read", &self.path))
    }

    /// Makes what was written durable: the bytes first, then the map.
    pub(super) fn sync(&self) -> Result<(), ContentError> {
        if self.unsynced.swap(false, Ordering::Relaxed) {
            let synced = self.data.sync_data().and_then(|()| self.map.sync_data());
            if let Err(error) = synced {
                self.unsynced.store(true, Ordering::Relaxed);
                return Err(io_error("sync", &self.path)(error));
            }
        }
        Ok(())
    }

    /// Computes both digests from the bytes, and where SHA-1 alone decides looks for collisions made on purpose. Blocking,
    /// about a second a gigabyte, or three.
    pub(super) fn digests(&self) -> Result<verify::Digests, ContentError> {
        let watching = self.sha256.get().is_none();
        verify::digests(&self.data, self.size, watching).map_err(io_error("read", &self.path))
    }

    /// Pieces that are held but whose bytes do not match their hash any more.
    pub(super) fn damaged_pieces(&self) -> Result<Vec<u64>, ContentError> {
        let mut held = Vec::new();
        map::each_held(&self.map, self.size, |index, entry| held.push((index, entry)))
            .map_err(io_error("read", &self.path))?;
        let mut buffer = vec![0; usize::try_from(PIECE).unwrap_or(usize::MAX)];
        let mut damaged = Vec::new();
        for (index, entry) in held {
            // one that was released since is no damage
            let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            if self.holds_piece(index)
                && !self.piece_matches(index, entry, &mut buffer).map_err(io_error("read", &self.path))?
            {
                damaged.push(index);
            }
        }
        Ok(damaged)
    }

    /// Says for good that the digests matched, after everything is durable.
    pub(super) fn seal(&self, sha256: Sha256Digest) -> Result<(), ContentError> {
        self.unsynced.store(true, Ordering::Relaxed);
        self.sync()?;
        let header = Header { sha1: self.sha1, sha256: Some(sha256), size: self.size, verified: true };
        header.write(&self.map).and_then(|()| self.map.sync_data()).map_err(io_error("write", &self.path))?;
        set_mode(&self.path, Mode::Finished);
        self.live.verified.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes pieces out of service on disk. The value must be marked dropped first.
    pub(super) fn forget(&self, pieces: &[u64]) -> Result<(), ContentError> {
        let header =
            Header { sha1: self.sha1, sha256: self.sha256.get().copied(), size: self.size, verified: false };
        for &index in pieces {
            map::write_entry(&self.map, index, [0; map::HASH]).map_err(io_error("write", &self.path))?;
        }
        header.write(&self.map).and_then(|()| self.map.sync_data()).map_err(io_error("write", &self.path))?;
        set_mode(&self.path, Mode::Usual);
        Ok(())
    }

    /// Ends every reader and writer of this value.
    pub(super) fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    /// Begins another version.
    pub(super) fn renew(&self, version: u32) {
        self.live.version.store(version, Ordering::Release);
    }

    /// Notes a use.
    pub(super) fn touch(&self, now_ms: i64) {
        self.live.last_use_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Adds the SHA-256 of a later declaration to a file that had none. False when it has another.
    pub(super) fn declare_sha256(&self, sha256: Sha256Digest) -> Result<bool, ContentError> {
        if self.sha256.get_or_init(|| sha256) != &sha256 {
            return Ok(false);
        }
        if !self.is_verified() {
            let header = Header { sha1: self.sha1, sha256: Some(sha256), size: self.size, verified: false };
            header.write(&self.map).map_err(io_error("write", &self.path))?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
