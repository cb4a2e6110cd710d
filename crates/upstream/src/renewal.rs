//! Asking the upstream anew where a payload is available, when no address known leads to it any more.
//!
//! **Invariant:** a payload is asked about ever more seldom while that leads nowhere, and at most two of them at
//! a time, so that a payload that is gone costs the upstream next to nothing. Addresses that carry a token are remembered for the life
//! of the process only, and never logged.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::addresses::Address;
use super::error::SyncError;
use super::handle::Upstream;
use super::session::SessionError;
use tailwater_domain::{FileDeclaration, Limit, Sha1Digest, UpdateIdentity, limits};
use tailwater_wire::server_sync::{get_update_data, read_update_data};

/// How long a payload waits for the answer.
const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const LIMITS: &[Limit] = limits![
    PATIENCE: "The time a payload waits for its new address" => "it fails for now",
];

impl Upstream {
    /// The addresses of a payload after asking the upstream for them: of its metadata anew ([MS-WSUSSS] 3.1.4.6), and
    /// to fetch it, where it does that only when asked. What cannot be asked now stays as it was.
    pub async fn renewed_sources(&self, file: &FileDeclaration) -> Vec<Address> {
        self.ask_anew(file.sha1).await;
        self.known_sources(file).await
    }

    /// Asks where a payload is, unless it was asked not long ago.
    pub(super) async fn ask_anew(&self, sha1: Sha1Digest) {
        let now = self.0.clock.now();
        let turns = {
            let mut renewals = self.0.addresses.renewals();
            renewals.may_ask(sha1, now).then(|| renewals.turns())
        };
        if let Some(turns) = turns {
            let asking = tokio::time::timeout(PATIENCE, async {
                let _turn = turns.acquire_owned().await;
                self.ask_where(sha1).await
            });
            match asking.await {
                Ok(Ok(())) => tracing::info!(%sha1, "the upstream was asked anew where a payload is"),
                Ok(Err(error)) => {
                    tracing::debug!(%sha1, %error, "the upstream does not say where a payload is");
                }
                Err(_late) => tracing::debug!(%sha1, "the upstream does not say in time where a payload is"),
            }
        }
    }

    async fn ask_where(&self, sha1: Sha1Digest) -> Result<(), SyncError> {
        let catalog = self.0.catalog.clone();
        let known = tokio::task::spawn_blocking(move || catalog.file(&sha1)).await;
        let known = known.map_err(|_e| SyncError::Worker)?.map_err(SyncError::Catalog)?;
        let Some(known) = known else { return Ok(()) };
        let session = self.0.session().await?;
        let asked: Arc<[UpdateIdentity]> = Arc::from([known.update]);
        let answer = session.call(
            |cookie| get_update_data(cookie, &asked),
            |answer| read_update_data(answer, |mut document| io::copy(&mut document, &mut io::sink())),
        );
        let answer = answer.await.map_err(SessionError::into_sync_error)?;
        self.0.addresses.renewals().learn(answer.file_urls, self.0.clock.now());
        self.ask_for_files(&[sha1]).await
    }
}
