//! One GET of one run: ask, and decide what the answer is good for.
//!
//! **Invariant:** what came before a fault is kept, the beginning of a cut piece too, and so is what comes beside what
//! was asked for. It sends no If-Range: a file is named by its digest, and the digest decides in the end what its bytes
//! are.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::Full;
use tokio::time::Instant;

use super::Source;
use super::answer::{self, Brings, Refusal};
use super::claims::Claims;
use super::fault::Fault;
use super::flow::Flow;
use super::intake::{Intake, Wanted};
use super::partial_pieces::PartialPiece;
use super::plan::Run;
use super::receive::{Incoming, Target};
use super::shared::locked;
use super::tally::Tally;
use tailwater_bandwidth::{ExchangeSlot, LinkBody};
use tailwater_content::{PIECE, SparseFile};
use tailwater_domain::{Limit, Purpose, limits};

/// Bytes before those that were asked for that are passed over without a thought; with more of them the answer is like
/// one of the whole file.
const MOST_LEAD: u64 = 1024 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_LEAD in "bytes": "Bytes before those that were asked for" => "the answer is treated as one of the whole file",
];

/// How a run ended.
pub(super) struct Ended {
    /// When it began.
    pub(super) begun: Instant,
    /// Bytes that came and are of use.
    pub(super) kept: u64,
    pub(super) result: Result<(), Fault>,
}

/// A run on its way.
pub(super) struct RangeRequest<'a> {
    pub(super) flow: &'a Arc<Flow>,
    pub(super) file: &'a Arc<SparseFile>,
    pub(super) id: u64,
    pub(super) run: Run,
    /// Which source, and what it is.
    pub(super) index: usize,
    pub(super) source: &'a Source,
}

