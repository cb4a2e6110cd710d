//! The end of the log, opened when it can be: a store on a disk that takes nothing is read all the same.
//!
//! **Invariant:** while it is not open nothing was appended, and its end is the committed one. It never decides what is
//! appended.

use std::fs::File;
use std::sync::Arc;

use crate::error::CatalogError;
use crate::storage::record::{Committed, Location};
use crate::storage::segment::{Segments, Writer};

/// Where records are appended.
pub(crate) struct Tail {
    writer: Option<Writer>,
    committed: Committed,
    limit: u64,
}

impl Tail {
    /// Opens the end behind what is committed; later, when the disk takes nothing now.
    pub(crate) fn open(segments: &Segments, committed: Committed, limit: u64) -> Result<Self, CatalogError> {
        let writer = match segments.writer(committed, limit) {
            Ok(writer) => Some(writer),
            Err(error) if error.is_read_only() => {
                tracing::debug!(%error, "the log of the catalog is opened when there is room");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self { writer, committed, limit })
    }

    fn writer(&mut self, segments: &Segments) -> Result<&mut Writer, CatalogError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => segments.writer(self.committed, self.limit)?,
        };
        Ok(self.writer.insert(writer))
    }

    /// Begins a new segment unless `bytes` more fit this one.
    pub(crate) fn make_room(&mut self, segments: &Segments, bytes: u64) -> Result<(), CatalogError> {
        self.writer(segments)?.make_room(segments, bytes)
    }

    /// Appends whole records to the present segment.
    pub(crate) fn append(&mut self, segments: &Segments, bytes: &[u8]) -> Result<Location, CatalogError> {
        self.writer(segments)?.append(segments, bytes)
    }

    /// Gives up what was appended behind a place of the present segment.
    pub(crate) fn take_back(&mut self, end: (u32, u64)) {
        if let Some(writer) = &mut self.writer {
            writer.take_back(end);
        }
    }

    /// Number and length of the present segment.
    pub(crate) fn end(&self) -> (u32, u64) {
        self.writer.as_ref().map_or((self.committed.segment, self.committed.len), Writer::end)
    }

    /// The files to sync before [`Tail::end`] may be called committed.
    pub(crate) fn unsynced(&self) -> Vec<Arc<File>> {
        self.writer.as_ref().map(Writer::unsynced).unwrap_or_default()
    }

    /// Everything up to this end was synced.
    pub(crate) fn synced(&mut self, segment: u32) {
        if let Some(writer) = &mut self.writer {
            writer.synced(segment);
        }
    }
}
