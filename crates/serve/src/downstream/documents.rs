//! Answers with documents on their way out: turns while they are made, memory and disk while they are read.
//!
//! **Invariant:** turns are held while an answer is made, never while it is read; memory and disk for answers on
//! their way are bounded, however long a document is and however slow its reader.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;

use super::blobs::Blobs;
use super::body::{Part, Streamed, spooled};
use crate::Response;
use crate::fault::Refusal;
use crate::soap::{Exchange, MIN_COMPRESSED};
use tailwater_domain::{Limit, limits};
use tailwater_runtime::{Clock, Limits as ShareLimits, Shares, TurnLimits, Turns};
use tailwater_wire::xpress;

/// Bytes of updates and addresses after which an answer ends (note 37); one update is always sent.
pub(super) const ANSWER_LIMIT: u64 = 2_000_000;
/// Memory for answers on their way out, shared by address; further ones wait for their readers on disk.
const IN_MEMORY: u64 = 64 << 20;
/// Disk for answers on their way out, shared by address.
const ON_DISK: u64 = 1 << 30;
/// Answers with a document of more than a megabyte at once: each takes a processor for a second.
const LARGE_AT_ONCE: usize = 2;

/// Answers without such a document in the making at once: as many as there are processors, so that agents' answers wait
/// for none of them long, and only so many threads use memory.
fn makers() -> usize {
    std::thread::available_parallelism().map_or(LEAST_MAKERS, NonZeroUsize::get).max(LEAST_MAKERS)
}

/// How long a request waits until its answer is made.
const PATIENCE: Duration = Duration::from_secs(30);
/// While one waits for the disk another is made.
const LEAST_MAKERS: usize = 2;

pub(super) const LIMITS: &[Limit] = limits![
    ANSWER_LIMIT in "bytes": "Updates in one answer to a downstream server" => "asks again for the rest",
    IN_MEMORY in "bytes": "Memory for answers with documents on their way, shared by address" => "a temporary file",
    ON_DISK in "bytes": "Disk for answers with documents on their way, shared by address" => "`ServerBusy`",
    LARGE_AT_ONCE in "answers": "Answers with a large document that are made at once" => "a wait, then `ServerBusy`",
    PATIENCE: "The wait until an answer with documents is made" => "`ServerBusy`",
];

/// What answers with documents share.
pub(super) struct Documents {
    pub(super) blobs: Blobs,
    in_memory: Shares,
    on_disk: Shares,
    pub(super) large: Turns,
    pub(super) making: Turns,
}

impl Documents {
    pub(super) fn new(clock: &Clock) -> Self {
        let of_bytes = |total| Shares::new(ShareLimits { least: ANSWER_LIMIT, ..ShareLimits::of(total) });
        Self {
            blobs: Blobs::new(),
            in_memory: of_bytes(IN_MEMORY),
            on_disk: of_bytes(ON_DISK),
            large: Turns::new(TurnLimits::of(LARGE_AT_ONCE, PATIENCE), clock.clone()),
            making: Turns::new(TurnLimits::of(makers(), PATIENCE), clock.clone()),
        }
    }
}

impl Documents {
    /// Compresses what is in memory where that is asked for; a document that comes from a file is compressed already.
    /// What has no share of the memory goes to disk, where readers may take their time.
    pub(super) fn answer(
        &self,
        exchange: &Exchange,
        parts: Vec<Part>,
        from: IpAddr,
    ) -> Result<Response, Refusal> {
        let total: u64 = parts.iter().map(Part::len).sum();
        let in_memory: Option<Vec<&Bytes>> = parts.iter().map(Part::bytes).collect();
        let coded = match in_memory {
            Some(bytes) if exchange.xpress && total >= MIN_COMPRESSED as u64 => Some(compress(&bytes)),
            _ => None,
        };
        let is_coded = coded.is_some();
        let mut parts = match coded {
            Some(coded) => vec![Part::from(coded)],
            None => parts,
        };
        let held = parts.iter().filter_map(Part::bytes).map(|bytes| bytes.len() as u64).sum();
        let share = match self.in_memory.try_take(from, held) {
            Ok(share) => share,
            Err(_scarce) => {
                let share = self.on_disk.try_take(from, held).map_err(|_scarce| Refusal::Busy)?;
                parts = spooled(parts).map_err(Refusal::Spool)?;
                share
            }
        };
        let body = Streamed::new(parts, share).boxed_unsync();
        Ok(exchange.with_body(StatusCode::OK, body, is_coded))
    }
}

fn compress(parts: &[&Bytes]) -> Bytes {
    let mut coded = Vec::new();
    // small parts share blocks
    let mut waiting = Vec::with_capacity(4 * xpress::BLOCK);
    for part in parts {
        for piece in part.chunks(2 * xpress::BLOCK) {
            waiting.extend_from_slice(piece);
            let whole = waiting.len() - waiting.len() % xpress::BLOCK;
            xpress::encode_into(&mut coded, &waiting[..whole]);
            waiting.drain(..whole);
        }
    }
    xpress::encode_into(&mut coded, &waiting);
    coded.into()
}
