//! Turns the pieces of an answer into a body: small fragments are gathered, huge ones streamed from disk.
//!
//! Agents of one image ask the same question, so the part of an answer before its cookie is remembered as it goes out,
//! compressed blocks included.
//!
//! **Invariant:** what is remembered is bounded in bytes and asked for under the scan's fingerprint only. At most
//! [`LARGE_AT_ONCE`] large answers are compressed at once, and [`IN_MEMORY`] bytes of them wait for readers; further ones go out uncompressed, as a stream.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::task::JoinHandle;

use super::{Config, Refusal, Service};
use crate::catalog::{Catalog, CatalogError, Chunks, PartRef};
use crate::domain::{Limit, limits};
use crate::runtime::{Clock, Limits as ShareLimits, Share, Shares, TurnLimits, Turns};
use crate::serve::Response;
use crate::serve::soap::{Exchange, Joined};
use crate::wire::client_update::Piece;
use crate::wire::xpress;

/// Large answers that are compressed at once.
const LARGE_AT_ONCE: usize = 2;
/// Memory for large compressed answers until they are sent, shared by address; they are counted as long as they were
/// before.
const IN_MEMORY: u64 = 128 << 20;

pub(super) const LIMITS: &[Limit] = limits![
    LARGE_AT_ONCE in "answers": "Large answers to agents that are compressed at once" => "it goes out uncompressed, as a stream",
    IN_MEMORY in "bytes": "Memory for such answers on their way, shared by address" => "it goes out uncompressed, as a stream",
];

/// What tells one remembered page from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PageKey {
    /// Of the scan: question and snapshot.
    pub(super) fingerprint: u128,
    /// What the client understands, and how it is wrapped.
    pub(super) shape: u8,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<PageKey, Bytes> for ByBytes {
    fn weight(&self, _key: &PageKey, page: &Bytes) -> u64 {
        page.len() as u64 + 128
    }
}

/// Finished pages, and the room for large answers.
pub(super) struct Pages {
    finished: Cache<PageKey, Bytes, ByBytes>,
    making: Turns,
    in_memory: Shares,
}

impl Pages {
    pub(super) fn new(config: &Config, clock: &Clock) -> Self {
        let bytes = config.remembered_pages.0;
        let pages = usize::try_from(bytes / 16_384).unwrap_or(1_024).max(16);
        Self {
            finished: Cache::with_weighter(pages, bytes, ByBytes),
            making: Turns::new(TurnLimits::of(LARGE_AT_ONCE, Duration::ZERO), clock.clone()),
            in_memory: Shares::new(ShareLimits { least: IN_MEMORY / 16, ..ShareLimits::of(IN_MEMORY) }),
        }
    }
}

/// Text and fragments, in the coding of the answer.
fn gather(catalog: &Catalog, pieces: Vec<Piece<PartRef>>, coded: bool) -> Result<Bytes, CatalogError> {
    let len = pieces.iter().map(|piece| usize::try_from(len_of(piece)).unwrap_or_default()).sum();
    let mut text = Vec::with_capacity(len);
    for piece in pieces {
        match piece {
            Piece::Text(part) => text.extend_from_slice(part.as_bytes()),
            Piece::Fragment(part) => text.extend_from_slice(&catalog.read(&part)?),
        }
    }
    Ok(if coded { xpress::encode(&text).into() } else { text.into() })
}

fn len_of(piece: &Piece<PartRef>) -> u64 {
    match piece {
        Piece::Text(text) => text.len() as u64,
        Piece::Fragment(part) => part.len(),
    }
}

/// Compresses pieces as they are read.
fn compress(catalog: &Catalog, pieces: Vec<Piece<PartRef>>) -> Result<Bytes, CatalogError> {
    let mut coded = Vec::new();
    // small pieces share blocks
    let mut waiting = Vec::with_capacity(4 * xpress::BLOCK);
    let mut push = |bytes: &[u8], coded: &mut Vec<u8>| {
        waiting.extend_from_slice(bytes);
        let whole = waiting.len() - waiting.len() % xpress::BLOCK;
        xpress::encode_into(coded, &waiting[..whole]);
        waiting.drain(..whole);
    };
    for piece in pieces {
        match piece {
            Piece::Text(text) => push(text.as_bytes(), &mut coded),
            Piece::Fragment(part) => {
                for chunk in catalog.chunks(&part) {
                    push(&chunk?, &mut coded);
                }
            }
        }
    }
    xpress::encode_into(&mut coded, &waiting);
    Ok(coded.into())
}

