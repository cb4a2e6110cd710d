//! Changes of an index that happen together, and how many of them are divided into such batches.
//!
//! **Invariant:** a batch has at most [`MAX_BATCH`] operations when an engine gets it, each of at most [`MAX_ENTRY`] bytes.
//! Batches keep the order of their operations. They never say when they are durable.

use super::error::KvError;
use tailwater_domain::{Limit, limits};

/// The most operations in one batch. Larger ones make sled's heap grow without end.
pub const MAX_BATCH: usize = 100;

/// The most bytes of one key or one value, and of a field of a dump.
pub const MAX_ENTRY: usize = 64 << 20;

/// The limits of this file.
pub(super) const LIMITS: &[Limit] = limits![
    MAX_BATCH in "entries": "Changes of the index that happen together" => "an error; nothing is changed",
    MAX_ENTRY in "bytes": "One key or value of the index" => "an error; nothing is changed",
];

/// One operation: a key and its value, or none to remove it.
pub type Op = (Vec<u8>, Option<Vec<u8>>);

/// Changes that happen together.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    ops: Vec<Op>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push((key.into(), Some(value.into())));
    }

    /// Removes a key, if present.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.ops.push((key.into(), None));
    }

    /// Adds operations behind those that it has.
    pub fn extend(&mut self, ops: &[Op]) {
        self.ops.extend_from_slice(ops);
    }

    /// How many operations.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The operations in order; `None` removes.
    pub fn ops(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.ops.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Whether there is something to do.
    ///
    /// # Errors
    /// [`KvError::BatchTooLarge`] and [`KvError::EntryTooLarge`] beyond the limits.
    pub(super) fn fits(&self) -> Result<bool, KvError> {
        let longest = self.ops().map(|(key, value)| key.len().max(value.map_or(0, <[u8]>::len))).max();
        if let Some(len) = longest.filter(|len| *len > MAX_ENTRY) {
            return Err(KvError::EntryTooLarge { len });
        }
        match self.len() {
            0 => Ok(false),
            1..=MAX_BATCH => Ok(true),
            many => Err(KvError::BatchTooLarge(many)),
        }
    }
}

/// Any number of operations as batches, in their order. Each batch is whole; all of them together are not.
pub fn batches<'a>(
    ops: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) -> impl Iterator<Item = Batch> {
    let mut ops = ops.into_iter().peekable();
    std::iter::from_fn(move || {
        ops.peek()?;
        let some = ops.by_ref().take(MAX_BATCH);
        Some(Batch { ops: some.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect() })
    })
}
