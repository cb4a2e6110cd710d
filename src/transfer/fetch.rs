//! One GET of one run: ask, read, store whole pieces, tell who waits.
//!
//! **Invariant:** a piece is told about only after the store has it. What came before a fault is kept. It
//! sends no If-Range: a file is named by its digest, and the digest decides in the end what its bytes are.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};

use super::answer::{self, Brings, Refusal};
use super::claims::Claims;
use super::flow::Flow;
use super::health::Blame;
use super::intake::{Intake, Piece, Wanted};
use super::plan::Run;
use super::shared::locked;
use super::tally::Tally;
use super::{Source, TransferError};
use crate::bandwidth::{self, LinkBody, LinkError, Place, Purpose};
use crate::content::{ContentError, PIECE, Room, SparseFile, piece_hash};
use crate::domain::{ByteRange, Sha1Digest};

/// Pieces written in one go when they arrive faster than they are written.
const BATCH: usize = 8;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("the source's address cannot be used")]
    Address(#[from] http::Error),
    #[error("the answer ended before its end")]
    Short,
    #[error("the source sends whole files only; the whole is on its way already")]
    OnItsWay,
    #[error("{0}")]
    Store(Arc<ContentError>),
    #[error("{0} of its pieces came damaged")]
    Damaged(usize),
    #[error("the server is stopping")]
    Stopping,
}

impl Fault {
    /// What to think of the source; `None` when it is not to blame.
    pub(super) fn blame(&self) -> Option<Blame> {
        match self {
            Self::Link(error)
                if matches!(error.blame(), bandwidth::Blame::Shutdown | bandwidth::Blame::Budget) =>
            {
                None
            }
            Self::Link(error) if error.retry_may_help() => Some(Blame::Trouble),
            Self::Link(_) | Self::Address(_) => Some(Blame::Unfit),
            Self::Refused(refusal) => Some(refusal.blame()),
            Self::Short | Self::Damaged(_) => Some(Blame::Trouble),
            Self::OnItsWay | Self::Store(_) | Self::Stopping => None,
        }
    }

    /// Whether the link's budget ended it.
    pub(super) fn is_spent(&self) -> bool {
        matches!(self, Self::Link(LinkError::Spent { .. }))
    }

    /// The fault as those who wait see it, when it is not about a source.
    pub(super) fn store_error(&self, sha1: Sha1Digest) -> Option<TransferError> {
        match self {
            Self::Store(error) => match **error {
                ContentError::Dropped { .. } => Some(TransferError::Dropped { sha1 }),
                _ => Some(TransferError::Store(Arc::clone(error))),
            },
            Self::Stopping | Self::Link(LinkError::Stopping) => Some(TransferError::Stopping),
            _ => None,
        }
    }
}

