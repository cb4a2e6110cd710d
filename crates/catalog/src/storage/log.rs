//! The log: segments with one end, and the index operations that belong to what was appended.
//!
//! Whoever changes something appends records under one lock, then waits until they are settled: segment synced, index
//! batches applied (at most 100 operations each), index flushed and synced. Whoever waits meanwhile is settled by the
//! same syncs (group commit).
//!
//! **Invariant:** the index never points beyond the committed end of the log, and the committed end is
//! written in the first batch that points behind the former one. What could not be settled is tried again
//! with the next change; nobody is told that it is durable before.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dictionaries::{copy_of, load_dictionaries};
use super::ids::Ids;
use super::lock::{Guard, Rank, Ranked};
use super::record::{self, Committed, key};
use super::segment::Segments;
use super::segment::codec::{Codec, plain_record};
use super::segment::frame::Kind;
use super::tail::Tail;
use crate::error::CatalogError;
use crate::storage::record::Location;
use tailwater_durable::{Disk, Trouble};
use tailwater_kv::{Batch, Kv, MAX_BATCH, Op};

/// The end of the log and what waits to be settled.
struct End {
    tail: Tail,
    /// What everything appended so far is settled by.
    ticket: u64,
    /// Groups of operations by their tickets; each group goes into one batch.
    pending: Vec<(u64, Vec<Op>)>,
}

/// The log of a store, and the index that it leads.
pub(crate) struct Log {
    dir: PathBuf,
    disk: Disk,
    kv: Kv,
    segments: Segments,
    codec: Codec,
    ids: Ids,
    end: Ranked<End>,
    settling: Ranked<()>,
    durable: AtomicU64,
}

/// The log while somebody appends to it.
pub(crate) struct Appender<'a> {
    log: &'a Log,
    end: Guard<'a, End>,
}

impl Appender<'_> {
    /// Begins a new segment unless `bytes` more fit this one.
    pub(crate) fn make_room(&mut self, bytes: u64) -> Result<(), CatalogError> {
        self.end.tail.make_room(&self.log.segments, bytes)
    }

    /// Appends whole records.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<Location, CatalogError> {
        self.end.tail.append(&self.log.segments, bytes)
    }

    /// Number and length of the present segment.
    pub(crate) fn place(&self) -> (u32, u64) {
        self.end.tail.end()
    }

    /// Gives up what was appended behind a place of the present segment.
    pub(crate) fn take_back(&mut self, place: (u32, u64)) {
        self.end.tail.take_back(place);
    }

    /// The number that everything appended so far is settled by.
    pub(crate) fn ticket(&self) -> u64 {
        self.end.ticket
    }

    /// Adds index operations that belong to what was just appended; at most 99 stay together.
    pub(crate) fn push(&mut self, ops: Vec<Op>) -> u64 {
        debug_assert!(ops.len() < MAX_BATCH, "the committed end needs a place in the batch");
        self.end.ticket += 1;
        let ticket = self.end.ticket;
        self.end.pending.push((ticket, ops));
        ticket
    }

    /// Gives up operations that could not be settled.
    pub(crate) fn forget(&mut self, first: u64, last: u64) {
        self.end.pending.retain(|(ticket, _)| !(first..=last).contains(ticket));
    }
}

impl Log {
    /// Opens the end of the log. `committed` is what the index says of it.
    pub(super) fn open(
        kv: Kv,
        segments: Segments,
        disk: Disk,
        dir: PathBuf,
        segment_size: u64,
    ) -> Result<Self, CatalogError> {
        let committed: Committed = match kv.get(key::COMMITTED)? {
            Some(bytes) => record::decode('l', &bytes)?,
            None => Committed { segment: 0, len: 0, next_id: 1 },
        };
        let (codec, ids) = (Codec::default(), Ids::new());
        load_dictionaries(&kv, &segments, &codec)?;
        let tail = Tail::open(&segments, committed, segment_size)?;
        ids.raise_revision(committed.next_id);
        let end = End { tail, ticket: 0, pending: Vec::new() };
        Ok(Self {
            dir,
            disk,
            kv,
            segments,
            codec,
            ids,
            end: Ranked::new(Rank::Log, end),
            settling: Ranked::new(Rank::Settling, ()),
            durable: AtomicU64::new(0),
        })
    }

