//! Opening an index in whatever state a bad day left it.
//!
//! A start on a full disk leaves half a snapshot under a name by which sled takes it for a whole one at every later start.
//! Such a file is never needed, because the one before it goes only once the next is whole. Files that sled cannot read
//! otherwise are set aside as a folder, and the index begins anew; what it said is made again by whoever owns it.
//!
//! **Invariant:** no file is deleted here but those of a copy that was made here. A file that another process has open is
//! left alone.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::engine::{Opened, Setup};
use super::error::KvError;
use super::memory::Memory;
use super::sled::{Sled, is_locked};
use tailwater_durable::{Disk, Trouble, set_aside};
use tailwater_runtime::retry;

/// What sled calls a snapshot that it is writing.
const HALF_SNAPSHOT: &str = ".generating";
/// A store that was closed lets go of its lock a moment later, when its threads have ended: 2 s.
const LOCK_ATTEMPTS: u32 = 100;
/// Where an index on a disk that takes nothing is read from a copy, the first that has room: memory, on most machines.
const COPY_PLACES: [&str; 3] = ["/dev/shm", "/run", "/tmp"];

/// Where reads find what does not wait.
pub(super) enum Base {
    Sled(Sled),
    /// What the files said, or nothing when they could not be read.
    Memory(Memory),
    /// It could be neither opened again nor read into memory.
    Closed,
}

/// Why an index is not open.
pub(super) enum Failure {
    /// Another process has it.
    Locked,
    /// The disk takes nothing.
    Disk(io::Error),
    /// Its files cannot be read.
    Damaged(String),
    /// Anything else.
    Other(KvError),
}

impl Failure {
    pub(super) fn into_error(self, setup: &Setup) -> KvError {
        match self {
            Self::Locked => KvError::Locked { dir: setup.dir.clone() },
            Self::Disk(error) => KvError::Engine(::sled::Error::Io(error)),
            Self::Damaged(reason) => KvError::Damaged { dir: setup.dir.clone(), reason },
            Self::Other(error) => error,
        }
    }
}

/// The error of a disk that has no room, whatever it was when somebody looked.
pub(super) fn no_room(disk: &Disk) -> io::Error {
    let reason = disk.report().map_or_else(|| "no room".to_owned(), |report| report.reason);
    io::Error::new(io::ErrorKind::StorageFull, reason)
}

/// Gives half snapshots another name.
pub(super) fn heal(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(HALF_SNAPSHOT) {
            match set_aside(&path) {
                Ok(aside) => tracing::warn!(aside = %aside.display(),
                    "half a snapshot of an index, from a full disk or a kill, was set aside; it is not needed"),
                Err(error) => tracing::warn!(path = %path.display(), %error,
                    "half a snapshot of an index cannot be set aside"),
            }
        }
    }
}

/// An error's cause, which says more than the error.
fn cause(error: &KvError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn opened_once(setup: &Setup) -> Result<Sled, Failure> {
    let open = || retry(LOCK_ATTEMPTS, is_locked, || Sled::open(setup));
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(sled)) => Ok(sled),
        Ok(Err(error)) if is_locked(&error) => Err(Failure::Locked),
        Ok(Err(error)) => Err(match error.io() {
            Some(io) if Trouble::of(&io).is_some() => Failure::Disk(io),
            _ if error.is_damage() => Failure::Damaged(cause(&error)),
            _ => Failure::Other(error),
        }),
        Err(_panic) => Err(Failure::Damaged("its engine failed over them".to_owned())),
    }
}

/// Opens sled. Its note of how it was set up is written anew once, where it may be the only thing that is damaged.
pub(super) fn open_sled(setup: &Setup) -> Result<Sled, Failure> {
    match opened_once(setup) {
        Err(Failure::Damaged(reason)) => {
            if set_aside(&setup.dir.join("conf")).is_err() {
                return Err(Failure::Damaged(reason));
            }
            opened_once(setup)
        }
        other => other,
    }
}

/// Sets damaged files aside and begins with nothing; in memory, where not even that can be done.
pub(super) fn anew(setup: &Setup, reason: &str) -> Result<(Base, Opened, Option<io::Error>), KvError> {
    match set_aside(&setup.dir) {
        Ok(aside) => tracing::error!(index = setup.name, %reason, aside = %aside.display(),
            "the files of an index are damaged: they were set aside, and it is made again"),
        Err(error) => {
            tracing::error!(index = setup.name, %reason, %error,
                "the files of an index are damaged and cannot be set aside: it is made again in memory");
            return Ok((Base::Memory(Memory::default()), Opened::Anew, Some(error)));
        }
    }
    match open_sled(setup) {
        Ok(sled) => Ok((Base::Sled(sled), Opened::Anew, None)),
        Err(Failure::Disk(error)) => Ok((Base::Memory(Memory::default()), Opened::Anew, Some(error))),
        Err(failure) => Err(failure.into_error(setup)),
    }
}

/// What the files say, on a disk that takes nothing; nothing, when they cannot be read or there is no place to read them.
pub(super) fn read_only(setup: &Setup) -> Result<(Memory, Opened), KvError> {
    if !setup.dir.join("db").exists() {
        return Ok((Memory::default(), Opened::Anew));
    }
    match try_copied(setup) {
        Ok(memory) => Ok((memory, Opened::Whole)),
        Err(Failure::Locked) => Err(KvError::Locked { dir: setup.dir.clone() }),
        Err(failure) => {
            let error = failure.into_error(setup);
            tracing::error!(index = setup.name, %error, "an index cannot be read: it is made again in memory");
            Ok((Memory::default(), Opened::Anew))
        }
    }
}

/// What the files say, in memory.
pub(super) fn copied(setup: &Setup) -> Option<Memory> {
    try_copied(setup).ok()
}

fn try_copied(setup: &Setup) -> Result<Memory, Failure> {
    let mut last = Failure::Disk(io::ErrorKind::StorageFull.into());
    for place in COPY_PLACES {
        let made = tempfile::Builder::new().prefix("tailwater-index-").tempdir_in(place);
        let copy = made.and_then(|folder| copy_files(&setup.dir, folder.path()).map(|()| folder));
        match copy {
            Ok(folder) => {
                let setup = Setup { dir: folder.path().to_owned(), ..setup.clone() };
                let sled = open_sled(&setup)?;
                let memory = Memory::default();
                memory.fill(&sled).map_err(Failure::Other)?;
                return Ok(memory);
            }
            Err(error) => last = Failure::Disk(error),
        }
    }
    Err(last)
}

/// Copies the files of a folder and of the folders in it, without what was set aside or is half.
fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text.starts_with("damaged-") || text.ends_with(HALF_SNAPSHOT) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(to.join(&name))?;
            copy_files(&entry.path(), &to.join(&name))?;
        } else {
            std::fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}
