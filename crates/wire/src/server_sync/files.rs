//! `DownloadFiles` ([MS-WSUSSS] 3.1.4.11): asks a lazy upstream to fetch payloads that it does not hold.
//! Invariant: at most 100 digests a request, as real servers allow. It never waits for them.

use super::authorization::Cookie;
use super::message::{NAMESPACE, Request};
use crate::xml::Encoder;
use tailwater_domain::{Limit, Sha1Digest, limits};

/// The most digests of one request.
pub(super) const MOST_DIGESTS: usize = 100;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_DIGESTS in "digests": "Digests in a request to fetch files" => "they go into the next one",
];

/// Asks the upstream to fetch payloads; digests past the hundredth are left out.
pub fn download_files(cookie: &Cookie, digests: &[Sha1Digest]) -> Request {
    let mut xml = Encoder::new();
    cookie.encode(&mut xml);
    xml.open("fileDigestList");
    for digest in digests.iter().take(MOST_DIGESTS) {
        xml.text("base64Binary", &digest.base64());
    }
    xml.close("fileDigestList");
    Request::new(NAMESPACE, "DownloadFiles", xml.as_str())
}
