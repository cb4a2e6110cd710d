//! Payloads over HTTP: `/Content/<XX>/<SHA-1>.<ext>` and `/selfupdate/…`.
//!
//! **Invariant:** what is answered under a digest are bytes of the file that metadata declared under it.
//! It never makes a path of the file system from what a client sent, and never asks the upstream for a
//! digest that no metadata names.

mod buffers;
mod conditions;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing;
mod multipart;
mod plain;
mod selfupdate;
mod stream;
mod urgent;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;

use self::buffers::Buffers;
use self::conditions::Wanted;
use self::multipart::Multipart;
use self::selfupdate::Selfupdate;
use self::stream::Stream;
use self::urgent::{Charge, Urgent};
use super::http::body::{self, Body};
use super::http::{Request, Response, path};
use tailwater_content::{SparseFile, Store};
use tailwater_domain::{
    ByteRange, ContentPath, FileDeclaration, Limit, Requester, Sha1Digest, joined_limits, limits,
};
use tailwater_transfer::{self as transfer, TransferError, Want};

/// Held answers up to this length are read before the head is sent, and go out in one piece with it.
const AT_ONCE: u64 = 64 * 1024;

/// What a client is told to wait before it asks again for what cannot be had now, in seconds.
const RETRY_AFTER: i64 = 60;

/// The same when a budget is spent, at most: an administrator may raise it meanwhile.
const LONGEST_RETRY_AFTER: i64 = 3600;

const OWN_LIMITS: &[Limit] = limits![
    LONGEST_RETRY_AFTER in "s": "The Retry-After of a spent budget" => "it is told no later time",
    AT_ONCE in "bytes": "An answer that is read before its head is sent" => "it is streamed",
];

pub(super) const LIMITS: &[Limit] = joined_limits![
    OWN_LIMITS,
    buffers::LIMITS,
    conditions::LIMITS,
    multipart::LIMITS,
    selfupdate::LIMITS,
    stream::LIMITS,
    urgent::LIMITS,
];

// not a limit: RETRY_AFTER: what a client is told to wait

/// Which payloads metadata declares; the catalog's side of a miss.
pub trait KnownFiles: Send + Sync + 'static {
    /// The declaration of a digest, if any revision has it. Called on a miss; must not block for long.
    fn declaration(&self, sha1: &Sha1Digest) -> Option<FileDeclaration>;

    /// Whether what is missing of a declared file may be fetched because this client asks (`content.demand`). Called on a miss;
    /// must not block for long.
    fn may_fetch(&self, sha1: &Sha1Digest, by: Requester) -> bool;
}

/// Is told what was asked for; who learns from it.
pub trait Asked: Send + Sync + 'static {
    /// A range of a payload was asked for and is about to be answered. Must not block.
    fn asked(&self, by: Requester, sha1: &Sha1Digest, range: ByteRange);
}

/// Nobody learns.
impl Asked for () {
    fn asked(&self, _by: Requester, _sha1: &Sha1Digest, _range: ByteRange) {}
}

/// What an answer holds of a payload: an extension of every answer that sends some of one.
#[derive(Debug, Clone)]
pub struct Sends {
    /// The payload.
    pub sha1: Sha1Digest,
    /// Its ranges, in the order in which they are sent.
    pub ranges: Vec<ByteRange>,
    /// Bytes of the answer before each range that are not of the payload; empty when there are none.
    pub heads: Vec<u64>,
    /// To whom.
    pub to: Requester,
}

/// What the service is told at start.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The folder behind `/selfupdate/`; without one every address below it is a clean 404.
    pub selfupdate: Option<PathBuf>,
}

/// Answers for payloads. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    selfupdate: Selfupdate,
    store: Store,
    transfer: transfer::Handle,
    known: Arc<dyn KnownFiles>,
    witness: Arc<dyn Asked>,
    buffers: Buffers,
    urgent: Urgent,
}

/// A payload that was asked for.
#[derive(Clone)]
struct Found {
    address_type: &'static str,
    etag: String,
    /// Which version of it an answer is of.
    version: u32,
    size: u64,
    /// What is held of it, if anything.
    file: Option<Arc<SparseFile>>,
    sha1: Sha1Digest,
    for_whom: Requester,
}

/// The strong entity tag of a digest, with its quotes: the SHA-1, which is known of every file from the start, and the
/// version of its bytes after the first.
fn etag(sha1: &Sha1Digest, version: u32) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut tag = String::with_capacity(53);
    tag.push('"');
    for byte in sha1.0 {
        tag.push(char::from(DIGITS[usize::from(byte >> 4)]));
        tag.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    if version > 0 {
        tag.push('-');
        tag.push_str(&version.to_string());
    }
    tag.push('"');
    tag
}

