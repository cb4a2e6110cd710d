//! `GET …/content/<SHA-1>` and `GET …/pieces/<SHA-1>`: payloads with a slot, and the hashes of their pieces.
//!
//! **Invariant:** bytes and statuses are those of `/Content/…`; hashes are told of verified payloads only. A body
//! lets its slot go when its last byte was made, when its reader left, or when that takes nothing while others wait.

use std::io::{self, Read as _};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{StatusCode, Uri};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tempfile::SpooledTempFile;

use super::refusal::{Refused, message};
use super::service::Service;
use super::slots::Lease;
use crate::http::body::{Body, Observed, Observer, Polled};
use crate::http::{Request, Response};
use tailwater_content::{PIECE, SparseFile};
use tailwater_domain::{Limit, Requester, ServerId, Sha1Digest, limits};
use tailwater_wire::peer::{PIECES_HEADER, encode_hashes};

/// Hashes of one whole payload that are told at once: one of 64 GiB.
const MOST_PIECES: u64 = 1 << 20;
/// How much of a finished pack is read at once.
const CHUNK: usize = 64 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_PIECES in "hashes": "Hashes of pieces told at once" => "404",
];

// not a limit: CHUNK: how much is read at once

fn digest(name: &str) -> Result<Sha1Digest, Refused> {
    name.split('.').next().unwrap_or_default().parse().map_err(|_digest| Refused::NotFound)
}

/// The pieces that a range touches, when it begins with a piece.
fn pieces_of(answer: &Response, size: u64) -> Option<(u64, u64)> {
    let end = |end: u64| end.div_ceil(PIECE);
    if answer.status() == StatusCode::OK {
        return Some((0, end(size)));
    }
    let value = answer.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, _) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    (first % PIECE == 0).then(|| (first / PIECE, end(last + 1)))
}

impl Service {
    pub(super) async fn content(
        &self,
        child: ServerId,
        from: IpAddr,
        mut request: Request,
        name: &str,
    ) -> Result<Response, Refused> {
        let sha1 = digest(name)?;
        let hex = sha1.hex();
        let path = format!("/Content/{}/{hex}", &hex[38..]);
        *request.uri_mut() = path.parse::<Uri>().map_err(|_address| Refused::NotFound)?;
        let lease = self.0.slots.lease(child, from).await?;
        let mut answer = self.0.files.answer(request, Requester::Server(child)).await;
        if !answer.status().is_success() {
            return Ok(answer);
        }
        if let Some(file) = self.verified(sha1).await?
            && let Some((first, end)) = pieces_of(&answer, file.size())
            && let Some(hashes) = hashes(file, first, end).await?
            && let Some(value) = encode_hashes(&hashes).and_then(|text| HeaderValue::try_from(text).ok())
        {
            answer.headers_mut().insert(PIECES_HEADER, value);
        }
        Ok(answer.map(|body| Leased::body(body, lease)))
    }

    pub(super) async fn pieces(
        &self,
        child: ServerId,
        from: IpAddr,
        name: &str,
    ) -> Result<Response, Refused> {
        let file = self.verified(digest(name)?).await?.ok_or(Refused::NotFound)?;
        let end = file.size().div_ceil(PIECE);
        if end > MOST_PIECES {
            return Err(Refused::NotFound);
        }
        let lease = self.0.slots.lease(child, from).await?;
        let hashes = hashes(file, 0, end).await?.ok_or(Refused::NotFound)?;
        Ok(message(hashes.into_flattened()).map(|body| Leased::body(body, lease)))
    }

    async fn verified(&self, sha1: Sha1Digest) -> Result<Option<Arc<SparseFile>>, Refused> {
        let store = self.0.content.clone();
        let held = tokio::task::spawn_blocking(move || store.held(&sha1)).await?;
        // a file that cannot be opened was told of by whoever served it
        Ok(held.ok().flatten().filter(|file| file.is_verified()))
    }
}

async fn hashes(file: Arc<SparseFile>, first: u64, end: u64) -> Result<Option<Vec<[u8; 16]>>, Refused> {
    Ok(tokio::task::spawn_blocking(move || file.piece_hashes(first, end)).await?.ok())
}

/// Keeps a body's slot: until its last byte was made, its reader left, or the slot was taken from it.
pub(super) struct Leased(Option<Lease>);

impl Leased {
    /// The body, with a slot until it ends.
    pub(super) fn body(body: Body, lease: Lease) -> Body {
        Observed::new(body, Self(Some(lease))).boxed_unsync()
    }
}

impl Observer for Leased {
    fn before(&mut self) -> io::Result<()> {
        if self.0.as_ref().is_some_and(|lease| !lease.moves()) {
            return Err(io::Error::other("its reader stalled while others wait"));
        }
        Ok(())
    }

    fn after(&mut self, polled: &Polled, ended: bool) {
        if let (Poll::Ready(_), Some(lease)) = (polled, &self.0) {
            lease.offers();
        }
        if ended {
            self.0 = None;
        }
    }
}

/// A finished pack as a body. Reading it hardly waits: it was just written.
pub(super) struct FileBody {
    file: SpooledTempFile,
    left: u64,
}

impl FileBody {
    pub(super) fn new(file: SpooledTempFile, len: u64) -> Self {
        Self { file, left: len }
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let want = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = BytesMut::zeroed(want);
        if let Err(error) = self.file.read_exact(&mut chunk) {
            return Poll::Ready(Some(Err(error)));
        }
        self.left -= want as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
