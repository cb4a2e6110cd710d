//! `GetConfigData` ([MS-WSUSSS] 3.1.4.4), in the order of elements that the WSDL and WSUS have (the text and Microsoft
//! Update have another). Invariant: the anchor passes through as text. It never decides which languages changed.

use std::io::BufRead;

use super::{cookie, response};
use crate::server_sync::{NAMESPACE, PROTOCOL_VERSION};
use crate::xml::{Decoder, Encoder, XmlError, once};
use tailwater_domain::{Limit, limits};

/// Revisions of one `GetUpdateData` and of one `GetUpdateDecryptionData`, as WSUS has it.
pub const MOST_UPDATES: usize = 100;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_UPDATES in "revisions": "Revisions in one GetUpdateData and GetUpdateDecryptionData" => "the request is refused: InvalidParameters",
];

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigRequest {
    /// The sealed cookie.
    pub cookie: Option<Vec<u8>>,
    /// `configAnchor`; `None` when absent or empty.
    pub anchor: Option<String>,
}

/// Reads `GetConfigData`.
///
/// # Errors
/// When the body is no such request.
pub fn config_request<R: BufRead>(decoder: &mut Decoder<R>) -> Result<ConfigRequest, XmlError> {
    let (mut sealed, mut anchor) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => once(&mut sealed, "cookie", cookie(decoder)?)?,
            "configAnchor" => once(&mut anchor, "configAnchor", decoder.optional_text()?)?,
            _ => decoder.skip()?,
        }
    }
    let anchor = anchor.flatten().filter(|anchor| !anchor.is_empty());
    Ok(ConfigRequest { cookie: sealed.flatten(), anchor })
}

/// A language (`ServerSyncLanguageData`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LanguageRow<'a> {
    /// The locale number; 0 is all.
    pub id: i32,
    /// `en`, `pt-br`, ….
    pub short_name: &'a str,
    /// `English`, ….
    pub long_name: &'a str,
    /// Whether updates in it are kept.
    pub enabled: bool,
}

/// How this server works (`ServerSyncConfigData`). What no server of ours varies is not here.
#[derive(Debug, Clone, Copy)]
pub struct ConfigAnswer<'a> {
    /// Payloads are not available here but from `MUUrl`.
    pub catalog_only: bool,
    /// Payloads are fetched when they are asked for.
    pub lazy: bool,
    /// Express payloads are available here.
    pub hosts_psf: bool,
    /// Revisions of one `GetUpdateData`.
    pub most_updates: usize,
    /// What to send next time.
    pub anchor: &'a str,
    /// Languages whose settings changed.
    pub languages: &'a [LanguageRow<'a>],
}

/// The body of a `GetConfigData` answer.
pub fn config_answer(answer: &ConfigAnswer<'_>) -> String {
    let mut xml = Encoder::with_capacity(1_024 + 200 * answer.languages.len());
    xml.open("GetConfigDataResult")
        .value("CatalogOnlySync", answer.catalog_only)
        .value("LazySync", answer.lazy);
    xml.value("ServerHostsPsfFiles", answer.hosts_psf).value("MaxNumberOfComputerIdsInRequest", 0);
    xml.value("MaxNumberOfDriverSetsPerRequest", 0);
    xml.value("MaxNumberOfPnpHardwareIdsInRequest", 0);
    xml.value("MaxNumberOfUpdatesPerRequest", answer.most_updates).text("NewConfigAnchor", answer.anchor);
    xml.text("ProtocolVersion", PROTOCOL_VERSION);
    if answer.languages.is_empty() {
        xml.empty("LanguageUpdateList");
    } else {
        xml.open("LanguageUpdateList");
        for language in answer.languages {
            xml.open("ServerSyncLanguageData").value("LanguageID", language.id);
            xml.text("ShortLanguage", language.short_name).text("LongLanguage", language.long_name);
            xml.value("Enabled", language.enabled).close("ServerSyncLanguageData");
        }
        xml.close("LanguageUpdateList");
    }
    xml.value("MaxUpdatesPerRequestInGetUpdateDecryptionData", MOST_UPDATES).close("GetConfigDataResult");
    response(NAMESPACE, "GetConfigData", xml.as_str())
}