/// The media type that IIS gives a payload.
fn media_type(address: &ContentPath<'_>) -> &'static str {
    if address.extension.eq_ignore_ascii_case(".wim") {
        "application/x-ms-wim"
    } else {
        "application/octet-stream"
    }
}

fn not_found() -> Response {
    body::text(StatusCode::NOT_FOUND, "There is no such file.\n")
}

impl Service {
    /// The service over a store; misses go to `transfer`. Lists the self-update folder.
    pub fn new(
        config: &Config,
        store: Store,
        transfer: transfer::Handle,
        known: Arc<dyn KnownFiles>,
        witness: Arc<dyn Asked>,
    ) -> Self {
        let selfupdate = config.selfupdate.as_deref().map(Selfupdate::list).unwrap_or_default();
        let (buffers, urgent) = (Buffers::default(), Urgent::default());
        Self(Arc::new(Inner { selfupdate, store, transfer, known, witness, buffers, urgent }))
    }

    /// Answers one request below `/Content` or `/selfupdate`; what is missing is fetched for `for_whom`.
    pub async fn answer(&self, request: Request, for_whom: Requester) -> Response {
        let (head, _) = request.into_parts();
        if head.method != Method::GET && head.method != Method::HEAD {
            let mut answer = body::text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are answered.\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let Some(path) = path::of(&head.uri) else { return not_found() };
        if let Some(address) = ContentPath::read(&path) {
            return self.content(&head.method, &head.headers, &address, for_whom).await;
        }
        let found =
            Box::pin(self.0.selfupdate.answer(&head.method, &head.headers, &path, &self.0.buffers)).await;
        found.unwrap_or_else(|| {
            self.0.selfupdate.missed(&path, for_whom, self.0.transfer.now());
            not_found()
        })
    }

    async fn content(
        &self,
        method: &Method,
        headers: &HeaderMap,
        address: &ContentPath<'_>,
        for_whom: Requester,
    ) -> Response {
        let asked = match self.find(address, for_whom).await {
            Ok(Some(asked)) => asked,
            Ok(None) => return not_found(),
            Err(error) => return self.refusal(&address.sha1, &error),
        };
        let version = (&*asked.etag, conditions::last_modified(asked.version));
        let wanted = conditions::decide_for(method, headers, asked.size, version);
        if self.lacks(&asked, &wanted) && !self.0.known.may_fetch(&asked.sha1, for_whom) {
            // as an upstream that holds approved files only: a downstream server then asks for it by DownloadFiles
            tracing::debug!(sha1 = %asked.sha1, by = %for_whom, "not held, and not approved: not fetched (content.demand)");
            return not_found();
        }
        if method == Method::GET {
            self.tell(&asked, &wanted);
        }
        let mut answer = match wanted {
            Wanted::Whole if method == Method::HEAD => {
                asked.answer(StatusCode::OK, asked.size, body::empty())
            }
            Wanted::Whole => match ByteRange::new(0, asked.size) {
                Some(whole) => self.one(&asked, whole, StatusCode::OK).await,
                None => asked.answer(StatusCode::OK, 0, body::empty()),
            },
            Wanted::Ranges(ranges) => match ranges[..] {
                [range] => self.one(&asked, range, StatusCode::PARTIAL_CONTENT).await,
                _ => Box::pin(self.several(&asked, ranges)).await,
            },
            Wanted::NotModified => asked.bare(StatusCode::NOT_MODIFIED),
            Wanted::Failed => asked.bare(StatusCode::PRECONDITION_FAILED),
            Wanted::Unsatisfiable => {
                let mut answer = asked.bare(StatusCode::RANGE_NOT_SATISFIABLE);
                insert(&mut answer, header::CONTENT_RANGE, &format!("bytes */{}", asked.size));
                answer
            }
        };
        answer.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        answer
    }

    /// Whether something would have to be fetched for an answer.
    fn lacks(&self, asked: &Found, wanted: &Wanted) -> bool {
        let whole = ByteRange::new(0, asked.size);
        let ranges = match wanted {
            Wanted::Whole => whole.as_slice(),
            Wanted::Ranges(ranges) => ranges,
            Wanted::NotModified | Wanted::Failed | Wanted::Unsatisfiable => return asked.file.is_none(),
        };
        ranges.iter().any(|range| self.held(asked, *range).is_none())
    }

    fn tell(&self, asked: &Found, wanted: &Wanted) {
        let whole = ByteRange::new(0, asked.size);
        let ranges = match wanted {
            Wanted::Whole => whole.as_slice(),
            Wanted::Ranges(ranges) => ranges,
            Wanted::NotModified | Wanted::Failed | Wanted::Unsatisfiable => &[],
        };
        for range in ranges {
            self.0.witness.asked(asked.for_whom, &asked.sha1, *range);
        }
    }

    /// What is held under a digest, or what metadata says of it; `None` when there is no such file. One that is held and
    /// cannot be opened is there all the same: the client comes again.
    async fn find(
        &self,
        address: &ContentPath<'_>,
        for_whom: Requester,
    ) -> Result<Option<Found>, TransferError> {
        let sha1 = address.sha1;
        let file = match self.0.store.cached(&sha1) {
            Some(file) => Some(file),
            None => Box::pin(self.open(sha1)).await?,
        };
        let declared = || self.0.known.declaration(&sha1).map(|file| file.size);
        let Some(size) = file.as_ref().map(|file| file.size()).or_else(declared) else { return Ok(None) };
        let version = file.as_ref().map_or_else(|| self.0.store.version(&sha1), |file| file.version());
        let (address_type, etag) = (media_type(address), etag(&sha1, version));
        Ok(Some(Found { address_type, etag, version, size, file, sha1, for_whom }))
    }

    /// Opens a held file off the runtime's threads.
    async fn open(&self, sha1: Sha1Digest) -> Result<Option<Arc<SparseFile>>, TransferError> {
        let store = self.0.store.clone();
        let opened = tokio::task::spawn_blocking(move || store.held(&sha1)).await;
        let opened = opened.map_err(|_join| TransferError::Stopping)?;
        opened
            .inspect_err(|error| tracing::warn!(%sha1, %error, "a held file cannot be opened"))
            .map_err(TransferError::from)
    }

    /// The file when it holds the range for as long as it is read; one that cannot be kept whole may lose it meanwhile.
    fn held<'a>(&self, asked: &'a Found, range: ByteRange) -> Option<&'a Arc<SparseFile>> {
        let file = asked.file.as_ref().filter(|file| file.holds(range))?;
        (file.is_verified() || self.0.store.window(file.size()).is_none()).then_some(file)
    }

    /// One range, or the whole.
    async fn one(&self, asked: &Found, range: ByteRange, status: StatusCode) -> Response {
        let body = match self.held(asked, range) {
            Some(file) => {
                let at_once =
                    (range.len() <= AT_ONCE).then(|| Stream::at_once(file, range, &self.0.buffers)).flatten();
                match at_once {
                    Some(bytes) => body::full(bytes),
                    None => Stream::held(Arc::clone(file), range, self.0.buffers.clone()).boxed_unsync(),
                }
            }
            None => match Box::pin(self.fetch(asked, range)).await {
                Ok(stream) => stream.boxed_unsync(),
                Err(error) => return self.refusal(&asked.sha1, &error),
            },
        };
        let mut answer = asked.answer(status, range.len(), body);
        asked.sends(&mut answer, vec![range], Vec::new());
        if status == StatusCode::PARTIAL_CONTENT {
            let value = format!("bytes {}-{}/{}", range.start, range.end - 1, asked.size);
            insert(&mut answer, header::CONTENT_RANGE, &value);
        }
        answer
    }

    /// Several ranges as parts. Waits for the first byte of the first, so that a failure is still a status.
    async fn several(&self, asked: &Found, ranges: Vec<ByteRange>) -> Response {
        let Some(first) = ranges.first() else { return not_found() };
        let first = match self.part(asked, *first, true).await {
            Ok(stream) => stream,
            Err(error) => return self.refusal(&asked.sha1, &error),
        };
        let (service, found) = (self.clone(), asked.clone());
        let open: multipart::Open = Box::new(move |range| {
            let (service, found) = (service.clone(), found.clone());
            Box::pin(async move { service.part(&found, range, false).await.map_err(io::Error::other) })
        });
        let boundary = uuid::Uuid::new_v4().simple().to_string();
        let value = format!("multipart/byteranges; boundary={boundary}");
        let parts = Multipart::new(&ranges, first, open, (asked.size, asked.address_type, boundary));
        let heads = parts.heads();
        let mut answer = asked.answer(StatusCode::PARTIAL_CONTENT, parts.len(), parts.boxed_unsync());
        asked.sends(&mut answer, ranges, heads);
        insert(&mut answer, header::CONTENT_TYPE, &value);
        answer
    }

    /// One part; only the answer's first can still be refused with a status.
    async fn part(&self, asked: &Found, range: ByteRange, is_first: bool) -> Result<Stream, TransferError> {
        match self.held(asked, range) {
            Some(file) => Ok(Stream::held(Arc::clone(file), range, self.0.buffers.clone())),
            None if is_first => self.fetch(asked, range).await,
            None => {
                let (want, charge) = self.want(asked, range).await?;
                let stream = Stream::wanted(want.in_answer(), range.start, self.0.buffers.clone());
                Ok(stream.charged(charge))
            }
        }
    }

    /// A range of which something is missing. Waits for its first byte, so that a failure is still a status.
    async fn fetch(&self, asked: &Found, range: ByteRange) -> Result<Stream, TransferError> {
        let (want, charge) = self.want(asked, range).await?;
        let readable = want.ready(range.start).await?;
        Ok(Stream::wanted(want, readable, self.0.buffers.clone()).charged(charge))
    }

    async fn want(&self, asked: &Found, range: ByteRange) -> Result<(Want, Charge), TransferError> {
        let known = self.0.known.declaration(&asked.sha1);
        let declaration = known.ok_or(TransferError::Gone { sha1: asked.sha1 })?;
        let missing = asked.file.as_ref().map_or(range.len(), |file| file.missing_of(range));
        let (rate, now) = (self.0.transfer.rate(), self.0.transfer.instant());
        let (class, charge) = self.0.urgent.charge(asked.for_whom, missing, rate, now);
        let want = self.0.transfer.want(&declaration, range, class, asked.for_whom).await?;
        if want.file().version() != asked.version {
            // it began anew since the conditions were looked at
            return Err(TransferError::Dropped { sha1: asked.sha1 });
        }
        Ok((want, charge))
    }
}

