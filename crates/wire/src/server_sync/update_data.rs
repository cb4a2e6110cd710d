//! `GetUpdateData` ([MS-WSUSSS] 3.1.4.6). Invariant: a document passes through as a stream, compressed or
//! not, so an answer costs the same memory whatever its length. It never reads what a document says.

use std::io::{self, BufRead, BufReader, Read, Seek, Write};

use base64::engine::general_purpose::STANDARD;
use base64::read::DecoderReader;
use tempfile::SpooledTempFile;

use super::authorization::{Cookie, result};
use super::message::{NAMESPACE, Request};
use super::revision_ids::read_identity;
use crate::cabinet::{self, CabinetError};
use crate::soap::SoapError;
use crate::xml::{Decoder, Encoder, XmlError, once};
use tailwater_domain::{Limit, Sha1Digest, UpdateIdentity, limits};

/// A compressed document up to this size is held in memory, a longer one in a temporary file.
const CABINET_IN_MEMORY: usize = 1 << 20;
/// How much of a plain document is read at once.
const WINDOW: usize = 32 * 1024;
/// Updates and addresses in one answer; the largest real batch is 100 updates.
const MOST_ENTRIES: usize = 100_000;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_ENTRIES in "entries": "Updates, and addresses, in an answer of the upstream" => "the answer is refused",
];

// not a limit: WINDOW: how much is read at once

/// Why the document of one update did not come, though the answer around it is whole.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Its cabinet is no cabinet.
    #[error(transparent)]
    Cabinet(#[from] CabinetError),
    /// Its Base64 is none, or it could not be kept.
    #[error("the compressed document cannot be unpacked")]
    Unpack(#[source] io::Error),
    /// There is none.
    #[error("the upstream sent the update without a document")]
    Absent,
}

/// One update of an answer (`ServerSyncUpdateData`); `D` is what was made of its document.
#[derive(Debug)]
pub struct Received<D> {
    /// Which revision.
    pub id: UpdateIdentity,
    /// `FileDigestList`, where it has one.
    pub digests: Option<Vec<Sha1Digest>>,
    /// What was made of its document.
    pub document: Result<D, DocumentError>,
}

/// Where a payload is available (`ServerSyncUrlData`); empty addresses are absent ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileUrl {
    /// Which payload.
    pub sha1: Sha1Digest,
    /// At Microsoft.
    pub mu_url: Option<String>,
    /// At this server.
    pub uss_url: Option<String>,
}

/// An answer (`ServerUpdateData`). Servers may leave out some of what was asked, to keep it short.
#[derive(Debug)]
pub struct UpdateData<D> {
    /// The updates.
    pub updates: Vec<Received<D>>,
    /// Addresses of their payloads.
    pub file_urls: Vec<FileUrl>,
}

/// Asks for documents: at most as many as `GetConfigData` allows.
pub fn get_update_data(cookie: &Cookie, revisions: &[UpdateIdentity]) -> Request {
    about_revisions("GetUpdateData", cookie, revisions)
}

/// A request that names revisions in `updateIds`.
pub(super) fn about_revisions(
    operation: &'static str,
    cookie: &Cookie,
    revisions: &[UpdateIdentity],
) -> Request {
    let mut xml = Encoder::with_capacity(1024 + 140 * revisions.len());
    cookie.encode(&mut xml);
    xml.open("updateIds");
    for identity in revisions {
        xml.open("UpdateIdentity").value("UpdateID", identity.update);
        xml.value("RevisionNumber", identity.revision).close("UpdateIdentity");
    }
    xml.close("updateIds");
    Request::new(NAMESPACE, operation, xml.as_str())
}

