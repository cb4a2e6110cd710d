//! Checks what is stored of every revision against its checksums, so that damage is known before somebody asks.
//!
//! **Invariant:** a damaged revision is set aside, or asked for again while it is still staged, and nothing else is
//! touched. It never decompresses and never holds more than [`CHUNK`] bytes.

use jiff::SignedDuration;

use super::part::Ingest;
use super::staging::Staging;
use crate::error::CatalogError;
use crate::storage::segment::frame;
use crate::storage::segment::frame::{HEADER, Header, Kind};
use tailwater_domain::UpdateIdentity;

/// How much is read at once: several frames.
const CHUNK: u64 = 1 << 20;
/// All texts are checked with the first synchronisation after a start, and then again after this.
const AGAIN: SignedDuration = SignedDuration::from_hours(7 * 24);
// not a limit: CHUNK, AGAIN: how much is read at once, and how often

/// The texts of one revision, in a row.
struct Row {
    segment: u32,
    offset: u64,
    len: u64,
    id: u32,
    /// Of one that is staged.
    staged: Option<UpdateIdentity>,
}

impl Ingest {
    /// Where the texts of all revisions lie, in the order of the files.
    fn texts_in_order(&self) -> Vec<Row> {
        let snapshot = self.current().snapshot();
        let world = snapshot.world();
        let damaged = &snapshot.view().decisions.damaged;
        let mut rows = Vec::new();
        for update in &world.updates {
            for (id, rev) in world.revisions(update).filter(|(id, _)| !damaged.contains_key(id)) {
                let len = world.stored_of(rev);
                let offset = u64::from(rev.offset);
                rows.push(Row { segment: rev.segment, offset, len, id, staged: None });
            }
        }
        let staged = self.staged();
        rows.extend(staged.iter().filter(|(_, one)| !one.damaged).map(|(identity, one)| Row {
            segment: one.facts.segment,
            offset: u64::from(one.facts.offset),
            len: one.len,
            id: one.id,
            staged: Some(*identity),
        }));
        rows.sort_unstable_by_key(|row| (row.segment, row.offset));
        rows
    }

    fn is_good(&self, row: &Row) -> Result<bool, CatalogError> {
        let (mut offset, mut left) = (row.offset, row.len);
        while left > 0 {
            // a chunk fits a usize
            let size = left.min(CHUNK) as usize;
            let bytes = match self.storage().log().segments().read(row.segment, offset, size) {
                Err(CatalogError::Damaged { .. }) => return Ok(false),
                other => other?,
            };
            let mut used = 0;
            while let Some(header) = Header::read(&bytes[used..]) {
                let end = used + HEADER + header.stored;
                if end > size {
                    break;
                }
                let good = frame::check(&bytes[used..end], row.segment, offset).is_ok()
                    && header.kind == Kind::Text as u8
                    && self.storage().log().codec().knows(header.dictionary);
                if !good {
                    return Ok(false);
                }
                used = end;
            }
            if used == 0 {
                return Ok(false);
            }
            offset += used as u64;
            left -= used as u64;
        }
        Ok(true)
    }

    /// Checks everything; how many revisions are damaged.
    fn check_texts(&self, is_unwanted: impl Fn() -> bool) -> Result<usize, CatalogError> {
        let (mut active, mut staged) = (Vec::new(), Vec::new());
        for row in self.texts_in_order() {
            if is_unwanted() {
                return Err(CatalogError::Unwanted);
            }
            if !self.is_good(&row)? {
                match row.staged {
                    Some(identity) => staged.push(identity),
                    None => active.push(row.id),
                }
            }
        }
        let count = active.len() + staged.len();
        if count > 0 {
            tracing::error!(
                count,
                "stored updates are damaged; they are fetched again with this synchronisation"
            );
        }
        self.changes().set_aside(&active)?;
        for identity in staged {
            self.doubt_staged(&identity);
        }
        Ok(count)
    }

    fn is_check_due(&self) -> bool {
        self.checked_at().is_none_or(|at| self.now().duration_since(at).abs() >= AGAIN)
    }
}

impl Staging {
    /// Checks every stored text when that is due: with the first call after the store was opened, and weekly. What is
    /// damaged is no longer held, and listed by [`crate::Catalog::damaged`] or [`Staging::damaged`]. Blocks; reads all
    /// segments. How many revisions are damaged.
    ///
    /// # Errors
    /// When a file cannot be read at all, or `is_unwanted` said so.
    pub fn check_texts(&self, is_unwanted: impl Fn() -> bool) -> Result<usize, CatalogError> {
        if !self.0.is_check_due() {
            return Ok(0);
        }
        let count = self.0.check_texts(is_unwanted)?;
        self.0.was_checked();
        Ok(count)
    }

    /// Staged revisions whose texts turned out damaged.
    pub fn damaged(&self) -> Vec<UpdateIdentity> {
        let staged = self.0.staged();
        staged.iter().filter(|(_, one)| one.damaged).map(|(identity, _)| *identity).collect()
    }
}
