//! The record of what is missing because of damage.
//!
//! **Invariant:** what is damaged in one block is counted once. It never says what is done about it.

use serde::{Deserialize, Serialize};

use super::record::{self, key};
use crate::error::CatalogError;
use tailwater_kv::Kv;

/// What is missing because it was damaged on the disk, as the index keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub since: i64,
    /// Blocks that cannot be read, with how many revisions they have.
    pub blocks: Vec<(u64, u64)>,
    pub stretches: u64,
    pub decisions: u64,
}

impl Note {
    pub(crate) fn load(kv: &Kv) -> Result<Self, CatalogError> {
        kv.get(key::LOST)?.map_or_else(|| Ok(Self::default()), |value| record::decode('x', &value))
    }

    /// Whether everything must be compared with the upstream.
    pub(crate) fn needs_listing(&self) -> bool {
        !self.blocks.is_empty() || self.stretches > 0
    }
}

/// Blocks of manifests that cannot be read, and how many revisions each has, where that is known.
pub(crate) type DamagedBlocks = Vec<(u64, Option<u32>)>;

/// A block as the index has it: where it lies and, since that is noted, how many revisions are in it.
pub(crate) fn decode_block_entry(value: &[u8]) -> Result<(record::Location, Option<u32>), CatalogError> {
    match record::decode::<(record::Location, u32)>('m', value) {
        Ok((place, count)) => Ok((place, Some(count))),
        Err(_short) => record::decode('m', value).map(|place| (place, None)),
    }
}
