//! Makes an index from the segments alone: for a new store, for one whose index was lost, and for the
//! command that rebuilds it.
//!
//! What comes back: every revision with its number and standing, dictionaries, decisions, groups, and which
//! computer an administrator put into which group. What does not, because it returns by itself: settings (without anchors
//! the next synchronisation compares everything and fetches only what is missing), what computers reported,
//! and their events.
//!
//! **Invariant:** segments are never changed or cut here. What is damaged is passed over to the next good record, and is
//! noted as lost.

use std::path::PathBuf;

use super::damage::Note;
use super::dictionaries::copy_of;
use crate::config::Config;
use crate::error::CatalogError;
use crate::storage::manifest::decode_block;
use crate::storage::record;
use crate::storage::record::{ActivationRecord, Committed, Generation, Journal, Meta, key};
use crate::storage::segment::codec::Codec;
use crate::storage::segment::frame::{Kind, STORED};
use crate::storage::segment::{Segments, Step};
use tailwater_domain::{Limit, limits};
use tailwater_durable::set_aside;
use tailwater_kv::Op;
use tailwater_kv::{Batch, Kv, MAX_BATCH, Setup};

/// The most numbers that are left out: tables of a snapshot have a place for each number.
const MAX_LEFT_OUT: u32 = 1_000_000;

/// What is limited here.
pub(crate) const LIMITS: &[Limit] = limits![
    MAX_LEFT_OUT in "numbers": "Numbers of revisions left out for what an index that is made anew cannot read" =>
        "a number may be given again",
];

/// An index being made.
struct Index<'a> {
    kv: &'a Kv,
    batch: Batch,
    block: u64,
    committed: Committed,
    /// Operations of a change whose last journal record did not come yet.
    unfinished: Vec<Op>,
    /// What could not be read.
    lost: Note,
    /// The highest number of a dictionary that some record needs.
    dictionary: u8,
}

