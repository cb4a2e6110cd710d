//! Reading texts back: small ones whole and remembered, large ones frame by frame.
//!
//! **Invariant:** a text whose checksum fails is never handed out; its revision is no longer offered from
//! that moment on, and is listed as damaged until it was fetched again. It never reads more than one frame
//! ahead.

use std::sync::Arc;

use bytes::Bytes;

use crate::config::Config;
use crate::decisions::change::Changes;
use crate::error::CatalogError;
use crate::snapshot::root::Snapshot;
use crate::storage::handle::Storage;
use crate::storage::segment::frame;
use crate::storage::segment::frame::HEADER;
use crate::values::facts::StoredFacts;
use crate::values::part::{PartKind, PartRef};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tailwater_domain::{Limit, RevisionId, limits};
use tailwater_runtime::{ByteCache, is_unwanted};

/// Memory for decoded facts that are remembered: of most revisions they take 2 KB, of the largest some megabytes.
const FACTS_BYTES: u64 = 32 << 20;
/// About how many are remembered, as far as their bytes allow.
const FACTS_CACHED: usize = 8_000;
// not a limit: FACTS_CACHED: how many are expected
/// About how many texts are remembered, as far as their bytes allow.
const FRAGMENTS_CACHED: usize = 20_000;
// not a limit: FRAGMENTS_CACHED: how many are expected

pub(crate) const LIMITS: &[Limit] = limits![
    FACTS_BYTES in "bytes": "Facts of revisions that are remembered" => "they are read again",
];

#[derive(Clone)]
struct ByLength;

impl Weighter<(u32, u32), Bytes> for ByLength {
    fn weight(&self, _key: &(u32, u32), text: &Bytes) -> u64 {
        text.len() as u64 + 96
    }
}

/// Reads stored texts.
pub(crate) struct Texts {
    storage: Arc<Storage>,
    changes: Arc<Changes>,
    config: Arc<Config>,
    fragments: Cache<(u32, u32), Bytes, ByLength>,
    facts: ByteCache<(u32, u32), Arc<StoredFacts>>,
}

impl Texts {
    /// A reader of what this storage keeps, which sets aside what is damaged.
    pub(crate) fn new(storage: Arc<Storage>, changes: Arc<Changes>, config: Arc<Config>) -> Self {
        let fragments = Cache::with_weighter(FRAGMENTS_CACHED, config.fragment_cache.0, ByLength);
        let facts = ByteCache::new(FACTS_BYTES, FACTS_CACHED, |_, facts: &Arc<StoredFacts>| facts.bytes());
        Self { storage, changes, config, fragments, facts }
    }

    /// Remembers other facts than those that are stored, for tests.
    #[cfg(test)]
    pub(crate) fn remember_facts(&self, part: &PartRef, facts: Arc<StoredFacts>) {
        self.facts.insert((part.segment, part.offset), facts);
    }

    /// Bytes of the facts that are remembered, and how much they may be.
    #[cfg(test)]
    pub(crate) fn remembered_facts(&self) -> (u64, u64) {
        (self.facts.weight(), FACTS_BYTES)
    }

    /// Reads the frame at `offset` of a segment. Gives its text and its length in the segment.
    fn frame(&self, segment: u32, offset: u64, left: u64) -> Result<(Vec<u8>, u64), CatalogError> {
        wanted()?;
        let damaged = || CatalogError::Damaged { segment, offset };
        let ahead = usize::try_from(left).unwrap_or(usize::MAX).min(READ_AHEAD);
        let mut record = self.storage.log().segments().read(segment, offset, ahead)?;
        let header = frame::Header::read(&record).ok_or_else(damaged)?;
        let wanted = HEADER + header.stored;
        if wanted as u64 > left {
            return Err(damaged());
        }
        if wanted > record.len() {
            record = self.storage.log().segments().read(segment, offset, wanted)?;
        }
        let (header, payload) = frame::check(&record, segment, offset)?;
        let text = self.storage.log().codec().decode(&header, payload).map_err(|_e| damaged())?;
        Ok((text, wanted as u64))
    }

    /// A text, whole.
    fn whole(&self, part: &PartRef) -> Result<Vec<u8>, CatalogError> {
        let (mut offset, mut left) = (u64::from(part.offset), u64::from(part.stored));
        let (mut text, read) = self.frame(part.segment, offset, left)?;
        (offset, left) = (offset + read, left - read);
        while left > 0 {
            let (more, read) = self.frame(part.segment, offset, left)?;
            text.extend_from_slice(&more);
            (offset, left) = (offset + read, left - read);
        }
        if text.len() as u64 == part.len() {
            Ok(text)
        } else {
            Err(CatalogError::Damaged { segment: part.segment, offset })
        }
    }

