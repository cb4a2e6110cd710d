//! `GetUpdateData` and `GetUpdateDecryptionData` ([MS-WSUSSS] 3.1.4.6, 3.1.4.18). Invariant: a document is put in by
//! its caller, so that a huge one is never copied here. It never reads what a document says.

use std::io::BufRead;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{cookie, response, rows};
use crate::server_sync::revision_ids::read_identity;
use crate::server_sync::{NAMESPACE, UpdateKeys};
use crate::xml::{Decoder, Encoder, XmlError, once};
use tailwater_domain::{Sha1Digest, UpdateIdentity};

/// What is asked, by both operations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateDataRequest {
    /// The sealed cookie.
    pub cookie: Option<Vec<u8>>,
    /// `updateIds`.
    pub revisions: Option<Vec<UpdateIdentity>>,
}

/// Reads `GetUpdateData` or `GetUpdateDecryptionData`.
///
/// # Errors
/// When the body is no such request.
pub fn update_data_request<R: BufRead>(decoder: &mut Decoder<R>) -> Result<UpdateDataRequest, XmlError> {
    let (mut sealed, mut revisions) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => once(&mut sealed, "cookie", cookie(decoder)?)?,
            "updateIds" => {
                once(&mut revisions, "updateIds", rows(decoder, "UpdateIdentity", read_identity)?)?;
            }
            _ => decoder.skip()?,
        }
    }
    Ok(UpdateDataRequest { cookie: sealed.flatten(), revisions: revisions.flatten() })
}

/// The beginning of a `GetUpdateData` answer's body, up to the first update; [`update_data_end`] ends it.
pub const UPDATE_DATA: &str = "<GetUpdateDataResponse xmlns=\"http://www.microsoft.com/SoftwareDistribution\"><GetUpdateDataResult><updates>";

/// What stands behind the last update: the addresses of payloads, made with [`file_url`].
pub fn update_data_end(urls: &str) -> String {
    let urls = if urls.is_empty() { "<fileUrls />" } else { &format!("<fileUrls>{urls}</fileUrls>") };
    format!("</updates>{urls}</GetUpdateDataResult></GetUpdateDataResponse>")
}

/// One update of an answer, around its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateFrame {
    /// Everything before the document.
    pub head: String,
    /// Everything behind it.
    pub tail: String,
}

/// The frame of one update. A plain document stands before the digests, escaped; a compressed one behind them, as
/// Base64 of a cabinet.
pub fn update_frame(identity: &UpdateIdentity, digests: &[Sha1Digest], compressed: bool) -> UpdateFrame {
    let mut head = Encoder::with_capacity(160);
    head.open("ServerSyncUpdateData").open("Id").value("UpdateID", identity.update);
    head.value("RevisionNumber", identity.revision).close("Id");
    let mut list = Encoder::with_capacity(70 * digests.len() + 40);
    if !digests.is_empty() {
        list.open("FileDigestList");
        for digest in digests {
            list.value("base64Binary", STANDARD.encode(digest.0));
        }
        list.close("FileDigestList");
    }
    let mut tail = Encoder::with_capacity(list.as_str().len() + 60);
    if compressed {
        head.raw(list.as_str()).open("XmlUpdateBlobCompressed");
        tail.close("XmlUpdateBlobCompressed");
    } else {
        head.open("XmlUpdateBlob");
        tail.close("XmlUpdateBlob").raw(list.as_str());
    }
    tail.close("ServerSyncUpdateData");
    UpdateFrame { head: head.finish(), tail: tail.finish() }
}

/// Appends where a payload is available (`ServerSyncUrlData`). `UssUrl` is empty: a server's payloads are where
/// [MS-WSUSSS] 2.1 says.
pub fn file_url(out: &mut String, sha1: &Sha1Digest, mu_url: Option<&str>) {
    let mut xml = Encoder::with_capacity(200);
    xml.open("ServerSyncUrlData").value("FileDigest", STANDARD.encode(sha1.0));
    if let Some(url) = mu_url {
        xml.text("MUUrl", url);
    }
    xml.empty("UssUrl").close("ServerSyncUrlData");
    out.push_str(xml.as_str());
}

/// The body of a `GetUpdateDecryptionData` answer: of each revision its payloads, with their keys where they are known.
pub fn decryption_answer(updates: &[UpdateKeys]) -> String {
    let files: usize = updates.iter().map(|update| update.files.len()).sum();
    let mut xml = Encoder::with_capacity(256 + 220 * updates.len() + 200 * files);
    xml.open("GetUpdateDecryptionDataResult");
    if updates.is_empty() {
        xml.empty("UpdateFileDecryptionData");
    } else {
        xml.open("UpdateFileDecryptionData");
        for UpdateKeys { id, files } in updates {
            xml.open("ServerSyncUpdateFileDecryption").open("UpdateId").value("UpdateID", id.update);
            xml.value("RevisionNumber", id.revision).close("UpdateId").open("FileDecryptionData");
            for file in files {
                xml.open("ServerSyncFileDecryption").value("FileDigest", file.sha1.base64());
                if let Some(key) = &file.key {
                    xml.value("DecryptionKey", STANDARD.encode(key.bytes()));
                }
                xml.close("ServerSyncFileDecryption");
            }
            xml.close("FileDecryptionData").close("ServerSyncUpdateFileDecryption");
        }
        xml.close("UpdateFileDecryptionData");
    }
    xml.close("GetUpdateDecryptionDataResult");
    response(NAMESPACE, "GetUpdateDecryptionData", xml.as_str())
}
