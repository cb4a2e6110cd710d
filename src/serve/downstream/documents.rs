//! `GetUpdateData` and `GetUpdateDecryptionData` ([MS-WSUSSS] 3.1.4.6, 3.1.4.18).
//!
//! **Invariant:** every revision of an answer is whole, and an answer ends where [`ANSWER_LIMIT`] is reached; the asking
//! server asks again for the rest. Memory is bounded by [`AT_ONCE`] answers, however long a document is.

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::blob::{Blob, Blobs};
use super::body::{Part, Streamed};
use super::{Asked, Service};
use crate::catalog::Took;
use crate::domain::{ServerId, Sha1Digest, UpdateIdentity};
use crate::serve::Response;
use crate::serve::fault::Refusal;
use crate::serve::soap::{Exchange, MIN_COMPRESSED};
use crate::wire::server_sync::served::{self, MOST_UPDATES, UPDATE_DATA};
use crate::wire::server_sync::{PayloadKey, UpdateKeys};
use crate::wire::xpress;

/// Bytes of updates and addresses after which an answer ends (note 37); one update is always sent.
const ANSWER_LIMIT: u64 = 2_000_000;
/// Answers in the making or on their way out at once, at 2 MB each.
const AT_ONCE: usize = 64;
/// Answers with a document of more than a megabyte at once: each takes a processor for a second.
const LARGE_AT_ONCE: usize = 2;

/// Answers without such a document in the making at once: as many as there are processors, so that agents' answers wait
/// for none of them long, and only so many threads use memory.
fn makers() -> usize {
    std::thread::available_parallelism().map_or(LEAST_MAKERS, NonZeroUsize::get).max(LEAST_MAKERS)
}

/// While one waits for the disk another is made.
const LEAST_MAKERS: usize = 2;

/// What answers with documents share.
pub(super) struct Documents {
    pub(super) blobs: Blobs,
    answers: Arc<Semaphore>,
    large: Arc<Semaphore>,
    making: Semaphore,
}

impl Documents {
    pub(super) fn new() -> Self {
        Self {
            blobs: Blobs::new(),
            answers: Arc::new(Semaphore::new(AT_ONCE)),
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            making: Semaphore::new(makers()),
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
        let permit = Arc::clone(&documents.answers).acquire_owned().await.map_err(|_closed| Refusal::Busy)?;
        let large = if self.0.has_large(&wanted) {
            Arc::clone(&documents.large).acquire_owned().await.ok()
        } else {
            None
        };
        // small ones do not wait for large ones
        let _maker = if large.is_none() { documents.making.acquire().await.ok() } else { None };
        let (service, asked_by) = (self.clone(), exchange.clone());
        let make = move || {
            let answer = service.update_data(&asked_by, &wanted, [Some(permit), large])?;
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
        permits: [Option<OwnedSemaphorePermit>; 2],
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
        Ok(answer(exchange, parts, permits))
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

/// Compresses what is in memory where that is asked for; a document that comes from a file is compressed already.
fn answer(exchange: &Exchange, parts: Vec<Part>, permits: [Option<OwnedSemaphorePermit>; 2]) -> Response {
    let total: u64 = parts.iter().map(Part::len).sum();
    let in_memory: Option<Vec<&Bytes>> = parts.iter().map(Part::bytes).collect();
    let coded = match in_memory {
        Some(bytes) if exchange.xpress && total >= MIN_COMPRESSED as u64 => Some(compress(&bytes)),
        _ => None,
    };
    let is_coded = coded.is_some();
    let parts = match coded {
        Some(coded) => vec![Part::from(coded)],
        None => parts,
    };
    let body = Streamed::new(parts, permits).boxed_unsync();
    exchange.with_body(StatusCode::OK, body, is_coded)
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
