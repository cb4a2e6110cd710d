//! `DownloadFiles` ([MS-WSUSSS] 3.1.4.11). Invariant: digests stay texts, so that what is none can be named as it
//! came. It never looks for a file.

use std::io::BufRead;

use super::{cookie, response, rows};
use crate::server_sync::NAMESPACE;
use crate::xml::{Decoder, XmlError, once};
use tailwater_domain::{Limit, limits};

/// The most digests of one request.
pub const MOST_DIGESTS: usize = 100;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_DIGESTS in "digests": "Digests in one DownloadFiles" => "the request is refused: InvalidParameters",
];

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DownloadRequest {
    /// The sealed cookie.
    pub cookie: Option<Vec<u8>>,
    /// `fileDigestList`: Base64 as it came, white space around it removed.
    pub digests: Option<Vec<String>>,
}

/// Reads `DownloadFiles`.
///
/// # Errors
/// When the body is no such request.
pub fn download_request<R: BufRead>(decoder: &mut Decoder<R>) -> Result<DownloadRequest, XmlError> {
    let (mut sealed, mut digests) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => once(&mut sealed, "cookie", cookie(decoder)?)?,
            "fileDigestList" => {
                let read = |decoder: &mut Decoder<R>| Ok(decoder.text()?.trim().to_owned());
                once(&mut digests, "fileDigestList", rows(decoder, "base64Binary", read)?)?;
            }
            _ => decoder.skip()?,
        }
    }
    Ok(DownloadRequest { cookie: sealed.flatten(), digests: digests.flatten() })
}

/// The body of a `DownloadFiles` answer.
pub fn download_answer() -> String {
    response(NAMESPACE, "DownloadFiles", "")
}
