//! Reads the index: generations, manifests, dictionaries; and makes worlds of them.
//!
//! **Invariant:** blocks are read in the order in which they were stored, and a withdrawal counts for what was
//! stored before it. It never writes.

use std::collections::HashMap;

use crate::catalog::error::CatalogError;
use crate::catalog::ingest::lost::decode_block_entry;
use crate::catalog::snapshot::build::Builder;
use crate::catalog::snapshot::world::World;
use crate::catalog::storage::log::{Staged, Store};
use crate::catalog::storage::manifest::{Block, decode_block};
use crate::catalog::storage::record;
use crate::catalog::storage::record::{Active, Generation, Location, key};
use crate::catalog::storage::segment::Segments;
use crate::catalog::storage::segment::codec::Codec;
use crate::catalog::storage::segment::frame::Kind;
use crate::domain::UpdateIdentity;
use crate::kv::{Batch, Kv};

/// What the index says when a store is opened.
pub(in crate::catalog) struct Loaded {
    pub active: Active,
    pub world: World,
    pub staged: HashMap<UpdateIdentity, Staged>,
    pub next_id: u32,
    pub next_block: u64,
    /// Blocks that cannot be read, and how many revisions they have, where that is known.
    pub damaged: Vec<(u64, Option<u32>)>,
    /// Of the active revisions and their numbers.
    pub content: blake3::Hash,
}

impl Store {
    /// The world as it will be once everything below `active.watermark` is active and these are withdrawn.
    pub(in crate::catalog) fn world(&self, active: Active, withdraw: &[u32]) -> Result<World, CatalogError> {
        let mut generations = load_generations(&self.kv)?;
        generations.push(Generation { watermark: active.watermark, change: active.change });
        let mut builder = Builder::new();
        let mut withdrawn = load_withdrawn(&self.kv)?;
        withdrawn.push((active.watermark, withdraw.to_vec()));
        let damaged = blocks(&self.kv, &self.segments, &self.codec, |number, block| {
            if number < active.watermark {
                feed(&mut builder, number, &block, &generations, &mut withdrawn);
            }
        })?;
        self.note_damaged(&damaged);
        withdraw_all(&mut builder, &generations, &mut withdrawn);
        Ok(builder.build(active.generation, active.change))
    }
}