/// Reads the answer to [`get_update_data`]; each document is given to `document` as UTF-8 while it is read.
///
/// # Errors
/// When it is a fault or no such answer. A document that cannot be unpacked is no error of the answer.
pub fn read_update_data<R: BufRead, D>(
    input: R,
    mut document: impl FnMut(&mut dyn BufRead) -> D,
) -> Result<UpdateData<D>, SoapError> {
    let mut decoder = result(input, "GetUpdateData", "GetUpdateDataResult")?;
    let (mut updates, mut file_urls) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "updates" => once(&mut updates, "updates", read_updates(&mut decoder, &mut document)?)?,
            "fileUrls" => once(&mut file_urls, "fileUrls", read_file_urls(&mut decoder)?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(UpdateData { updates: updates.unwrap_or_default(), file_urls: file_urls.unwrap_or_default() })
}

fn read_updates<R: BufRead, D>(
    decoder: &mut Decoder<R>,
    document: &mut impl FnMut(&mut dyn BufRead) -> D,
) -> Result<Vec<Received<D>>, XmlError> {
    let mut updates = Vec::new();
    while let Some(name) = decoder.child()? {
        if name != "ServerSyncUpdateData" || decoder.is_nil() {
            decoder.skip()?;
            continue;
        }
        if updates.len() == MOST_ENTRIES {
            return Err(XmlError::TooManyElements { limit: MOST_ENTRIES });
        }
        updates.push(read_update(decoder, document)?);
    }
    Ok(updates)
}

fn read_update<R: BufRead, D>(
    decoder: &mut Decoder<R>,
    document: &mut impl FnMut(&mut dyn BufRead) -> D,
) -> Result<Received<D>, XmlError> {
    let (mut id, mut digests, mut made) = (None, None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "Id" => once(&mut id, "Id", read_identity(decoder)?)?,
            "FileDigestList" => once(&mut digests, "FileDigestList", read_digests(decoder)?)?,
            "XmlUpdateBlob" => {
                once(&mut made, "XmlUpdateBlob", Ok(plain(decoder, document)?))?;
            }
            "XmlUpdateBlobCompressed" => {
                once(&mut made, "XmlUpdateBlobCompressed", compressed(decoder, document)?)?;
            }
            _ => decoder.skip()?,
        }
    }
    Ok(Received {
        id: id.ok_or(XmlError::Missing { element: "Id" })?,
        digests,
        document: made.unwrap_or(Err(DocumentError::Absent)),
    })
}

fn plain<R: BufRead, D>(
    decoder: &mut Decoder<R>,
    document: &mut impl FnMut(&mut dyn BufRead) -> D,
) -> Result<D, XmlError> {
    let mut text = BufReader::with_capacity(WINDOW, decoder.text_reader());
    let made = document(&mut text);
    text.into_inner().finish()?;
    Ok(made)
}

/// Base64 out of XML may be broken into lines, which the decoder does not know.
struct WithoutSpace<R>(R);

impl<R: Read> Read for WithoutSpace<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.0.read(out)?;
            let mut kept = 0;
            for at in 0..count {
                if !out[at].is_ascii_whitespace() {
                    out[kept] = out[at];
                    kept += 1;
                }
            }
            if kept > 0 || count == 0 {
                return Ok(kept);
            }
        }
    }
}

fn compressed<R: BufRead, D>(
    decoder: &mut Decoder<R>,
    document: &mut impl FnMut(&mut dyn BufRead) -> D,
) -> Result<Result<D, DocumentError>, XmlError> {
    let mut text = decoder.text_reader();
    let unpacked = unpack(&mut text);
    // an answer that breaks off shows here, and is no matter of this document
    text.finish()?;
    Ok(unpacked.and_then(|cabinet| Ok(cabinet::with_document(cabinet, |text| document(text))?)))
}

fn unpack(text: impl Read) -> Result<SpooledTempFile, DocumentError> {
    let mut cabinet = SpooledTempFile::new(CABINET_IN_MEMORY);
    let mut bytes = DecoderReader::new(WithoutSpace(text), &STANDARD);
    io::copy(&mut bytes, &mut cabinet)
        .and_then(|_| cabinet.flush())
        .and_then(|()| cabinet.rewind())
        .map_err(DocumentError::Unpack)?;
    Ok(cabinet)
}

fn read_digests<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Vec<Sha1Digest>, XmlError> {
    let texts = decoder.texts("base64Binary", MOST_ENTRIES)?;
    texts.iter().map(|text| digest("base64Binary", text)).collect()
}

fn digest(element: &str, text: &str) -> Result<Sha1Digest, XmlError> {
    Sha1Digest::from_base64(text)
        .map_err(|error| XmlError::Value { element: element.to_owned(), text: error.text })
}

fn read_file_urls<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Vec<FileUrl>, XmlError> {
    let mut urls = Vec::new();
    while let Some(name) = decoder.child()? {
        if name != "ServerSyncUrlData" || decoder.is_nil() {
            decoder.skip()?;
            continue;
        }
        if urls.len() == MOST_ENTRIES {
            return Err(XmlError::TooManyElements { limit: MOST_ENTRIES });
        }
        let (mut sha1, mut mu_url, mut uss_url) = (None, None, None);
        while let Some(name) = decoder.child()? {
            match name {
                "FileDigest" => once(&mut sha1, "FileDigest", digest("FileDigest", &decoder.text()?)?)?,
                "MUUrl" => once(&mut mu_url, "MUUrl", decoder.text()?)?,
                "UssUrl" => once(&mut uss_url, "UssUrl", decoder.text()?)?,
                _ => decoder.skip()?,
            }
        }
        let address = |url: Option<String>| url.filter(|url| !url.trim().is_empty());
        urls.push(FileUrl {
            sha1: sha1.ok_or(XmlError::Missing { element: "FileDigest" })?,
            mu_url: address(mu_url),
            uss_url: address(uss_url),
        });
    }
    Ok(urls)
}