impl From<ContentError> for Fault {
    fn from(error: ContentError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// Fetches one run from one source into the store, at a place on the link that it gives back.
pub(super) async fn run(
    flow: &Arc<Flow>,
    file: &Arc<SparseFile>,
    id: u64,
    run: Run,
    index: usize,
    source: &Source,
    place: Place,
) -> Result<(), Fault> {
    let size = flow.declaration.size;
    let bytes = run.bytes(size);
    let store = flow.shared.store.clone();
    let room = tokio::task::spawn_blocking(move || store.make_room(bytes.len()));
    let room = room.await.map_err(|_join| Fault::Stopping)??;

    let mut request = Request::get(&source.url)
        .header(header::RANGE, format!("bytes={}-{}", bytes.start, bytes.end - 1))
        .header(header::ACCEPT_ENCODING, "identity")
        .body(Full::<Bytes>::default())?;
    request.headers_mut().extend(source.headers.clone());
    let purpose = Purpose { class: run.class, requester: run.requester, file: Some(flow.sha1()) };
    let response = flow.shared.link.send_at(place, request, purpose).await?;
    let (head, body) = response.into_parts();
    let brings = answer::read(head.status, &head.headers, (bytes.start, bytes.end), size)?;
    let intake = match brings {
        Brings::Range { end } => {
            if flow.shared.note_ranges(&source.url, true) {
                flow.kick();
            }
            Intake::new(size, bytes.start, Wanted::Run(run.start, end.div_ceil(PIECE)))
        }
        Brings::Whole if bytes.start == 0 && bytes.end == size => {
            Intake::new(size, 0, Wanted::Run(run.start, run.end))
        }
        Brings::Whole => {
            flow.shared.note_ranges(&source.url, false);
            let mine = flow.widen(id, file).ok_or(Fault::OnItsWay)?;
            Intake::new(size, 0, Wanted::Marked(mine))
        }
    };
    let end = match brings {
        Brings::Range { end } => end,
        Brings::Whole => size,
    };
    let claims = match brings {
        Brings::Range { end } => Claims::read(&head.headers, run.start, end.div_ceil(PIECE)),
        Brings::Whole => Claims::read(&head.headers, 0, size.div_ceil(PIECE)),
    };
    let tally = Tally::new(&flow.shared, run.class, flow.sha1(), source);
    let mut target = Target { flow, file, index, room, claims: Arc::new(claims), damaged: 0, tally };
    receive(&mut target, intake, body, end).await
}

/// Where a run's bytes go.
struct Target<'a> {
    flow: &'a Arc<Flow>,
    file: &'a Arc<SparseFile>,
    /// Which source they come from.
    index: usize,
    room: Room,
    /// What the source says of the pieces.
    claims: Arc<Claims>,
    /// Pieces that were not taken.
    damaged: usize,
    tally: Tally,
}

/// Reads the body to its end, storing pieces as they become whole.
async fn receive(
    target: &mut Target<'_>,
    mut intake: Intake,
    mut body: LinkBody,
    end: u64,
) -> Result<(), Fault> {
    loop {
        // write at once when nothing more is there yet: somebody waits for it
        let frame = tokio::select! {
            biased;
            frame = body.frame(), if intake.ready() < BATCH => Some(frame),
            () = std::future::ready(()), if intake.ready() > 0 => None,
        };
        match frame {
            None => target.store(intake.take()).await?,
            Some(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    target.tally.came(bytes.len());
                    intake.push(bytes);
                }
            }
            Some(Some(Err(error))) => {
                target.store(intake.take()).await?;
                return Err(error.into());
            }
            Some(None) => break,
        }
    }
    target.store(intake.take()).await?;
    match target.damaged {
        _ if intake.at() < end => Err(Fault::Short),
        0 => Ok(()),
        damaged => Err(Fault::Damaged(damaged)),
    }
}

impl Target<'_> {
    /// Leaves out the pieces that are not what the source says they are.
    async fn whole(&mut self, pieces: Vec<Piece>) -> Result<Vec<Piece>, Fault> {
        let hashed = tokio::task::spawn_blocking(move || {
            pieces.into_iter().map(|(index, piece)| (piece_hash(&piece), (index, piece))).collect::<Vec<_>>()
        });
        let hashed = hashed.await.map_err(|_join| Fault::Stopping)?;
        let count = hashed.len();
        let mut state = locked(&self.flow.state);
        let taken: Vec<Piece> = hashed
            .into_iter()
            .filter(|(hash, (index, _))| state.doubts.takes(*index, *hash, self.claims.of(*index)))
            .map(|(_, piece)| piece)
            .collect();
        drop(state);
        self.damaged += count - taken.len();
        Ok(taken)
    }

    async fn store(&mut self, mut pieces: Vec<Piece>) -> Result<(), Fault> {
        if !self.claims.is_empty() {
            pieces = self.whole(pieces).await?;
        }
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(()) };
        let landed = first.0..last.0 + 1;
        let bytes = pieces.iter().map(|(_, piece)| piece.len() as u64).sum();
        let (store, file) = (self.flow.shared.store.clone(), Arc::clone(self.file));
        let written = tokio::task::spawn_blocking(move || {
            let mut fresh = Vec::new();
            let result = pieces.iter().try_for_each(|(index, piece)| {
                let (held, start) = (file.holds_piece(*index), index * PIECE);
                store.write_piece(&file, *index, piece)?;
                fresh.extend(ByteRange::new(start, start + piece.len() as u64).filter(|_| !held));
                Ok::<(), ContentError>(())
            });
            (result, fresh)
        });
        let (result, fresh) = written.await.map_err(|_join| Fault::Stopping)?;
        self.room.used(bytes);
        for range in fresh {
            self.tally.stored(range);
        }
        // even when one piece could not be written, those before it are there
        self.flow.landed(self.file, self.index, landed);
        result.map_err(Fault::from)
    }
}