fn insert(answer: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

impl Found {
    fn sends(&self, answer: &mut Response, ranges: Vec<ByteRange>, heads: Vec<u64>) {
        answer.extensions_mut().insert(Sends { sha1: self.sha1, ranges, heads, to: self.for_whom });
    }

    /// An answer with a body of a known length, with the headers that real agents were seen to rely on.
    fn answer(&self, status: StatusCode, length: u64, body: Body) -> Response {
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.reserve(6);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.address_type));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        self.insert_version(&mut answer);
        answer
    }

    /// What tells this version of it from others.
    fn insert_version(&self, answer: &mut Response) {
        let modified = std::time::UNIX_EPOCH + Duration::from_secs(conditions::last_modified(self.version));
        insert(answer, header::LAST_MODIFIED, &httpdate::fmt_http_date(modified));
        insert(answer, header::ETAG, &self.etag);
    }

    /// An answer without a body.
    fn bare(&self, status: StatusCode) -> Response {
        let mut answer = Response::new(body::empty());
        *answer.status_mut() = status;
        self.insert_version(&mut answer);
        answer
    }
}

impl Service {
    /// What a client gets when bytes cannot be had: never wrong ones.
    fn refusal(&self, sha1: &Sha1Digest, error: &TransferError) -> Response {
        let wait = match error {
            TransferError::Spent { until } => until
                .as_second()
                .saturating_sub(self.0.transfer.now().as_second())
                .clamp(1, LONGEST_RETRY_AFTER),
            TransferError::Unreachable { again, .. } | TransferError::Deferred { again, .. } => {
                i64::try_from(again.as_secs()).unwrap_or(RETRY_AFTER).clamp(1, LONGEST_RETRY_AFTER)
            }
            // it begins anew at once
            TransferError::Dropped { .. } => 1,
            _ => RETRY_AFTER,
        };
        refusal(sha1, error, wait)
    }
}

/// Of the error; told again after so many seconds.
fn refusal(sha1: &Sha1Digest, error: &TransferError, wait: i64) -> Response {
    tracing::info!(%sha1, %error, "a client was refused");
    let status = match error {
        TransferError::Elsewhere { url: Some(url), .. } => {
            let mut answer = body::text(StatusCode::FOUND, "This server sends clients to the origin.\n");
            insert(&mut answer, header::LOCATION, url);
            return answer;
        }
        TransferError::Elsewhere { url: None, .. } | TransferError::Gone { .. } => return not_found(),
        TransferError::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
        TransferError::Mismatch { .. } | TransferError::Refused { .. } | TransferError::Collision { .. } => {
            StatusCode::BAD_GATEWAY
        }
        TransferError::Dropped { .. }
        | TransferError::Stopped { .. }
        | TransferError::Unreachable { .. }
        | TransferError::Deferred { .. }
        | TransferError::Crowded
        | TransferError::Spent { .. }
        | TransferError::Store(_)
        | TransferError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut answer = body::text(status, format!("{error}\n"));
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
    answer
}
