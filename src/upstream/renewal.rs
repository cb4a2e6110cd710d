//! Asking the upstream anew where a payload can be had, when no address known leads to it any more.
//!
//! **Invariant:** a payload is asked about ever more seldom while that leads nowhere, and at most [`AT_ONCE`] of them at
//! a time, so that a payload that is gone costs the upstream next to nothing. Addresses that carry a token are remembered for the life
//! of the process only, and never logged.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use super::session::SessionError;
use super::{Address, SyncError, Upstream};
use crate::domain::{FileDeclaration, Limit, Sha1Digest, UpdateIdentity, limits};
use crate::runtime::is_recent;
use crate::wire::server_sync::{FileUrl, get_update_data, read_update_data};

/// Between two questions about one payload; doubles with each that brought nothing new.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// The longest such pause.
const LONGEST: Duration = Duration::from_hours(1);
/// Questions at once.
const AT_ONCE: usize = 2;
/// How long a payload waits for the answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Payloads whose new addresses are remembered; with more, the memory begins anew.
const MOST_REMEMBERED: usize = 10_000;

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST: "The pause between two questions for a payload's new address" => "it grows no further",
    AT_ONCE in "questions": "Questions for new addresses at once" => "they wait",
    PATIENCE: "The time a payload waits for its new address" => "it fails for now",
    MOST_REMEMBERED in "payloads": "Payloads whose new addresses are remembered" => "the memory begins anew",
];

/// What the upstream said last.
#[derive(Debug)]
pub(super) struct Renewals {
    fresh: HashMap<Sha1Digest, FileUrl>,
    /// When a payload was asked about last, and how often in vain.
    asked: HashMap<Sha1Digest, (Timestamp, u32)>,
    places: Arc<Semaphore>,
}

impl Default for Renewals {
    fn default() -> Self {
        Self { fresh: HashMap::new(), asked: HashMap::new(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Renewals {
    /// Whether to ask about a payload now; it then counts as asked about.
    fn may_ask(&mut self, sha1: Sha1Digest, now: Timestamp) -> bool {
        let in_vain = match self.asked.get(&sha1) {
            Some((asked, in_vain)) => {
                let pause = (ASK_AGAIN * 2_u32.saturating_pow((*in_vain).min(16))).min(LONGEST);
                if is_recent(*asked, SignedDuration::try_from(pause).unwrap_or_default(), now) {
                    return false;
                }
                in_vain.saturating_add(1)
            }
            None => 0,
        };
        if self.asked.len() >= MOST_REMEMBERED {
            self.asked.clear();
        }
        self.asked.insert(sha1, (now, in_vain));
        true
    }

    /// Remembers addresses for the life of the process.
    pub(super) fn learn(&mut self, urls: Vec<FileUrl>) {
        if self.fresh.len() + urls.len() > MOST_REMEMBERED {
            self.fresh.clear();
        }
        for url in urls.into_iter().take(MOST_REMEMBERED) {
            let news = self.fresh.get(&url.sha1) != Some(&url);
            if let Some((_, in_vain)) = self.asked.get_mut(&url.sha1).filter(|_| news) {
                *in_vain = 0;
            }
            self.fresh.insert(url.sha1, url);
        }
    }

    /// What the upstream told anew of a payload.
    pub(super) fn of(&self, sha1: &Sha1Digest) -> Option<&FileUrl> {
        self.fresh.get(sha1)
    }
}

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
        let places = {
            let mut renewals = self.0.renewals.lock().unwrap_or_else(PoisonError::into_inner);
            renewals.may_ask(sha1, now).then(|| Arc::clone(&renewals.places))
        };
        if let Some(places) = places {
            let asking = tokio::time::timeout(PATIENCE, async {
                let _place = places.acquire_owned().await;
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
        self.0.renewals.lock().unwrap_or_else(PoisonError::into_inner).learn(answer.file_urls);
        self.ask_for_files(&[sha1]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_asked_about_once_in_a_while() {
        let digest = |byte| Sha1Digest([byte; 20]);
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut renewals = Renewals::default();
        let table = [
            (1, 0, true),
            (1, 14, false),
            (2, 14, true),
            (1, 15, true),
            (1, 44, false),
            (1, 45, true),
            (1, 90, false),
        ];
        for (byte, second, asks) in table {
            assert_eq!(renewals.may_ask(digest(byte), at(second)), asks, "{byte} at {second}");
        }
        let url = |text: &str| FileUrl { sha1: digest(1), mu_url: Some(text.to_owned()), uss_url: None };
        renewals.learn(vec![url("http://a/x?old")]);
        assert!(renewals.may_ask(digest(1), at(90)), "what was told is news");
        renewals.learn(vec![url("http://a/x?old")]);
        assert!(!renewals.may_ask(digest(1), at(106)), "what was told is known");
        renewals.learn(vec![url("http://a/x?new")]);
        assert_eq!(renewals.of(&digest(1)).unwrap().mu_url.as_deref(), Some("http://a/x?new"));
    }
}
