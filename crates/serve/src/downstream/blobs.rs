//! Updates as they go out to downstream servers, finished ones remembered.
//!
//! **Invariant:** what is remembered is bounded in bytes, and only what is in memory whole is. It never makes one.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::body::Part;
use tailwater_domain::Sha1Digest;

/// Memory for finished blobs.
const REMEMBERED_BYTES: u64 = 16 << 20;

/// A payload and where Microsoft has it.
pub(super) type FileAddress = (Sha1Digest, Option<Box<str>>);

/// One update of an answer.
#[derive(Clone)]
pub(super) struct Blob {
    text: Text,
    /// Its payloads.
    pub(super) files: Arc<[FileAddress]>,
}

/// The text of an update.
#[derive(Clone)]
pub(super) enum Text {
    /// All of it.
    Ready(Bytes),
    /// A frame, and the cabinet between.
    Packed { head: Bytes, cabinet: Arc<File>, length: u64, tail: Bytes },
}

impl Blob {
    /// An update as it goes out, with the addresses of its payloads.
    pub(super) fn new(text: Text, files: Arc<[FileAddress]>) -> Self {
        Self { text, files }
    }

    /// Whether all of it is in memory.
    pub(super) fn is_in_memory(&self) -> bool {
        matches!(self.text, Text::Ready(_))
    }

    /// Bytes it takes in an answer, without the addresses of its payloads.
    pub(super) fn len(&self) -> u64 {
        match &self.text {
            Text::Ready(text) => text.len() as u64,
            Text::Packed { head, length, tail, .. } => {
                head.len() as u64 + length.div_ceil(3) * 4 + tail.len() as u64
            }
        }
    }

    pub(super) fn into_parts(self) -> Vec<Part> {
        match self.text {
            Text::Ready(text) => vec![Part::from(text)],
            Text::Packed { head, cabinet, length, tail } => {
                vec![Part::from(head), Part::Base64 { file: cabinet, length }, Part::from(tail)]
            }
        }
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(u32, u64), Blob> for ByBytes {
    fn weight(&self, _key: &(u32, u64), blob: &Blob) -> u64 {
        let files: usize =
            blob.files.iter().map(|(_, url)| 40 + url.as_ref().map_or(0, |url| url.len())).sum();
        blob.len() + files as u64 + 160
    }
}

/// Finished blobs, by revision and generation: a revision that was fetched again after damage lies elsewhere.
pub(super) struct Blobs(Cache<(u32, u64), Blob, ByBytes>);

impl Blobs {
    pub(super) fn new() -> Self {
        Self(Cache::with_weighter(16_384, REMEMBERED_BYTES, ByBytes))
    }

    /// One that is finished.
    pub(super) fn get(&self, key: &(u32, u64)) -> Option<Blob> {
        self.0.get(key)
    }

    /// Keeps one while there is room.
    pub(super) fn remember(&self, key: (u32, u64), blob: Blob) {
        self.0.insert(key, blob);
    }
}
