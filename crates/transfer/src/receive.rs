//! The body of an answer: whole pieces go to the store, and whoever waits for them is told.
//!
//! **Invariant:** a piece is told about only after the store has it. A source is given up for slowness by the bytes
//! that come, never by how long the whole takes. What nobody wants any more is broken off.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::claims::Claims;
use super::fault::Fault;
use super::flow::Flow;
use super::intake::{Intake, Piece};
use super::partial_pieces::PartialPiece;
use super::passage::{Arrival, Passage};
use super::shared::{Shared, locked};
use super::tally::Tally;
use tailwater_bandwidth::LinkBody;
use tailwater_content::{ContentError, PIECE, PieceHash, Room, SparseFile, piece_hash};
use tailwater_domain::{ByteRange, Limit, limits};

/// Pieces written in one go when they arrive faster than they are written.
const BATCH: usize = 8;

/// The rest of a run that comes within this time is taken, wanted or not.
const AT_ONCE: Duration = Duration::from_millis(50);

/// A source that sends less than [`SLOW_BYTES`] in this time is given up for another, or asked anew.
const SLOW_TIME: Duration = Duration::from_mins(1);

/// 2 kbit/s: below any link that is in use.
const SLOW_BYTES: u64 = 16 * 1024;

/// At lower rates in force, in bytes a second, slowness is our own.
const SLOW_RATE: u64 = 125_000;

pub(super) const LIMITS: &[Limit] = limits![
    BATCH in "pieces": "Pieces that wait to be written in one go" => "reading waits for the disk",
    AT_ONCE: "The rest of a run that is taken though nobody wants it" => "the request is broken off",
];

// not a limit: SLOW_BYTES, SLOW_RATE: when a source counts as slow

/// Where a run's bytes go.
pub(super) struct Target<'a> {
    pub(super) flow: &'a Arc<Flow>,
    pub(super) file: &'a Arc<SparseFile>,
    /// Which source they come from.
    pub(super) index: usize,
    pub(super) url: &'a str,
    pub(super) room: Room,
    /// What the source says of the pieces.
    pub(super) claims: Arc<Claims>,
    /// Pieces that were not taken.
    pub(super) damaged: usize,
    /// Who sent the beginning of the first piece.
    pub(super) from: Vec<String>,
    pub(super) tally: Tally,
    /// Bytes that are held and were not before.
    pub(super) stored: u64,
}

/// A body on its way to its target.
pub(super) struct Incoming<'a> {
    pub(super) target: Target<'a>,
    pub(super) intake: Intake,
    /// Where it ends.
    pub(super) end: u64,
    /// Up to which piece it may be broken off when nobody wants the rest; `None` when it is not.
    pub(super) leaves: Option<u64>,
    /// Whether the beginning of a piece in which it ends is kept.
    pub(super) keeps_partial: bool,
    /// Whether it is read no faster than clients read the file: it brings more than was asked for of one that cannot be
    /// kept.
    pub(super) keeps_pace: bool,
    /// Bytes of its first piece that were there before.
    pub(super) begun: u64,
    /// Bytes that came.
    pub(super) came: u64,
}

/// How fast bytes come.
struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// Whether too little came since it was looked at last; looks again a [`SLOW_TIME`] later.
    fn is_slow(&mut self, shared: &Shared) -> bool {
        let little = self.bytes < SLOW_BYTES;
        (self.since, self.bytes) = (shared.clock.instant(), 0);
        little && shared.link.limiter().rate().bytes_per_second().is_none_or(|rate| rate >= SLOW_RATE)
    }
}

