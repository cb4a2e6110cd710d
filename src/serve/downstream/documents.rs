//! `GetUpdateData` and `GetUpdateDecryptionData` ([MS-WSUSSS] 3.1.4.6, 3.1.4.18).
//!
//! **Invariant:** every revision of an answer is whole, and an answer ends where [`ANSWER_LIMIT`] is reached; the asking
//! server asks again for the rest. Turns are held while an answer is made, never while it is read; memory and disk for answers on
//! their way are bounded, however long a document is and however slow its reader.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::blob::{Blob, Blobs};
use super::body::{Part, Streamed, spooled};
use super::{Asked, Service};
use crate::catalog::Took;
use crate::domain::{Limit, ServerId, Sha1Digest, UpdateIdentity, limits};
use crate::runtime::{Clock, Limits as ShareLimits, Shares, TurnLimits, Turns};
use crate::serve::Response;
use crate::serve::fault::Refusal;
use crate::serve::soap::{Exchange, MIN_COMPRESSED};
use crate::wire::server_sync::served::{self, MOST_UPDATES, UPDATE_DATA};
use crate::wire::server_sync::{PayloadKey, UpdateKeys};
use crate::wire::xpress;

/// Bytes of updates and addresses after which an answer ends (note 37); one update is always sent.
const ANSWER_LIMIT: u64 = 2_000_000;
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
    large: Turns,
    making: Turns,
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

/// Addresses of payloads, each once.
#[derive(Default)]
struct FileUrls {
    text: String,
    named: std::collections::HashSet<Sha1Digest>,
}

impl FileUrls {
    fn add(&mut self, blob: &Blob) {
        for (sha1, url) in blob.files.iter() {
            if self.named.insert(*sha1) {
                served::file_url(&mut self.text, sha1, url.as_deref());
            }
        }
    }
}

impl Service {
    /// [MS-WSUSSS] 3.1.4.6
    pub(super) async fn get_update_data(
        &self,
        exchange: &Exchange,
        asked: &mut Asked<'_>,
    ) -> Result<Response, Refusal> {
        let request = served::update_data_request(asked.decoder)?;
        let claims = self.admitted(request.cookie.as_deref(), &asked.proof)?;
        let wanted = request.revisions.filter(|wanted| wanted.len() <= MOST_UPDATES);
        let wanted = wanted.ok_or(Refusal::Parameter("updateIds"))?;
        let documents = &self.0.documents;
        let address = asked.from.address.ip();
        let holder = asked.asker(&claims.server);
        // small ones do not wait for large ones
        let turns = if self.0.has_large(&wanted) { &documents.large } else { &documents.making };
        let turn = turns.take(holder).await.map_err(|_none| Refusal::Busy)?;
        let (service, asked_by) = (self.clone(), exchange.clone());
        let make = move || {
            // over when the answer is made, whether or not anybody reads it
            let _turn = turn;
            let answer = service.update_data(&asked_by, &wanted, address)?;
            service.count(&claims.server, &answer, None);
            Ok(answer)
        };
        tokio::task::spawn_blocking(make).await?
    }

    /// Makes the answer; waits for the disk and a processor.
    fn update_data(
        &self,
        exchange: &Exchange,
        wanted: &[UpdateIdentity],
        address: IpAddr,
    ) -> Result<Response, Refusal> {
        let found = self.0.find(wanted)?;
        let (mut parts, mut length) = (Vec::with_capacity(3 * found.len() + 2), 0);
        let mut urls = FileUrls::default();
        parts.push(Part::from(exchange.opening() + UPDATE_DATA));
        for (id, identity) in found.into_iter().zip(wanted) {
            let blob = self.0.blob(id, identity)?;
            let added = blob.len() + 200 * blob.files.len() as u64;
            if length > 0 && length + added > ANSWER_LIMIT {
                break;
            }
            length += added;
            urls.add(&blob);
            parts.extend(blob.into_parts());
        }
        parts.push(Part::from(served::update_data_end(&urls.text) + exchange.closing()));
        self.0.documents.answer(exchange, parts, address)
    }

    /// Counts what a server took, and up to which change it was told what there is.
    pub(super) fn count(&self, server: &ServerId, answer: &Response, change: Option<u64>) {
        let metadata = answer.body().size_hint().exact().unwrap_or_default();
        let took = Took { metadata, change, ..Took::default() };
        self.0.catalog.server_took(server, took);
    }

    /// [MS-WSUSSS] 3.1.4.18: of each revision that is known its payloads, with their keys where they are held.
    pub(super) fn get_decryption_data(&self, asked: &mut Asked<'_>) -> Result<String, Refusal> {
        let request = served::update_data_request(asked.decoder)?;
        self.admitted(request.cookie.as_deref(), &asked.proof)?;
        let wanted = request.revisions.filter(|wanted| wanted.len() <= MOST_UPDATES);
        let wanted = wanted.ok_or(Refusal::Parameter("updateIds"))?;
        let snapshot = self.0.catalog.snapshot();
        let keys = |id: &UpdateIdentity| {
            let revision = snapshot.find(id)?;
            let keys = snapshot.payload_keys(revision);
            let key = |sha1| keys.iter().find(|(file, _)| *file == sha1).and_then(|(_, key)| key.cloned());
            let files = snapshot.files(revision).into_iter();
            Some(UpdateKeys {
                id: *id,
                files: files.map(|sha1| PayloadKey { sha1, key: key(sha1) }).collect(),
            })
        };
        let told: Vec<UpdateKeys> = wanted.iter().filter_map(keys).collect();
        Ok(served::decryption_answer(&told))
    }
}

impl Documents {
    /// Compresses what is in memory where that is asked for; a document that comes from a file is compressed already.
    /// What has no share of the memory goes to disk, where readers may take their time.
    fn answer(&self, exchange: &Exchange, parts: Vec<Part>, from: IpAddr) -> Result<Response, Refusal> {
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
