//! SOAP requests in, answers out ([MS-WSUSSS] 3.1.4).

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Cursor, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cab::{CabinetBuilder, CompressionType};
use jiff::Timestamp;
use jiff::civil::DateTime;
use uuid::Uuid;

use super::Config;
use super::catalog::{Catalog, Revision, Selection};
use super::cookie::Baker;
use super::counters::Counters;
use super::document::document;
use super::payload::Payload;
use super::world::LANGUAGES;
use crate::bandwidth::Limiter;
use crate::domain::{Sha1Digest, UpdateId, UpdateIdentity};
use crate::runtime::Clock;
use crate::wire::server_sync::{AUTH_NAMESPACE, NAMESPACE};
use crate::wire::soap::{Blame, Fault, Message, SoapError, Style, Version, envelope, open};
use crate::wire::xml::{Decoder, Encoder, Limits, XmlError, escape_into};

/// How long cookies are good.
const COOKIE_LIFE: Duration = Duration::from_hours(4);

/// Bytes of UTF-16 from which real servers send a cabinet.
const PLAIN_LIMIT: usize = 5_120;

/// Bytes of documents after which an answer ends, with fewer updates than were asked for.
const ANSWER_LIMIT: usize = 2_000_000;

/// Digests of one `DownloadFiles`.
const MAX_DIGESTS: usize = 100;

/// Entries of a list in a request.
const MAX_LIST: usize = 100_000;

type Input<'a> = Decoder<&'a [u8]>;