impl Incoming<'_> {
    /// Reads the body to its end, storing pieces as they become whole: the bytes that are of use, and how it ended.
    pub(super) async fn receive(mut self, mut body: LinkBody) -> (u64, Result<(), Fault>) {
        let result = self.read(&mut body).await;
        drop(body);
        let (piece, begun) = self.intake.unfinished();
        let mut kept = self.target.stored;
        if self.keeps_partial && !begun.is_empty() {
            kept += (begun.len() as u64).saturating_sub(self.begun);
            let mut from = std::mem::take(&mut self.target.from);
            from.push(self.target.url.to_owned());
            let tally = Some(self.target.tally.set_aside(begun.len()));
            locked(&self.target.flow.state)
                .partial_pieces
                .keep(piece, PartialPiece { bytes: begun, from, tally });
        }
        self.target.flow.shared.origins.received(self.target.url, self.came);
        (kept, result)
    }

    async fn read(&mut self, body: &mut LinkBody) -> Result<(), Fault> {
        let shared = Arc::clone(&self.target.flow.shared);
        let begun = shared.clock.instant();
        let mut pace = Pace { since: begun, bytes: 0 };
        while self.intake.at() < self.end {
            // write at once when nothing more is there yet: somebody waits for it
            let frame = tokio::select! {
                biased;
                frame = body.frame(), if self.intake.ready() < BATCH => Some(frame),
                () = std::future::ready(()), if self.intake.ready() > 0 => None,
                () = tokio::time::sleep_until(pace.since + SLOW_TIME) => {
                    if pace.is_slow(&shared) { return Err(Fault::Slow) }
                    continue;
                }
            };
            match frame {
                None => {
                    let waits = self.intake.ready() < BATCH;
                    if self.keeps_pace {
                        self.follow().await?;
                        pace.since = shared.clock.instant();
                    }
                    self.target.store(self.intake.take()).await?;
                    // what has come already is taken, wanted or not: it has crossed the link
                    if waits {
                        self.goes_on(begun)?;
                    }
                }
                Some(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        pace.bytes += bytes.len() as u64;
                        self.came += bytes.len() as u64;
                        self.target.tally.came(bytes.len());
                        self.intake.push(bytes);
                    }
                }
                Some(Some(Err(error))) => {
                    self.target.store(self.intake.take()).await?;
                    return Err(error.into());
                }
                Some(None) => break,
            }
        }
        self.target.store(self.intake.take()).await?;
        match self.target.damaged {
            _ if self.intake.at() < self.end => Err(Fault::Short),
            0 => {
                self.finish(body).await;
                Ok(())
            }
            damaged => Err(Fault::Damaged(damaged)),
        }
    }

    /// Waits for the readers of a file that cannot be kept: what comes too early would have to go again unread.
    async fn follow(&self) -> Result<(), Fault> {
        let Some(piece) = self.intake.first_ready() else { return Ok(()) };
        if self.target.flow.comes_to(piece).await { Ok(()) } else { Err(Fault::Unwanted) }
    }

    /// Lets the connection serve again, when nothing more comes on it.
    async fn finish(&mut self, body: &mut LinkBody) {
        let size = self.target.flow.declaration.size;
        if self.leaves.is_some() || self.end == size {
            // an end that does not come at once is not waited for
            let more = tokio::select! {
                biased;
                more = body.frame() => more,
                () = tokio::task::yield_now() => None,
            };
            if let Some(Ok(Ok(bytes))) = more.map(|more| more.map(http_body::Frame::into_data)) {
                // it has crossed the link
                self.came += bytes.len() as u64;
                self.target.tally.came(bytes.len());
            }
        }
    }

    /// Breaks off when nobody wants the rest any more, unless it will be here at once: breaking off loses what is on
    /// its way.
    fn goes_on(&self, since: Instant) -> Result<(), Fault> {
        let Some(until) = self.leaves else { return Ok(()) };
        let took = self.target.flow.shared.clock.instant().duration_since(since);
        let left = (until * PIECE).saturating_sub(self.intake.at());
        if took.as_millis() * u128::from(left) <= AT_ONCE.as_millis() * u128::from(self.came) {
            return Ok(());
        }
        let plan = &locked(&self.target.flow.state).plan;
        if plan.goes_on(self.intake.at() / PIECE, until) { Ok(()) } else { Err(Fault::Unwanted) }
    }
}

