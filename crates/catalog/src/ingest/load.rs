//! Reads the index: generations, manifests, dictionaries; and makes worlds of them.
//!
//! **Invariant:** blocks are read in the order in which they were stored, and a withdrawal counts for what was
//! stored before it. It never writes.

use std::collections::HashMap;

use crate::error::CatalogError;
use crate::snapshot::build::Builder;
use crate::snapshot::world::World;
use crate::storage::damage::{DamagedBlocks, decode_block_entry};
use crate::storage::log::Log;
use crate::storage::manifest::{Block, decode_block};
use crate::storage::record;
use crate::storage::record::{Active, Generation, key};
use crate::storage::segment::frame::Kind;
use crate::storage::staged::Staged;
use tailwater_domain::UpdateIdentity;
use tailwater_kv::Kv;

/// What the index says when a store is opened.
pub(crate) struct Loaded {
    pub active: Active,
    pub world: World,
    pub staged: HashMap<UpdateIdentity, Staged>,
    pub next_id: u32,
    pub next_block: u64,
    /// Blocks that cannot be read, and how many revisions they have, where that is known.
    pub damaged: DamagedBlocks,
    /// Of the active revisions and their numbers.
    pub content: blake3::Hash,
}

/// The generation as it will be once everything below `active.watermark` is active and these are withdrawn; and the
/// blocks that cannot be read, with how many revisions each has.
pub(super) fn graph(
    log: &Log,
    active: Active,
    withdraw: &[u32],
) -> Result<(World, DamagedBlocks), CatalogError> {
    let mut generations = load_generations(log.kv())?;
    generations.push(Generation { watermark: active.watermark, change: active.change });
    let mut builder = Builder::new();
    let mut withdrawn = load_withdrawn(log.kv())?;
    withdrawn.push((active.watermark, withdraw.to_vec()));
    let damaged = blocks(log, |number, block| {
        if number < active.watermark {
            feed(&mut builder, number, &block, &generations, &mut withdrawn);
        }
    })?;
    withdraw_all(&mut builder, &generations, &mut withdrawn);
    Ok((builder.build(active.generation, active.change), damaged))
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
fn blocks(log: &Log, mut visit: impl FnMut(u64, Block)) -> Result<DamagedBlocks, CatalogError> {
    let mut places = Vec::new();
    log.kv().scan(b"m", |key, value| {
        let number =
            key.get(1..).and_then(|bytes| bytes.first_chunk()).map_or(0, |it| u64::from_be_bytes(*it));
        places.push(decode_block_entry(value).map(|(place, count)| (number, place, count)));
        true
    })?;
    let mut damaged = Vec::new();
    for place in places {
        let (number, place, count) = place?;
        let block =
            log.segments().record(Kind::Manifest, place, log.codec()).and_then(|bytes| decode_block(&bytes));
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

pub(crate) fn load(log: &Log) -> Result<Loaded, CatalogError> {
    let kv = log.kv();
    let active: Active = match kv.get(key::ACTIVE)? {
        Some(bytes) => record::decode('a', &bytes)?,
        None => Active::default(),
    };
    let generations = load_generations(kv)?;
    let mut withdrawn = load_withdrawn(kv)?;
    let mut builder = Builder::new();
    let mut content = blake3::Hasher::new();
    let (mut staged, mut next_id, mut next_block) = (HashMap::new(), 1, 0);
    let damaged = blocks(log, |number, block| {
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
