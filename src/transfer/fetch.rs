//! One GET of one run: ask, and decide what the answer is good for.
//!
//! **Invariant:** what came before a fault is kept, the beginning of a cut piece too. It sends no If-Range: a
//! file is named by its digest, and the digest decides in the end what its bytes are.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::Full;
use tokio::time::Instant;

use super::Source;
use super::answer::{self, Brings};
use super::claims::Claims;
use super::fault::Fault;
use super::flow::Flow;
use super::intake::{Intake, Wanted};
use super::plan::Run;
use super::receive::{Incoming, Target};
use super::scraps::Scrap;
use super::shared::locked;
use super::tally::Tally;
use crate::bandwidth::{LinkBody, Place, Purpose};
use crate::content::{PIECE, SparseFile};

/// How a run ended.
pub(super) struct Ended {
    /// When it began.
    pub(super) begun: Instant,
    /// Bytes that came and are kept.
    pub(super) kept: u64,
    pub(super) result: Result<(), Fault>,
}

/// A run on its way.
pub(super) struct Errand<'a> {
    pub(super) flow: &'a Arc<Flow>,
    pub(super) file: &'a Arc<SparseFile>,
    pub(super) id: u64,
    pub(super) run: Run,
    /// Which source, and what it is.
    pub(super) index: usize,
    pub(super) source: &'a Source,
}

impl Errand<'_> {
    /// Fetches one run from one source into the store, at a place on the link that it gives back.
    pub(super) async fn fetch(self, place: Place) -> Ended {
        let begun = self.flow.shared.clock.instant();
        let (kept, result) = self.exchange(place).await;
        Ended { begun, kept, result }
    }

    /// The bytes that came and are kept, and how it ended.
    async fn exchange(&self, place: Place) -> (u64, Result<(), Fault>) {
        let mut scrap = locked(&self.flow.state).scraps.take(self.run.start);
        let begun = self.ask(place, scrap.as_ref()).await;
        match begun {
            Ok((head, body)) => self.take(head, body, scrap).await,
            Err(fault) => {
                if let Some(scrap) = scrap.take() {
                    locked(&self.flow.state).scraps.keep(self.run.start, scrap);
                }
                (0, Err(fault))
            }
        }
    }

    /// Where the run begins: behind what is there of its first piece.
    fn start(&self, scrap: Option<&Scrap>) -> u64 {
        self.run.start * PIECE + scrap.map_or(0, |scrap| scrap.bytes.len() as u64)
    }

    /// Asks, and waits for an answer that is of some use.
    async fn ask(&self, place: Place, scrap: Option<&Scrap>) -> Result<(Head, LinkBody), Fault> {
        let shared = &self.flow.shared;
        let size = self.flow.declaration.size;
        let (start, end) = (self.start(scrap), self.run.bytes(size).end);
        let (store, len) = (shared.store.clone(), end - self.run.bytes(size).start);
        let room = tokio::task::spawn_blocking(move || store.make_room(len));
        let room = room.await.map_err(|_join| Fault::Stopping)??;
        let mut request = Request::get(&self.source.url)
            .header(header::RANGE, format!("bytes={start}-{}", end - 1))
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Full::<Bytes>::default())?;
        request.headers_mut().extend(self.source.headers.clone());
        let (class, requester) = (self.run.class, self.run.requester);
        let purpose = Purpose { class, requester, file: Some(self.flow.sha1()) };
        let response = shared.link.send_at(place, request, purpose).await.map_err(Fault::Unanswered)?;
        if shared.origins.answered(&self.source.url) {
            tracing::info!(source = %self.source.shown(), "a server answers again");
        }
        let (head, body) = Response::into_parts(response);
        let brings = answer::read(head.status, &head.headers, (start, end), size, shared.clock.now())?;
        Ok((Head { brings, headers: head.headers, room }, body))
    }

    /// Takes what the answer brings.
    async fn take(&self, head: Head, body: LinkBody, scrap: Option<Scrap>) -> (u64, Result<(), Fault>) {
        let size = self.flow.declaration.size;
        let pieces = size.div_ceil(PIECE);
        let first = self.run.start;
        let (intake, end, claims, until) = match head.brings {
            Brings::Range { end } => {
                self.ranged();
                let last = end.div_ceil(PIECE);
                let intake = Intake::new(size, first * PIECE, Wanted::Run(first, last));
                (intake, end, Claims::read(&head.headers, first, last), last)
            }
            Brings::Whole => match self.whole(pieces) {
                Ok(mine) => {
                    let until = mine.iter().rposition(|mine| *mine).map_or(0, |at| at as u64 + 1);
                    let intake = Intake::new(size, 0, Wanted::Marked(mine));
                    (intake, (until * PIECE).min(size), Claims::read(&head.headers, 0, pieces), until)
                }
                Err(fault) => {
                    // the connection closes with the body: the rest must not cross the link
                    drop(body);
                    self.keep(first, scrap);
                    return (0, Err(fault));
                }
            },
        };
        let ranged = matches!(head.brings, Brings::Range { .. });
        let mut tally = Tally::new(&self.flow.shared, self.run.class, self.flow.sha1(), self.source);
        let (intake, from) = match scrap {
            Some(scrap) if ranged => {
                scrap.tally.into_iter().for_each(|aside| tally.take_up(aside));
                (intake.resuming(scrap.bytes), scrap.from)
            }
            _ => (intake, Vec::new()),
        };
        let target = Target {
            flow: self.flow,
            file: self.file,
            index: self.index,
            url: &self.source.url,
            room: head.room,
            claims: Arc::new(claims),
            damaged: 0,
            from,
            tally,
        };
        // what a source without ranges sends is all needed some day, and would begin anew
        let leaves = ranged.then_some(until);
        Incoming { target, intake, end, leaves, kept: 0 }.receive(body).await
    }

    fn keep(&self, piece: u64, scrap: Option<Scrap>) {
        if let Some(scrap) = scrap {
            locked(&self.flow.state).scraps.keep(piece, scrap);
        }
    }

    /// The source takes ranges.
    fn ranged(&self) {
        if let Some(health) = &mut locked(&self.flow.state).health {
            health.ranged(self.index);
        }
        if self.flow.shared.origins.note_ranges(&self.source.url, true) {
            self.flow.kick();
        }
    }

    /// The source sends the whole file, whatever was asked: which pieces to take of it.
    fn whole(&self, pieces: u64) -> Result<Vec<bool>, Fault> {
        if self.run.start == 0 && self.run.end == pieces {
            return Ok((0..pieces).map(|piece| !self.file.holds_piece(piece)).collect());
        }
        self.flow.shared.origins.note_ranges(&self.source.url, false);
        if self.flow.refuses_whole(self.id, self.file, self.index) {
            return Err(Fault::Unranged);
        }
        self.flow.widen(self.id, self.file).ok_or(Fault::OnItsWay)
    }
}

/// What the head of an answer said.
struct Head {
    brings: Brings,
    headers: HeaderMap,
    room: crate::content::Room,
}
