//! A file by shuffled ranges over several connections, checked against its digests, as Delivery
//! Optimization fetches it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CONTENT_RANGE, HOST, RANGE, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use sha1::Digest as _;
use tokio::time::Instant;

use super::fragment;
use crate::load::{ANSWER_TIME, AgentError, Connection, Figures, Server};
use tailwater_domain::{ByteRange, FileDeclaration, Sha1Digest, Sha256Digest};
use tailwater_runtime::Tasks;

/// Bytes of a range.
const RANGE_BYTES: u64 = 1 << 20;

/// Bytes hashed at a time.
const HASH_BYTES: usize = 256 * 1024;

/// What all connections of a download share.
struct Job {
    server: Arc<Server>,
    path: String,
    url: String,
    open: Mutex<VecDeque<ByteRange>>,
    size: u64,
    file: File,
}

/// A file as it is declared.
pub(crate) struct Declared {
    sha1: Sha1Digest,
    sha256: Option<Sha256Digest>,
    size: u64,
}

impl From<&fragment::File> for Declared {
    fn from(file: &fragment::File) -> Self {
        Self { sha1: file.sha1, sha256: file.sha256, size: file.size }
    }
}

impl From<&FileDeclaration> for Declared {
    fn from(file: &FileDeclaration) -> Self {
        Self { sha1: file.sha1, sha256: file.sha256, size: file.size }
    }
}

/// Fetches a file; true when its digests are as declared.
pub(crate) async fn fetch(
    url: &str,
    file: impl Into<Declared>,
    connections: u32,
    shuffle: u64,
    figures: &Arc<Figures>,
    tasks: &Tasks,
) -> Result<bool, AgentError> {
    let file: Declared = file.into();
    let uri: Uri = url.parse().map_err(|_no_address| AgentError::Address { address: url.to_owned() })?;
    let server = Arc::new(Server::of(&format!("http://{}", uri.authority().map_or("", |a| a.as_str())))?);
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let kept = tempfile::tempfile().map_err(AgentError::Disk)?;
    let open = Mutex::new(shuffled(file.size, shuffle));
    let url = format!("http://{}{}", server.authority, uri.path());
    let job = Arc::new(Job { server, path, url, open, size: file.size, file: kept });
    let lanes = u64::from(connections).clamp(1, file.size.div_ceil(RANGE_BYTES).max(1));
    let workers: Vec<_> = (0..lanes)
        .map(|_| {
            let (job, figures, connection) =
                (Arc::clone(&job), Arc::clone(figures), Connection::new(Arc::clone(&job.server), tasks));
            tasks.spawn("simulated-download", work(job, connection, figures))
        })
        .collect();
    let mut outcome = Ok(());
    for worker in workers {
        let ended = worker.await.unwrap_or(Ok(()));
        if outcome.is_ok() {
            outcome = ended;
        }
    }
    outcome?;
    let (sha1, sha256) = (file.sha1, file.sha256);
    let check = tokio::task::spawn_blocking(move || digests(&job.file));
    let (got1, got256) =
        check.await.map_err(|lost| AgentError::Disk(lost.into()))?.map_err(AgentError::Disk)?;
    Ok(got1 == sha1 && sha256.is_none_or(|sha256| sha256 == got256))
}

/// The ranges of a file in an order that follows from a number.
fn shuffled(size: u64, number: u64) -> VecDeque<ByteRange> {
    let mut ranges: Vec<_> = (0..size.div_ceil(RANGE_BYTES))
        .filter_map(|index| ByteRange::new(index * RANGE_BYTES, ((index + 1) * RANGE_BYTES).min(size)))
        .collect();
    let mut state = number | 1;
    for place in (1..ranges.len()).rev() {
        // xorshift: any order will do
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state % (place as u64 + 1)).unwrap_or(0);
        ranges.swap(place, other);
    }
    ranges.into()
}

async fn work(job: Arc<Job>, mut connection: Connection, figures: Arc<Figures>) -> Result<(), AgentError> {
    loop {
        let next = job.open.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(range) = next else { return Ok(()) };
        let start = Instant::now();
        let result = fetch_range(&job, &mut connection, range).await;
        figures.record("range", start.elapsed(), result.is_ok());
        let bytes = result?;
        figures.add(|report| report.file_bytes += bytes.len() as u64);
        let keeper = Arc::clone(&job);
        let kept = tokio::task::spawn_blocking(move || keeper.file.write_all_at(&bytes, range.start));
        kept.await.map_err(|lost| AgentError::Disk(lost.into()))?.map_err(AgentError::Disk)?;
    }
}

async fn fetch_range(job: &Job, connection: &mut Connection, range: ByteRange) -> Result<Bytes, AgentError> {
    let wrong = |problem| AgentError::File { url: job.url.clone(), problem };
    let request = Request::get(&job.path)
        .header(HOST, &connection.server().authority)
        .header(USER_AGENT, "Microsoft-Delivery-Optimization/10.0")
        .header(RANGE, format!("bytes={}-{}", range.start, range.end - 1))
        .body(Full::new(Bytes::new()))
        .map_err(|_bad_path| wrong("its address cannot be asked for"))?;
    let answer = connection.send("range", request).await?;
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Err(AgentError::Status { operation: "range", status: answer.status().as_u16() });
    }
    let expected = format!("bytes {}-{}/{}", range.start, range.end - 1, job.size);
    if answer.headers().get(CONTENT_RANGE).is_none_or(|value| value.as_bytes() != expected.as_bytes()) {
        return Err(wrong("another range came than was asked for"));
    }
    let late = |_late| AgentError::Timeout { operation: "range", limit: ANSWER_TIME };
    let body = tokio::time::timeout(ANSWER_TIME, answer.into_body().collect()).await.map_err(late)?;
    let bytes = body.map_err(|source| AgentError::Broken { operation: "range", source })?.to_bytes();
    if bytes.len() as u64 == range.len() { Ok(bytes) } else { Err(wrong("a range came short")) }
}

fn digests(file: &File) -> std::io::Result<(Sha1Digest, Sha256Digest)> {
    use std::io::Seek as _;
    let mut reader = file;
    reader.rewind()?;
    let (mut sha1, mut sha256) = (sha1::Sha1::new(), sha2::Sha256::new());
    let mut buffer = vec![0; HASH_BYTES];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok((Sha1Digest(sha1.finalize().into()), Sha256Digest(sha256.finalize().into())));
        }
        sha1.update(&buffer[..read]);
        sha256.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_ranges_cover_the_file_once() {
        for size in [1, RANGE_BYTES, RANGE_BYTES + 1, 37 * RANGE_BYTES - 5] {
            let mut ranges: Vec<_> = shuffled(size, 99).into();
            ranges.sort_by_key(|range| range.start);
            assert_eq!(ranges.first().unwrap().start, 0);
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!(ranges.last().unwrap().end, size);
        }
    }
}
