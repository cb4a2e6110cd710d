//! What is remembered between requests, weighed in bytes.
//!
//! **Invariant:** what is remembered never weighs more than the room, whatever single entries weigh; an entry that is
//! larger than the room is not remembered. It never says that something is not there: only that it must be made again.

use std::hash::Hash;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Options, OptionsBuilder, Weighter};

/// What an entry takes beside its key and value: the cache's own tables.
const ENTRY: usize = 128;

// not a limit: ENTRY: what an entry is reckoned with

/// Entries within a room in bytes; those that were not asked for lately make room for others.
pub struct ByteCache<K, V>(Cache<K, V, ByBytes<K, V>>);

/// How an entry is weighed.
struct ByBytes<K, V>(fn(&K, &V) -> usize);

impl<K, V> Clone for ByBytes<K, V> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<K, V> Weighter<K, V> for ByBytes<K, V> {
    fn weight(&self, key: &K, value: &V) -> u64 {
        (self.0)(key, value).saturating_add(ENTRY) as u64
    }
}

/// One shard, so that an entry may take all of the room.
fn options(bytes: u64, about: usize) -> Option<Options> {
    let mut options = OptionsBuilder::new();
    options.estimated_items_capacity(about.max(1)).weight_capacity(bytes).shards(1).build().ok()
}

impl<K: Eq + Hash, V: Clone> ByteCache<K, V> {
    /// Room for so many bytes, in which about so many entries are expected. `weigh` gives the memory of an entry, all of
    /// what key and value hold included.
    pub fn new(bytes: u64, about: usize, weigh: fn(&K, &V) -> usize) -> Self {
        Self(match options(bytes, about) {
            Some(options) => Cache::with_options(
                options,
                ByBytes(weigh),
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            None => Cache::with_weighter(about.max(1), bytes, ByBytes(weigh)),
        })
    }

    /// What is remembered under a key.
    pub fn get(&self, key: &K) -> Option<V> {
        self.0.get(key)
    }

    /// Remembers an entry as far as there is room for it, in the place of what had this key.
    pub fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    /// Bytes of all that is remembered.
    pub fn weight(&self) -> u64 {
        self.0.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: u64 = 1 << 20;

    fn cache() -> ByteCache<u32, String> {
        ByteCache::new(ROOM, 100, |_, text| text.capacity())
    }

    #[test]
    fn large_entries_push_others_out_and_the_room_is_never_exceeded() {
        let cache = cache();
        for key in 0..500 {
            cache.insert(key, "x".repeat(1_000));
        }
        assert!((0..500).all(|key| cache.get(&key).is_some()), "small ones all have room");
        let small = cache.weight();
        assert!((500_000..=600_000).contains(&small), "{small}");
        for key in 500..1_500 {
            cache.insert(key, "x".repeat(1_000));
            assert!(cache.weight() <= ROOM, "{}", cache.weight());
        }
        let others =
            |cache: &ByteCache<u32, String>| (0..1_500).filter(|key| cache.get(key).is_some()).count();
        let before = others(&cache);
        for key in 2_000..2_050 {
            cache.insert(key, "x".repeat(200_000));
            assert!(cache.weight() <= ROOM, "{}", cache.weight());
        }
        let large = (2_000..2_050).filter(|key| cache.get(key).is_some()).count();
        assert!((1..=5).contains(&large), "{large} of 200 KB in one of 1 MiB");
        assert!(others(&cache) < before, "others made room");
    }

    #[test]
    fn what_is_larger_than_the_room_is_not_remembered() {
        let cache = cache();
        cache.insert(1, "x".repeat(100));
        cache.insert(2, "x".repeat(2 << 20));
        assert_eq!((cache.get(&1).is_some(), cache.get(&2)), (true, None));
        // nor is what had its place
        cache.insert(1, "x".repeat(2 << 20));
        assert_eq!((cache.get(&1), cache.weight()), (None, 0));
    }
}
