//! What the index must know of a revision without reading its texts, in blocks of as many as were stored
//! together.
//!
//! A block is one compressed record of a segment; the index only says where it lies. That keeps sled small
//! (one entry for up to a hundred revisions instead of several for each), makes opening a matter of reading
//! a few thousand blocks, and lets the index be rebuilt from the segments alone.
//!
//! **Invariant:** what a snapshot needs is in the manifest; what only people and details need is in
//! [`super::StoredFacts`]. It never holds titles.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::CatalogError;
use crate::storage::record;
use crate::storage::segment::frame::MAX_RAW;
use crate::storage::staged::Staged;
use crate::values::part::{PartKind, PartRef};
use crate::values::payload_key::Secured;
use tailwater_domain::{
    CategoryKind, Encryption, Facts, Limit, PublicationState, Sha1Digest, UpdateId, UpdateIdentity,
    UpdateType, limits,
};

/// Manifest of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
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
    /// What is kept of the document, and what of its payloads is encrypted. Since version 3 of blocks; none for what
    /// was stored before.
    pub cut: Option<CutFacts>,
}

/// What was looked at when a document was cut.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct CutFacts {
    pub encryption: Encryption,
    /// The languages that were kept where the document has them, lower case, sorted; none for all.
    pub kept: Option<Vec<String>>,
    /// It was stored again in place of the same revision: when that one appeared counts.
    pub again: bool,
}

/// One text of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredPart {
    pub kind: StoredKind,
    pub stored: u32,
    pub raw: u32,
}

/// What a stored text is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StoredKind {
    /// [`StoredFacts`].
    Facts,
    /// A text that was given with the revision.
    Part(PartKind),
}

/// The blocks' content: as many manifests as were stored together.
pub(crate) type Block = Vec<Manifest>;

/// Version of blocks: the second knows languages, the third how a document was cut.
const BLOCK_VERSION: u8 = 3;
/// The one before.
const SECOND: u8 = 2;

/// A manifest of the first version: all fields of the present one but the last two, in the same order.
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
            cut: None,
        }
    }
}

/// A manifest of the second version, which has languages as well.
#[derive(Deserialize)]
struct Second {
    first: First,
    languages: Vec<String>,
}

impl From<Second> for Manifest {
    fn from(second: Second) -> Self {
        Self { languages: second.languages, ..Self::from(second.first) }
    }
}

/// A block as it is stored.
pub(crate) fn encode_block(block: &Block) -> Result<Vec<u8>, CatalogError> {
    record::encode_as(BLOCK_VERSION, block)
}

/// A block is closed before it has more bytes than this, its version and count aside.
pub(crate) const BLOCK_BYTES: usize = 8 << 20;
/// The most bytes of one manifest: an update that says more of itself is refused, alone.
pub(crate) const MAX_MANIFEST: usize = BLOCK_BYTES;
/// What is limited here.
pub(crate) const LIMITS: &[Limit] = limits![
    BLOCK_BYTES in "bytes": "Relations of updates that are stored together" => "the next block begins",
    MAX_MANIFEST in "bytes": "Relations of an update: prerequisites, files, devices, what it supersedes" => "that update is refused; the synchronisation goes on and reports it",
];
/// Bytes of a manifest that are known only once its texts lie in a segment: number, place, and each text's lengths.
const PLACED: usize = 64;
const _: () = assert!(BLOCK_BYTES + PLACED + 16 <= MAX_RAW, "a block of one manifest fits a record");

/// Reads a block of any version.
pub(crate) fn decode_block(bytes: &[u8]) -> Result<Block, CatalogError> {
    let fail = |source| CatalogError::Record { kind: 'm', source };
    match bytes.split_first() {
        Some((&record::VERSION, rest)) => {
            let first: Vec<First> = postcard::from_bytes(rest).map_err(fail)?;
            Ok(first.into_iter().map(Manifest::from).collect())
        }
        Some((&SECOND, rest)) => {
            let second: Vec<Second> = postcard::from_bytes(rest).map_err(fail)?;
            Ok(second.into_iter().map(Manifest::from).collect())
        }
        Some((&BLOCK_VERSION, rest)) => postcard::from_bytes(rest).map_err(fail),
        Some((&found, _)) => Err(CatalogError::Newer { found, known: BLOCK_VERSION }),
        None => Err(fail(postcard::Error::DeserializeUnexpectedEnd)),
    }
}

impl Manifest {
    /// How many bytes it takes in a block.
    pub(crate) fn encoded_len(&self) -> Result<usize, CatalogError> {
        let size = postcard::ser_flavors::Size::default();
        postcard::serialize_with_flavor(self, size).map_err(CatalogError::Unwritable)
    }

