//! The server's side of MS-WSUSSS: reading what downstream servers ask and writing what they are answered
//! ([MS-WSUSSS] 3.1.4), element for element in the order in which WSUS writes it.
//!
//! **Invariant:** a request is read in any order of its elements, unknown ones are passed over, absent and empty told
//! apart only where the protocol does; every list has a limit. Nothing here knows a catalog, or checks what is true.

mod config;
mod deployments;
mod documents;
mod files;
mod handshake;
mod revisions;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io::BufRead;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use config::{ConfigAnswer, ConfigRequest, LanguageRow, MOST_UPDATES, config_answer, config_request};
pub use deployments::{DeploymentsRequest, deployments_head, deployments_request, deployments_rest};
pub use documents::{
    UPDATE_DATA, UpdateDataRequest, UpdateFrame, decryption_answer, file_url, update_data_end,
    update_data_request, update_frame,
};
pub use files::{DownloadRequest, MOST_DIGESTS, download_answer, download_request};
pub use handshake::{
    AuthorizationRequest, CookieRequest, auth_config_answer, authorization_answer, authorization_request,
    cookie_answer, cookie_request, ping_answer,
};
pub use revisions::{
    DriverIdsRequest, DriverSetsRequest, FilterRequest, RevisionIdsRequest, driver_ids_answer,
    driver_ids_request, driver_sets_answer, driver_sets_request, related_revisions_answer,
    related_revisions_request, revision_ids_head, revision_ids_request, revision_ids_rest,
};

use super::NAMESPACE;
use crate::xml::{Decoder, Encoder, XmlError, once};
use tailwater_domain::{Limit, joined_limits, limits};

/// Namespace of the operation that every service has and nobody uses.
pub const MONITOR_NAMESPACE: &str = "http://www.microsoft.com/SoftwareDistribution/Server/IMonitorable";

/// Entries of one list in a request; a real server's filter names a few hundred categories.
const MAX_LIST: usize = 50_000;

const OWN_LIMITS: &[Limit] = limits![
    MAX_LIST in "entries": "Entries of one list in a request of a downstream server" => "the request is refused: InvalidParameters",
];

pub(super) const LIMITS: &[Limit] = joined_limits![OWN_LIMITS, config::LIMITS, files::LIMITS,];

/// Which of the two services between servers ([MS-WSUSSS] 2.1); reporting is shared with agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `/ServerSyncWebService/ServerSyncWebService.asmx`
    Sync,
    /// `/DssAuthWebService/DssAuthWebService.asmx`
    Authorization,
}

impl Service {
    /// The namespace of its messages.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Sync => NAMESPACE,
            Self::Authorization => super::AUTH_NAMESPACE,
        }
    }

    /// Its path, in the letter case of the specification.
    pub fn path(self) -> &'static str {
        match self {
            Self::Sync => super::SERVICE_PATH,
            Self::Authorization => super::AUTH_PATH,
        }
    }

    /// The service under a path, whatever its letter case.
    pub fn at(path: &str) -> Option<Self> {
        [Self::Sync, Self::Authorization].into_iter().find(|it| it.path().eq_ignore_ascii_case(path))
    }
}

/// `<operationResponse>` around `inside`.
fn response(namespace: &str, operation: &str, inside: &str) -> String {
    let mut xml = Encoder::with_capacity(inside.len() + namespace.len() + 2 * operation.len() + 48);
    let name = format!("{operation}Response");
    if inside.is_empty() {
        return format!("<{name} xmlns=\"{namespace}\" />");
    }
    xml.open_in(&name, namespace).raw(inside).close(&name);
    xml.finish()
}

/// A time as WSUS writes it.
fn time(at: jiff::Timestamp) -> impl Display {
    crate::client_update::date_time(at)
}

/// The sealed bytes of the cookie that stands here; `None` when it is nil or empty.
pub fn cookie<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Option<Vec<u8>>, XmlError> {
    let nil = decoder.is_nil();
    let mut sealed = None;
    while let Some(name) = decoder.child()? {
        match name {
            "EncryptedData" => once(&mut sealed, "EncryptedData", bytes(decoder)?)?,
            // what the seal says counts, not what is written beside it
            _ => decoder.skip()?,
        }
    }
    Ok(sealed.flatten().filter(|_| !nil))
}

/// Base64; what is none is taken as it is, for its reader to refuse. `None` when empty.
fn bytes<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Option<Vec<u8>>, XmlError> {
    let mut text = decoder.text()?;
    text.retain(|c| !c.is_ascii_whitespace());
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(STANDARD.decode(&text).unwrap_or_else(|_no_base64| text.into_bytes())))
}

/// The children called `item`, each read by `read`; nil ones are left out. `None` when the list is nil.
fn rows<R: BufRead, T>(
    decoder: &mut Decoder<R>,
    item: &str,
    read: impl Fn(&mut Decoder<R>) -> Result<T, XmlError>,
) -> Result<Option<Vec<T>>, XmlError> {
    let nil = decoder.is_nil();
    let mut rows = Vec::new();
    while let Some(name) = decoder.child()? {
        if name != item || decoder.is_nil() {
            decoder.skip()?;
            continue;
        }
        if rows.len() == MAX_LIST {
            return Err(XmlError::TooManyElements { limit: MAX_LIST });
        }
        rows.push(read(decoder)?);
    }
    Ok((!nil).then_some(rows))
}
