//! `/selfupdate/…`: the files of a folder that an administrator set up for old agents.
//!
//! Agents up to Windows 8.1 look here before each scan for a newer version of themselves, and take a 404 for a broken
//! server; later ones never ask.
//!
//! **Invariant:** the folder is listed once, at start; a request names an entry of that list or nothing. No
//! path is made of what a client sent.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};

use super::buffers::Buffers;
use super::conditions::{self, Wanted};
use super::insert;
use super::plain::Plain;
use crate::http::body::{self, Body};
use tailwater_domain::{ByteRange, Limit, Requester, limits};
use tailwater_runtime::is_recent;

/// Files that are listed; the real folder has about a hundred.
const MAX_FILES: usize = 10_000;

/// Folders within folders.
const MAX_DEPTH: usize = 8;

/// Between two warnings that something is asked for in vain: one for all agents.
const WARN_AGAIN: SignedDuration = SignedDuration::from_hours(24);

pub(super) const LIMITS: &[Limit] = limits![
    MAX_FILES in "files": "Files below selfupdate_dir" => "they are not served: 404",
    MAX_DEPTH in "folders": "Folders within folders below selfupdate_dir" => "they are not served: 404",
    WARN_AGAIN: "Time between two warnings that selfupdate_dir is missing" => "it is not logged",
];

/// The listed files, by lower-case path below the folder.
#[derive(Debug, Default)]
pub(super) struct Selfupdate {
    files: HashMap<String, PathBuf>,
    /// Whether a folder is set up at all.
    is_set: bool,
    warned: Mutex<Option<Timestamp>>,
}

/// A file as it is now.
struct Found {
    file: File,
    size: u64,
    modified: SystemTime,
}

impl Selfupdate {
    /// Lists the folder; symbolic links are left out.
    pub(super) fn list(folder: &Path) -> Self {
        let mut files = HashMap::new();
        if let Err(error) = add(&mut files, folder, "", 0) {
            tracing::warn!(%error, folder = %folder.display(), "cannot list the self-update folder; its addresses are not found");
        }
        Self { files, is_set: true, warned: Mutex::default() }
    }

    /// What lies below `/selfupdate/` of a path.
    fn below(path: &str) -> Option<&str> {
        let (folder, below) = path.strip_prefix('/')?.split_once('/').unwrap_or((&path[1..], ""));
        folder.eq_ignore_ascii_case("selfupdate").then_some(below)
    }

    /// The file that an address names.
    fn find(&self, path: &str) -> Option<&Path> {
        self.files.get(&Self::below(path)?.to_ascii_lowercase()).map(PathBuf::as_path)
    }

    /// Answers GET and HEAD, with ranges and conditions ([MS-WUSP] 2.2.2.5). `None` when there is no such file.
    pub(super) async fn answer(
        &self,
        method: &Method,
        headers: &HeaderMap,
        path: &str,
        buffers: &Buffers,
    ) -> Option<Response<Body>> {
        let file = self.find(path)?.to_owned();
        let shown = file.clone();
        let found = tokio::task::spawn_blocking(move || read(&file)).await;
        match found.unwrap_or_else(|_join| Err(io::ErrorKind::Interrupted.into())) {
            Ok(found) => Some(found.answer(method, headers, buffers)),
            // it was there when the folder was listed, and was taken away
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, file = %shown.display(), "a self-update file cannot be read; check its permissions");
                let text = "This file cannot be read now.\n";
                let mut answer = body::text(StatusCode::SERVICE_UNAVAILABLE, text);
                insert(&mut answer, header::RETRY_AFTER, "60");
                Some(answer)
            }
        }
    }

    /// Says once a day that an agent asked in vain, because such an agent never scans.
    pub(super) fn missed(&self, path: &str, by: Requester, now: Timestamp) {
        if Self::below(path).is_none() {
            return;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_some_and(|last| is_recent(last, WARN_AGAIN, now)) {
            return;
        }
        *warned = Some(now);
        let what = if self.is_set {
            "the folder of server.selfupdate_dir has no such file"
        } else {
            "server.selfupdate_dir is not set"
        };
        tracing::warn!(
            %path, ?by,
            "an agent up to Windows 8.1 asks for self-updates and is told 404, with which it does not scan: {what}; \
             copy the folder SelfUpdate of a WSUS and name it there (later agents never ask; said once a day)"
        );
    }
}

fn read(file: &Path) -> io::Result<Found> {
    let file = File::open(file)?;
    let about = file.metadata()?;
    Ok(Found { size: about.len(), modified: about.modified()?, file })
}

impl Found {
    fn answer(self, method: &Method, headers: &HeaderMap, buffers: &Buffers) -> Response<Body> {
        let since = self.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let size = self.size;
        let none = ByteRange { start: 0, end: 0 };
        let etag = format!("\"{since:x}-{size:x}\"");
        let (status, part, range) = match conditions::decide_for(method, headers, size, (&etag, since)) {
            Wanted::Ranges(ranges) if ranges.len() == 1 => {
                let part = ranges[0];
                let told = format!("bytes {}-{}/{size}", part.start, part.end - 1);
                (StatusCode::PARTIAL_CONTENT, part, Some(told))
            }
            Wanted::Whole | Wanted::Ranges(_) => (StatusCode::OK, ByteRange { start: 0, end: size }, None),
            Wanted::NotModified => (StatusCode::NOT_MODIFIED, none, None),
            Wanted::Failed => (StatusCode::PRECONDITION_FAILED, none, None),
            Wanted::Unsatisfiable => {
                (StatusCode::RANGE_NOT_SATISFIABLE, none, Some(format!("bytes */{size}")))
            }
        };
        let length = part.len();
        let body = if method == Method::HEAD || length == 0 {
            body::empty()
        } else {
            Plain::new(self.file, part, buffers.clone()).boxed_unsync()
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        insert(&mut answer, header::LAST_MODIFIED, &httpdate::fmt_http_date(self.modified));
        insert(&mut answer, header::ETAG, &etag);
        insert(&mut answer, header::ACCEPT_RANGES, "bytes");
        if status != StatusCode::NOT_MODIFIED {
            insert(&mut answer, header::CONTENT_TYPE, "application/octet-stream");
            answer.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        if let Some(range) = range {
            insert(&mut answer, header::CONTENT_RANGE, &range);
        }
        answer
    }
}

fn add(files: &mut HashMap<String, PathBuf>, folder: &Path, prefix: &str, depth: usize) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let Some(name) = entry.file_name().to_str().map(str::to_ascii_lowercase) else { continue };
        if kind.is_dir() && depth < MAX_DEPTH {
            add(files, &entry.path(), &format!("{prefix}{name}/"), depth + 1)?;
        } else if kind.is_file() && files.len() < MAX_FILES {
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
        for path in [
            "/selfupdate/link",
            "/selfupdate/../AU/WuSetup.cab",
            "/Content/au/wusetup.cab",
            "/selfupdate/",
            "/selfupdate",
            "/",
        ] {
            assert!(list.find(path).is_none(), "{path}");
        }
    }
}