    /// How many bytes it takes at most once it lies in a segment with these texts.
    pub(crate) fn len_with(&self, texts: &[&StoredKind]) -> Result<usize, CatalogError> {
        let mut len = self.encoded_len()? + PLACED;
        for kind in texts {
            // two lengths of at most five bytes each
            let size = postcard::ser_flavors::Size::default();
            len += 10 + postcard::serialize_with_flavor(kind, size).map_err(CatalogError::Unwritable)?;
        }
        Ok(len)
    }

    /// Refuses what is more than an update may say of itself. `texts` are still to be added.
    pub(crate) fn check_size(&self, texts: &[&StoredKind]) -> Result<(), CatalogError> {
        let len = self.len_with(texts)?;
        if len > MAX_MANIFEST {
            let (len, limit) = (len as u64, MAX_MANIFEST as u64);
            return Err(CatalogError::TooManyFacts {
                identity: self.identity,
                what: "relations",
                len,
                limit,
            });
        }
        Ok(())
    }

    /// All but number and place.
    pub(crate) fn of(facts: &Facts, arrived: i64) -> Self {
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
            cut: Some(CutFacts {
                encryption: facts.encryption.clone(),
                kept: facts.kept.clone(),
                again: false,
            }),
        }
    }
}

/// The number in `KB5031234` or `5031234`.
pub(crate) fn kb_number(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = match text.get(..2) {
        Some(prefix) if prefix.eq_ignore_ascii_case("kb") => &text[2..],
        _ => text,
    };
    digits.trim().parse().ok()
}

/// A number for a hardware identity, without regard to letter case. Different ones may share a number: who
/// looks something up by it compares the text too. It is stored, so it must never change.
pub(crate) fn hardware_hash(hardware_id: &str) -> u64 {
    let digest = blake3::hash(hardware_id.to_lowercase().as_bytes());
    digest.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

impl Manifest {
    /// As an entry of what is staged.
    pub(crate) fn staged(&self, block: u64, ticket: u64) -> Staged {
        let (stored, raw) = self.parts.first().map_or((0, 0), |part| (part.stored, part.raw));
        let facts = PartRef { revision: self.id, segment: self.segment, offset: self.offset, stored, raw };
        let secured = self.secured().map(Arc::new);
        let len = self.parts.iter().map(|part| u64::from(part.stored)).sum();
        Staged { id: self.id, block, facts, len, ticket, secured, damaged: false }
    }

    /// What its payloads need so that agents can use them; none when nothing of it is encrypted.
    pub(crate) fn secured(&self) -> Option<Secured> {
        match self.cut.as_ref().map(|cut| &cut.encryption)? {
            Encryption::None => None,
            Encryption::Files(files) => Some(Secured { files: files.clone(), marked: true }),
            Encryption::Unmarked => Some(Secured { files: self.files.clone(), marked: false }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_domain::UpdateIdentity;

    #[test]
    fn blocks_of_every_version_are_read() {
        let update = "6f1c2f6e-3f0b-4d3a-9b1e-0d2f6a1c5e12".parse().unwrap();
        let old = Manifest {
            id: 7,
            identity: UpdateIdentity { update, revision: 3 },
            update_type: UpdateType::Software,
            category: None,
            explicitly_deployable: true,
            expired: false,
            uninstallable: false,
            arrived: 5,
            prerequisites: Vec::new(),
            bundled: Vec::new(),
            supersedes: Vec::new(),
            files: vec![Sha1Digest([1; 20])],
            kb_articles: vec![9],
            hardware: Vec::new(),
            segment: 1,
            offset: 2,
            parts: Vec::new(),
            languages: Vec::new(),
            cut: None,
        };
        let third = Manifest {
            languages: vec!["de".to_owned()],
            cut: Some(CutFacts {
                encryption: Encryption::Files(vec![Sha1Digest([1; 20])]),
                kept: Some(vec!["en".to_owned()]),
                again: true,
            }),
            ..old.clone()
        };
        let block = vec![third.clone(), old.clone()];
        assert_eq!(decode_block(&encode_block(&block).unwrap()).unwrap(), block);
        // the fields that came later are the last ones: without them a block is one of before
        let second = Manifest { cut: None, ..third };
        let mut bytes = encode_block(&vec![second.clone()]).unwrap();
        bytes[0] = SECOND;
        assert_eq!(bytes.pop(), Some(0), "no facts of the cut");
        assert_eq!(decode_block(&bytes).unwrap(), [second]);
        let mut bytes = encode_block(&vec![old.clone()]).unwrap();
        bytes[0] = record::VERSION;
        assert_eq!(bytes.split_off(bytes.len() - 2), [0, 0], "no languages either");
        assert_eq!(decode_block(&bytes).unwrap(), [old]);
    }
}