impl Target<'_> {
    /// Leaves out the pieces that are not what the source says they are, or not what they are known to be.
    async fn checked(&mut self, pieces: Vec<Piece>) -> Result<Vec<Piece>, Fault> {
        let passage = self.flow.shared.passages.of(self.file);
        if self.claims.is_empty() && passage.is_none() {
            return Ok(pieces);
        }
        let hashed = tokio::task::spawn_blocking(move || {
            pieces.into_iter().map(|(index, piece)| (piece_hash(&piece), (index, piece))).collect::<Vec<_>>()
        });
        let hashed = hashed.await.map_err(|_join| Fault::Stopping)?;
        let count = hashed.len();
        let (taken, contradicts) = self.sorted_out(hashed, passage.as_deref());
        if contradicts {
            self.flow.refute(self.file, self.flow.sha1()).await;
            return Err(Fault::Damaged(count));
        }
        self.damaged += count - taken.len();
        Ok(taken)
    }

    /// The pieces to take, and whether one is not what came in its place before.
    fn sorted_out(&self, hashed: Vec<(PieceHash, Piece)>, passage: Option<&Passage>) -> (Vec<Piece>, bool) {
        let (mut taken, mut contradicts) = (Vec::with_capacity(hashed.len()), false);
        let mut state = locked(&self.flow.state);
        for (hash, (index, piece)) in hashed {
            if !state.doubts.takes(index, hash, self.claims.of(index)) {
                continue;
            }
            match passage.map_or(Arrival::Fits, |passage| passage.arrived(index, hash)) {
                Arrival::Fits => taken.push((index, piece)),
                Arrival::Damaged => {}
                Arrival::Contradicts => contradicts = true,
            }
        }
        if let Some(health) = state.health.as_mut().filter(|_| contradicts) {
            // it is one of those who may have been wrong
            health.delivered(self.index, self.flow.shared.clock.instant());
        }
        (taken, contradicts)
    }

    async fn store(&mut self, mut pieces: Vec<Piece>) -> Result<(), Fault> {
        pieces = self.checked(pieces).await?;
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(()) };
        let landed = first.0..last.0 + 1;
        let bytes: u64 = pieces.iter().map(|(_, piece)| piece.len() as u64).sum();
        let lacks = bytes.saturating_sub(self.room.bytes());
        if lacks > 0 {
            self.room.add(self.flow.room(self.file, lacks).await?);
        }
        let (shared, file) = (Arc::clone(&self.flow.shared), Arc::clone(self.file));
        let written = tokio::task::spawn_blocking(move || {
            let mut fresh = Vec::new();
            let result = pieces.iter().try_for_each(|(index, piece)| {
                let (held, start) = (file.holds_piece(*index), index * PIECE);
                shared.store.write_piece(&file, *index, piece)?;
                fresh.extend(ByteRange::new(start, start + piece.len() as u64).filter(|_| !held));
                Ok::<(), ContentError>(())
            });
            let passage = shared.passages.of(&file);
            (result, fresh, passage.map(|passage| passage.advance(&file)))
        });
        let (result, fresh, outcome) = written.await.map_err(|_join| Fault::Stopping)?;
        self.room.used(bytes);
        for range in fresh {
            self.stored += range.len();
            self.tally.stored(range);
        }
        if !self.from.is_empty() {
            let from = std::mem::take(&mut self.from);
            if let Some(health) = &mut locked(&self.flow.state).health {
                health.contributed(&from);
            }
        }
        // even when one piece could not be written, those before it are there
        self.flow.landed(self.file, self.index, landed);
        if let Some(outcome) = outcome {
            self.flow.passed(self.file, outcome).await;
        }
        result.map_err(Fault::from)
    }
}
