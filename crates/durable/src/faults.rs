//! File systems that lack something, for tests: what is listed here fails on this thread as it does there.
//!
//! **Invariant:** nothing fails outside of [`with`], which the program never calls. Other rooms' tests need it, and a feature for
//! it would compile every room twice.

use std::cell::Cell;
use std::io;

use rustix::io::Errno;

/// What a file system does not do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub struct Lacks {
    /// `chmod` is refused (vfat, some network shares).
    pub modes: bool,
    /// Folders cannot be synced (some network shares and FUSE file systems).
    pub folder_sync: bool,
    /// A file is not replaced by renaming another over it (shares of virtual machines).
    pub rename_over: bool,
    /// Parts of a file cannot be given back.
    pub holes: bool,
    /// There is no room: so many writes through this room work, then none.
    pub room_after: Option<u32>,
}

thread_local! {
    static LACKS: Cell<Lacks> = const { Cell::new(Lacks {
        modes: false, folder_sync: false, rename_over: false, holes: false, room_after: None,
    }) };
}

/// Runs `work` on a file system without these.
pub fn with<T>(lacks: Lacks, work: impl FnOnce() -> T) -> T {
    let before = LACKS.replace(lacks);
    let result = work();
    LACKS.set(before);
    result
}

pub(super) fn modes() -> io::Result<()> {
    fail(LACKS.get().modes, Errno::PERM)
}

pub(super) fn folder_sync() -> io::Result<()> {
    fail(LACKS.get().folder_sync, Errno::INVAL)
}

pub(super) fn rename_over(target_exists: bool) -> io::Result<()> {
    fail(LACKS.get().rename_over && target_exists, Errno::EXIST)
}

/// For whoever gives parts of files back.
pub fn holes() -> io::Result<()> {
    fail(LACKS.get().holes, Errno::OPNOTSUPP)
}

/// Counts a write.
pub(super) fn write() -> io::Result<()> {
    let mut lacks = LACKS.get();
    match lacks.room_after {
        Some(0) => Err(Errno::NOSPC.into()),
        Some(left) => {
            lacks.room_after = Some(left - 1);
            LACKS.set(lacks);
            Ok(())
        }
        None => Ok(()),
    }
}

fn fail(lacks: bool, errno: Errno) -> io::Result<()> {
    if lacks { Err(errno.into()) } else { Ok(()) }
}
