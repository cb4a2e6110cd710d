//! What the index must know of a revision without reading its texts, in blocks of as many as were stored
//! together.
//!
//! A block is one compressed record of a segment; the index only says where it lies. That keeps sled small
//! (one entry for up to a hundred revisions instead of several for each), makes opening a matter of reading
//! a few thousand blocks, and lets the index be rebuilt from the segments alone.
//!
//! **Invariant:** what a snapshot needs is in the manifest; what only people and details need is in
//! [`super::StoredFacts`]. It never holds titles.

use serde::{Deserialize, Serialize};

use super::store::Staged;
use super::{CatalogError, PartKind, PartRef, StoredFacts, record};
use crate::domain::{
    CategoryKind, Facts, PublicationState, Sha1Digest, UpdateId, UpdateIdentity, UpdateType,
};

/// Manifest of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub id: u32,
    pub identity: UpdateIdentity,
    pub update_type: UpdateType,
    pub category: Option<CategoryKind>,
    pub explicitly_deployable: bool,
    pub expired: bool,
    pub uninstallable: bool,
    /// Second at which it was stored.
    pub arrived: i64,
    pub prerequisites: Vec<Vec<UpdateId>>,
    pub bundled: Vec<Vec<UpdateIdentity>>,
    pub supersedes: Vec<UpdateId>,
    pub files: Vec<Sha1Digest>,
    pub kb_articles: Vec<u32>,
    /// [`hardware_hash`] of every device match.
    pub hardware: Vec<u64>,
    /// Where its texts lie, in a row.
    pub segment: u32,
    pub offset: u32,
    /// The texts in their order there. The facts come first.
    pub parts: Vec<StoredPart>,
    /// The languages it is made for, lower case; none when it is for all. Since version 2 of blocks.
    pub languages: Vec<String>,
}

/// One text of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredPart {
    pub kind: StoredKind,
    pub stored: u32,
    pub raw: u32,
}

/// What a stored text is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum StoredKind {
    /// [`StoredFacts`].
    Facts,
    /// A text that was given with the revision.
    Part(PartKind),
}

/// The blocks' content: as many manifests as were stored together.
pub(super) type Block = Vec<Manifest>;

/// Version of blocks: the second knows languages.
const BLOCK_VERSION: u8 = 2;

/// A manifest of the first version: all fields of the second but the last, in the same order.
#[derive(Deserialize)]
struct First {
    id: u32,
    identity: UpdateIdentity,
    update_type: UpdateType,
    category: Option<CategoryKind>,
    explicitly_deployable: bool,
    expired: bool,
    uninstallable: bool,
    arrived: i64,
    prerequisites: Vec<Vec<UpdateId>>,
    bundled: Vec<Vec<UpdateIdentity>>,
    supersedes: Vec<UpdateId>,
    files: Vec<Sha1Digest>,
    kb_articles: Vec<u32>,
    hardware: Vec<u64>,
    segment: u32,
    offset: u32,
    parts: Vec<StoredPart>,
}

impl From<First> for Manifest {
    fn from(first: First) -> Self {
        Self {
            id: first.id,
            identity: first.identity,
            update_type: first.update_type,
            category: first.category,
            explicitly_deployable: first.explicitly_deployable,
            expired: first.expired,
            uninstallable: first.uninstallable,
            arrived: first.arrived,
            prerequisites: first.prerequisites,
            bundled: first.bundled,
            supersedes: first.supersedes,
            files: first.files,
            kb_articles: first.kb_articles,
            hardware: first.hardware,
            segment: first.segment,
            offset: first.offset,
            parts: first.parts,
            // they were not looked at: such a revision is taken to be for all
            languages: Vec::new(),
        }
    }
}

/// A block as it is stored.
pub(super) fn encode_block(block: &Block) -> Vec<u8> {
    // writing into memory cannot fail: every record's serializer knows its lengths
    postcard::to_extend(block, vec![BLOCK_VERSION]).unwrap_or_default()
}

/// Reads a block of either version.
pub(super) fn decode_block(bytes: &[u8]) -> Result<Block, CatalogError> {
    let fail = |source| CatalogError::Record { kind: 'm', source };
    match bytes.split_first() {
        Some((&record::VERSION, rest)) => {
            let first: Vec<First> = postcard::from_bytes(rest).map_err(fail)?;
            Ok(first.into_iter().map(Manifest::from).collect())
        }
        Some((&BLOCK_VERSION, rest)) => postcard::from_bytes(rest).map_err(fail),
        Some((&found, _)) => Err(CatalogError::Newer { found, known: BLOCK_VERSION }),
        None => Err(fail(postcard::Error::DeserializeUnexpectedEnd)),
    }
}

impl Manifest {
    /// All but number and place.
    pub(super) fn of(facts: &Facts, arrived: i64) -> Self {
        Self {
            id: 0,
            identity: facts.identity,
            update_type: facts.update_type,
            category: facts.category,
            explicitly_deployable: facts.explicitly_deployable,
            expired: facts.publication_state == PublicationState::Expired,
            uninstallable: facts.uninstallable,
            arrived,
            prerequisites: facts.prerequisites.iter().map(|clause| clause.any_of.clone()).collect(),
            bundled: facts.bundled.iter().map(|clause| clause.any_of.clone()).collect(),
            supersedes: facts.supersedes.clone(),
            files: facts.files.iter().map(|file| file.sha1).collect(),
            kb_articles: facts.kb_articles.iter().filter_map(|kb| kb_number(kb)).collect(),
            hardware: facts.drivers.iter().map(|driver| hardware_hash(&driver.hardware_id)).collect(),
            segment: 0,
            offset: 0,
            parts: Vec::new(),
            languages: facts.languages.clone(),
        }
    }
}

/// The number in `KB5031234` or `5031234`.
pub(super) fn kb_number(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = match text.get(..2) {
        Some(prefix) if prefix.eq_ignore_ascii_case("kb") => &text[2..],
        _ => text,
    };
    digits.trim().parse().ok()
}

/// A number for a hardware identity, without regard to letter case. Different ones may share a number: who
/// looks something up by it compares the text too. It is stored, so it must never change.
pub(super) fn hardware_hash(hardware_id: &str) -> u64 {
    let digest = blake3::hash(hardware_id.to_lowercase().as_bytes());
    digest.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

impl StoredFacts {
    /// Only addresses without a query are kept: others are signed for a moment and a reader.
    pub(super) fn without_signed_urls(mut self) -> Self {
        for url in &mut self.file_urls {
            let plain = |url: &String| !url.contains('?');
            url.mu_url = url.mu_url.take().filter(plain);
            url.uss_url = url.uss_url.take().filter(plain);
        }
        self.file_urls.retain(|url| url.mu_url.is_some() || url.uss_url.is_some());
        self
    }
}

impl Manifest {
    /// As an entry of what is staged.
    pub(super) fn staged(&self, block: u64, ticket: u64) -> Staged {
        let (stored, raw) = self.parts.first().map_or((0, 0), |part| (part.stored, part.raw));
        let facts = PartRef { revision: self.id, segment: self.segment, offset: self.offset, stored, raw };
        Staged { id: self.id, block, facts, ticket }
    }
}