impl Service {
    /// An answer of which the part before the cookie is the same for everyone who asks the same. `end` is the rest of
    /// the body's element.
    pub(super) async fn page_answer(
        &self,
        exchange: &Exchange,
        key: Option<PageKey>,
        pieces: impl FnOnce() -> Vec<Piece<PartRef>>,
        end: &str,
    ) -> Result<Response, Refusal> {
        let end = format!("{end}{}", exchange.closing());
        let coded = exchange.xpress;
        let Some(key) = key else {
            let mut pieces = opened(exchange, pieces());
            pieces.push(Piece::Text(end));
            return self.pieces_answer(exchange, pieces).await;
        };
        let page = match self.0.pages.finished.get_value_or_guard_async(&key).await {
            Ok(page) => page,
            Err(place) => {
                let pieces = opened(exchange, pieces());
                let page = self.blocking(move |service| gather(&service.0.catalog, pieces, coded)).await?;
                // a page that outlived its snapshot is simply not remembered
                let _ = place.insert(page.clone());
                page
            }
        };
        let end = if coded { xpress::encode(end.as_bytes()) } else { end.into_bytes() };
        let body = Joined::new([page, end.into()]).boxed_unsync();
        Ok(exchange.with_body(StatusCode::OK, body, coded))
    }

    /// An answer of these pieces; nothing of it is remembered.
    pub(super) async fn element_answer(
        &self,
        exchange: &Exchange,
        pieces: Vec<Piece<PartRef>>,
    ) -> Result<Response, Refusal> {
        let mut pieces = opened(exchange, pieces);
        pieces.push(Piece::Text(exchange.closing().to_owned()));
        self.pieces_answer(exchange, pieces).await
    }

    async fn pieces_answer(
        &self,
        exchange: &Exchange,
        pieces: Vec<Piece<PartRef>>,
    ) -> Result<Response, Refusal> {
        let large = |piece: &Piece<PartRef>| matches!(piece, Piece::Fragment(part) if part.is_large());
        if pieces.iter().any(large) {
            return self.large_answer(exchange, pieces).await;
        }
        let coded = exchange.xpress;
        let body = if pieces.iter().any(|piece| matches!(piece, Piece::Fragment(_))) {
            self.blocking(move |service| gather(&service.0.catalog, pieces, coded)).await?
        } else {
            gather(&self.0.catalog, pieces, coded)?
        };
        Ok(exchange.with_body(StatusCode::OK, Joined::new([body]).boxed_unsync(), coded))
    }

    async fn large_answer(
        &self,
        exchange: &Exchange,
        pieces: Vec<Piece<PartRef>>,
    ) -> Result<Response, Refusal> {
        let turn = if exchange.xpress { self.0.pages.making.try_take() } else { None };
        // compressed it is no longer than this, and its reader may take its time
        let length = pieces.iter().map(len_of).sum();
        let share = turn.as_ref().and_then(|_| self.0.pages.in_memory.try_take(exchange.from, length).ok());
        let (parts, coded) = match (turn, &share) {
            (Some(turn), Some(_)) => {
                let make = move |service: &Service| {
                    // over when the answer is made, whether or not anybody reads it
                    let _turn = turn;
                    compress(&service.0.catalog, pieces)
                };
                (vec![Part::Ready(self.blocking(make).await?)], true)
            }
            _ => (pieces.into_iter().map(Part::from).collect(), false),
        };
        let body = Streamed {
            left: parts.iter().map(Part::len).sum(),
            parts: parts.into(),
            reading: None,
            catalog: self.0.catalog.clone(),
            _share: share,
        };
        Ok(exchange.with_body(StatusCode::OK, body.boxed_unsync(), coded))
    }
}

fn opened(exchange: &Exchange, mut pieces: Vec<Piece<PartRef>>) -> Vec<Piece<PartRef>> {
    pieces.insert(0, Piece::Text(exchange.opening()));
    pieces
}

enum Part {
    Ready(Bytes),
    Stored(PartRef),
}

impl From<Piece<PartRef>> for Part {
    fn from(piece: Piece<PartRef>) -> Self {
        match piece {
            Piece::Text(text) => Self::Ready(text.into()),
            Piece::Fragment(part) => Self::Stored(part),
        }
    }
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Self::Ready(bytes) => bytes.len() as u64,
            Self::Stored(part) => part.len(),
        }
    }
}

type Read = (Chunks, Option<Result<Bytes, CatalogError>>);

/// A body with stored fragments in it, read 256 KiB at a time off the async workers as the agent takes them.
struct Streamed {
    parts: VecDeque<Part>,
    reading: Option<JoinHandle<Read>>,
    left: u64,
    catalog: Catalog,
    /// Of the memory for compressed answers.
    _share: Option<Share>,
}

fn read_on(mut chunks: Chunks) -> JoinHandle<Read> {
    tokio::task::spawn_blocking(move || {
        let next = chunks.next();
        (chunks, next)
    })
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let (chunks, next) = ready!(Pin::new(reading).poll(context)).map_err(io::Error::other)?;
                self.reading = None;
                match next {
                    None => continue,
                    Some(Err(error)) => {
                        tracing::error!(%error, "a fragment could not be read to its end; the answer breaks off");
                        return Poll::Ready(Some(Err(io::Error::other(error))));
                    }
                    Some(Ok(bytes)) => {
                        self.reading = Some(read_on(chunks));
                        self.left = self.left.saturating_sub(bytes.len() as u64);
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
            }
            match self.parts.pop_front() {
                None => return Poll::Ready(None),
                Some(Part::Ready(bytes)) => {
                    self.left = self.left.saturating_sub(bytes.len() as u64);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Part::Stored(part)) => self.reading = Some(read_on(self.catalog.chunks(&part))),
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
