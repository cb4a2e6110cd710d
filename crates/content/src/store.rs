//! The store: finds, makes, fills, verifies and drops files, and keeps within its limits.
//!
//! **Invariant:** there is one open value a digest. A file is dropped only while nobody but the store's own
//! cache of open files has it. Finding an open file takes no lock that a writer of pieces takes.
//! It never decides what to fetch.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use rustix::process::Resource;

use super::entry::Entry;
use super::error::ContentError;
use super::index::Index;
use super::map::Header;
use super::room::Limits;
use super::sparse::SparseFile;
use super::verify::Digests;
use super::versions::Versions;
use super::{Config, FileState, FileStatus, Usage};
use tailwater_domain::{FileDeclaration, Limit, Sha1Digest, limits};
use tailwater_durable::{Disk, Trouble};
use tailwater_runtime::{Clock, Tasks};

/// The largest payload that is taken: well above the 15 GB of real ones, and its map stays at 256 MiB.
const MAX_FILE: u64 = 1 << 40;

/// How often written pieces and last uses are made durable.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// Open files at most, whatever the system allows.
const MAX_OPEN: usize = 4096;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_FILE in "bytes": "A payload" => "it is refused",
    MAX_OPEN in "files": "Payloads open at once" => "the one used longest ago is closed",
];
/// What it is called in reports of the disk.
pub(super) const WRITER: &str = "payloads";

/// Locks by digest, so that opening one file does not wait for another.
const STRIPES: usize = 64;

/// What comparing the digests of a complete file showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every declared digest matched; the file never changes from here on.
    Verified,
    /// The bytes are not what was declared; the file was dropped with all its pieces.
    Mismatch {
        /// The SHA-1 of what had arrived.
        found: Sha1Digest,
    },
    /// The bytes were made to share their SHA-1 with others, and nothing but SHA-1 was declared; the file was dropped.
    Collision,
}

/// The store of payloads. Cheap to clone.
#[derive(Clone)]
pub struct Store(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) config: Config,
    /// What of it may change.
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) disk: Disk,
    pub(super) index: Index,
    pub(super) versions: Versions,
    pub(super) entries: Mutex<HashMap<Sha1Digest, Entry>>,
    pub(super) open: Cache<Sha1Digest, Arc<SparseFile>>,
    pub(super) stripes: [Mutex<()>; STRIPES],
    pub(super) removed: Mutex<Vec<Sha1Digest>>,
    pub(super) held: AtomicU64,
    pub(super) reserved: AtomicU64,
    pub(super) dropped: AtomicU64,
    /// What it could hold if everything in it went, as the disk was when it was looked at last.
    pub(super) capacity: AtomicU64,
    /// When there was no room last, in milliseconds since 1970.
    pub(super) full_ms: AtomicI64,
    pub(super) making_room: Mutex<()>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many files may be open at once: an eighth of what the process may have, two descriptors each, so
/// that most are left for connections.
fn open_files() -> usize {
    let allowed = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(allowed / 16).unwrap_or(MAX_OPEN).clamp(16, MAX_OPEN)
}

impl Store {
    /// Opens the store in `config.dir`. After an unclean stop the maps are read again, and the pieces of
    /// partial files are compared with their hashes when they are first used.
    ///
    /// # Errors
    /// When the folder or the index cannot be used, for example because another server has it.
    pub fn open(config: Config, clock: Clock) -> Result<Self, ContentError> {
        Self::open_on(config, clock, &Disk::unwatched())
    }

