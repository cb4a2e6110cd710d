//! SOAP over the link: one request, one answer, with the retries that every operation shares.
//!
//! Invariant: an answer longer than [`IN_MEMORY`] lies in an unnamed file, compressed as it came. It never
//! retries what the other side refused for a reason; its callers know what a fault means.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};

use super::error::SyncError;
use tailwater_bandwidth::{LinkBody, LinkClient};
use tailwater_domain::{Class, Limit, limits};
use tailwater_runtime::Clock;
use tailwater_wire::server_reporting;
use tailwater_wire::server_sync::Request;
use tailwater_wire::soap::{Fault, SoapError, Version};
use tailwater_wire::xpress;

/// Answers up to this size are held in memory; four may be in flight.
const IN_MEMORY: usize = 8 << 20;
/// No answer may be longer, as it crosses the link.
const LONGEST_ANSWER: u64 = 1 << 30;
/// Nor longer than this once decompressed.
const LONGEST_DECODED: u64 = 4 << 30;
/// Shorter requests gain nothing from packing.
const LEAST_TO_PACK: usize = 1_024;
/// Roll-ups are small and links slow: this level packs them twice as well as the usual one.
const PACKING_LEVEL: i32 = 12;
/// How often one request is tried before its synchronisation gives up; the schedule tries again later.
const MOST_ATTEMPTS: u32 = 5;
/// Wait before the second attempt; doubles with each.
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// The longest wait, whatever an upstream asks for.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST_ANSWER in "bytes": "An answer of the upstream as it crosses the link" => "the synchronisation fails",
    LONGEST_DECODED in "bytes": "An answer of the upstream, decompressed" => "the synchronisation fails",
    MOST_ATTEMPTS in "tries": "Tries of one request" => "the synchronisation fails and is scheduled again",
    LONGEST_DELAY: "The pause that an upstream may ask for" => "it is asked again after this",
];

// not a limit: LEAST_TO_PACK: shorter requests are sent unpacked

/// An answer as a reader.
pub(super) type Answer = Box<dyn BufRead + Send>;

/// Why a call gave no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// The other side refused, with a reason.
    Fault(Box<Fault>),
    /// It did not work, and trying again now will not help.
    Failed(SyncError),
}

/// One attempt that failed.
struct Failure {
    error: CallError,
    again: Again,
}

/// Whether another attempt may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    /// After this wait at least, which the upstream asked for.
    After(Duration),
}

impl Again {
    const SOON: Self = Self::After(Duration::ZERO);

    fn soon_if(may_help: bool) -> Self {
        if may_help { Self::SOON } else { Self::Never }
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        Self { error: CallError::Failed(error), again: Again::Never }
    }
}

/// Sends requests. Cheap to clone.
#[derive(Clone)]
pub(super) struct SoapClient {
    pub(super) link: LinkClient,
    pub(super) clock: Clock,
    pub(super) dir: PathBuf,
    /// What the link counts its bytes as.
    pub(super) class: Class,
    /// `Authorization`, where the upstream's administrator made a token for this server.
    pub(super) token: Option<HeaderValue>,
    pub(super) packing: Packing,
}

/// Whether the upstream takes packed requests, and what was sent.
#[derive(Clone, Default)]
pub(super) struct Packing(Arc<PackingState>);

#[derive(Default)]
struct PackingState {
    /// Its last answer said that it takes zstd.
    taken: AtomicBool,
    /// Bytes of requests' bodies, as they went.
    sent: AtomicU64,
}

impl Packing {
    /// Whether requests are packed now.
    pub(super) fn is_on(&self) -> bool {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// Bytes of requests' bodies so far.
    pub(super) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// What an answer says about requests ([RFC9110] 12.5.3).
    fn learn(&self, headers: &HeaderMap) {
        let said = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let takes = said.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("zstd"));
        self.0.taken.store(takes, Ordering::Relaxed);
    }