pub(in crate::catalog) fn load_dictionaries(
    kv: &Kv,
    segments: &Segments,
    codec: &Codec,
) -> Result<(), CatalogError> {
    let mut places = Vec::new();
    kv.scan(b"z", |key, value| {
        places.push((key.get(1).copied(), record::decode::<Location>('z', value)));
        true
    })?;
    for (number, place) in places {
        let Some(number) = number else { continue };
        // whatever becomes of it: its number is taken
        codec.reserve(number);
        let copy = kv.get(&key::dictionary_copy(number))?;
        match segments.record(Kind::Dictionary, place?, codec) {
            Ok(content) => {
                codec.add(number, content.get(1..).unwrap_or_default());
                if copy.is_none() {
                    keep_copy(kv, number, &content);
                }
            }
            Err(error @ CatalogError::Damaged { .. }) => {
                if let Some(content) = copy.as_deref().and_then(checked_copy) {
                    tracing::warn!(number, %error, "a dictionary is damaged; its copy is used");
                    codec.add(number, content.get(1..).unwrap_or_default());
                } else {
                    tracing::error!(number, %error, "a dictionary is damaged: what needs it is missing");
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A copy of a dictionary for the index: a checksum, and the content of its record.
pub(in crate::catalog) fn copy_of(content: &[u8]) -> Vec<u8> {
    let mut copy = crc32fast::hash(content).to_le_bytes().to_vec();
    copy.extend_from_slice(content);
    copy
}

fn checked_copy(copy: &[u8]) -> Option<&[u8]> {
    let (crc, content) = copy.split_first_chunk()?;
    (crc32fast::hash(content) == u32::from_le_bytes(*crc)).then_some(content)
}

/// Earlier versions kept no copy. That there is none yet stops nothing.
fn keep_copy(kv: &Kv, number: u8, content: &[u8]) {
    let mut batch = Batch::default();
    batch.put(key::dictionary_copy(number), copy_of(content));
    if let Err(error) = kv.apply(&batch) {
        tracing::warn!(number, %error, "a dictionary could not be copied into the index");
    }
}

fn load_generations(kv: &Kv) -> Result<Vec<Generation>, CatalogError> {
    let mut found = Vec::new();
    kv.scan(b"g", |_, value| {
        found.push(record::decode::<Generation>('g', value));
        true
    })?;
    found.into_iter().collect()
}

fn load_withdrawn(kv: &Kv) -> Result<Vec<(u64, Vec<u32>)>, CatalogError> {
    let mut found = Vec::new();
    kv.scan(b"w", |key, value| {
        let watermark =
            key.get(1..).and_then(|bytes| bytes.first_chunk()).map_or(0, |it| u64::from_be_bytes(*it));
        found.push(record::decode::<Vec<u32>>('w', value).map(|ids| (watermark, ids)));
        true
    })?;
    found.into_iter().collect()
}

/// Reads every block of manifests in order. A damaged one is passed over and given back: what it named is missing.
fn blocks(
    kv: &Kv,
    segments: &Segments,
    codec: &Codec,
    mut visit: impl FnMut(u64, Block),
) -> Result<Vec<(u64, Option<u32>)>, CatalogError> {
    let mut places = Vec::new();
    kv.scan(b"m", |key, value| {
        let number =
            key.get(1..).and_then(|bytes| bytes.first_chunk()).map_or(0, |it| u64::from_be_bytes(*it));
        places.push(decode_block_entry(value).map(|(place, count)| (number, place, count)));
        true
    })?;
    let mut damaged = Vec::new();
    for place in places {
        let (number, place, count) = place?;
        let block = segments.record(Kind::Manifest, place, codec).and_then(|bytes| decode_block(&bytes));
        match block {
            Ok(block) => visit(number, block),
            Err(error @ (CatalogError::Damaged { .. } | CatalogError::Record { .. })) => {
                tracing::error!(block = number, %error, "passed over a damaged block of manifests");
                damaged.push((number, count));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(damaged)
}

/// Adds a block to a world in the making, after withdrawing what had gone before it was stored.
fn feed(
    builder: &mut Builder,
    number: u64,
    block: &Block,
    generations: &[Generation],
    withdrawn: &mut Vec<(u64, Vec<u32>)>,
) {
    withdrawn.retain(|(watermark, ids)| {
        let due = *watermark <= number;
        if due {
            let change = changed_at(generations, *watermark);
            for id in ids {
                builder.withdraw(*id, change);
            }
        }
        !due
    });
    let after = generations.partition_point(|generation| generation.watermark <= number);
    let appeared = generations.get(after).map_or(0, |generation| generation.change);
    for manifest in block {
        builder.add(manifest, appeared);
    }
}

/// Change number of the last activation at a watermark: several that added nothing share it.
fn changed_at(generations: &[Generation], watermark: u64) -> u64 {
    let after = generations.partition_point(|generation| generation.watermark <= watermark);
    after.checked_sub(1).and_then(|last| generations.get(last)).map_or(0, |generation| generation.change)
}

fn withdraw_all(builder: &mut Builder, generations: &[Generation], withdrawn: &mut Vec<(u64, Vec<u32>)>) {
    for (watermark, ids) in withdrawn.drain(..) {
        let change = changed_at(generations, watermark);
        for id in ids {
            builder.withdraw(id, change);
        }
    }
}

pub(in crate::catalog) fn load(kv: &Kv, segments: &Segments, codec: &Codec) -> Result<Loaded, CatalogError> {
    let active: Active = match kv.get(key::ACTIVE)? {
        Some(bytes) => record::decode('a', &bytes)?,
        None => Active::default(),
    };
    let generations = load_generations(kv)?;
    let mut withdrawn = load_withdrawn(kv)?;
    let mut builder = Builder::new();
    let mut content = blake3::Hasher::new();
    let (mut staged, mut next_id, mut next_block) = (HashMap::new(), 1, 0);
    let damaged = blocks(kv, segments, codec, |number, block| {
        next_block = number + 1;
        next_id = block.iter().map(|manifest| manifest.id + 1).fold(next_id, u32::max);
        if number < active.watermark {
            for manifest in &block {
                let identity = &manifest.identity;
                content.update(&manifest.id.to_le_bytes()).update(identity.update.0.as_bytes());
                content.update(&identity.revision.to_le_bytes());
            }
            feed(&mut builder, number, &block, &generations, &mut withdrawn);
        } else {
            let entries = block.iter().map(|manifest| (manifest.identity, manifest.staged(number, 0)));
            staged.extend(entries);
        }
    })?;
    // the number of a damaged block is not given again
    next_block = damaged.iter().map(|(number, _)| number + 1).fold(next_block, u64::max);
    withdraw_all(&mut builder, &generations, &mut withdrawn);
    let world = builder.build(active.generation, active.change);
    Ok(Loaded { active, world, staged, next_id, next_block, damaged, content: content.finalize() })
}
