//! Turns the pieces of an answer into a body: small fragments are gathered, huge ones streamed from disk.
//!
//! Agents of one image ask the same question, so the part of an answer before its cookie is remembered as it goes out,
//! compressed blocks included.
//!
//! **Invariant:** what is remembered is bounded in bytes and asked for under the scan's fingerprint only. Whatever is in
//! memory of an answer is charged ([`AnswerMemory`]) before it is made; an answer for which there is no memory, or
//! while as many others as may are are compressed, goes out uncompressed, as a stream.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;

use super::pages::{MAX_GATHERED, PageKey};
use super::service::Service;
use crate::Response;
use crate::fault::Refusal;
use crate::outgoing::charged;
use crate::soap::{Exchange, Joined};
use tailwater_catalog::{Catalog, CatalogError, Chunks, PartRef};
use tailwater_runtime::Share;
use tailwater_wire::client_update::Piece;
use tailwater_wire::xpress;

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

/// Bytes of these, as text.
fn len_of_all(pieces: &[Piece<PartRef>]) -> u64 {
    pieces.iter().map(len_of).sum()
}

/// Compresses pieces as they are read; `None` when there is no memory for all of it.
fn compress(
    catalog: &Catalog,
    pieces: &[Piece<PartRef>],
    share: &mut Share,
) -> Result<Option<Bytes>, CatalogError> {
    let mut coded = Vec::new();
    // small pieces share blocks
    let mut waiting = Vec::with_capacity(4 * xpress::BLOCK);
    let mut push = |bytes: &[u8], coded: &mut Vec<u8>| {
        waiting.extend_from_slice(bytes);
        let whole = waiting.len() - waiting.len() % xpress::BLOCK;
        xpress::encode_into(coded, &waiting[..whole]);
        waiting.drain(..whole);
    };
    // room is made before it is needed, so that what is charged is what it takes
    let mut has_room = |coded: &mut Vec<u8>, more: usize| {
        let wanted = coded.len() + 2 * more;
        if wanted <= coded.capacity() {
            return true;
        }
        let larger = wanted.max(2 * coded.capacity()) as u64;
        // old and new are there while one is copied into the other
        if share.grow(larger).is_err() {
            return false;
        }
        let before = coded.capacity() as u64;
        coded.reserve_exact(usize::try_from(larger).unwrap_or(wanted) - coded.len());
        share.shrink(before);
        true
    };
    for piece in pieces {
        match piece {
            Piece::Text(text) if !has_room(&mut coded, text.len()) => return Ok(None),
            Piece::Text(text) => push(text.as_bytes(), &mut coded),
            Piece::Fragment(part) => {
                for chunk in catalog.chunks(part) {
                    let chunk = chunk?;
                    if !has_room(&mut coded, chunk.len()) {
                        return Ok(None);
                    }
                    push(&chunk, &mut coded);
                }
            }
        }
    }
    xpress::encode_into(&mut coded, &waiting);
    Ok(Some(coded.into()))
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
                let mut pieces = opened(exchange, pieces());
                let Some(share) = self.room_for(exchange, &pieces) else {
                    drop(place);
                    pieces.push(Piece::Text(end));
                    return self.stream(exchange, pieces);
                };
                let page = self.blocking(move |service| gather(&service.0.catalog, pieces, coded)).await?;
                let page = charged(page, share);
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
        if pieces.iter().any(large) || len_of_all(&pieces) > MAX_GATHERED {
            return self.large_answer(exchange, pieces).await;
        }
        let Some(share) = self.room_for(exchange, &pieces) else {
            return self.stream(exchange, pieces);
        };
        let coded = exchange.xpress;
        let body = if pieces.iter().any(|piece| matches!(piece, Piece::Fragment(_))) {
            self.blocking(move |service| gather(&service.0.catalog, pieces, coded)).await?
        } else {
            gather(&self.0.catalog, pieces, coded)?
        };
        let body = Joined::new([charged(body, share)]).boxed_unsync();
        Ok(exchange.with_body(StatusCode::OK, body, coded))
    }

    /// Memory for an answer that is gathered, and for both forms while it is compressed.
    fn room_for(&self, exchange: &Exchange, pieces: &[Piece<PartRef>]) -> Option<Share> {
        let forms = if exchange.xpress { 2 } else { 1 };
        self.0.pages.memory.take(exchange.from, forms * len_of_all(pieces)).ok()
    }

    async fn large_answer(
        &self,
        exchange: &Exchange,
        pieces: Vec<Piece<PartRef>>,
    ) -> Result<Response, Refusal> {
        let turn = if exchange.xpress { self.0.pages.making.try_take() } else { None };
        let Some(turn) = turn else { return self.stream(exchange, pieces) };
        let mut share = self.0.pages.memory.take(exchange.from, 0)?;
        let (body, pieces, share) = self
            .blocking(move |service| {
                let body = compress(&service.0.catalog, &pieces, &mut share)?;
                // over when the answer is made, whether or not anybody reads it
                drop(turn);
                Ok::<_, CatalogError>((body, pieces, share))
            })
            .await?;
        if let Some(body) = body {
            let body = Joined::new([charged(body, share)]).boxed_unsync();
            Ok(exchange.with_body(StatusCode::OK, body, true))
        } else {
            drop(share);
            self.stream(exchange, pieces)
        }
    }

    /// An answer that is read as it is sent, uncompressed: agents refuse answers of unknown length.
    fn stream(&self, exchange: &Exchange, pieces: Vec<Piece<PartRef>>) -> Result<Response, Refusal> {
        let texts = pieces.iter().filter(|piece| matches!(piece, Piece::Text(_))).map(len_of).sum();
        let share = self.0.pages.memory.take_stream(exchange.from, texts)?;
        let parts: VecDeque<Part> = pieces.into_iter().map(Part::from).collect();
        let body = Streamed {
            left: parts.iter().map(Part::len).sum(),
            parts,
            reading: None,
            catalog: self.0.catalog.clone(),
            _share: share,
        };
        Ok(exchange.with_body(StatusCode::OK, body.boxed_unsync(), false))
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
    _share: Share,
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