    /// The body as it goes, and whether it is packed.
    fn pack(&self, body: &str) -> (Bytes, bool) {
        let packed = (self.is_on() && body.len() >= LEAST_TO_PACK)
            .then(|| zstd::bulk::compress(body.as_bytes(), PACKING_LEVEL).ok())
            .flatten();
        let is_packed = packed.is_some();
        let body = packed.map_or_else(|| Bytes::from(body.to_owned()), Bytes::from);
        self.0.sent.fetch_add(body.len() as u64, Ordering::Relaxed);
        (body, is_packed)
    }
}

impl SoapClient {
    /// Sends `request` and gives the answer to `read`, on a thread that may block; both again when the link
    /// or the answer was damaged.
    pub(super) async fn call<T, F>(&self, url: &Uri, request: &Request, read: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Fn(Answer) -> Result<T, SoapError> + Clone + Send + 'static,
    {
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(url, request, read.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let wanted = match failure.again {
                Again::After(wanted) if attempt < MOST_ATTEMPTS => wanted,
                _ => return Err(failure.error),
            };
            let wait = wanted.min(LONGEST_DELAY).max(delay(attempt));
            tracing::debug!(operation = request.operation, attempt, ?wait, error = ?failure.error, "trying again");
            self.clock.sleep(wait).await;
            attempt += 1;
        }
    }

    async fn attempt<T, F>(&self, url: &Uri, request: &Request, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Fn(Answer) -> Result<T, SoapError> + Send + 'static,
    {
        let operation = request.operation;
        let broken = |source: tailwater_bandwidth::LinkError| Failure {
            again: Again::soon_if(source.retry_may_help()),
            error: CallError::Failed(SyncError::Link { operation, source }),
        };
        let mut message = http::Request::post(url.clone())
            .header(CONTENT_TYPE, Version::V11.content_type())
            .header("SOAPAction", &request.action)
            .header(ACCEPT_ENCODING, "xpress");
        let (body, packed) = self.packing.pack(&request.body);
        if packed {
            message = message.header(CONTENT_ENCODING, "zstd");
        }
        if let Some(token) = &self.token {
            message = message.header(AUTHORIZATION, token);
        }
        let message = message.body(Full::new(body)).map_err(|_e| SyncError::Url { url: url.to_string() })?;
        let response = self.link.send(message, self.class).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        self.packing.learn(&head.headers);
        if packed && head.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            // something between took the promise back
            let error = refusal(operation, head.status, &head.headers).error;
            return Err(Failure { error, again: Again::SOON });
        }
        // a fault travels with status 500; anything else is no answer of the service
        if head.status != StatusCode::OK && head.status != StatusCode::INTERNAL_SERVER_ERROR {
            return Err(refusal(operation, head.status, &head.headers));
        }
        let stored = self.receive(body, operation, LONGEST_ANSWER).await?;
        let stored = stored.map_err(broken)?;
        let compressed = is_xpress(&head.headers);
        let read = tokio::task::spawn_blocking(move || read(stored.open(compressed)));
        match read.await {
            Ok(Ok(answer)) if head.status == StatusCode::OK => Ok(answer),
            Ok(Ok(_)) => Err(refusal(operation, head.status, &head.headers)),
            Ok(Err(SoapError::Fault(fault))) => Err(refused(operation, fault)),
            Ok(Err(_)) if head.status != StatusCode::OK => {
                Err(refusal(operation, head.status, &head.headers))
            }
            Ok(Err(source)) => Err(Failure {
                error: CallError::Failed(SyncError::Answer { operation, source }),
                again: Again::SOON,
            }),
            // reading panicked: perhaps over bytes that the link damaged
            Err(_) => Err(Failure { error: CallError::Failed(SyncError::Worker), again: Again::SOON }),
        }
    }

    /// Takes a body in. The outer error is ours, the inner one the link's.
    pub(super) async fn receive(
        &self,
        mut body: LinkBody,
        operation: &'static str,
        limit: u64,
    ) -> Result<Result<Stored, tailwater_bandwidth::LinkError>, SyncError> {
        let (mut memory, mut spooled) = (Vec::new(), None);
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let chunk = match frame {
                Ok(frame) => frame.into_data().unwrap_or_default(),
                Err(error) => return Ok(Err(error)),
            };
            length += chunk.len() as u64;
            if length > limit {
                return Err(SyncError::AnswerTooLong { operation, limit });
            }
            memory.extend_from_slice(&chunk);
            let enough = if spooled.is_some() { IN_MEMORY / 8 } else { IN_MEMORY };
            if memory.len() > enough {
                (memory, spooled) = self.spool(memory, spooled).await?;
            }
        }
        if spooled.is_some() {
            (_, spooled) = self.spool(memory, spooled).await?;
            return Ok(Ok(spooled.map_or_else(|| Stored::Memory(Vec::new()), Stored::File)));
        }
        Ok(Ok(Stored::Memory(memory)))
    }