    /// The index.
    pub(crate) fn kv(&self) -> &Kv {
        &self.kv
    }

    /// The segments, for reading.
    pub(crate) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// What records are compressed with.
    pub(crate) fn codec(&self) -> &Codec {
        &self.codec
    }

    /// The numbers that are given.
    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    /// The disk that it lies on.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Takes the end, to append to it. Others wait.
    pub(crate) fn appender(&self) -> Appender<'_> {
        Appender { log: self, end: self.end.lock() }
    }

    /// Whether what had this ticket is durable.
    pub(crate) fn is_durable(&self, ticket: u64) -> bool {
        self.durable.load(Ordering::Acquire) >= ticket
    }

    /// Waits until everything up to `ticket` is durable, making it so if nobody else did.
    pub(crate) fn settle(&self, ticket: u64) -> Result<(), CatalogError> {
        let _one = self.settling.lock();
        if self.is_durable(ticket) {
            return Ok(());
        }
        let mut end = self.end.lock();
        let (reached, files, place) = (end.ticket, end.tail.unsynced(), end.tail.end());
        let committed = Committed { segment: place.0, len: place.1, next_id: self.ids.next_revision() };
        let groups = std::mem::take(&mut end.pending);
        drop(end);
        let outcome = self.sync(&files).and_then(|()| self.index(&groups, committed));
        let mut end = self.end.lock();
        match outcome {
            Ok(()) => {
                end.tail.synced(place.0);
                debug_assert!(reached >= self.durable.load(Ordering::Acquire), "what is durable stays so");
                self.durable.store(reached, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                self.report(&error);
                // tried again with whatever comes next: the operations only set and remove keys
                let later = std::mem::replace(&mut end.pending, groups);
                end.pending.extend(later);
                Err(error)
            }
        }
    }

    /// Says to whoever asks about the disk that the log could not be written.
    pub(crate) fn report(&self, error: &CatalogError) {
        if let CatalogError::File { source, .. } = error
            && Trouble::of(source).is_some()
        {
            self.disk.refused("log of the catalog", source);
        }
    }

    /// Applies groups of operations, as many in one batch as fit, each batch with the committed end.
    fn index(&self, groups: &[(u64, Vec<Op>)], committed: Committed) -> Result<(), CatalogError> {
        let mut batch = Batch::default();
        for (_, group) in groups {
            if batch.len() + group.len() >= MAX_BATCH {
                self.apply_with(std::mem::take(&mut batch), committed)?;
            }
            batch.extend(group);
        }
        self.apply_with(batch, committed)?;
        Ok(self.kv.flush()?)
    }

    fn apply_with(&self, mut batch: Batch, committed: Committed) -> Result<(), CatalogError> {
        batch.put(key::COMMITTED, record::encode(&committed)?);
        Ok(self.kv.apply(&batch)?)
    }

    fn sync(&self, files: &[Arc<File>]) -> Result<(), CatalogError> {
        files.iter().try_for_each(|file| file.sync_data()).map_err(|source| CatalogError::File {
            path: self.dir.join("documents"),
            action: "synced",
            source,
        })
    }

    /// Makes a new dictionary durable, then uses it.
    pub(crate) fn add_dictionary(&self, number: u8, dictionary: &[u8]) -> Result<(), CatalogError> {
        let mut content = vec![number];
        content.extend_from_slice(dictionary);
        let mut bytes = Vec::new();
        plain_record(&mut bytes, Kind::Dictionary, &content)?;
        let mut log = self.appender();
        log.make_room(bytes.len() as u64)?;
        let place = log.append(&bytes)?;
        let copy = (key::dictionary_copy(number), Some(copy_of(&content)));
        let ticket = log.push(vec![(key::dictionary(number), Some(record::encode(&place)?)), copy]);
        drop(log);
        self.settle(ticket)?;
        self.codec.add(number, dictionary);
        tracing::debug!(number, bytes = dictionary.len(), "trained a dictionary");
        Ok(())
    }
}
