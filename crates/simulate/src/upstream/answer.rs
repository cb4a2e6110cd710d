//! SOAP requests in, answers out ([MS-WSUSSS] 3.1.4).

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Cursor};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::DateTime;
use uuid::Uuid;

use super::catalog::{Catalog, Selection};
use super::config::Config;
use super::cookie::Baker;
use super::counters::Counters;
use super::document::document;
use super::encrypted::HandsOut;
use super::payload::Payload;
use super::revision::Revision;
use super::world::LANGUAGES;
use tailwater_bandwidth::Limiter;
use tailwater_domain::Sha1Digest;
use tailwater_runtime::Clock;
use tailwater_wire::cabinet;
use tailwater_wire::server_sync::{IdAndDelta, served};
use tailwater_wire::soap::{Blame, Fault, Message, SoapError, Style, Version, envelope, open};
use tailwater_wire::xml::{Decoder, Limits, XmlError, escape_text_into};

/// How long cookies are good.
const COOKIE_LIFE: Duration = Duration::from_hours(4);

/// Bytes of UTF-16 from which real servers send a cabinet.
const PLAIN_LIMIT: usize = 5_120;

/// Bytes of documents after which an answer ends, with fewer updates than were asked for.
const ANSWER_LIMIT: usize = 2_000_000;

type Input<'a> = Decoder<&'a [u8]>;

/// The stand-in's state.
pub(super) struct Upstream {
    pub(super) config: Config,
    pub(super) catalog: RwLock<Catalog>,
    pub(super) limiter: Limiter,
    pub(super) hands_out: HandsOut,
    clock: Clock,
    baker: Baker,
    counters: Mutex<Counters>,
    /// Payloads whose digests are known, which every address that was given out has.
    by_digest: RwLock<HashMap<Sha1Digest, Arc<Payload>>>,
}

/// Why a request gets a fault: the error code and the message.
struct Refusal(&'static str, Cow<'static, str>);

/// A refusal with a fixed message, usually the parameter's name.
const fn refusal(code: &'static str, message: &'static str) -> Refusal {
    Refusal(code, Cow::Borrowed(message))
}

impl From<XmlError> for Refusal {
    fn from(_error: XmlError) -> Self {
        refusal("InvalidParameters", "")
    }
}

/// An answer, ready to be sent.
pub(super) struct Answer {
    pub(super) is_fault: bool,
    pub(super) version: Version,
    pub(super) text: String,
}

impl Upstream {
    pub(super) fn new(config: Config, limiter: Limiter, clock: &Clock) -> Self {
        Self {
            catalog: RwLock::new(Catalog::new(config.clone())),
            limiter,
            hands_out: HandsOut::default(),
            clock: clock.clone(),
            baker: Baker::new(config.seed),
            counters: Mutex::default(),
            by_digest: RwLock::default(),
            config,
        }
    }

    /// Adds ordinary updates and releases of definitions.
    pub(super) fn publish(&self, updates: u32, definitions: u32) {
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        (0..definitions).for_each(|_| catalog.add_definitions());
        catalog.publish(updates);
    }

    pub(super) fn counters(&self) -> Counters {
        self.count().clone()
    }

