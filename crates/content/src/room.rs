//! Room for what is fetched: made by dropping what is least worth keeping.
//!
//! **Invariant:** a file is dropped only while nobody but the store's own cache of open files has it, or
//! after its readers were told. Room is made by one at a time. It never drops more than is needed and a
//! small slack.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::Entry;
use super::error::ContentError;
use super::evict::{self, Candidate};
use super::sparse::{SparseFile, map_path};
use super::store::{Store, WRITER, locked};
use tailwater_domain::{ByteCount, Sha1Digest};
use tailwater_durable::Trouble;

/// A store counts as full for so long after there was no room: while something is wanted, it is tried again
/// sooner than that.
const FULL_FOR_MS: i64 = 30_000;

// not a limit: FULL_FOR_MS: when room is looked for again

/// Room that was made for bytes about to be written; what is not used is given back when dropped.
pub struct Room {
    store: Store,
    bytes: u64,
}

impl Room {
    /// Bytes that it still has room for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds room that was made later, where more came than the first was made for.
    pub fn add(&mut self, mut more: Self) {
        self.bytes += std::mem::take(&mut more.bytes);
    }

    /// So many bytes were written: they count as held now.
    pub fn used(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.store.0.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.store.0.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How much may be held; may change while the store is open.
#[derive(Debug)]
pub(super) struct Limits {
    /// In bytes; `u64::MAX` is no limit.
    max_size: AtomicU64,
    min_free: AtomicU64,
}

impl Limits {
    pub(super) fn new(config: &super::Config) -> Self {
        let limits = Self { max_size: AtomicU64::new(u64::MAX), min_free: AtomicU64::new(0) };
        limits.set(config.max_size, config.min_free);
        limits
    }

    fn set(&self, max_size: Option<ByteCount>, min_free: ByteCount) {
        self.max_size.store(max_size.map_or(u64::MAX, |max| max.0), Ordering::Relaxed);
        self.min_free.store(min_free.0, Ordering::Relaxed);
    }

    fn max_size(&self) -> Option<u64> {
        Some(self.max_size.load(Ordering::Relaxed)).filter(|max| *max != u64::MAX)
    }

    fn min_free(&self) -> u64 {
        self.min_free.load(Ordering::Relaxed)
    }
}

impl Store {
    /// Other limits from now on. What exceeds them goes when room is next needed.
    pub fn set_limits(&self, max_size: Option<ByteCount>, min_free: ByteCount) {
        self.0.limits.set(max_size, min_free);
        if let Err(error) = self.look_at_disk() {
            tracing::warn!(%error, "what the store can hold now is not known until room is next needed");
        }
    }

    /// Makes room for bytes about to be written, dropping what is least worth keeping. Blocking.
    ///
    /// # Errors
    /// [`ContentError::NoRoom`] when everything that is left is in use: fetching stops, serving goes on.
    pub fn make_room(&self, bytes: u64) -> Result<Room, ContentError> {
        let inner = &self.0;
        inner.reserved.fetch_add(bytes, Ordering::Relaxed);
        let room = Room { store: self.clone(), bytes };
        if self.excess()? == 0 {
            return Ok(room);
        }
        // one at a time, or each of several would drop enough for all
        let _one = locked(&inner.making_room);
        let excess = self.excess()?;
        if excess > 0 {
            let slack = evict::slack(inner.limits.max_size());
            self.drop_least_worth(excess.saturating_add(slack));
            if self.excess()? > 0 {
                self.note_full();
                return Err(ContentError::NoRoom { wanted: ByteCount(bytes) });
            }
        }
        Ok(room)
    }

    /// Learns what it can hold.
    pub(super) fn look_at_disk(&self) -> Result<(), ContentError> {
        self.excess().map(drop)
    }

    fn excess(&self) -> Result<u64, ContentError> {
        let inner = &self.0;
        let dir = &inner.config.dir;
        let stat = rustix::fs::statvfs(dir).map_err(|error| ContentError::Io {
            action: "ask the free space of",
            path: dir.clone(),
            source: error.into(),
        })?;
        let (held, free) = (inner.held.load(Ordering::Relaxed), stat.f_bavail.saturating_mul(stat.f_frsize));
        let (max_size, min_free) = (inner.limits.max_size(), inner.limits.min_free());
        inner.capacity.store(evict::capacity(held, max_size, free, min_free), Ordering::Relaxed);
        Ok(evict::excess(held, inner.reserved.load(Ordering::Relaxed), max_size, free, min_free))
    }

    /// How many bytes may be held at a time of a file of `size` that cannot be kept whole, whatever is dropped: who reads
    /// it gets it all the same, and [`Store::release`] drops what was sent. `None` when it can be kept. As the disk was
    /// when room was made last.
    pub fn window(&self, size: u64) -> Option<u64> {
        evict::window(size, self.0.capacity.load(Ordering::Relaxed))
    }

    /// Drops pieces of a file that cannot be kept whole, and says how many bytes that were. Its readers go on: what they
    /// read is what was there, or nothing. Blocking.
    ///
    /// # Errors
    /// When the file system cannot give back parts of files.
    pub fn release(&self, file: &SparseFile, pieces: &[u64]) -> Result<u64, ContentError> {
        let (gone, given_back) = file.release(pieces);
        self.0.held.fetch_sub(gone, Ordering::Relaxed);
        self.0.dropped.fetch_add(gone, Ordering::Relaxed);
        given_back.map(|()| gone)
    }

    fn drop_least_worth(&self, bytes: u64) {
        let now = self.now_ms();
        let mut candidates: Vec<_> = locked(&self.0.entries)
            .iter()
            .map(|(&sha1, entry)| Candidate {
                sha1,
                size: entry.size,
                held: entry.live.held.load(Ordering::Relaxed),
                verified: entry.live.verified.load(Ordering::Relaxed),
                // what a clock noted that was ahead counts as now, and no more
                last_use_ms: entry.live.last_use_ms.fetch_min(now, Ordering::Relaxed).min(now),
            })
            .collect();
        evict::order(&mut candidates, self.0.capacity.load(Ordering::Relaxed));
        let (mut freed, mut files) = (0_u64, 0);
        for candidate in candidates {
            if freed >= bytes {
                break;
            }
            if self.drop_unused(&candidate.sha1) {
                freed += candidate.held;
                files += 1;
            }
        }
        self.0.dropped.fetch_add(freed, Ordering::Relaxed);
        if files > 0 {
            tracing::info!(files, freed = %ByteCount(freed), "dropped what was least worth keeping");
        }
    }

    /// Drops a file unless somebody has it. True when it is gone.
    pub(super) fn drop_unused(&self, sha1: &Sha1Digest) -> bool {
        let _one = self.stripe(sha1);
        drop(self.0.open.remove(sha1));
        let mut entries = locked(&self.0.entries);
        match entries.get(sha1) {
            Some(entry) if entry.open.strong_count() == 0 => {}
            _ => return false,
        }
        let entry = entries.remove(sha1);
        drop(entries);
        self.unlink(sha1, entry);
        true
    }

    fn unlink(&self, sha1: &Sha1Digest, entry: Option<Entry>) {
        let path = self.path(sha1);
        // the map goes first: without it a data file is worthless, and made anew
        for path in [map_path(&path), path] {
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %path.display(), "cannot remove a dropped file; remove it by hand");
            }
        }
        locked(&self.0.removed).push(*sha1);
        let held = entry.map_or(0, |entry| entry.live.held.load(Ordering::Relaxed));
        self.0.held.fetch_sub(held, Ordering::Relaxed);
    }

    /// Drops a file with all its pieces, because they may be wrong: whoever has it open ends, and what is given out from
    /// now on is another version. False when it was dropped before. Blocking.
    pub fn discard(&self, file: &Arc<SparseFile>) -> bool {
        let sha1 = file.sha1();
        let _one = self.stripe(sha1);
        if file.is_dropped() {
            return false;
        }
        // its own version stays that of what was read from it
        self.0.versions.renew(&self.0.index, sha1);
        file.mark_dropped();
        drop(self.0.open.remove(sha1));
        let entry = locked(&self.0.entries).remove(sha1);
        self.unlink(sha1, entry);
        true
    }

    pub(super) fn note_full(&self) {
        self.0.full_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    pub(super) fn note_if_full(&self, error: &ContentError) {
        if let ContentError::Io { source, .. } = error
            && Trouble::of(source).is_some()
        {
            self.note_full();
            self.0.disk.refused(WRITER, source);
        }
    }

    /// Whether writing stopped because there is no room.
    pub(super) fn is_full(&self) -> bool {
        // noted in the future: by a clock that was ahead
        (0..FULL_FOR_MS).contains(&(self.now_ms() - self.0.full_ms.load(Ordering::Relaxed)))
    }
}
