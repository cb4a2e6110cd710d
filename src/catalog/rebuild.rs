//! Makes an index from the segments alone: for a new store, for one whose index was lost, and for the
//! command that rebuilds it.
//!
//! What comes back: every revision with its number and standing, dictionaries, decisions, groups, and which
//! computer an administrator put into which group. What does not, because it returns by itself: settings (without anchors
//! the next synchronisation compares everything and fetches only what is missing), what computers reported,
//! and their events.
//!
//! **Invariant:** segments are never changed or cut here. A damaged record is passed over where its length
//! is still right, else it ends what is taken from its file; the files after it are still read.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use super::kv::{Batch, Kv, MAX_BATCH, Setup};
use super::manifest::decode_block;
use super::record::{self, ActivationRecord, Committed, Generation, Journal, Meta, key};
use super::segment::Segments;
use super::segment::codec::Codec;
use super::segment::frame::Kind;
use super::store::{Op, Store};
use super::{Catalog, CatalogError, Config};
use crate::durable::set_aside;
use crate::runtime::Clock;

/// An index being made.
struct Index<'a> {
    kv: &'a Kv,
    batch: Batch,
    block: u64,
    committed: Committed,
    /// Operations of a change whose last journal record did not come yet.
    unfinished: Vec<Op>,
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
                    self.put(key::dictionary(*number), Some(record::encode(&place)?))
                }
                None => Ok(()),
            },
            Kind::Manifest => {
                let block = decode_block(content)?;
                let next = block.iter().map(|manifest| manifest.id + 1);
                self.committed.next_id = next.fold(self.committed.next_id, u32::max);
                self.block += 1;
                self.put(key::block(self.block - 1), Some(record::encode(&place)?))
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

/// Fills an empty index from whatever segments there are.
pub(super) fn begin(
    kv: &Kv,
    segments: &Segments,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), CatalogError> {
    let numbers = segments.numbers()?;
    if !numbers.is_empty() {
        tracing::warn!(segments = numbers.len(), "the index is empty: rebuilding it from the segments");
    }
    let committed = Committed { segment: 0, len: 0, next_id: 1 };
    let mut index = Index { kv, batch: Batch::default(), block: 0, committed, unfinished: Vec::new() };
    let codec = Codec::default();
    let (total, mut before) = (segments.bytes(), 0);
    for segment in numbers {
        let mut offset = 0;
        while let Some((kind, place)) = segments.next_good(segment, offset)? {
            let content =
                if kind == Kind::Text { Vec::new() } else { segments.record(kind, place, &codec)? };
            index.record(kind, place, &content, &codec)?;
            offset = u64::from(place.offset) + u64::from(place.stored);
            progress(before + offset, total);
        }
        before += segments.len(segment)?;
        index.committed = Committed { segment, len: segments.len(segment)?, ..index.committed };
        if offset < index.committed.len && !segments.numbers()?.contains(&(segment + 1)) {
            // what cannot be read stays as it is; new records go into a file that can
            index.committed =
                Committed { segment: segment + 1, len: segments.create(segment + 1)?, ..index.committed };
        }
    }
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
pub(super) fn flush(kv: &Kv) -> Result<(), CatalogError> {
    match kv.flush() {
        Err(error) if error.is_read_only() => Ok(()),
        other => Ok(other?),
    }
}

/// Where the index of a catalog lies.
pub(super) fn index_setup(config: &Config) -> Setup {
    let (dir, cache) = (config.dir.join("index"), config.index_cache.0);
    Setup { name: "index of the catalog", dir, cache, trees: &[] }
}

/// Gives an index that nobody has open another name.
pub(super) fn set_index_aside(config: &Config) -> Result<PathBuf, CatalogError> {
    let path = index_setup(config).dir;
    match set_aside(&path) {
        // there was none: the next opening makes one
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(path),
        Err(source) => Err(CatalogError::File { path, action: "set aside", source }),
        Ok(aside) => Ok(aside),
    }
}

/// Sets the index of a store that nobody has open aside (as `damaged-index-…` beside it), so that the next opening makes
/// a new one from the segments. Returns where the old one went.
pub fn rebuild_index(config: &Config) -> Result<PathBuf, CatalogError> {
    let _lock = super::store::take(config)?;
    set_index_aside(config)
}

/// Sets the index of a store that nobody has open aside and makes it again from the segments at once. `progress` is told
/// how many bytes were read, of how many. Says where the former index is, where there was one. Blocks.
///
/// # Errors
/// When another process has the store, or the segments cannot be read.
pub fn rebuild(
    config: Config,
    clock: Clock,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Option<PathBuf>, Catalog), CatalogError> {
    let lock = super::store::take(&config)?;
    let former = index_setup(&config).dir.exists().then(|| set_index_aside(&config)).transpose()?;
    let store = Store::open_locked(config, clock, &lock, progress)?;
    Ok((former, Catalog(Arc::new(store))))
}

/// Makes the index of a store that nobody has open from a dump ([`super::Catalog::dump_index`]), setting what
/// was there aside as [`rebuild_index`] does. The `documents` folder must be the one the dump was made
/// beside. Returns how many entries.
pub fn load_index(config: &Config, dump: &mut impl Read) -> Result<u64, CatalogError> {
    rebuild_index(config)?;
    let _lock = super::store::take(config)?;
    let (kv, _opened) = Kv::open(index_setup(config), &config.disk)?;
    Ok(kv.load(dump)?)
}