/// The stand-in's state.
pub(super) struct Upstream {
    pub(super) config: Config,
    pub(super) catalog: RwLock<Catalog>,
    pub(super) limiter: Limiter,
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
            clock: clock.clone(),
            baker: Baker::new(config.seed),
            counters: Mutex::default(),
            by_digest: RwLock::default(),
            config,
        }
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
            Ok(inside) => {
                let operation = &message.operation;
                let namespace =
                    if operation == "GetAuthorizationCookie" { AUTH_NAMESPACE } else { NAMESPACE };
                let mut out = Encoder::with_capacity(inside.len() + 512);
                let response = format!("{operation}Response");
                out.open_in(&response, namespace).raw(&inside).close(&response);
                let text = envelope(version, Style::Server, out.as_str());
                Answer { is_fault: false, version, text }
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
            "GetAuthConfig" => Ok(AUTH_CONFIG.to_owned()),
            "GetAuthorizationCookie" => self.authorization(input),
            "GetCookie" => self.cookie(input),
            "GetConfigData" => self.config_data(input),
            "GetRevisionIdList" => self.revision_ids(input),
            "GetUpdateData" => self.update_data(input),
            "DownloadFiles" => self.download_files(input),
            _ => Err(refusal("InternalServerError", "the stand-in does not play this operation")),
        }
    }

    fn authorization(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let (mut name, mut id) = (String::new(), None);
        while let Some(element) = input.child()? {
            match element {
                "accountName" => name = input.text()?,
                "accountGuid" => id = Uuid::try_parse(input.text()?.trim()).ok(),
                _ => input.skip()?,
            }
        }
        if name.is_empty() || name.len() > 255 {
            return Err(refusal("InvalidParameters", "machineName"));
        }
        let id = id.ok_or(refusal("InvalidParameters", "accountGuid"))?;
        let mut out = Encoder::new();
        out.open("GetAuthorizationCookieResult").text("PlugInId", "DssTargeting");
        out.text("CookieData", &self.baker.bake('a', &id.to_string(), self.expiry()));
        out.close("GetAuthorizationCookieResult");
        Ok(out.finish())
    }

    fn expiry(&self) -> Timestamp {
        self.clock.now().saturating_add(COOKIE_LIFE).unwrap_or(Timestamp::MAX)
    }

    fn cookie(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let (mut data, mut version) = (String::new(), String::new());
        while let Some(element) = input.child()? {
            match element {
                "authCookies" | "AuthorizationCookie" => while_inside(input, "CookieData", &mut data)?,
                "protocolVersion" => version = input.text()?,
                _ => input.skip()?,
            }
        }
        let numbers =
            version.trim().split_once('.').map(|(major, minor)| (major.parse::<u32>(), minor.parse::<u32>()));
        match numbers {
            Some((Ok(1), Ok(_))) => {}
            Some((Ok(_), Ok(_))) => return Err(refusal("IncompatibleProtocolVersion", "")),
            _ => return Err(refusal("InvalidParameters", "protocolVersion")),
        }
        if data.is_empty() {
            return Err(refusal("InvalidParameters", "authCookies"));
        }
        let whose = self.baker.check('a', &data, self.clock.now());
        let whose = whose.ok_or(refusal("InvalidAuthorizationCookie", ""))?;
        let expiry = self.expiry();
        let mut out = Encoder::new();
        out.open("GetCookieResult");
        out.value("Expiration", expiry.strftime("%Y-%m-%dT%H:%M:%S.%7fZ"));
        out.text("EncryptedData", &self.baker.bake('c', &whose, expiry)).close("GetCookieResult");
        Ok(out.finish())
    }

    /// The cookie that a request carries must be good.
    fn admit(&self, data: &str) -> Result<(), Refusal> {
        let whose = self.baker.check('c', data, self.clock.now());
        whose.map(|_| ()).ok_or(refusal("InvalidCookie", ""))
    }

    fn config_data(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let (mut cookie, mut since) = (String::new(), None);
        while let Some(element) = input.child()? {
            match element {
                "cookie" => while_inside(input, "EncryptedData", &mut cookie)?,
                "configAnchor" => since = input.optional_text()?,
                _ => input.skip()?,
            }
        }
        self.admit(&cookie)?;
        let since = since.filter(|text| !text.is_empty());
        let known = since.as_deref().map(|text| sequence_of(text, "configAnchor")).transpose()?.is_some();
        let mut out = Encoder::new();
        out.open("GetConfigDataResult").value("CatalogOnlySync", false).value("LazySync", false);
        out.value("ServerHostsPsfFiles", true).value("MaxNumberOfComputerIdsInRequest", 0);
        out.value("MaxNumberOfDriverSetsPerRequest", 0).value("MaxNumberOfPnpHardwareIdsInRequest", 0);
        out.value("MaxNumberOfUpdatesPerRequest", self.config.max_updates_per_request);
        out.text("NewConfigAnchor", &anchor(1)).text("ProtocolVersion", "1.20");
        out.open("LanguageUpdateList");
        if !known {
            let all = [("all", 0)].into_iter().chain(LANGUAGES.map(|(code, lcid, _)| (code, lcid)));
            for (code, lcid) in all {
                out.open("ServerSyncLanguageData").value("LanguageID", lcid).text("ShortLanguage", code);
                out.text("LongLanguage", code).value("Enabled", true).close("ServerSyncLanguageData");
            }
        }
        out.close("LanguageUpdateList").value("MaxUpdatesPerRequestInGetUpdateDecryptionData", 100);
        out.close("GetConfigDataResult");
        Ok(out.finish())
    }

    fn revision_ids(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let mut cookie = String::new();
        let mut selection = None;
        while let Some(element) = input.child()? {
            match element {
                "cookie" => while_inside(input, "EncryptedData", &mut cookie)?,
                "filter" => selection = Some(read_selection(input)?),
                _ => input.skip()?,
            }
        }
        self.admit(&cookie)?;
        let selection = selection.ok_or(refusal("InvalidParameters", "filter"))?;
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let chosen = catalog.select(&selection);
        let mut out = Encoder::with_capacity(chosen.len() * 130 + 256);
        out.open("GetRevisionIdListResult").text("Anchor", &anchor(catalog.sequence)).open("NewRevisions");
        for identity in chosen {
            out.open("UpdateIdentity").value("UpdateID", identity.update);
            out.value("RevisionNumber", identity.revision).close("UpdateIdentity");
        }
        out.close("NewRevisions").close("GetRevisionIdListResult");
        Ok(out.finish())
    }

    fn update_data(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let mut cookie = String::new();
        let mut wanted = Vec::new();
        while let Some(element) = input.child()? {
            match element {
                "cookie" => while_inside(input, "EncryptedData", &mut cookie)?,
                "updateIds" => {
                    while let Some(item) = input.child()? {
                        if item == "UpdateIdentity" {
                            wanted.push(read_identity(input)?);
                        } else {
                            input.skip()?;
                        }
                    }
                }
                _ => input.skip()?,
            }
        }
        self.admit(&cookie)?;
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
        Ok(format!(
            "<GetUpdateDataResult><updates>{updates}</updates><fileUrls>{urls}</fileUrls></GetUpdateDataResult>"
        ))
    }

    fn add_update(&self, catalog: &Catalog, revision: &Revision, updates: &mut String, urls: &mut String) {
        let text = document(catalog, revision);
        let identity = revision.identity;
        let _ = write!(
            updates,
            "<ServerSyncUpdateData><Id><UpdateID>{}</UpdateID><RevisionNumber>{}</RevisionNumber></Id>",
            identity.update, identity.revision
        );
        let compressed = (self.config.cabinets && text.len() * 2 > PLAIN_LIMIT).then(|| cabinet(&text).ok());
        let compressed = compressed.flatten();
        // the schema has the plain document before the digests and the compressed one behind them
        if compressed.is_none() {
            updates.push_str("<XmlUpdateBlob>");
            escape_into(updates, &text);
            updates.push_str("</XmlUpdateBlob>");
        }
        self.add_files(catalog, revision, updates, urls);
        if let Some(cabinet) = compressed {
            let text = STANDARD.encode(cabinet);
            let _ = write!(updates, "<XmlUpdateBlobCompressed>{text}</XmlUpdateBlobCompressed>");
        }
        updates.push_str("</ServerSyncUpdateData>");
    }

    fn add_files(&self, catalog: &Catalog, revision: &Revision, updates: &mut String, urls: &mut String) {
        let files: Vec<_> = revision.files.iter().chain(&revision.eula).collect();
        if files.is_empty() {
            return;
        }
        updates.push_str("<FileDigestList>");
        for &&index in &files {
            let payload = &catalog.payloads[index];
            let sha1 = payload.digests().0;
            let text = sha1.base64();
            let _ = write!(updates, "<base64Binary>{text}</base64Binary>");
            let _ = write!(
                urls,
                "<ServerSyncUrlData><FileDigest>{text}</FileDigest><UssUrl /></ServerSyncUrlData>"
            );
            let mut known = self.by_digest.write().unwrap_or_else(PoisonError::into_inner);
            known.entry(sha1).or_insert_with(|| Arc::clone(payload));
        }
        updates.push_str("</FileDigestList>");
    }

    fn download_files(&self, input: &mut Input<'_>) -> Result<String, Refusal> {
        let mut cookie = String::new();
        let mut digests = Vec::new();
        while let Some(element) = input.child()? {
            match element {
                "cookie" => while_inside(input, "EncryptedData", &mut cookie)?,
                "fileDigestList" => digests = input.texts("base64Binary", MAX_LIST)?,
                _ => input.skip()?,
            }
        }
        self.admit(&cookie)?;
        if digests.len() > MAX_DIGESTS {
            return Err(refusal("InvalidParameters", "fileDigestList"));
        }
        let known =
            |text: &String| Sha1Digest::from_base64(text).is_ok_and(|sha1| self.payload(&sha1).is_some());
        let missing: Vec<_> = digests.into_iter().filter(|text| !known(text)).collect();
        if missing.is_empty() {
            Ok(String::new())
        } else {
            Err(Refusal("FileDigestsMissing", missing.join("|").into()))
        }
    }
}

