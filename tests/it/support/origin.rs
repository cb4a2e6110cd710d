//! An upstream in the test: serves payloads by range, counts every byte it sends, and misbehaves on request.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tailwater::domain::{FileDeclaration, Sha1Digest, Sha256Digest};
use tailwater::runtime::{Clock, Tasks};
use tailwater::serve::{Answer, Listener, ListenerConfig, Peer, Request, full, text};
use tokio::time::{Instant, Sleep};

/// Bytes in a frame, so that counts follow what really leaves.
const FRAME: usize = 32 * 1024;

/// What goes wrong with one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection closes after so many bytes of the body.
    Drop(u64),
    /// Nothing more comes after so many bytes of the body.
    Stall(u64),
    /// This status; with `Retry-After` in seconds when not 0.
    Status(u16, u32),
    /// One byte of the body is wrong.
    Corrupt,
    /// The whole file, whatever range was asked for.
    NoRange,
    /// A page of HTML with status 200.
    Garbage,
    /// A file that is one byte longer.
    OtherLength,
    /// Another range than was asked for.
    OtherRange,
}

/// What it says of the pieces that it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Their hashes.
    Right,
    /// Other hashes.
    Wrong,
    /// No hashes.
    Garbage,
    /// One less than there are pieces.
    TooFew,
}

/// What was sent of one file.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// Requests for it.
    pub requests: u64,
    /// Bytes of bodies.
    pub bytes: u64,
    /// How often each 64 KiB piece began to be sent.
    pub pieces: BTreeMap<u64, u32>,
}

/// The upstream.
#[derive(Clone)]
pub struct Origin(Arc<Inner>);

struct Inner {
    base: Mutex<String>,
    files: Mutex<HashMap<String, Bytes>>,
    faults: Mutex<VecDeque<Fault>>,
    claim: Mutex<Option<Claim>>,
    sent: Mutex<HashMap<String, Sent>>,
    /// Bytes a second over all answers.
    pace: Option<u64>,
    paced: Mutex<Option<Instant>>,
    /// How long each answer waits before it begins.
    delay: Duration,
}

impl Origin {
    pub async fn start(tasks: &Tasks) -> Self {
        Self::start_paced(tasks, None, Duration::ZERO).await
    }

    #[expect(clippy::unused_async, reason = "whoever starts one waits, as for every server here")]
    pub async fn start_paced(tasks: &Tasks, pace: Option<u64>, delay: Duration) -> Self {
        let config = ListenerConfig::new("127.0.0.1:0".parse().unwrap());
        let listener = Listener::bind(config).unwrap();
        let origin = Self(Arc::new(Inner {
            base: Mutex::new(format!("http://{}", listener.address())),
            files: Mutex::default(),
            faults: Mutex::default(),
            claim: Mutex::default(),
            sent: Mutex::default(),
            pace,
            paced: Mutex::default(),
            delay,
        }));
        tasks.spawn("origin", listener.run(Arc::new(origin.clone()), Clock::system(), tasks.clone()));
        origin
    }

    /// Adds a file of bytes that depend on `seed`, and declares it as metadata would.
    pub fn add(&self, name: &str, size: usize, seed: u64) -> FileDeclaration {
        let bytes = content(size, seed);
        let declaration = declare(name, &bytes);
        self.0.files.lock().unwrap().insert(declaration.content_path(), bytes);
        declaration
    }

    /// Puts other bytes under a file's address and returns it.
    pub fn add_under(&self, file: &FileDeclaration, bytes: Bytes) -> String {
        self.0.files.lock().unwrap().insert(file.content_path(), bytes);
        self.url(file)
    }

    pub fn bytes(&self, file: &FileDeclaration) -> Bytes {
        self.0.files.lock().unwrap()[&file.content_path()].clone()
    }

    pub fn remove(&self, file: &FileDeclaration) {
        self.0.files.lock().unwrap().remove(&file.content_path());
    }

    pub fn url(&self, file: &FileDeclaration) -> String {
        format!("{}{}", self.0.base.lock().unwrap(), file.content_path())
    }

    /// The next answers go wrong, one each.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.faults.lock().unwrap().extend(faults);
    }

    /// From now on it says this of the pieces it sends.
    pub fn claim(&self, claim: Option<Claim>) {
        *self.0.claim.lock().unwrap() = claim;
    }

    pub fn sent(&self, file: &FileDeclaration) -> Sent {
        self.0.sent.lock().unwrap().get(&file.content_path()).cloned().unwrap_or_default()
    }

    fn note(&self, path: &str, from: u64, len: u64) {
        let mut sent = self.0.sent.lock().unwrap();
        let sent = sent.entry(path.to_owned()).or_default();
        sent.bytes += len;
        for piece in from.div_ceil(65_536)..(from + len).div_ceil(65_536) {
            *sent.pieces.entry(piece).or_default() += 1;
        }
    }

    /// When `len` more bytes may leave.
    fn turn(&self, len: u64) -> Option<Instant> {
        let pace = self.0.pace?;
        let mut paced = self.0.paced.lock().unwrap();
        let begin = paced.unwrap_or_else(Instant::now).max(Instant::now() - Duration::from_millis(5));
        let end = begin + Duration::from_secs_f64(len as f64 / pace as f64);
        *paced = Some(end);
        Some(begin)
    }
}

