//! Documents as downstream servers get them: plain up to 5,120 bytes of UTF-16, else as a cabinet in Base64 ([MS-WSUSSS]
//! 3.1.4.6, note 36). Finished ones are remembered.
//!
//! **Invariant:** what is remembered is bounded in bytes; a document of more than a megabyte passes through a temporary
//! file. A blob is made of what was stored and nothing else: every server of a chain gets the same document.

use std::io::{Cursor, Seek as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::blobs::{Blob, FileAddress, Text};
use super::service::ServerRole;
use crate::fault::Refusal;
use tailwater_catalog::{CatalogError, PartKind, PartRef};
use tailwater_domain::{Limit, RevisionId, Sha1Digest, UpdateIdentity, limits};
use tailwater_wire::cabinet;
use tailwater_wire::server_sync::served::{self, UpdateFrame};
use tailwater_wire::update_metadata::Trim;
use tailwater_wire::xml::escape_text_into;

/// Bytes of UTF-16 up to which a document is sent as it is.
const PLAIN_LIMIT: usize = 5_120;
/// A document up to this size is packed in memory.
const LARGE: u64 = 1 << 20;

pub(super) const LIMITS: &[Limit] = limits![
    PLAIN_LIMIT in "bytes": "A document that is sent uncompressed" => "it is sent as a cabinet",
    LARGE in "bytes": "A document that is packed in memory" => "it is packed through a temporary file",
];

fn is_large(part: &PartRef) -> bool {
    part.len() > LARGE
}

/// Bytes of a text in UTF-16.
fn utf16_len(text: &str) -> usize {
    // every character but those of four bytes is one unit
    text.bytes().map(|byte| usize::from(byte & 0xC0 != 0x80) + usize::from(byte >= 0xF0)).sum::<usize>() * 2
}

impl ServerRole {
    /// The numbers of revisions, whose documents are all available.
    pub(super) fn find(&self, wanted: &[UpdateIdentity]) -> Result<Vec<RevisionId>, Refusal> {
        let snapshot = self.catalog.snapshot();
        let known =
            |identity: &UpdateIdentity| snapshot.find(identity).ok_or(Refusal::UnknownRevision(*identity));
        wanted.iter().map(known).collect()
    }

    /// Whether any of these has a document that takes long.
    pub(super) fn has_large(&self, wanted: &[UpdateIdentity]) -> bool {
        let snapshot = self.catalog.snapshot();
        let document = |id| snapshot.part(id, &PartKind::Document);
        wanted
            .iter()
            .filter_map(|identity| snapshot.find(identity))
            .filter_map(document)
            .any(|it| is_large(&it))
    }

    /// One update as it goes out.
    pub(super) fn blob(&self, id: RevisionId, identity: &UpdateIdentity) -> Result<Blob, Refusal> {
        let snapshot = self.catalog.snapshot();
        let key = (id.0, snapshot.generation());
        if let Some(known) = self.documents.blobs.get(&key) {
            return Ok(known);
        }
        let unknown = || Refusal::UnknownRevision(*identity);
        let document = snapshot.part(id, &PartKind::Document).ok_or_else(unknown)?;
        let digests = snapshot.files(id);
        let files: Arc<[FileAddress]> = if digests.is_empty() {
            Arc::default()
        } else {
            let facts = self.catalog.facts(id)?.ok_or_else(unknown)?;
            let url =
                |sha1: &Sha1Digest| facts.file_urls.iter().find(|url| url.sha1 == *sha1)?.mu_url.clone();
            digests.iter().map(|sha1| (*sha1, url(sha1).map(String::into_boxed_str))).collect()
        };
        let text = if is_large(&document) {
            let frame = served::update_frame(identity, &digests, true);
            self.packed_in_file(&document, frame)?
        } else {
            let text = self.whole(&document)?;
            Text::Ready(small(identity, &digests, &text).map_err(unreadable(&document))?)
        };
        let blob = Blob::new(text, files);
        if blob.is_in_memory() {
            self.documents.blobs.remember(key, blob.clone());
        }
        Ok(blob)
    }

    /// A document, without displacing what is remembered for agents.
    fn whole(&self, document: &PartRef) -> Result<Vec<u8>, CatalogError> {
        let mut text = Vec::with_capacity(usize::try_from(document.len()).unwrap_or_default());
        let mut trim = Trim::default();
        for chunk in self.catalog.chunks(document) {
            let chunk = chunk?;
            let (held, chunk) = trim.pass(&chunk);
            text.extend_from_slice(&held);
            text.extend_from_slice(chunk);
        }
        Ok(text)
    }

    fn packed_in_file(&self, document: &PartRef, frame: UpdateFrame) -> Result<Text, Refusal> {
        let broken = unreadable(document);
        let mut writer = tempfile::tempfile().and_then(cabinet::Writer::new).map_err(&broken)?;
        let mut trim = Trim::default();
        for chunk in self.catalog.chunks(document) {
            let chunk = chunk?;
            let (held, chunk) = trim.pass(&chunk);
            writer.write(&held).and_then(|()| writer.write(chunk)).map_err(&broken)?;
        }
        let mut file = writer.finish().map_err(&broken)?;
        let length = file.stream_position().map_err(&broken)?;
        let UpdateFrame { head, tail } = frame;
        Ok(Text::Packed { head: head.into(), cabinet: Arc::new(file), length, tail: tail.into() })
    }
}

fn unreadable(document: &PartRef) -> impl Fn(std::io::Error) -> Refusal + use<> {
    let revision = document.revision();
    move |source| Refusal::Document { revision, source }
}

/// An update whose document fits memory.
fn small(identity: &UpdateIdentity, digests: &[Sha1Digest], text: &[u8]) -> std::io::Result<Bytes> {
    let plain = match std::str::from_utf8(text) {
        Ok(text) if 2 * text.len() <= PLAIN_LIMIT || utf16_len(text) <= PLAIN_LIMIT => Some(text),
        _ => None,
    };
    let UpdateFrame { head, tail } = served::update_frame(identity, digests, plain.is_none());
    let mut out = String::with_capacity(head.len() + tail.len() + text.len() + text.len() / 4);
    out.push_str(&head);
    if let Some(text) = plain {
        escape_text_into(&mut out, text);
    } else {
        let mut writer = cabinet::Writer::new(Cursor::new(Vec::with_capacity(text.len())))?;
        writer.write(text)?;
        STANDARD.encode_string(writer.finish()?.into_inner(), &mut out);
    }
    out.push_str(&tail);
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_counts_utf16() {
        for text in ["", "abc", "\u{e9}\u{65e5}\u{1f512}x"] {
            assert_eq!(utf16_len(text), text.encode_utf16().count() * 2, "{text}");
        }
        let identity =
            UpdateIdentity { update: "6f1c2f6e-3f0b-4d3a-9b1e-0d2f6a1c5e12".parse().unwrap(), revision: 1 };
        let kind = |text: &str| {
            let bytes = small(&identity, &[], text.as_bytes()).unwrap();
            if bytes.windows(15).any(|window| window == b"<XmlUpdateBlob>") { "plain" } else { "cabinet" }
        };
        assert_eq!(kind(&"a".repeat(2_560)), "plain");
        assert_eq!(kind(&"a".repeat(2_561)), "cabinet");
        assert_eq!(kind(&"\u{65e5}".repeat(2_560)), "plain");
        assert_eq!(kind(&"\u{1f512}".repeat(1_281)), "cabinet");
    }
}
