//! `/selfupdate/…`: the files of a folder that an administrator set up for old agents.
//!
//! **Invariant:** the folder is listed once, at start; a request names an entry of that list or nothing. No
//! path is made of what a client sent.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// Files that are listed; the real folder has about a hundred.
const MAX_FILES: usize = 10_000;

/// Folders within folders.
const MAX_DEPTH: usize = 8;

/// The largest file that is served; it is read whole.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The listed files, by lower-case path below the folder.
#[derive(Debug, Default)]
pub(super) struct Selfupdate(HashMap<String, PathBuf>);

impl Selfupdate {
    /// Lists the folder; symbolic links and files that are too large are left out.
    pub(super) fn list(folder: &Path) -> Self {
        let mut files = HashMap::new();
        if let Err(error) = add(&mut files, folder, "", 0) {
            tracing::warn!(%error, folder = %folder.display(), "cannot list the self-update folder; its addresses are not found");
        }
        Self(files)
    }

    /// The file that an address names.
    pub(super) fn find(&self, path: &str) -> Option<&Path> {
        let (folder, below) = path.strip_prefix('/')?.split_once('/')?;
        if !folder.eq_ignore_ascii_case("selfupdate") {
            return None;
        }
        self.0.get(&below.to_ascii_lowercase()).map(PathBuf::as_path)
    }
}

fn add(files: &mut HashMap<String, PathBuf>, folder: &Path, prefix: &str, depth: usize) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let Some(name) = entry.file_name().to_str().map(str::to_ascii_lowercase) else { continue };
        if kind.is_dir() && depth < MAX_DEPTH {
            add(files, &entry.path(), &format!("{prefix}{name}/"), depth + 1)?;
        } else if kind.is_file() && files.len() < MAX_FILES && entry.metadata()?.len() <= MAX_BYTES {
            files.insert(format!("{prefix}{name}"), entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_folder_is_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("AU")).unwrap();
        std::fs::write(dir.path().join("AU/WuSetup.cab"), b"x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let list = Selfupdate::list(dir.path());
        assert!(list.find("/SelfUpdate/au/wusetup.CAB").is_some());
        for path in ["/selfupdate/link", "/selfupdate/../AU/WuSetup.cab", "/selfupdate/", "/selfupdate", "/"]
        {
            assert!(list.find(path).is_none(), "{path}");
        }
    }
}