impl Index<'_> {
    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), CatalogError> {
        match value {
            Some(value) => self.batch.put(key, value),
            None => self.batch.remove(key),
        }
        if self.batch.len() == MAX_BATCH {
            self.kv.note(&std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    fn record(
        &mut self,
        kind: Kind,
        place: record::Location,
        content: &[u8],
        codec: &Codec,
    ) -> Result<(), CatalogError> {
        if kind != Kind::Journal {
            // the records of a change lie in a row: this one was cut
            self.unfinished.clear();
        }
        match kind {
            Kind::Text => Ok(()),
            Kind::Dictionary => match content.split_first() {
                Some((number, bytes)) => {
                    codec.add(*number, bytes);
                    self.put(key::dictionary_copy(*number), Some(copy_of(content)))?;
                    self.put(key::dictionary(*number), Some(record::encode(&place)?))
                }
                None => Ok(()),
            },
            Kind::Manifest => {
                let block = decode_block(content)?;
                let next = block.iter().map(|manifest| manifest.id + 1);
                self.committed.next_id = next.fold(self.committed.next_id, u32::max);
                self.block += 1;
                // as many as were stored together: a hundred
                let entry = (place, u32::try_from(block.len()).unwrap_or(u32::MAX));
                self.put(key::block(self.block - 1), Some(record::encode(&entry)?))
            }
            Kind::Activation => {
                let activation: ActivationRecord = record::decode('a', content)?;
                let active = activation.active;
                // blocks after a damaged one keep their numbers
                self.block = self.block.max(active.watermark);
                let generation = Generation { watermark: active.watermark, change: active.change };
                self.put(key::generation(active.generation), Some(record::encode(&generation)?))?;
                if !activation.withdrawn.is_empty() {
                    self.put(key::withdrawn(active.watermark), Some(record::encode(&activation.withdrawn)?))?;
                }
                self.put(key::ACTIVE.to_vec(), Some(record::encode(&active)?))
            }
            Kind::Journal => {
                let (journal, last) = Journal::decode(content)?;
                self.unfinished.extend(journal.ops);
                if !last {
                    return Ok(());
                }
                let whole = std::mem::take(&mut self.unfinished);
                whole.into_iter().try_for_each(|(key, value)| self.put(key, value))
            }
        }
    }
}

impl Index<'_> {
    /// Something cannot be read: what it was is missing from then on.
    fn passed_over(&mut self, kind: Option<Kind>) {
        // the records of a change lie in a row
        self.unfinished.clear();
        self.lost.stretches += 1;
        self.lost.decisions += u64::from(kind == Some(Kind::Journal));
    }
}

impl Index<'_> {
    /// Takes a record in; false when it cannot be read and was passed over.
    fn take(
        &mut self,
        segments: &Segments,
        kind: Kind,
        at: record::Location,
        codec: &Codec,
    ) -> Result<bool, CatalogError> {
        let content = match kind {
            Kind::Text => Ok(Vec::new()),
            _ => segments.record(kind, at, codec),
        };
        match content.and_then(|content| self.record(kind, at, &content, codec)) {
            Ok(()) => Ok(true),
            Err(error @ (CatalogError::Damaged { .. } | CatalogError::Record { .. })) => {
                tracing::error!(%error, ?kind, "passed over a record that cannot be read");
                self.passed_over(Some(kind));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Notes what was passed over, and what has no dictionary any more.
    fn note_lost(&mut self, codec: &Codec, left_out: u64, now: jiff::Timestamp) -> Result<(), CatalogError> {
        for number in 1..=self.dictionary {
            if !codec.knows(number) {
                // it cannot be read, and its number is taken: it lies where nothing is
                let nowhere = record::Location { segment: 0, offset: 0, stored: 0 };
                self.put(key::dictionary(number), Some(record::encode(&nowhere)?))?;
            }
        }
        if self.lost == Note::default() {
            return Ok(());
        }
        let skipped = u32::try_from(left_out).unwrap_or(u32::MAX).min(MAX_LEFT_OUT);
        self.committed.next_id = self.committed.next_id.saturating_add(skipped);
        self.lost.since = now.as_second();
        tracing::error!(
            stretches = self.lost.stretches,
            decisions = self.lost.decisions,
            "parts of the segments cannot be read: updates in them are fetched again, decisions in them are lost"
        );
        self.put(key::LOST.to_vec(), Some(record::encode(&self.lost)?))
    }
}

/// Numbers that are left out where the end of a file is gone.
const BEHIND_AN_END: u64 = 10_000;

/// Numbers of revisions that are left out for each stretch that cannot be read: what it named keeps its numbers for
/// itself. A stretch of which nothing is known counts by its bytes.
fn numbers_in(stretch: u64) -> u64 {
    (100 + stretch / 1_000).min(100_000)
}

/// Fills an empty index from whatever segments there are.
pub(crate) fn begin(
    kv: &Kv,
    segments: &Segments,
    now: jiff::Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), CatalogError> {
    let numbers = segments.numbers()?;
    if !numbers.is_empty() {
        tracing::warn!(segments = numbers.len(), "the index is empty: rebuilding it from the segments");
    }
    let committed = Committed { segment: 0, len: 0, next_id: 1 };
    let lost = Note::default();
    let (batch, unfinished) = (Batch::default(), Vec::new());
    let mut index = Index { kv, batch, block: 0, committed, unfinished, lost, dictionary: 0 };
    let (codec, mut left_out) = (Codec::default(), 0);
    let (total, mut before) = (segments.bytes(), 0);
    let mut expected = 1;
    for segment in numbers {
        if segment > expected {
            tracing::error!(from = expected, to = segment - 1, "segments are gone");
            index.passed_over(None);
            left_out += u64::from(MAX_LEFT_OUT);
        }
        expected = segment.saturating_add(1);
        let (mut offset, mut torn) = (0, false);
        loop {
            match segments.step(segment, offset)? {
                Step::End => break,
                Step::Damaged { kind, to } => {
                    index.passed_over(kind);
                    left_out += numbers_in(to - offset);
                    if to == segments.len(segment)? {
                        // the end is torn: how much is gone nobody knows
                        left_out += BEHIND_AN_END;
                    }
                    (offset, torn) = (to, true);
                }
                Step::Record { kind, at, dictionary } => {
                    if dictionary != STORED {
                        index.dictionary = index.dictionary.max(dictionary);
                    }
                    if !index.take(segments, kind, at, &codec)? {
                        left_out += numbers_in(0);
                    }
                    offset = u64::from(at.offset) + u64::from(at.stored);
                    torn = false;
                }
            }
            progress(before + offset, total);
        }
        before += segments.len(segment)?;
        index.committed = Committed { segment, len: segments.len(segment)?, ..index.committed };
        if torn && !segments.numbers()?.contains(&(segment + 1)) {
            // what cannot be read stays as it is; new records go into a file that can
            index.committed =
                Committed { segment: segment + 1, len: segments.create(segment + 1)?, ..index.committed };
        }
    }
    index.note_lost(&codec, left_out, now)?;
    if index.committed.segment > 0 {
        index.put(key::COMMITTED.to_vec(), Some(record::encode(&index.committed)?))?;
    }
    // last: an index without it is begun again
    kv.note(&index.batch)?;
    flush(kv)?;
    let mut meta = Batch::default();
    meta.put(key::META, record::encode(&Meta { format: record::FORMAT })?);
    kv.note(&meta)?;
    flush(kv)
}

/// Makes the index durable; on a disk that takes nothing it waits in memory for that.
pub(crate) fn flush(kv: &Kv) -> Result<(), CatalogError> {
    match kv.flush() {
        Err(error) if error.is_read_only() => Ok(()),
        other => Ok(other?),
    }
}

/// Where the index of a catalog lies.
pub(crate) fn index_setup(config: &Config) -> Setup {
    let (dir, cache) = (config.dir.join("index"), config.index_cache.0);
    Setup { name: "index of the catalog", dir, cache, trees: &[] }
}

/// Gives an index that nobody has open another name.
pub(crate) fn set_index_aside(config: &Config) -> Result<PathBuf, CatalogError> {
    let path = index_setup(config).dir;
    match set_aside(&path) {
        // there was none: the next opening makes one
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(path),
        Err(source) => Err(CatalogError::File { path, action: "set aside", source }),
        Ok(aside) => Ok(aside),
    }
}
