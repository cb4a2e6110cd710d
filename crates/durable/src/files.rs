//! Files that must be whole, private, or out of the way.
//!
//! **Invariant:** a file that is replaced is either what it was or what it is to be, durably once [`replace`] returned. A
//! secret is never readable by others, not even while it is written. Modes and syncing folders are best effort.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::faults;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Its owner.
    Private,
    /// Everybody who may enter its folder.
    Usual,
    /// The same, and nobody changes it.
    Finished,
}

impl Mode {
    fn bits(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Usual => 0o644,
            Self::Finished => 0o444,
        }
    }
}

/// Names of what is being written end in this; what a kill left is overwritten the next time.
const UNFINISHED: &str = "new";

/// The most names tried for what is set aside at one time.
const MOST_NAMES: u32 = 1_000;

// not a limit: MOST_NAMES: names that are tried; nothing is kept or refused for it

/// Said once a process, however many files it is about.
static NO_MODES: AtomicBool = AtomicBool::new(false);
static NO_FOLDER_SYNC: AtomicBool = AtomicBool::new(false);

/// Puts a new file in the place of another, or where none was; durable when it returns. Blocks.
///
/// # Errors
/// What the system says; the old file is then as it was.
pub fn replace(path: &Path, mode: Mode, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let written = write_anew(path, mode, write);
    written.map(|(_file, ())| ())
}

/// As [`replace`]; gives the open file for what is appended later, and what `write` said.
///
/// # Errors
/// What the system says; the old file is then as it was.
pub fn write_anew<T>(
    path: &Path,
    mode: Mode,
    write: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<(File, T)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut unfinished = name.to_owned();
    unfinished.push(".");
    unfinished.push(UNFINISHED);
    let unfinished = path.with_file_name(unfinished);
    let written = begin(&unfinished, mode).and_then(|mut file| {
        faults::write()?;
        let said = write(&mut file)?;
        file.sync_all()?;
        Ok((file, said))
    });
    let moved = written.and_then(|new| rename_over(&unfinished, path).map(|()| new));
    let new = moved.inspect_err(|_error| {
        // half a file is of no use, and its room may be what is missing
        let _ = std::fs::remove_file(&unfinished);
    })?;
    if let Some(folder) = path.parent() {
        sync_folder(folder)?;
    }
    Ok(new)
}

fn begin(path: &Path, mode: Mode) -> io::Result<File> {
    // never the file of somebody who guessed the name
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode.bits()).open(path)
}

fn rename_over(from: &Path, to: &Path) -> io::Result<()> {
    let renamed = faults::rename_over(to.exists()).and_then(|()| std::fs::rename(from, to));
    match renamed {
        // some shares do not rename over what exists: a kill between the two leaves the new one under its other name
        Err(error)
            if to.is_file()
                && matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists
                        | io::ErrorKind::ResourceBusy
                        | io::ErrorKind::ExecutableFileBusy
                        | io::ErrorKind::PermissionDenied
                ) =>
        {
            std::fs::remove_file(to)?;
            std::fs::rename(from, to)
        }
        other => other,
    }
}

/// Makes what happened in a folder durable, where its file system can.
///
/// # Errors
/// When the disk fails; a file system that knows no such thing is no error.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let synced = faults::folder_sync().and_then(|()| File::open(folder)?.sync_all());
    match synced {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) || error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error()) =>
        {
            if !NO_FOLDER_SYNC.swap(true, Ordering::Relaxed) {
                tracing::warn!(folder = %folder.display(), %error,
                    "this file system cannot sync folders: a power cut may undo the last changes of names");
            }
            Ok(())
        }
        other => other,
    }
}

/// Sets who may read a file, where its file system knows such a thing.
pub fn set_mode(path: &Path, mode: Mode) {
    set_bits(path, mode.bits());
}

fn set_bits(path: &Path, bits: u32) {
    let set = faults::modes().and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(bits)));
    if let Err(error) = set
        && !NO_MODES.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(path = %path.display(), %error,
            "this file system does not keep who may read a file; let nobody else into the data directory");
    }
}

/// Makes a folder that only its owner may enter; one that exists is closed to others when it is ours.
///
/// # Errors
/// When it cannot be made, or belongs to somebody else while others may write to it: what is in it could be anybody's.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = std::fs::metadata(path)?;
    let (bits, owner, own) = (found.mode() & 0o7777, found.uid(), rustix::process::geteuid().as_raw());
    if owner == own {
        if bits & 0o077 != 0 {
            tracing::warn!(path = %path.display(), mode = %format!("{bits:04o}"),
                "the folder was open to others and is closed to them now");
            set_bits(path, bits & 0o700);
        }
        return Ok(());
    }
    if bits & 0o002 != 0 || (owner != 0 && own != 0) {
        let path = path.display();
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "it belongs to user {owner} and not to user {own}, who runs this server; run `chown -R {own} {path}` \
                 and `chmod 700 {path}`"
            ),
        ));
    }
    Ok(())
}