impl RangeRequest<'_> {
    /// Fetches one run from one source into the store, at a slot on the link that it gives back.
    pub(super) async fn fetch(self, slot: ExchangeSlot) -> Ended {
        let begun = self.flow.shared.clock.instant();
        let (kept, result) = self.exchange(slot).await;
        Ended { begun, kept, result }
    }

    /// The bytes that came and are kept, and how it ended.
    async fn exchange(&self, slot: ExchangeSlot) -> (u64, Result<(), Fault>) {
        let mut partial = locked(&self.flow.state).partial_pieces.take(self.run.start);
        let begun = self.ask(slot, partial.as_ref()).await;
        match begun {
            Ok((head, body)) => self.take(head, body, partial).await,
            Err(fault) => {
                if let Some(partial) = partial.take() {
                    locked(&self.flow.state).partial_pieces.keep(self.run.start, partial);
                }
                (0, Err(fault))
            }
        }
    }

    /// Where the run begins: behind what is there of its first piece.
    fn start(&self, partial: Option<&PartialPiece>) -> u64 {
        self.run.start * PIECE + partial.map_or(0, |partial| partial.bytes.len() as u64)
    }

    /// Asks, and waits for an answer that is of some use.
    async fn ask(
        &self,
        slot: ExchangeSlot,
        partial: Option<&PartialPiece>,
    ) -> Result<(Head, LinkBody), Fault> {
        let shared = &self.flow.shared;
        let size = self.flow.declaration.size;
        let (start, end) = (self.start(partial), self.run.bytes(size).end);
        let room = self.flow.room(self.file, end - self.run.bytes(size).start).await?;
        let mut request = Request::get(&self.source.url)
            .header(header::RANGE, format!("bytes={start}-{}", end - 1))
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Full::<Bytes>::default())?;
        request.headers_mut().extend(self.source.headers.clone());
        let (class, requester) = (self.run.class, self.run.requester);
        let purpose = Purpose { class, requester, file: Some(self.flow.sha1()) };
        let response = shared.link.send_in_slot(slot, request, purpose).await.map_err(Fault::Unanswered)?;
        if shared.origins.answered(&self.source.url) {
            tracing::info!(source = %self.source.shown(), "a server answers again");
        }
        let (head, body) = Response::into_parts(response);
        let brings = answer::read(head.status, &head.headers, (start, end), size, shared.clock.now())?;
        Ok((Head { brings, headers: head.headers, room }, body))
    }

    /// Takes what the answer brings.
    async fn take(
        &self,
        head: Head,
        body: LinkBody,
        partial: Option<PartialPiece>,
    ) -> (u64, Result<(), Fault>) {
        let arrangement = match head.brings {
            Brings::Range { first, end } => self.range(&head.headers, (first, end), partial),
            Brings::Whole { sized } => self.whole(&head.headers, sized, partial),
        };
        let Arrangement { intake, end, claims, leaves, keeps_partial, is_late, partial } = match arrangement {
            Ok(arrangement) => arrangement,
            Err(refused) => {
                let (fault, partial) = *refused;
                // the connection closes with the body: the rest must not cross the link
                drop(body);
                self.keep(self.run.start, partial);
                return (0, Err(fault));
            }
        };
        let mut tally = Tally::new(&self.flow.shared, self.run.class, self.flow.sha1(), self.source);
        let (intake, from, begun) = match partial {
            Some(partial) => {
                partial.tally.into_iter().for_each(|aside| tally.take_up(aside));
                let begun = partial.bytes.len() as u64;
                (intake.resuming(partial.bytes), partial.from, begun)
            }
            None => (intake, Vec::new(), 0),
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
            stored: 0,
        };
        let keeps_pace = matches!(head.brings, Brings::Whole { .. }) && self.flow.limit().is_some();
        let incoming = Incoming { target, intake, end, leaves, keeps_partial, keeps_pace, begun, came: 0 };
        let (kept, result) = incoming.receive(body).await;
        // what was asked for first did not come
        let result = if is_late { result.and(Err(Refusal::OtherRange.into())) } else { result };
        (kept, result)
    }

    /// A part of the file: the run's own pieces, and what comes beside them and is wanted.
    fn range(
        &self,
        headers: &HeaderMap,
        (first, end): (u64, u64),
        partial: Option<PartialPiece>,
    ) -> Arranged {
        let size = self.flow.declaration.size;
        let start = self.start(partial.as_ref());
        let lead = start.saturating_sub(first);
        if lead > MOST_LEAD && self.flow.refuses_lead(self.index) {
            return Err(Box::new((Fault::Unranged, partial)));
        }
        self.ranged();
        let whole = |end: u64| if end == size { end.div_ceil(PIECE) } else { end / PIECE };
        let brought = (first.div_ceil(PIECE), whole(end));
        let Some((from, to)) = self.flow.stretch(self.id, self.file, brought) else {
            return Err(Box::new((Fault::Stopping, partial)));
        };
        let from = if first > start { from.max(brought.0) } else { from };
        // the last piece may only begin here
        let until = to.min(end.div_ceil(PIECE));
        if from >= until {
            return Err(Box::new((Refusal::OtherRange.into(), partial)));
        }
        let stop = end.min(to * PIECE);
        let intake = |at: u64| Intake::new(size, at, Wanted::Run(from, until)).until(stop);
        let (intake, partial) = match partial {
            Some(partial) if first > start => {
                self.keep(self.run.start, Some(partial));
                (intake(first), None)
            }
            // its piece comes whole
            Some(_) if first <= self.run.start * PIECE => (intake(first), None),
            Some(partial) => (intake(self.run.start * PIECE).skipping(lead), Some(partial)),
            None => (intake(first), None),
        };
        let claims = Claims::read(headers, first / PIECE, end.div_ceil(PIECE));
        let is_late = first > start;
        Ok(Arrangement {
            intake,
            end: stop,
            claims,
            leaves: Some(until),
            keeps_partial: true,
            is_late,
            partial,
        })
    }

    fn keep(&self, piece: u64, partial: Option<PartialPiece>) {
        if let Some(partial) = partial {
            locked(&self.flow.state).partial_pieces.keep(piece, partial);
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

    /// The whole file: what is missing of it. What was kept of the run's first piece comes again.
    fn whole(&self, headers: &HeaderMap, sized: bool, partial: Option<PartialPiece>) -> Arranged {
        let size = self.flow.declaration.size;
        let pieces = size.div_ceil(PIECE);
        let mine = match self.marks(pieces) {
            Ok(mine) => mine,
            Err(fault) => return Err(Box::new((fault, partial))),
        };
        let until = mine.iter().rposition(|mine| *mine).map_or(0, |at| at as u64 + 1);
        Ok(Arrangement {
            intake: Intake::new(size, 0, Wanted::Marked(mine)),
            end: (until * PIECE).min(size),
            claims: Claims::read(headers, 0, pieces),
            // what a source without ranges sends is all needed some day, and would begin anew; of what cannot be kept only
            // what somebody reads
            leaves: self.flow.limit().map(|_| until),
            // what has no length and ends early may be a page about something else
            keeps_partial: sized,
            is_late: false,
            partial: None,
        })
    }

    /// The source sends the whole file, whatever was asked: which pieces to take of it.
    fn marks(&self, pieces: u64) -> Result<Vec<bool>, Fault> {
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

/// How an answer is taken.
struct Arrangement {
    intake: Intake,
    /// Where it ends.
    end: u64,
    claims: Claims,
    /// Up to which piece it may be broken off when nobody wants the rest; `None` when it is not.
    leaves: Option<u64>,
    /// Whether the beginning of a piece in which it ends is kept.
    keeps_partial: bool,
    /// It begins behind what was asked for.
    is_late: bool,
    /// The beginning of its first piece.
    partial: Option<PartialPiece>,
}

/// How it is taken, or why it is not, with what was kept for it.
type Arranged = Result<Arrangement, Box<(Fault, Option<PartialPiece>)>>;

/// What the head of an answer said.
struct Head {
    brings: Brings,
    headers: HeaderMap,
    room: tailwater_content::Room,
}
