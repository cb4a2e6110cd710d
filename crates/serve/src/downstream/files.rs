//! `DownloadFiles` ([MS-WSUSSS] 3.1.4.11): a downstream server misses payloads here.
//!
//! **Invariant:** only what metadata of ours names is ever fetched, and a request that names anything else fetches
//! nothing. It never waits for a transfer.

use std::collections::HashSet;

use super::service::{Asked, Service};
use crate::fault::Refusal;
use tailwater_domain::{FileDeclaration, Limit, Sha1Digest, limits};
use tailwater_wire::server_sync::served::{self, MOST_DIGESTS};

/// Fetches payloads in the background; `app` joins it to the transfers.
pub trait WantedFiles: Send + Sync + 'static {
    /// Whether express payloads are available here (`ServerHostsPsfFiles`).
    fn hosts_psf(&self) -> bool;

    /// Begins to fetch a file, unless it is held or on its way. False when too many wait already.
    fn fetch(&self, file: &FileDeclaration) -> bool;
}

impl Service {
    /// [MS-WSUSSS] 3.1.4.11
    pub(super) async fn download_files(&self, asked: &mut Asked<'_>) -> Result<String, Refusal> {
        let request = served::download_request(asked.decoder)?;
        self.admitted(request.cookie.as_deref(), &asked.proof)?;
        let digests = request.digests.filter(|digests| digests.len() <= MOST_DIGESTS);
        let digests = digests.ok_or(Refusal::Parameter("fileDigestList"))?;
        let service = self.clone();
        let files = tokio::task::spawn_blocking(move || service.known_files(&digests)).await??;
        for file in files {
            if !self.0.files.fetch(&file) {
                // like any download that fails: the server that misses it comes again
                tracing::info!(sha1 = %file.sha1, "too many transfers are queued; a downstream server's file is deferred");
                break;
            }
        }
        Ok(served::download_answer())
    }

    /// The files of these digests, each once; those that no metadata names make a fault, as they were sent.
    fn known_files(&self, digests: &[String]) -> Result<Vec<FileDeclaration>, Refusal> {
        let (mut files, mut missing, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for text in digests {
            if !is_base64(text) {
                return Err(Refusal::Parameter("fileDigestList"));
            }
            let known = match Sha1Digest::from_base64(text) {
                Ok(sha1) if !seen.insert(sha1) => continue,
                Ok(sha1) => self.0.catalog.file(&sha1)?,
                // the digest of something, but of no file
                Err(_length) => None,
            };
            match known {
                Some(known) => files.push(known.declaration),
                None => missing.push(text.as_str()),
            }
        }
        if missing.is_empty() { Ok(files) } else { Err(Refusal::FileDigestsMissing(missing.join("|"))) }
    }
}

/// The longest digest that anybody could mean: SHA-512.
const MAX_DIGEST_TEXT: usize = 88;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_DIGEST_TEXT in "characters": "A digest in a request" => "it is passed over",
];

/// Whether a text can be the Base64 of a digest at all.
fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    text.len() <= MAX_DIGEST_TEXT && base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}