/// Reads a small file that only its owner should read; none when there is none. One that others can read is closed to
/// them, and `true` says that it was open.
///
/// # Errors
/// When it cannot be read or belongs to another user; `InvalidData` when it is longer than `limit` bytes.
pub fn open_private(path: &Path, limit: u64) -> io::Result<Option<(Vec<u8>, bool)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own && own != 0 {
        let path = path.display();
        let owner = found.uid();
        let text = format!("it belongs to user {owner}; run `chown {own} {path}`, or remove it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let was_open = found.mode() & 0o077 != 0;
    if was_open {
        set_mode(path, Mode::Private);
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than such a file can be"));
    }
    Ok(Some((bytes, was_open)))
}

/// Gives a damaged file or folder another name beside it, `damaged-…`, and says which.
///
/// # Errors
/// What the system says; then it is where it was.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    for number in 1..=MOST_NAMES {
        let aside = path.with_file_name(format!("damaged-{name}-{number}"));
        if !aside.exists() {
            std::fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::faults::{Lacks, with};
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_on_every_file_system() {
        let table = [
            Lacks::default(),
            Lacks { modes: true, ..Lacks::default() },
            Lacks { folder_sync: true, ..Lacks::default() },
            Lacks { rename_over: true, ..Lacks::default() },
            Lacks { modes: true, folder_sync: true, rename_over: true, holes: true, room_after: None },
        ];
        for lacks in table {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.v1");
            with(lacks, || {
                for text in ["first", "second", "third"] {
                    replace(&path, Mode::Private, |file| file.write_all(text.as_bytes())).unwrap();
                    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{lacks:?}");
                }
                set_mode(&path, Mode::Finished);
                make_private_folder(&folder.path().join("keys")).unwrap();
            });
            assert_eq!(names(folder.path()), ["keys", "state.v1"], "{lacks:?}");
        }
    }

    #[test]
    fn without_room_the_old_file_stays_and_no_half_one_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, Mode::Private, |file| file.write_all(b"old")).unwrap();
        let lacks = Lacks { room_after: Some(0), ..Lacks::default() };
        let failed = with(lacks, || replace(&path, Mode::Private, |file| file.write_all(b"new")));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        let failed = replace(&path, Mode::Private, |file| {
            file.write_all(b"ne")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["state"]);
        // what a kill left is no hindrance, and nobody's file is written through
        std::fs::write(folder.path().join("other"), b"mine").unwrap();
        std::os::unix::fs::symlink(folder.path().join("other"), folder.path().join("state.new")).unwrap();
        replace(&path, Mode::Private, |file| file.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read(folder.path().join("other")).unwrap(), b"mine");
        assert_eq!((std::fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o600));
    }

    #[test]
    fn what_others_could_read_is_closed_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let (path, inner) = (folder.path().join("secret"), folder.path().join("keys"));
        assert!(open_private(&path, 10).unwrap().is_none());
        std::fs::write(&path, b"word").unwrap();
        std::fs::create_dir(&inner).unwrap();
        for (open, file_mode, folder_mode) in
            [(true, 0o644, 0o755), (true, 0o660, 0o777), (false, 0o600, 0o700)]
        {
            std::fs::set_permissions(&path, Permissions::from_mode(file_mode)).unwrap();
            std::fs::set_permissions(&inner, Permissions::from_mode(folder_mode)).unwrap();
            assert_eq!(open_private(&path, 10).unwrap(), Some((b"word".to_vec(), open)));
            make_private_folder(&inner).unwrap();
            assert_eq!((mode(&path), mode(&inner)), (0o600, 0o700));
        }
        assert!(open_private(&path, 3).is_err(), "longer than it may be");
        // where there are no modes it is read all the same
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let read = with(Lacks { modes: true, ..Lacks::default() }, || open_private(&path, 10));
        assert_eq!(read.unwrap(), Some((b"word".to_vec(), true)));
    }

    #[test]
    fn nothing_damaged_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["one", "two"] {
            std::fs::write(folder.path().join("index"), text).unwrap();
            set_aside(&folder.path().join("index")).unwrap();
        }
        assert_eq!(names(folder.path()), ["damaged-index-1", "damaged-index-2"]);
        assert_eq!(std::fs::read(folder.path().join("damaged-index-2")).unwrap(), b"two");
        assert!(set_aside(&folder.path().join("index")).is_err());
    }
}
