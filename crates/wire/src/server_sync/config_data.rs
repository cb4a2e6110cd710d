//! `GetConfigData` ([MS-WSUSSS] 3.1.4.4). Invariant: both orders of elements are read, and limits that old
//! servers leave out have safe values. It never interprets the anchor.

use std::io::BufRead;

use serde::{Deserialize, Serialize};

use super::authorization::{Cookie, result};
use super::message::{NAMESPACE, Request};
use crate::soap::SoapError;
use crate::xml::{Decoder, Encoder, XmlError, once};
use tailwater_domain::{Limit, limits};

/// A language the upstream knows (`ServerSyncLanguageData`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Language {
    /// The locale number; 0 is `all`.
    pub id: i32,
    /// `en`, `pt-br`, …, as the server writes it.
    pub short_name: String,
    /// Whether the upstream keeps it.
    pub enabled: bool,
}

/// How the upstream works (`ServerSyncConfigData`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigData {
    /// Payloads are not had from this server but from `MUUrl`.
    pub catalog_only_sync: bool,
    /// It fetches payloads only when they are approved or asked for.
    pub lazy_sync: bool,
    /// It holds express payloads.
    pub server_hosts_psf_files: bool,
    /// How many revisions one `GetUpdateData` may ask; 0 when it does not say.
    pub max_updates_per_request: u32,
    /// How many revisions one `GetUpdateDecryptionData` may ask; 0 when it does not say.
    #[serde(default)]
    pub max_decryption_per_request: u32,
    /// What to send next time.
    pub anchor: String,
    /// What it speaks.
    pub protocol_version: String,
    /// All languages it knows; empty when nothing changed since the anchor that was sent.
    pub languages: Vec<Language>,
}

/// Real servers know 39.
const MOST_LANGUAGES: usize = 1_000;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_LANGUAGES in "languages": "Languages that an upstream knows" => "the answer is refused",
];

/// Asks how the upstream works; with an anchor, only what changed.
pub fn get_config_data(cookie: &Cookie, anchor: Option<&str>) -> Request {
    let mut xml = Encoder::new();
    cookie.encode(&mut xml);
    if let Some(anchor) = anchor {
        xml.text("configAnchor", anchor);
    }
    Request::new(NAMESPACE, "GetConfigData", xml.as_str())
}

/// Reads the answer to [`get_config_data`].
///
/// # Errors
/// When it is a fault or no such answer.
pub fn read_config_data<R: BufRead>(input: R) -> Result<ConfigData, SoapError> {
    let mut decoder = result(input, "GetConfigData", "GetConfigDataResult")?;
    let (mut catalog_only, mut lazy, mut psf, mut anchor, mut version, mut languages) =
        (None, None, None, None, None, None);
    let (mut most, mut most_keys) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "CatalogOnlySync" => once(&mut catalog_only, "CatalogOnlySync", decoder.boolean()?)?,
            "LazySync" => once(&mut lazy, "LazySync", decoder.boolean()?)?,
            "ServerHostsPsfFiles" => once(&mut psf, "ServerHostsPsfFiles", decoder.boolean()?)?,
            "MaxNumberOfUpdatesPerRequest" => {
                once(&mut most, "MaxNumberOfUpdatesPerRequest", decoder.value::<i64>()?)?;
            }
            "MaxUpdatesPerRequestInGetUpdateDecryptionData" => {
                let most = decoder.value::<i64>()?;
                once(&mut most_keys, "MaxUpdatesPerRequestInGetUpdateDecryptionData", most)?;
            }
            "NewConfigAnchor" => once(&mut anchor, "NewConfigAnchor", decoder.text()?)?,
            "ProtocolVersion" => once(&mut version, "ProtocolVersion", decoder.text()?)?,
            "LanguageUpdateList" => {
                once(&mut languages, "LanguageUpdateList", read_languages(&mut decoder)?)?;
            }
            _ => decoder.skip()?,
        }
    }
    let count = |most: Option<i64>| most.and_then(|most| u32::try_from(most).ok()).unwrap_or_default();
    Ok(ConfigData {
        catalog_only_sync: catalog_only.unwrap_or_default(),
        lazy_sync: lazy.unwrap_or_default(),
        server_hosts_psf_files: psf.unwrap_or_default(),
        max_updates_per_request: count(most),
        max_decryption_per_request: count(most_keys),
        anchor: anchor.unwrap_or_default(),
        protocol_version: version.unwrap_or_default(),
        languages: languages.unwrap_or_default(),
    })
}

fn read_languages<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Vec<Language>, XmlError> {
    let mut languages = Vec::new();
    while let Some(name) = decoder.child()? {
        if name != "ServerSyncLanguageData" || decoder.is_nil() {
            decoder.skip()?;
            continue;
        }
        if languages.len() == MOST_LANGUAGES {
            return Err(XmlError::TooManyElements { limit: MOST_LANGUAGES });
        }
        let (mut id, mut short_name, mut enabled) = (None, None, None);
        while let Some(name) = decoder.child()? {
            match name {
                "LanguageID" => once(&mut id, "LanguageID", decoder.value()?)?,
                "ShortLanguage" => once(&mut short_name, "ShortLanguage", decoder.text()?)?,
                "Enabled" => once(&mut enabled, "Enabled", decoder.boolean()?)?,
                _ => decoder.skip()?,
            }
        }
        languages.push(Language {
            id: id.ok_or(XmlError::Missing { element: "LanguageID" })?,
            short_name: short_name.unwrap_or_default(),
            enabled: enabled.unwrap_or_default(),
        });
    }
    Ok(languages)
}
