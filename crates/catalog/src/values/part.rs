//! The texts of a revision: what kinds there are, how they arrive, and how they are named once stored.
//!
//! **Invariant:** a [`PartRef`] that was handed out stays readable as long as its store lives, whatever is
//! activated or withdrawn meanwhile. It never holds text itself.

use std::io::Read;

use tailwater_domain::{Facts, RevisionId, Sha1Digest};

/// Raw bytes in one frame of a stored text: what streaming a large one costs in memory.
pub(crate) const FRAME_BYTES: u32 = 256 * 1024;
// not a limit: FRAME_BYTES: how texts are divided

/// What a text of a revision is ([MS-WUSP] 3.1.1.1, Metadata Table).
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum PartKind {
    /// The whole document, without the languages that the site does not keep. Not escaped.
    Document,
    /// The Core fragment, XML-escaped.
    Core,
    /// The Extended fragment, XML-escaped.
    Extended,
    /// The `LocalizedProperties` fragment of this language, XML-escaped.
    Localized(String),
    /// The Eula fragment of this language, XML-escaped.
    Eula(String),
}

/// Where a stored text lies. Cheap to copy; only the catalog that made it can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartRef {
    pub(crate) revision: u32,
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    /// Bytes in the segment, record headers included.
    pub(crate) stored: u32,
    pub(crate) raw: u32,
}

impl PartRef {
    /// Bytes of the text.
    pub fn len(&self) -> u64 {
        u64::from(self.raw)
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.raw == 0
    }

    /// Whose text it is.
    pub fn revision(&self) -> RevisionId {
        RevisionId(self.revision)
    }

    /// Whether it should be read with [`crate::Catalog::chunks`], because it is larger than one frame.
    pub fn is_large(&self) -> bool {
        self.raw > FRAME_BYTES
    }
}

/// A text on its way into the store.
pub struct NewPart {
    /// What it is.
    pub kind: PartKind,
    /// How many bytes `text` will give; at most 512 MiB.
    pub len: u64,
    /// The text. Everything but [`PartKind::Document`] is already XML-escaped.
    pub text: Box<dyn Read + Send>,
}

/// Where a payload can be had upstream (`ServerSyncUrlData`, [MS-WSUSSS] 2.2.3).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileUrl {
    /// Which payload.
    pub sha1: Sha1Digest,
    /// `MUUrl`; only addresses without a query are kept.
    pub mu_url: Option<String>,
    /// `UssUrl`.
    pub uss_url: Option<String>,
}

/// A revision on its way into the store.
pub struct NewRevision {
    /// What its document says.
    pub facts: Facts,
    /// Its texts. Document, Core and Extended are expected once each.
    pub parts: Vec<NewPart>,
    /// Where its payloads can be had.
    pub file_urls: Vec<FileUrl>,
}