    /// The same, on a disk that is looked at: while it takes nothing, what is held is served.
    ///
    /// # Errors
    /// When another server has it, or the folder cannot be read.
    pub fn open_on(config: Config, clock: Clock, disk: &Disk) -> Result<Self, ContentError> {
        let dir = config.dir.clone();
        match std::fs::create_dir_all(&dir) {
            // nothing is held then, and nothing can be
            Err(error) if Trouble::of(&error).is_some() => disk.refused(WRITER, &error),
            made => {
                made.map_err(|source| ContentError::Io { action: "make folder", path: dir.clone(), source })?;
            }
        }
        let (index, clean) = Index::open(&dir.join("index"), disk)?;
        let mut entries: HashMap<_, _> = index
            .load()?
            .into_iter()
            .map(|(sha1, record)| (sha1, Entry::from_record(record, !clean)))
            .collect();
        let is_empty = entries.is_empty();
        for entry in entries.values_mut() {
            entry.used_by(clock.now().as_millisecond());
        }
        if !clean {
            super::scrub::recount(&dir, &mut entries)?;
        }
        let lost = index.is_lost() || (is_empty && !entries.is_empty());
        let versions = Versions::load(&index, lost.then(|| clock.now().as_second()));
        for (sha1, entry) in &entries {
            entry.live.version.store(versions.of(sha1), Ordering::Relaxed);
        }
        let held = entries.values().map(|entry| entry.live.held.load(Ordering::Relaxed)).sum();
        let store = Self(Arc::new(Inner {
            limits: Limits::new(&config),
            config,
            clock,
            disk: disk.clone(),
            index,
            versions,
            entries: Mutex::new(entries),
            open: Cache::new(open_files()),
            stripes: [const { Mutex::new(()) }; STRIPES],
            removed: Mutex::default(),
            held: AtomicU64::new(held),
            reserved: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            capacity: AtomicU64::new(u64::MAX),
            full_ms: AtomicI64::new(i64::MIN / 2),
            making_room: Mutex::default(),
        }));
        if let Err(error) = store.look_at_disk() {
            // asked again when there is something to be written
            tracing::warn!(%error, "what the store can hold is not known yet");
        }
        Ok(store)
    }

    /// Starts the worker that makes pieces and last uses durable at intervals.
    pub fn start(&self, tasks: &Tasks) {
        let (store, stopping) = (self.clone(), tasks.stopping());
        tasks.spawn("content sync", async move {
            let mut failed = false;
            loop {
                tokio::select! {
                    () = stopping.cancelled() => break,
                    () = store.0.clock.sleep(SYNC_INTERVAL) => {}
                }
                let syncing = store.clone();
                let done = tokio::task::spawn_blocking(move || syncing.sync()).await;
                let error = match done {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(error) => Some(error.to_string()),
                };
                if let Some(error) = error.as_ref().filter(|_| !failed) {
                    tracing::error!(%error, "what was fetched is not durable yet; it is tried again");
                }
                failed = error.is_some();
            }
        });
    }

