//! Finished packs, remembered: children with one filter order the very same ones.
//!
//! **Invariant:** what is remembered is bounded in bytes and known by what was ordered of which snapshot. It never makes a
//! pack.

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Memory for finished packs.
const REMEMBERED_BYTES: u64 = 24 << 20;
/// How many are remembered, about.
const ABOUT: usize = 1_000;

// not a limit: ABOUT: what the cache reckons with

/// Finished packs, by what was ordered of which snapshot.
pub(super) struct Packs(Cache<blake3::Hash, Bytes, ByBytes>);

#[derive(Clone)]
struct ByBytes;

impl Weighter<blake3::Hash, Bytes> for ByBytes {
    fn weight(&self, _key: &blake3::Hash, pack: &Bytes) -> u64 {
        pack.len() as u64 + 128
    }
}

impl Packs {
    /// None is finished yet.
    pub(super) fn new() -> Self {
        Self(Cache::with_weighter(ABOUT, REMEMBERED_BYTES, ByBytes))
    }

    /// One that is finished.
    pub(super) fn get(&self, key: &blake3::Hash) -> Option<Bytes> {
        self.0.get(key)
    }

    /// Keeps one while there is room.
    pub(super) fn insert(&self, key: blake3::Hash, pack: Bytes) {
        self.0.insert(key, pack);
    }
}
