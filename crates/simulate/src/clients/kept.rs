//! Cookies that agents keep from one run to the next, as real ones do: they then begin with a scan and shake hands only
//! when the server asks for it.
//!
//! **Invariant:** at most one cookie a machine; the file is replaced whole and only its owner reads it. It never decides
//! whether a cookie is still good: the server does.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::message::Cookie;

/// The largest file that is read: a hundred thousand cookies.
const MAX_FILE: u64 = 256 << 20;

#[derive(Serialize, Deserialize)]
struct Row {
    expiration: String,
    data: String,
}

/// Cookies by machine. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct KeptCookies(Arc<CookieFile>);

#[derive(Debug)]
struct CookieFile {
    path: PathBuf,
    cookies: Mutex<BTreeMap<Uuid, Cookie>>,
}

impl KeptCookies {
    /// Those of a file; none when it does not exist yet.
    ///
    /// # Errors
    /// When it cannot be read, is too large or holds something else.
    pub fn open(path: &Path) -> io::Result<Self> {
        let rows: BTreeMap<Uuid, Row> = match fs::metadata(path) {
            Ok(found) if found.len() > MAX_FILE => return Err(io::ErrorKind::FileTooLarge.into()),
            Ok(_) => serde_json::from_slice(&fs::read(path)?)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let cookie = |(id, row): (Uuid, Row)| (id, Cookie { expiration: row.expiration, data: row.data });
        let cookies = Mutex::new(rows.into_iter().map(cookie).collect());
        Ok(Self(Arc::new(CookieFile { path: path.to_owned(), cookies })))
    }

    /// Writes them back.
    ///
    /// # Errors
    /// When the file cannot be written; then the former one stays.
    pub fn save(&self) -> io::Result<()> {
        let row = |(id, cookie): (&Uuid, &Cookie)| {
            (*id, Row { expiration: cookie.expiration.clone(), data: cookie.data.clone() })
        };
        let cookies = self.0.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        let rows: BTreeMap<Uuid, Row> = cookies.iter().map(row).collect();
        drop(cookies);
        let mut new = self.0.path.clone().into_os_string();
        new.push(".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(&rows)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.0.path)
    }

    pub(super) fn of(&self, machine: Uuid) -> Cookie {
        let cookies = self.0.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        cookies.get(&machine).cloned().unwrap_or_default()
    }

    pub(super) fn keep(&self, machine: Uuid, cookie: &Cookie) {
        if !cookie.data.is_empty() {
            let mut cookies = self.0.cookies.lock().unwrap_or_else(PoisonError::into_inner);
            cookies.insert(machine, cookie.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn cookies_are_there_again_in_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cookies.json");
        let kept = KeptCookies::open(&path).unwrap();
        let machine = Uuid::from_u128(7);
        assert!(kept.of(machine).data.is_empty());
        kept.keep(machine, &Cookie { expiration: "2026-12-01T00:00:00Z".to_owned(), data: "abc".to_owned() });
        kept.keep(Uuid::from_u128(8), &Cookie::default());
        kept.save().unwrap();
        let again = KeptCookies::open(&path).unwrap();
        assert_eq!(again.of(machine).data, "abc");
        assert!(again.of(Uuid::from_u128(8)).data.is_empty());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "something else").unwrap();
        assert!(KeptCookies::open(&path).is_err());
    }
}