    pub(super) fn count(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The payload with this digest, if its digest was ever asked for.
    pub(super) fn payload(&self, sha1: &Sha1Digest) -> Option<Arc<Payload>> {
        self.by_digest.read().unwrap_or_else(PoisonError::into_inner).get(sha1).cloned()
    }

    /// Makes the digests of one payload, so that it can be found; the number of payloads at present.
    pub(super) fn make_known(&self, index: usize) -> usize {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let count = catalog.payloads.len();
        let payload = catalog.payloads.get(index).map(Arc::clone);
        drop(catalog);
        if let Some(payload) = payload {
            let sha1 = payload.digests().0;
            self.by_digest.write().unwrap_or_else(PoisonError::into_inner).insert(sha1, payload);
        }
        count
    }

    /// Answers one request. Takes long when digests must be made: not for an async worker.
    pub(super) fn answer(&self, body: &[u8], action: &str) -> Answer {
        let mut message = match open(body, Limits::REQUEST) {
            Ok(message) => message,
            Err(error) => return self.unreadable(&error),
        };
        *self.count().operations.entry(message.operation.clone()).or_default() += 1;
        let version = message.version;
        match self.operation(&mut message) {
            Ok(element) => {
                Answer { is_fault: false, version, text: envelope(version, Style::Server, &element) }
            }
            Err(Refusal(code, text)) => self.fault(version, code, &text, action),
        }
    }

    fn fault(&self, version: Version, code: &str, text: &str, action: &str) -> Answer {
        *self.count().faults.entry(code.to_owned()).or_default() += 1;
        let id = Uuid::new_v4().to_string();
        let mut fault = Fault::new(Blame::Client, code, text, id, action.to_owned());
        fault.actor = Some("http://localhost/ServerSyncWebService/ServerSyncWebService.asmx".to_owned());
        Answer { is_fault: true, version, text: fault.encode(version, Style::Server) }
    }

    fn unreadable(&self, error: &SoapError) -> Answer {
        tracing::debug!(%error, "simulated upstream: a request cannot be read");
        self.fault(Version::V11, "InvalidParameters", "", "")
    }

    fn operation(&self, message: &mut Message<&[u8]>) -> Result<String, Refusal> {
        let input = &mut message.decoder;
        match message.operation.as_str() {
            "GetAuthConfig" => Ok(served::auth_config_answer(Timestamp::UNIX_EPOCH)),
            "GetAuthorizationCookie" => self.authorization(input),
            "GetCookie" => self.cookie(input),
            "GetConfigData" => self.config_data(input),
            "GetRevisionIdList" => self.revision_ids(input),
            "GetUpdateData" => self.update_data(input),
            "GetUpdateDecryptionData" => self.decryption_data(input),
            "DownloadFiles" => self.download_files(input),
            _ => Err(refusal("InternalServerError", "the stand-in does not play this operation")),
        }
    }

    fn authorization(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let request = served::authorization_request(input)?;
        let name = request.account_name.unwrap_or_default();
        if name.is_empty() || name.len() > 255 {
            return Err(refusal("InvalidParameters", "machineName"));
        }
        let id = request.account_id.and_then(|text| Uuid::try_parse(text.trim()).ok());
        let id = id.ok_or(refusal("InvalidParameters", "accountGuid"))?;
        Ok(served::authorization_answer(&self.baker.bake('a', &id.to_string(), self.expiry())))
    }

    fn expiry(&self) -> Timestamp {
        self.clock.now().saturating_add(COOKIE_LIFE).unwrap_or(Timestamp::MAX)
    }

    fn cookie(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let request = served::cookie_request(input)?;
        let version = request.protocol_version.unwrap_or_default();
        let numbers =
            version.trim().split_once('.').map(|(major, minor)| (major.parse::<u32>(), minor.parse::<u32>()));
        match numbers {
            Some((Ok(1), Ok(_))) => {}
            Some((Ok(_), Ok(_))) => return Err(refusal("IncompatibleProtocolVersion", "")),
            _ => return Err(refusal("InvalidParameters", "protocolVersion")),
        }
        let [Some(authorization)] = &request.authorizations[..] else {
            return Err(refusal("InvalidParameters", "authCookies"));
        };
        let whose = self.baker.check('a', authorization, self.clock.now());
        let whose = whose.ok_or(refusal("InvalidAuthorizationCookie", ""))?;
        let expiry = self.expiry();
        Ok(served::cookie_answer(expiry, &self.baker.bake('c', &whose, expiry)))
    }

    /// The cookie that a request carries must be good.
    fn admit(&self, cookie: Option<&[u8]>) -> Result<(), Refusal> {
        let whose = cookie.and_then(|cookie| self.baker.check('c', cookie, self.clock.now()));
        whose.map(|_| ()).ok_or(refusal("InvalidCookie", ""))
    }

    fn config_data(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let request = served::config_request(input)?;
        self.admit(request.cookie.as_deref())?;
        let known = request.anchor.map(|text| sequence_of(&text, "configAnchor")).transpose()?.is_some();
        let row =
            |short_name, id| served::LanguageRow { id, short_name, long_name: short_name, enabled: true };
        let all = [row("all", 0)]
            .into_iter()
            .chain(LANGUAGES.map(|(code, lcid, _)| row(code, i32::try_from(lcid).unwrap_or_default())));
        let languages: Vec<_> = all.filter(|_| !known).collect();
        Ok(served::config_answer(&served::ConfigAnswer {
            catalog_only: false,
            lazy: false,
            hosts_psf: true,
            most_updates: self.config.max_updates_per_request as usize,
            anchor: &anchor(1),
            languages: &languages,
        }))
    }

    fn revision_ids(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let request = served::revision_ids_request(input)?;
        self.admit(request.cookie.as_deref())?;
        let filter = request.filter.ok_or(refusal("InvalidParameters", "filter"))?;
        let since = filter.anchor.map(|text| sequence_of(&text, "filter")).transpose()?;
        let ids = |list: Vec<IdAndDelta>| {
            let ids: HashMap<_, _> = list.into_iter().map(|entry| (entry.id, entry.delta)).collect();
            (!ids.is_empty()).then_some(ids)
        };
        let selection = Selection {
            configuration: filter.get_config.unwrap_or_default(),
            since: since.unwrap_or_default(),
            products: ids(filter.categories),
            classifications: ids(filter.classifications),
        };
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let head = served::revision_ids_head(&anchor(catalog.sequence));
        Ok(head + &served::revision_ids_rest(&catalog.select(&selection)))
    }

    fn update_data(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let request = served::update_data_request(input)?;
        self.admit(request.cookie.as_deref())?;
        let wanted = request.revisions.unwrap_or_default();
        if wanted.is_empty() || wanted.len() > self.config.max_updates_per_request as usize {
            return Err(refusal("InvalidParameters", "updateIds"));
        }
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let (mut updates, mut urls, mut sent) = (String::new(), String::new(), 0);
        for identity in &wanted {
            let revision = catalog.find(identity).ok_or(refusal("InternalServerError", ""))?;
            if sent > 0 && updates.len() > ANSWER_LIMIT {
                break;
            }
            self.add_update(&catalog, revision, &mut updates, &mut urls);
            sent += 1;
        }
        self.count().documents += sent;
        Ok(served::UPDATE_DATA.to_owned() + &updates + &served::update_data_end(&urls))
    }

    fn decryption_data(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let request = served::update_data_request(input)?;
        self.admit(request.cookie.as_deref())?;
        let wanted = request.revisions.unwrap_or_default();
        if wanted.is_empty() || wanted.len() > served::MOST_UPDATES {
            return Err(refusal("InvalidParameters", "updateIds"));
        }
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let keys = |id| catalog.keys_of(id, &self.hands_out).ok_or(refusal("InternalServerError", ""));
        let told: Result<Vec<_>, _> = wanted.iter().map(keys).collect();
        Ok(served::decryption_answer(&told?))
    }

    fn add_update(&self, catalog: &Catalog, revision: &Revision, updates: &mut String, urls: &mut String) {
        let text = document(catalog, revision);
        let compressed = (self.config.cabinets && text.len() * 2 > PLAIN_LIMIT).then(|| cabinet(&text).ok());
        let compressed = compressed.flatten();
        let digests = self.add_files(catalog, revision, urls);
        let frame = served::update_frame(&revision.identity, &digests, compressed.is_some());
        updates.push_str(&frame.head);
        match compressed {
            Some(cabinet) => STANDARD.encode_string(cabinet, updates),
            None => escape_text_into(updates, &text),
        }
        updates.push_str(&frame.tail);
    }

    /// Makes the payloads of a revision known, and gives their digests.
    fn add_files(&self, catalog: &Catalog, revision: &Revision, urls: &mut String) -> Vec<Sha1Digest> {
        let files = revision.files.iter().chain(&revision.eula);
        let add = |&index: &usize| {
            let payload = &catalog.payloads[index];
            let sha1 = payload.digests().0;
            let folder = sha1.hex().get(38..).unwrap_or_default().to_owned();
            let address =
                |base: &String| format!("{base}/Content/{folder}/{}{}", sha1.hex(), payload.extension());
            served::file_url(urls, &sha1, self.config.payload_url.as_ref().map(address).as_deref());
            let mut known = self.by_digest.write().unwrap_or_else(PoisonError::into_inner);
            known.entry(sha1).or_insert_with(|| Arc::clone(payload));
            sha1
        };
        files.map(add).collect()
    }

    fn download_files(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let request = served::download_request(input)?;
        self.admit(request.cookie.as_deref())?;
        let digests = request.digests.filter(|digests| digests.len() <= served::MOST_DIGESTS);
        let digests = digests.ok_or(refusal("InvalidParameters", "fileDigestList"))?;
        let known =
            |text: &String| Sha1Digest::from_base64(text).is_ok_and(|sha1| self.payload(&sha1).is_some());
        let missing: Vec<_> = digests.into_iter().filter(|text| !known(text)).collect();
        if missing.is_empty() {
            Ok(served::download_answer())
        } else {
            Err(Refusal("FileDigestsMissing", missing.join("|").into()))
        }
    }
}

/// `counter,yyyy-mm-dd hh:mm:ss.fff`, as WSUS writes anchors; the time follows from the counter.
fn anchor(sequence: u64) -> String {
    let start = DateTime::constant(2024, 6, 1, 0, 0, 0, 0);
    let seconds = jiff::SignedDuration::from_secs(i64::try_from(sequence).unwrap_or(0));
    let time = start.saturating_add(seconds);
    format!("{sequence},{}", time.strftime("%Y-%m-%d %H:%M:%S.000"))
}

/// The counter of an anchor of ours.
fn sequence_of(text: &str, parameter: &'static str) -> Result<u64, Refusal> {
    let counter = text.split(',').next().and_then(|counter| counter.parse().ok());
    counter.filter(|&counter| anchor(counter) == text).ok_or(refusal("InvalidParameters", parameter))
}

/// The document as real servers compress it: a cabinet with one file of UTF-16.
fn cabinet(text: &str) -> io::Result<Vec<u8>> {
    let mut writer = cabinet::Writer::new(Cursor::new(Vec::new()))?;
    writer.write(text.as_bytes())?;
    Ok(writer.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_read_back_and_others_refused() {
        assert_eq!(anchor(61), "61,2024-06-01 00:01:01.000");
        assert_eq!(sequence_of(&anchor(61), "filter").ok(), Some(61));
        for text in ["61", "61,2024-06-01 00:01:02.000", "x,y", ""] {
            assert!(sequence_of(text, "filter").is_err(), "{text}");
        }
    }
}
