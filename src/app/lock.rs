//! The data directory belongs to one process at a time, and says which.
//!
//! **Invariant:** whoever holds a [`DataDir`] is the only process that may open the store below it; the lock
//! ends with the process, however that ends. It never removes anything.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::AppError;
use crate::domain::{Limit, limits};

/// The lock's name below the data directory.
const LOCK_FILE: &str = "tailwater.lock";

/// The lock file holds one short line.
const MAX_LOCK_FILE: u64 = 4096;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_LOCK_FILE in "bytes": "The lock file of a data folder that is read" => "it counts as another program's",
];

/// Who holds a data directory, as written into its lock file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Where its admin listener answers; none for a command that opened the store itself.
    pub admin: Option<SocketAddr>,
}

/// A data directory that is ours.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Makes the directory when absent, and locks it.
    pub fn lock(path: &Path) -> Result<Self, AppError> {
        let failed = |action| move |source| AppError::DataDir { path: path.to_owned(), action, source };
        // the folder holds keys and what computers said of themselves
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("made"))?;
        let path = std::path::absolute(path).map_err(failed("found"))?;
        let file = path.join(LOCK_FILE);
        let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file);
        let lock = lock.map_err(failed("written to"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(AppError::Locked { holder: read(&file).unwrap_or_default(), path });
            }
            Err(error) => return Err(failed("locked")(io::Error::from(error))),
        }
        let mut held = Self { path, lock };
        held.write(&Holder { pid: std::process::id(), admin: None })?;
        Ok(held)
    }

    /// Says where the admin listener answers, so that commands find it.
    pub fn announce(&mut self, admin: SocketAddr) -> Result<(), AppError> {
        self.write(&Holder { pid: std::process::id(), admin: Some(admin) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps what does not fit memory (a document of 90 MB while it is cut) below this directory: the system's own
    /// place for temporary files is memory on many machines. For the life of the process; the first call counts.
    pub fn keep_temporary_files(&self) -> Result<(), AppError> {
        let path = self.path.join("tmp");
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|source| AppError::DataDir {
            path: path.clone(),
            action: "made",
            source,
        })?;
        if let Err(earlier) = tempfile::env::override_temp_dir(&path) {
            tracing::debug!(path = %earlier.display(), "temporary files stay where they are");
        }
        Ok(())
    }

    fn write(&mut self, holder: &Holder) -> Result<(), AppError> {
        let text = serde_json::to_vec(holder).map_err(io::Error::other);
        let lock = &mut self.lock;
        text.and_then(|text| {
            lock.set_len(0)?;
            lock.rewind()?;
            lock.write_all(&text)
        })
        .map_err(|source| AppError::DataDir {
            path: self.path.clone(),
            action: "written to",
            source,
        })
    }
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
        let mut first = DataDir::lock(&dir.path().join("data")).unwrap();
        first.announce("127.0.0.1:8532".parse().unwrap()).unwrap();
        let error = DataDir::lock(&dir.path().join("data")).unwrap_err();
        let AppError::Locked { holder, .. } = &error else { panic!("{error}") };
        assert_eq!(holder.pid, std::process::id());
        assert_eq!(holder.admin, Some("127.0.0.1:8532".parse().unwrap()));
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        assert!(DataDir::lock(&dir.path().join("data")).is_ok());
    }
}
