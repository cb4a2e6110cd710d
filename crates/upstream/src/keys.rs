//! Asking for the keys of encrypted payloads ([MS-WSUSSS] 3.2.4.2, 3.1.4.18).
//!
//! **Invariant:** a key that is held is not asked for again, and no request names more revisions than the upstream
//! takes. What goes wrong here withholds the updates it is about and fails nothing else: the next synchronisation asks
//! again. It never logs a key.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::blocking::blocking;
use super::error::SyncError;
use super::report::{Missing, Phase};
use super::run::Run;
use super::session::SessionError;
use tailwater_catalog::WantedKeys;
use tailwater_domain::{DecryptionKey, Limit, Sha1Digest, UpdateIdentity, limits};
use tailwater_wire::server_sync::{
    ConfigData, UpdateKeys, get_update_decryption_data, read_update_decryption_data,
};

/// Revisions of one request, for an upstream that does not say: what WSUS takes.
const USUAL_BATCH: usize = 100;
/// No more, whatever an upstream says: what Microsoft's service takes.
const LARGEST_BATCH: usize = 500;
/// Refused requests of one synchronisation after which it asks no more: one revision that the upstream does not take is
/// found with 14.
const MOST_REFUSALS: usize = 64;

pub(super) const LIMITS: &[Limit] = limits![
    USUAL_BATCH in "revisions": "Revisions in a request for keys where the upstream does not say" => "they are asked for in further requests",
    LARGEST_BATCH in "revisions": "Revisions in a request for keys, whatever the upstream says" => "they are asked for in further requests",
    MOST_REFUSALS in "requests": "Refused requests for keys of one synchronisation" => "it asks for no more keys",
];

/// Revisions of one request.
fn batch(config: Option<&ConfigData>) -> usize {
    let most = config.map_or(0, |config| config.max_decryption_per_request);
    match usize::try_from(most) {
        Ok(0) | Err(_) => USUAL_BATCH,
        Ok(most) => most.min(LARGEST_BATCH),
    }
}

/// What was told of the payloads that were asked about, and of no others; none where there is no key.
fn told(asked: &[WantedKeys], answer: Vec<UpdateKeys>) -> Vec<(Sha1Digest, Option<DecryptionKey>)> {
    let files = answer.into_iter().flat_map(|update| update.files);
    let keys: HashMap<Sha1Digest, DecryptionKey> =
        files.filter_map(|file| Some((file.sha1, file.key?))).collect();
    let wanted = asked.iter().flat_map(|wanted| &wanted.files);
    wanted.map(|sha1| (*sha1, keys.get(sha1).cloned())).collect()
}

impl Run {
    /// Asks for the keys that are missing, of what is staged and of what agents know already.
    ///
    /// # Errors
    /// When the catalog cannot be read or written, or the synchronisation was cancelled.
    pub(super) async fn fetch_keys(&mut self) -> Result<(), SyncError> {
        let wanted = self.wanted_keys().await?;
        if wanted.is_empty() {
            return Ok(());
        }
        self.phase(Phase::Keys);
        let size = batch(self.state().config());
        let mut queue: VecDeque<Vec<WantedKeys>> = wanted.chunks(size).map(<[_]>::to_vec).collect();
        let mut reasons: HashMap<UpdateIdentity, String> = HashMap::new();
        let mut refusals = 0;
        while let Some(asked) = queue.pop_front() {
            let error = match self.ask_keys(&asked).await {
                Ok(answer) => {
                    self.keep_keys(told(&asked, answer)).await?;
                    continue;
                }
                Err(SessionError::Failed(SyncError::Cancelled)) => return Err(SyncError::Cancelled),
                Err(error) => error,
            };
            refusals += 1;
            let concerns_content = matches!(&error, SessionError::Refused { fault, .. }
                if matches!(fault.code.as_deref(), Some("InternalServerError" | "InvalidParameters")));
            let goes_on = concerns_content && refusals < MOST_REFUSALS;
            if goes_on && let [_, _, ..] = &asked[..] {
                // one of them may be what it does not take
                let (left, right) = asked.split_at(asked.len() / 2);
                queue.push_front(right.to_vec());
                queue.push_front(left.to_vec());
                continue;
            }
            let reason = super::ingest::chain(&error.into_sync_error());
            let given_up: Vec<_> = if goes_on { Vec::new() } else { queue.drain(..).flatten().collect() };
            let of = |wanted: &WantedKeys| (wanted.identity, reason.clone());
            reasons.extend(asked.iter().chain(&given_up).map(of));
        }
        for WantedKeys { identity, .. } in self.wanted_keys().await? {
            let reason = match reasons.remove(&identity) {
                Some(reason) => format!("it is withheld: its keys could not be asked for: {reason}"),
                None => "it is withheld: the upstream has no key for an encrypted payload of it".to_owned(),
            };
            self.note_missing([Missing { identity, reason }]);
        }
        Ok(())
    }

    async fn wanted_keys(&self) -> Result<Vec<WantedKeys>, SyncError> {
        let staging = self.staging();
        blocking(move || staging.wanted_keys()).await
    }

    async fn ask_keys(&self, asked: &[WantedKeys]) -> Result<Vec<UpdateKeys>, SessionError> {
        let revisions: Arc<[UpdateIdentity]> = asked.iter().map(|wanted| wanted.identity).collect();
        let build = move |cookie: &_| get_update_decryption_data(cookie, &revisions);
        self.session().call(build, read_update_decryption_data).await
    }

    async fn keep_keys(&mut self, told: Vec<(Sha1Digest, Option<DecryptionKey>)>) -> Result<(), SyncError> {
        let catalog = self.catalog();
        let news = blocking(move || catalog.keep_keys(told)).await?.map_err(SyncError::Catalog)?;
        self.note_keys(news);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_wire::server_sync::PayloadKey;

    #[test]
    fn a_request_names_as_many_as_the_upstream_takes() {
        let table = [(0, 100), (1, 1), (40, 40), (100, 100), (500, 500), (9_999, 500)];
        for (says, asks) in table {
            let config = ConfigData { max_decryption_per_request: says, ..ConfigData::default() };
            assert_eq!(batch(Some(&config)), asks, "{says}");
        }
        assert_eq!(batch(None), 100);
    }

    #[test]
    fn only_what_was_asked_about_is_believed() {
        let update = "6f1c2f6e-3f0b-4d3a-9b1e-0d2f6a1c5e12".parse().unwrap();
        let identity = UpdateIdentity { update, revision: 1 };
        let digest = |byte| Sha1Digest([byte; 20]);
        let key = |text: &[u8]| DecryptionKey::new(text.to_vec());
        let files = vec![
            PayloadKey { sha1: digest(1), key: key(b"one") },
            PayloadKey { sha1: digest(2), key: None },
            PayloadKey { sha1: digest(9), key: key(b"nine") },
        ];
        let answer = vec![UpdateKeys { id: identity, files }];
        let asked = [WantedKeys { identity, files: vec![digest(1), digest(2), digest(3)] }];
        let expected = [(digest(1), key(b"one")), (digest(2), None), (digest(3), None)];
        assert_eq!(told(&asked, answer), expected);
    }
}