/// Bytes that depend on `seed` alone.
pub fn content(size: usize, seed: u64) -> Bytes {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

pub fn declare(name: &str, bytes: &[u8]) -> FileDeclaration {
    use sha1::Digest as _;
    FileDeclaration {
        sha1: Sha1Digest(sha1::Sha1::digest(bytes).into()),
        sha256: Some(Sha256Digest(sha2::Sha256::digest(bytes).into())),
        size: bytes.len() as u64,
        name: name.to_owned(),
        patching: None,
    }
}

fn range(headers: &HeaderMap, size: u64) -> Option<(u64, u64)> {
    let value = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?;
    let (first, last) = value.split_once('-')?;
    Some((first.parse().ok()?, (last.parse::<u64>().ok()? + 1).min(size)))
}

/// The header that says what the pieces of a range are.
fn claims(claim: Claim, bytes: &Bytes, start: u64, end: u64) -> String {
    let pieces = bytes[start as usize..end as usize].chunks(65_536);
    let mut hashes: Vec<[u8; 16]> = pieces.map(tailwater::content::piece_hash).collect();
    match claim {
        Claim::Right => {}
        Claim::Wrong => hashes.iter_mut().for_each(|hash| hash[0] ^= 1),
        Claim::Garbage => return "no hashes at all".to_owned(),
        Claim::TooFew => drop(hashes.pop()),
    }
    tailwater::wire::peer::encode_hashes(&hashes).unwrap()
}

impl Answer for Origin {
    async fn answer(&self, request: Request, _from: Peer) -> tailwater::serve::Response {
        let path = request.uri().path().to_owned();
        if !self.0.delay.is_zero() {
            tokio::time::sleep(self.0.delay).await;
        }
        self.0.sent.lock().unwrap().entry(path.clone()).or_default().requests += 1;
        let fault = self.0.faults.lock().unwrap().pop_front();
        let Some(bytes) = self.0.files.lock().unwrap().get(&path).cloned() else {
            return text(StatusCode::NOT_FOUND, "no such file");
        };
        let size = bytes.len() as u64;
        let asked = range(request.headers(), size).filter(|_| fault != Some(Fault::NoRange));
        let (start, end) = asked.unwrap_or((0, size));
        match fault {
            Some(Fault::Status(status, retry_after)) => {
                let mut answer = text(StatusCode::from_u16(status).unwrap(), "out of order");
                if retry_after > 0 {
                    answer.headers_mut().insert(header::RETRY_AFTER, retry_after.into());
                }
                return answer;
            }
            Some(Fault::Garbage) => {
                let mut answer = Response::new(full("<html><body>Please log in</body></html>"));
                answer.headers_mut().insert(header::CONTENT_TYPE, "text/html".parse().unwrap());
                return answer;
            }
            Some(Fault::OtherLength) => return Response::new(full(vec![0; bytes.len() + 1])),
            _ => {}
        }
        let mut body = bytes.slice(start as usize..end as usize);
        if fault == Some(Fault::Corrupt) {
            let mut wrong = body.to_vec();
            let middle = wrong.len() / 2;
            wrong[middle] ^= 1;
            body = wrong.into();
        }
        let claims = self.0.claim.lock().unwrap().map(|claim| claims(claim, &bytes, start, end));
        let shown = if fault == Some(Fault::OtherRange) { start + 1 } else { start };
        let stream = Stream {
            origin: self.clone(),
            path,
            at: start,
            left: body,
            cut: match fault {
                Some(Fault::Drop(after)) => Some((start + after, true)),
                Some(Fault::Stall(after)) => Some((start + after, false)),
                _ => None,
            },
            pause: None,
        };
        let mut answer = Response::new(stream.map_err(io::Error::other).boxed_unsync());
        if let Some(claims) = claims {
            answer.headers_mut().insert("tailwater-pieces", claims.parse().unwrap());
        }
        if asked.is_some() {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let value = format!("bytes {shown}-{}/{size}", end - 1);
            answer.headers_mut().insert(header::CONTENT_RANGE, value.parse().unwrap());
        }
        answer
    }
}

struct Stream {
    origin: Origin,
    path: String,
    at: u64,
    left: Bytes,
    /// Where it is cut, and whether the connection closes then.
    cut: Option<(u64, bool)>,
    pause: Option<(Pin<Box<Sleep>>, Bytes)>,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some((pause, _)) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            let part = self.pause.take().map(|(_, part)| part).unwrap_or_default();
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let mut len = FRAME.min(self.left.len());
        if let Some((cut, close)) = self.cut {
            if self.at >= cut {
                return if close {
                    Poll::Ready(Some(Err(io::Error::other("injected drop"))))
                } else {
                    Poll::Pending
                };
            }
            len = len.min(usize::try_from(cut - self.at).unwrap());
        }
        let part = self.left.split_to(len);
        let (path, at) = (self.path.clone(), self.at);
        self.origin.note(&path, at, len as u64);
        self.at += len as u64;
        if let Some(when) = self.origin.turn(len as u64).filter(|when| *when > Instant::now()) {
            let mut pause = Box::pin(tokio::time::sleep_until(when));
            if pause.as_mut().poll(cx).is_pending() {
                self.pause = Some((pause, part));
                return Poll::Pending;
            }
        }
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn size_hint(&self) -> SizeHint {
        let paused = self.pause.as_ref().map_or(0, |(_, part)| part.len() as u64);
        SizeHint::with_exact(self.left.len() as u64 + paused)
    }
}