    /// Sets a damaged revision aside.
    fn noticing<T>(&self, part: &PartRef, outcome: Result<T, CatalogError>) -> Result<T, CatalogError> {
        if let Err(error @ CatalogError::Damaged { .. }) = &outcome {
            tracing::error!(revision = part.revision, %error, "a stored text is damaged");
            self.changes.set_aside(&[part.revision])?;
        }
        outcome
    }

    /// A text, remembered when it is small.
    pub(crate) fn read(&self, part: &PartRef) -> Result<Bytes, CatalogError> {
        let place = (part.segment, part.offset);
        if let Some(known) = self.fragments.get(&place) {
            return Ok(known);
        }
        let text = Bytes::from(self.noticing(part, self.whole(part))?);
        if !part.is_large() {
            self.fragments.insert(place, text.clone());
        }
        Ok(text)
    }

    /// What is kept of a revision beside its texts.
    pub(crate) fn read_facts(&self, part: &PartRef) -> Result<Arc<StoredFacts>, CatalogError> {
        let place = (part.segment, part.offset);
        if let Some(known) = self.facts.get(&place) {
            return Ok(known);
        }
        let facts = self.decode_facts(part)?;
        self.facts.insert(place, Arc::clone(&facts));
        Ok(facts)
    }

    /// The same without remembering: for passing over many.
    pub(crate) fn decode_facts(&self, part: &PartRef) -> Result<Arc<StoredFacts>, CatalogError> {
        let bytes = self.noticing(part, self.whole(part))?;
        StoredFacts::decode(&bytes).map(Arc::new)
    }
}

impl Texts {
    /// The facts of a revision of this snapshot; none when it is damaged.
    pub(crate) fn facts_in(
        &self,
        snapshot: &Snapshot,
        id: u32,
    ) -> Result<Option<Arc<StoredFacts>>, CatalogError> {
        let Some(part) = snapshot.facts_part(id) else { return Ok(None) };
        match self.decode_facts(&part) {
            Err(CatalogError::Damaged { .. }) => Ok(None),
            other => other.map(Some),
        }
    }
}

/// Long work reads much, so it is here that work ends which nobody waits for any more.
pub(crate) fn wanted() -> Result<(), CatalogError> {
    if is_unwanted() { Err(CatalogError::Unwanted) } else { Ok(()) }
}

/// How much is read at once before a record's length is known: most texts whole.
const READ_AHEAD: usize = 4096;

// not a limit: READ_AHEAD: how much is read at once

/// A text in pieces of at most 256 KiB; see [`crate::Catalog::chunks`]. Ends after the first error.
pub struct Chunks {
    texts: Arc<Texts>,
    part: PartRef,
    offset: u64,
    left: u64,
}

impl Chunks {
    pub(crate) fn new(texts: Arc<Texts>, part: PartRef) -> Self {
        Self { texts, part, offset: u64::from(part.offset), left: u64::from(part.stored) }
    }
}

impl Iterator for Chunks {
    type Item = Result<Bytes, CatalogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let outcome = self.texts.frame(self.part.segment, self.offset, self.left);
        match self.texts.noticing(&self.part, outcome) {
            Ok((text, read)) => {
                self.offset += read;
                self.left -= read;
                Some(Ok(Bytes::from(text)))
            }
            Err(error) => {
                self.left = 0;
                Some(Err(error))
            }
        }
    }
}

impl Texts {
    /// What a driver says of itself, in full; none when its document cannot be read.
    pub(crate) fn driver_facts(
        &self,
        snapshot: &Snapshot,
        id: u32,
    ) -> Result<Option<Arc<StoredFacts>>, CatalogError> {
        let Some(part) = snapshot.facts_part(id) else { return Ok(None) };
        let known = self.read_facts(&part)?;
        let (false, Some(read)) = (known.drivers_known, self.config.read_drivers) else {
            return Ok(Some(known));
        };
        let document = snapshot.part(RevisionId(id), &PartKind::Document);
        let text = document.map(|document| self.read(&document)).transpose()?;
        let Some(drivers) = text.and_then(|text| read(&text)) else {
            tracing::warn!(update = %known.facts.identity, "a stored driver document cannot be read; it is not offered");
            return Ok(None);
        };
        let mut stored = (*known).clone();
        (stored.facts.drivers, stored.drivers_known) = (drivers, true);
        let stored = Arc::new(stored);
        self.facts.insert((part.segment, part.offset), Arc::clone(&stored));
        Ok(Some(stored))
    }
}