    pub(super) fn stripe(&self, sha1: &Sha1Digest) -> MutexGuard<'_, ()> {
        locked(&self.0.stripes[usize::from(sha1.0[19]) % STRIPES])
    }

    pub(super) fn path(&self, sha1: &Sha1Digest) -> PathBuf {
        let hex = sha1.hex();
        self.0.config.dir.join(&hex[38..]).join(&hex)
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.0.clock.now().as_millisecond()
    }

    /// A file that is open already; touches neither disk nor the list of files.
    pub fn cached(&self, sha1: &Sha1Digest) -> Option<Arc<SparseFile>> {
        let file = self.0.open.get(sha1).filter(|file| !file.is_dropped())?;
        file.touch(self.now_ms());
        Some(file)
    }

    /// Opens a file that has at least a map. Blocking.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn held(&self, sha1: &Sha1Digest) -> Result<Option<Arc<SparseFile>>, ContentError> {
        if let Some(file) = self.cached(sha1) {
            return Ok(Some(file));
        }
        let _one = self.stripe(sha1);
        self.open_listed(sha1)
    }

    /// Opens a listed file; its stripe is locked.
    fn open_listed(&self, sha1: &Sha1Digest) -> Result<Option<Arc<SparseFile>>, ContentError> {
        let (live, doubtful) = {
            let entries = locked(&self.0.entries);
            let Some(entry) = entries.get(sha1) else { return Ok(None) };
            if let Some(file) = entry.open.upgrade().filter(|file| !file.is_dropped()) {
                self.0.open.insert(*sha1, Arc::clone(&file));
                file.touch(self.now_ms());
                return Ok(Some(file));
            }
            (Arc::clone(&entry.live), entry.doubtful)
        };
        let before = live.held.load(Ordering::Relaxed);
        let opened = match SparseFile::open(&self.path(sha1), doubtful, Arc::clone(&live)) {
            // nothing that is there can be read again: it is fetched anew
            Err(error) if error.is_damage() => {
                tracing::warn!(%sha1, %error, "a held file is damaged beyond reading, and begins anew");
                live.held.store(0, Ordering::Relaxed);
                None
            }
            opened => opened.inspect_err(|_| live.held.store(before, Ordering::Relaxed))?,
        };
        let after = opened.as_ref().map_or(0, SparseFile::held);
        self.0.held.fetch_add(after, Ordering::Relaxed);
        self.0.held.fetch_sub(before, Ordering::Relaxed);
        let Some(file) = opened.map(Arc::new) else {
            locked(&self.0.entries).remove(sha1);
            locked(&self.0.removed).push(*sha1);
            return Ok(None);
        };
        if doubtful && after < before {
            // what was lost was given out, and may come again from another source with other bytes
            self.renew(&file);
        }
        self.register(&file);
        Ok(Some(file))
    }

    fn register(&self, file: &Arc<SparseFile>) {
        if let Some(entry) = locked(&self.0.entries).get_mut(file.sha1()) {
            entry.open = Arc::downgrade(file);
            entry.doubtful = false;
        }
        file.touch(self.now_ms());
        self.0.open.insert(*file.sha1(), Arc::clone(file));
    }

    /// Opens the file of a declaration, or makes it without a piece. Blocking.
    ///
    /// # Errors
    /// [`ContentError::Conflict`] when another length or SHA-256 was declared under the same digest before.
    pub fn prepare(&self, declaration: &FileDeclaration) -> Result<Arc<SparseFile>, ContentError> {
        let sha1 = declaration.sha1;
        if declaration.size > MAX_FILE {
            return Err(ContentError::TooLarge { sha1, size: declaration.size });
        }
        let _one = self.stripe(&sha1);
        if let Some(file) = self.open_listed(&sha1)? {
            let agrees = match declaration.sha256 {
                _ if file.size() != declaration.size => false,
                Some(sha256) => file.declare_sha256(sha256)?,
                None => true,
            };
            if !agrees {
                return Err(ContentError::Conflict { sha1, held: file.size(), declared: declaration.size });
            }
            if let Some(entry) = locked(&self.0.entries).get_mut(&sha1) {
                entry.name(&declaration.name);
                entry.sha256 = file.sha256().copied();
            }
            return Ok(file);
        }
        let mut entry = Entry::new(declaration.size, declaration.sha256);
        entry.name(&declaration.name);
        entry.live.version.store(self.0.versions.of(&sha1), Ordering::Relaxed);
        let header = Header { sha1, sha256: declaration.sha256, size: declaration.size, verified: false };
        let made = SparseFile::create(&self.path(&sha1), header, Arc::clone(&entry.live));
        let file = Arc::new(made.inspect_err(|error| self.note_if_full(error))?);
        locked(&self.0.entries).insert(sha1, entry);
        self.register(&file);
        Ok(file)
    }

    /// Takes damaged pieces of a file out of service; whoever has it open ends. Blocking.
    pub(super) fn forget_pieces(&self, file: &Arc<SparseFile>, pieces: &[u64]) -> Result<(), ContentError> {
        let sha1 = file.sha1();
        let _one = self.stripe(sha1);
        file.mark_dropped();
        drop(self.0.open.remove(sha1));
        self.renew(file);
        file.forget(pieces)?;
        self.open_listed(sha1).map(drop)
    }

    /// Stores one piece. True when this made the file complete. Blocking.
    ///
    /// # Errors
    /// When it cannot be written; a full disk also shows in [`Store::usage`].
    pub fn write_piece(&self, file: &SparseFile, index: u64, piece: &[u8]) -> Result<bool, ContentError> {
        let fresh = file.write_piece(index, piece).inspect_err(|error| self.note_if_full(error))?;
        if fresh {
            self.0.held.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Ok(fresh && file.is_complete())
    }

    /// Compares the digests of a complete file with the declared ones; on a mismatch everything of it is
    /// dropped. Blocking, about a second a gigabyte.
    ///
    /// # Errors
    /// When the file cannot be read or made durable.
    pub fn finish(&self, file: &Arc<SparseFile>) -> Result<Verdict, ContentError> {
        if file.is_verified() {
            return Ok(Verdict::Verified);
        }
        let Digests { sha1, sha256, collides } = file.digests()?;
        if collides {
            self.discard(file);
            return Ok(Verdict::Collision);
        }
        if sha1 != *file.sha1() || file.sha256().is_some_and(|declared| *declared != sha256) {
            self.discard(file);
            return Ok(Verdict::Mismatch { found: sha1 });
        }
        file.seal(sha256)?;
        if let Some(entry) = locked(&self.0.entries).get_mut(&sha1) {
            entry.sha256 = Some(sha256);
        }
        Ok(Verdict::Verified)
    }

    /// Which version of a file's bytes is given out, whether anything of it is held or not: see [`SparseFile::version`].
    pub fn version(&self, sha1: &Sha1Digest) -> u32 {
        self.0.versions.of(sha1)
    }

    /// What was given out of a file may have been wrong.
    pub(super) fn renew(&self, file: &SparseFile) {
        let version = self.0.versions.renew(&self.0.index, file.sha1());
        file.renew(version);
    }

    /// Notes that bytes of a file are given out without being kept: the next process cannot know them, and begins another
    /// version. False when that was noted since this one began. Blocking.
    pub fn begin_passing(&self, sha1: &Sha1Digest) -> bool {
        self.0.versions.begin_passing(&self.0.index, sha1)
    }

    /// One file, if anything of it is held.
    pub fn status(&self, sha1: &Sha1Digest) -> Option<FileStatus> {
        locked(&self.0.entries).get(sha1).map(|entry| entry.status(*sha1))
    }

    /// Every file, in no order.
    pub fn list(&self) -> Vec<FileStatus> {
        locked(&self.0.entries).iter().map(|(sha1, entry)| entry.status(*sha1)).collect()
    }

    /// What is held in sum.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage {
            held: self.0.held.load(Ordering::Relaxed),
            dropped: self.0.dropped.load(Ordering::Relaxed),
            full: self.is_full(),
            ..Usage::default()
        };
        for entry in locked(&self.0.entries).values() {
            usage.files += 1;
            match entry.state() {
                FileState::Verified => usage.verified += 1,
                FileState::Partial => usage.partial += 1,
                FileState::Complete => {}
            }
        }
        usage
    }

    /// Remembers over restarts that files are to be fetched whole. Durable when it returns; blocking.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn pin_downloads(&self, files: &[FileDeclaration]) -> Result<(), ContentError> {
        self.0.index.pin_downloads(files)
    }

    /// Forgets such a download: it is complete, or was cancelled. A kill within seconds may bring it back. Blocking.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn complete_download(&self, sha1: &Sha1Digest) -> Result<(), ContentError> {
        self.0.index.complete_download(sha1)
    }

    /// The downloads that are neither complete nor cancelled. Blocking.
    pub fn pinned_downloads(&self) -> Vec<FileDeclaration> {
        self.0.index.pinned_downloads()
    }

    /// Makes everything written so far durable. Blocking.
    ///
    /// # Errors
    /// When the disk or the index fails; nothing is lost from memory.
    pub fn sync(&self) -> Result<(), ContentError> {
        self.save(false)
    }

    fn save(&self, exact: bool) -> Result<(), ContentError> {
        let mut removed = std::mem::take(&mut *locked(&self.0.removed));
        let mut open = Vec::new();
        let mut changes = Vec::new();
        let now = self.now_ms();
        for (sha1, entry) in locked(&self.0.entries).iter_mut() {
            entry.used_by(now);
            open.extend(entry.open.upgrade());
            changes.extend(entry.unsaved(exact).map(|record| (*sha1, Some(record))));
        }
        for file in open {
            file.sync().inspect_err(|error| self.note_if_full(error))?;
        }
        removed.retain(|sha1| !locked(&self.0.entries).contains_key(sha1));
        changes.extend(removed.into_iter().map(|sha1| (sha1, None)));
        self.0.index.write(&changes)
    }

    /// Syncs and notes a clean stop. Call it when nothing writes any more. Blocking.
    ///
    /// # Errors
    /// As [`Store::sync`].
    pub fn close(&self) -> Result<(), ContentError> {
        self.save(true)?;
        self.0.index.close()
    }

    /// Where files lie.
    pub(super) fn digests(&self) -> Vec<Sha1Digest> {
        locked(&self.0.entries).keys().copied().collect()
    }
}
