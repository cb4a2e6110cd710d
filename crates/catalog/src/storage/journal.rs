//! The journal: changes of the index that nothing else could bring back, told in the log before they are made.
//!
//! **Invariant:** a change is in the index whole or not at all, however many entries it has: one that does not fit a
//! batch begins with a note of where its journal lies, and a store that finds the note finishes the change before
//! anybody sees it; where its journal takes several records and an index is made from them, all of them count or none.
//! It never journals what its source says again by itself.

use super::handle::Storage;
use crate::error::CatalogError;
use crate::storage::record;
use crate::storage::record::{Journal, key};
use crate::storage::segment::frame::Kind;
use tailwater_domain::{Limit, limits};
use tailwater_kv::{KvError, MAX_BATCH, Op};

/// Bytes of operations in one record of the journal; a change of more takes several.
const JOURNAL_BYTES: usize = 4 << 20;
/// The most operations that go with a change and are not journaled.
pub(crate) const MAX_ALSO: usize = 32;

pub(crate) const LIMITS: &[Limit] = limits![
    JOURNAL_BYTES in "bytes": "A record of the journal" => "the change takes several",
    MAX_ALSO in "operations": "Operations that go with a change unjournaled" => "the change is refused",
];

impl Storage {
    /// Writes index operations to the journal in the log and then to the index: for what administrators
    /// decide, which nothing else could bring back.
    pub(crate) fn journal(&self, ops: Vec<Op>) -> Result<(), CatalogError> {
        self.journal_with(ops, Vec::new())
    }

    /// As [`Storage::journal`]. `also` goes into the index with them, without a journal.
    ///
    /// All of it or, when the process ends before, nothing: what does not fit one batch begins with a note of
    /// where its journal lies, which goes with the last batch; see [`super::opening`].
    pub(crate) fn journal_with(&self, ops: Vec<Op>, also: Vec<Op>) -> Result<(), CatalogError> {
        if also.len() > MAX_ALSO {
            return Err(KvError::BatchTooLarge(also.len()).into());
        }
        let (records, ops) = self.journal_records(ops)?;
        let mut log = self.log().appender();
        let bytes = records.iter().map(|record| record.len() as u64).sum();
        log.make_room(bytes).inspect_err(|error| self.log().report(error))?;
        let (start, first) = (log.place(), log.ticket() + 1);
        let places: Result<Vec<_>, CatalogError> = records.iter().map(|record| log.append(record)).collect();
        // before any operation is queued: what cannot be noted is taken back like what cannot be appended
        let note = places.and_then(|places| record::encode(&places)).inspect_err(|error| {
            self.log().report(error);
            log.take_back(start);
        })?;
        let end = log.place();
        // the committed end takes one place in each batch, and the note one in the first and in the last
        let room = MAX_BATCH - 2;
        if ops.len() + also.len() <= room {
            log.push(ops.into_iter().chain(also).collect());
        } else {
            let note = (key::BEGUN.to_vec(), Some(note));
            let mut ops = ops.into_iter();
            log.push([note].into_iter().chain(ops.by_ref().take(room)).collect());
            while ops.len() + also.len() > room {
                log.push(ops.by_ref().take(room).collect());
            }
            log.push(ops.chain(also).chain([(key::BEGUN.to_vec(), None)]).collect());
        }
        let ticket = log.ticket();
        drop(log);
        self.log().settle(ticket).inspect_err(|_error| {
            // whoever asked is told that nothing was changed: it must not happen later
            let mut log = self.log().appender();
            log.forget(first, ticket);
            if log.place() == end {
                log.take_back(start);
            }
        })
    }

    /// Operations as records of the journal, and the operations again.
    fn journal_records(&self, ops: Vec<Op>) -> Result<(Vec<Vec<u8>>, Vec<Op>), CatalogError> {
        let mut encoder = self.log().codec().encoder()?;
        let (mut records, mut done, mut open, mut size) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut ops = ops.into_iter().peekable();
        while let Some(op) = ops.next() {
            size += op.0.len() + op.1.as_ref().map_or(0, Vec::len) + 8;
            open.push(op);
            if size >= JOURNAL_BYTES || ops.peek().is_none() {
                let journal = Journal { ops: std::mem::take(&mut open) };
                let mut bytes = Vec::new();
                encoder.record(&mut bytes, Kind::Journal, &journal.encode(ops.peek().is_none())?)?;
                records.push(bytes);
                done.extend(journal.ops);
                size = 0;
            }
        }
        Ok((records, done))
    }
}
