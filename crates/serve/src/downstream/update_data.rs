//! `GetUpdateData` and `GetUpdateDecryptionData` ([MS-WSUSSS] 3.1.4.6, 3.1.4.18).
//!
//! **Invariant:** every revision of an answer is whole, and an answer ends where [`ANSWER_LIMIT`] is reached; the asking
//! server asks again for the rest. It never sends a key for a payload that was not asked about.

use std::net::IpAddr;

use http_body::Body as _;

use super::blobs::Blob;
use super::body::Part;
use super::documents::ANSWER_LIMIT;
use super::service::{Asked, Service};
use crate::fault::Refusal;
use crate::http::Response;
use crate::soap::Exchange;
use tailwater_catalog::Took;
use tailwater_domain::{ServerId, Sha1Digest, UpdateIdentity};
use tailwater_wire::server_sync::served::{self, MOST_UPDATES, UPDATE_DATA};
use tailwater_wire::server_sync::{PayloadKey, UpdateKeys};

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