    /// Appends to the unnamed file, making it when there is none yet.
    async fn spool(
        &self,
        mut memory: Vec<u8>,
        file: Option<File>,
    ) -> Result<(Vec<u8>, Option<File>), SyncError> {
        let dir = self.dir.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut file = match file {
                Some(file) => file,
                None => std::fs::create_dir_all(&dir).and_then(|()| tempfile::tempfile_in(&dir))?,
            };
            file.write_all(&memory)?;
            memory.clear();
            memory.shrink_to(IN_MEMORY / 8);
            Ok((memory, Some(file)))
        });
        let written = written.await.map_err(|_e| SyncError::Worker)?;
        written.map_err(|source| SyncError::File { path: self.dir.clone(), source })
    }
}

/// A body that was received whole.
pub(super) enum Stored {
    Memory(Vec<u8>),
    File(File),
}

impl Stored {
    pub(super) fn open(self, compressed: bool) -> Answer {
        let plain: Answer = match self {
            Self::Memory(bytes) => Box::new(Cursor::new(bytes)),
            Self::File(mut file) => match file.rewind() {
                Ok(()) => Box::new(BufReader::with_capacity(64 * 1024, file)),
                // an empty answer is refused as such
                Err(_) => Box::new(Cursor::new(Vec::new())),
            },
        };
        if compressed { Box::new(xpress::Reader::new(plain, LONGEST_DECODED)) } else { plain }
    }
}

fn is_xpress(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"xpress"))
}

/// What a fault means for the request that met it.
fn refused(operation: &'static str, fault: Box<Fault>) -> Failure {
    let again = match fault.code.as_deref() {
        // Deviates: a fault without a code stops Windows; it comes of machinery in between, and passes
        None | Some("ServerBusy") => Again::SOON,
        Some("InternalServerError") if !is_divided(operation) && !is_rollup(operation) => Again::SOON,
        Some(_) => Again::Never,
    };
    Failure { error: CallError::Fault(fault), again }
}

/// What is asked for in smaller batches instead.
fn is_divided(operation: &str) -> bool {
    matches!(operation, "GetUpdateData" | "GetUpdateDecryptionData")
}

/// Roll-ups that were refused stop ([MS-WSUSSS] 3.1.4.15); the schedule tries again.
fn is_rollup(operation: &str) -> bool {
    server_reporting::OPERATIONS.contains(&operation)
}

/// What a status means that comes with no answer of the service.
fn refusal(operation: &'static str, status: StatusCode, headers: &HeaderMap) -> Failure {
    let advice = match status.as_u16() {
        401 | 403 => "it does not let this server in: allow it there, or set upstream.client_certificate",
        404 => "there is no update server at that address; check upstream.url and its port (WSUS: 8530)",
        407 => "the proxy wants credentials; put them into upstream.proxy",
        300..=399 => "it redirects; set upstream.url to the address it leads to",
        _ => "it is overloaded or out of order; try again later",
    };
    let passes = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = Again::After(Duration::from_secs(seconds.unwrap_or_default()));
    Failure {
        error: CallError::Failed(SyncError::Status { operation, status: status.as_u16(), advice }),
        again: if passes { after } else { Again::Never },
    }
}

/// The wait after the given attempt: doubling, and up to half more or less by chance.
pub(super) fn delay(attempt: u32) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(1 << attempt.saturating_sub(1).min(8)).min(LONGEST_DELAY);
    doubled.mul_f64(0.5 + chance())
}

/// A number from 0 to 1 by chance.
pub(super) fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}
