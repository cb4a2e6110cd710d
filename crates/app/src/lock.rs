//! The data directory belongs to one process at a time, and says which.
//!
//! **Invariant:** whoever holds a [`DataDir`] is the only process that may open the store below it; the lock
//! ends with the process, however that ends. Nobody else may enter the directory, because keys lie in it. It never
//! removes anything.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::error::AppError;
use super::holder::Holder;
use tailwater_domain::{Limit, limits};
use tailwater_durable::{Disk, Trouble, make_private_folder};

/// Bytes of the lock file: it is overwritten in its place, which works on a full disk as well.
const HOLDER_BYTES: usize = 256;

/// The lock's name below the data directory.
const LOCK_FILE: &str = "tailwater.lock";

/// The lock file holds one short line.
const MAX_LOCK_FILE: u64 = 4096;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_LOCK_FILE in "bytes": "The lock file of a data folder that is read" => "it counts as another program's",
];

/// A data directory that is ours.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: File,
    disk: Disk,
}

impl DataDir {
    /// Makes the directory when absent, closes it to others, and locks it.
    pub fn lock(path: &Path) -> Result<Self, AppError> {
        let failed = |action| move |source| AppError::DataDir { path: path.to_owned(), action, source };
        make_private_folder(path).map_err(failed("used"))?;
        let path = std::path::absolute(path).map_err(failed("found"))?;
        let file = path.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = match options.open(&file) {
            // a disk that takes nothing: the file of an earlier start is locked, else the directory itself
            Err(error) if Trouble::of(&error).is_some() => {
                File::open(&file).or_else(|_none| File::open(&path)).map_err(|_none| error)
            }
            opened => opened,
        };
        let lock = lock.map_err(failed("written to"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(AppError::Locked { holder: read(&file).unwrap_or_default(), path });
            }
            Err(rustix::io::Errno::NOLCK | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                let text = "its file system knows no locks; put server.data_dir on a local disk";
                return Err(failed("locked")(io::Error::new(io::ErrorKind::Unsupported, text)));
            }
            Err(error) => return Err(failed("locked")(io::Error::from(error))),
        }
        let disk = Disk::of(&path);
        let held = Self { path, lock, disk };
        held.write(&Holder { pid: std::process::id(), admin: None })?;
        Ok(held)
    }

    /// Says where the admin listener answers, so that commands find it.
    pub fn announce(&self, admin: SocketAddr) -> Result<(), AppError> {
        self.write(&Holder { pid: std::process::id(), admin: Some(admin) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it can be written.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Keeps what does not fit memory (a document of 90 MB while it is cut) below this directory: the system's own
    /// place for temporary files is memory on many machines. For the life of the process; the first call counts.
    pub fn keep_temporary_files(&self) -> Result<(), AppError> {
        let path = self.path.join("tmp");
        match make_private_folder(&path) {
            Ok(()) => {}
            Err(error) if Trouble::of(&error).is_some() => {
                tracing::warn!(%error, path = %path.display(), "temporary files lie in the system's folder for temporary files");
                return Ok(());
            }
            Err(source) => return Err(AppError::DataDir { path, action: "made", source }),
        }
        if let Err(earlier) = tempfile::env::override_temp_dir(&path) {
            tracing::debug!(path = %earlier.display(), "temporary files stay where they are");
        }
        Ok(())
    }

    fn write(&self, holder: &Holder) -> Result<(), AppError> {
        let text = serde_json::to_vec(holder).map_err(io::Error::other);
        let written = text.and_then(|mut text| {
            text.resize(text.len().max(HOLDER_BYTES), b' ');
            self.lock.write_all_at(&text, 0)?;
            self.lock.set_len(text.len() as u64)
        });
        match written {
            // commands find the server by its configuration then
            Err(error) if Trouble::of(&error).is_some() || is_unwritable(&error) => {
                tracing::debug!(%error, "the holder of the data directory cannot be written");
                Ok(())
            }
            other => other.map_err(|source| AppError::DataDir {
                path: self.path.clone(),
                action: "written to",
                source,
            }),
        }
    }
}

/// Opened for reading alone, or a directory.
fn is_unwritable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::BADF, Errno::ISDIR, Errno::INVAL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn read(file: &Path) -> io::Result<Holder> {
    let mut text = String::new();
    File::open(file)?.take(MAX_LOCK_FILE).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_learns_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::lock(&dir.path().join("data")).unwrap();
        first.announce("127.0.0.1:8532".parse().unwrap()).unwrap();
        let error = DataDir::lock(&dir.path().join("data")).unwrap_err();
        let AppError::Locked { holder, .. } = &error else { panic!("{error}") };
        assert_eq!(holder.pid, std::process::id());
        assert_eq!(holder.admin, Some("127.0.0.1:8532".parse().unwrap()));
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        assert!(DataDir::lock(&dir.path().join("data")).is_ok());
    }

    #[test]
    fn a_directory_that_existed_before_is_closed_to_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o755, 0o777, 0o2775, 0o700] {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let held = DataDir::lock(dir.path()).unwrap();
            let found = std::fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, 0o700, "{mode:o}");
            let lock = std::fs::metadata(held.path().join(LOCK_FILE)).unwrap().permissions().mode() & 0o777;
            assert_eq!(lock, 0o600);
        }
    }
}