const AUTH_CONFIG: &str = "<GetAuthConfigResult><LastChange>2024-01-01T00:00:00Z</LastChange><AuthInfo>\
    <AuthPlugInInfo><PlugInID>DssTargeting</PlugInID><ServiceUrl>DssAuthWebService/DssAuthWebService.asmx\
    </ServiceUrl><Parameter /></AuthPlugInInfo></AuthInfo></GetAuthConfigResult>";

/// Keeps the text of the descendant `wanted`; leaves the element.
fn while_inside(input: &mut Input<'_>, wanted: &str, found: &mut String) -> Result<(), XmlError> {
    while let Some(element) = input.child()? {
        if element == wanted {
            *found = input.text()?;
        } else if element == "AuthorizationCookie" {
            while_inside(input, wanted, found)?;
        } else {
            input.skip()?;
        }
    }
    Ok(())
}

fn read_identity(input: &mut Input<'_>) -> Result<UpdateIdentity, Refusal> {
    let (mut update, mut revision) = (None, None);
    while let Some(element) = input.child()? {
        match element {
            "UpdateID" => update = Some(input.value()?),
            "RevisionNumber" => revision = Some(input.value()?),
            _ => input.skip()?,
        }
    }
    let identity = update.zip(revision).map(|(update, revision)| UpdateIdentity { update, revision });
    identity.ok_or(refusal("InvalidParameters", "updateIds"))
}

fn read_selection(input: &mut Input<'_>) -> Result<Selection, Refusal> {
    let mut selection = Selection::default();
    while let Some(element) = input.child()? {
        match element {
            "Anchor" => {
                let text = input.optional_text()?.filter(|text| !text.is_empty());
                selection.since = text.map_or(Ok(0), |text| sequence_of(&text, "filter"))?;
            }
            "GetConfig" => selection.configuration = input.boolean()?,
            "Categories" => selection.products = Some(read_ids(input)?),
            "Classifications" => selection.classifications = Some(read_ids(input)?),
            _ => input.skip()?,
        }
    }
    Ok(selection)
}

fn read_ids(input: &mut Input<'_>) -> Result<HashMap<UpdateId, bool>, Refusal> {
    let mut ids = HashMap::new();
    while let Some(item) = input.child()? {
        if item != "IdAndDelta" || ids.len() >= MAX_LIST {
            input.skip()?;
            continue;
        }
        let (mut id, mut delta) = (None, false);
        while let Some(element) = input.child()? {
            match element {
                "Id" => id = Some(input.value()?),
                "Delta" => delta = input.boolean()?,
                _ => input.skip()?,
            }
        }
        ids.insert(id.ok_or(refusal("InvalidParameters", "filter"))?, delta);
    }
    Ok(ids)
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
    let mut builder = CabinetBuilder::new();
    builder.add_folder(CompressionType::MsZip).add_file("blob");
    let mut writer = builder.build(Cursor::new(Vec::new()))?;
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    while let Some(mut file) = writer.next_file()? {
        file.write_all(&utf16)?;
    }
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
