//! The engine of tests, dumps and disks that take nothing: a sorted map.
//!
//! **Invariant:** behaves as [`super::sled`] does, as far as the shared suite can tell. It never writes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use super::batch::Batch;
use super::engine::Backend;
use super::error::KvError;

#[derive(Default)]
pub(super) struct Memory(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Memory {
    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes over everything of another engine.
    pub(super) fn fill(&self, other: &dyn Backend) -> Result<(), KvError> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        other.scan(b"", &mut |key, value| {
            map.insert(key.to_vec(), value.to_vec());
            true
        })
    }
}

impl Backend for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn apply(&self, batch: &Batch) -> Result<(), KvError> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch.ops() {
            match value {
                Some(value) => map.insert(key.to_vec(), value.to_vec()),
                None => map.remove(key),
            };
        }
        Ok(())
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let range = (Bound::Included(prefix.to_vec()), Bound::Unbounded);
        for (key, value) in map.range(range) {
            if !key.starts_with(prefix) || !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        Ok(())
    }
}
