//! Goes through the records of a segment, over damage to the next good one.
//!
//! **Invariant:** what it gives was checked; what it passes over it tells. It never changes a file.

use super::frame::{HEADER, Header, Kind, PLAIN, STORED};
use super::{FIRST, Segments};
use crate::error::CatalogError;
use crate::storage::record::Location;
use crate::values::part::FRAME_BYTES;
use tailwater_domain::{Limit, limits};

/// How much is checked at most while the next good record of a segment is looked for; random bytes look like the
/// beginning of a record once in 30,000 places.
const MAX_CHECKED: u64 = 4 << 30;
/// How much is read at once while it is looked for.
const WINDOW: u64 = 1 << 20;
/// Numbers of dictionaries end below this.
const DICTIONARIES: u8 = 16;

/// What is limited here.
pub(super) const LIMITS: &[Limit] = limits![
    MAX_CHECKED in "bytes": "What is checked to find the next good record behind damage, when an index is made anew" =>
        "the rest of that file is missing, noted, and fetched again",
];
// not a limit: WINDOW, DICTIONARIES: how it is looked for

/// What lies at a place of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A good record.
    Record {
        /// What it holds.
        kind: Kind,
        /// Where; the next one begins behind it.
        at: Location,
        /// The dictionary that it was compressed with, or one of the numbers that stand for none.
        dictionary: u8,
    },
    /// Nothing that can be read up to here, where a good record begins or the file ends. Its kind is what a damaged
    /// header says.
    Damaged { kind: Option<Kind>, to: u64 },
    /// The file ends.
    End,
}

impl Segments {
    /// Looks at what lies at `offset`.
    ///
    /// # Errors
    /// When the file cannot be read at all. Damage is no error.
    pub(crate) fn step(&self, segment: u32, offset: u64) -> Result<Step, CatalogError> {
        let offset = offset.max(FIRST);
        match self.next(segment, offset) {
            Ok(Some((kind, at, dictionary))) => Ok(Step::Record { kind, at, dictionary }),
            Ok(None) => Ok(Step::End),
            Err(CatalogError::Damaged { .. }) => {
                let (kind, to) = self.pass_over(segment, offset)?;
                tracing::error!(segment, offset, to, ?kind, "passed over damage");
                Ok(Step::Damaged { kind, to })
            }
            Err(error) => Err(error),
        }
    }

    /// Where it goes on behind damage, and what the damaged header says of its kind.
    fn pass_over(&self, segment: u32, offset: u64) -> Result<(Option<Kind>, u64), CatalogError> {
        let len = self.len(segment)?;
        let head = self.read(segment, offset, HEADER).ok();
        if let Some(header) = head.and_then(|head| Header::read(&head)) {
            let (kind, to) = (Kind::of(header.kind), offset + (HEADER + header.stored) as u64);
            if kind.is_some() && (to == len || to < len && self.next(segment, to).is_ok()) {
                return Ok((kind, to));
            }
        }
        Ok((None, self.find_good(segment, offset + 1, len)?.unwrap_or(len)))
    }

    /// Looks at every place for a record whose checksum is right.
    fn find_good(&self, segment: u32, from: u64, len: u64) -> Result<Option<u64>, CatalogError> {
        let (mut at, mut checked) = (from, 0);
        while at + HEADER as u64 <= len && checked < MAX_CHECKED {
            // a window fits a usize
            let size = (len - at).min(WINDOW) as usize;
            let window = match self.read(segment, at, size) {
                Ok(window) => window,
                // a bad place of the disk: behind it there may be good ones
                Err(CatalogError::Damaged { .. }) => {
                    at += size as u64;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for (place, head) in (at..).zip(window.windows(HEADER)) {
                let Some(stored) = plausible(head, len - place) else { continue };
                checked += stored;
                if self.next(segment, place).is_ok() {
                    return Ok(Some(place));
                }
            }
            // a header may lie across two windows
            at += (size - HEADER + 1) as u64;
        }
        Ok(None)
    }
}

/// Whether these bytes may be a header, `left` bytes before the end; gives how long its record is.
fn plausible(head: &[u8], left: u64) -> Option<u64> {
    let header = Header::read(head)?;
    let kind = Kind::of(header.kind)?;
    let fits = match header.dictionary {
        STORED => header.stored == header.raw,
        PLAIN..DICTIONARIES => header.stored < header.raw,
        _ => false,
    };
    let len = (HEADER + header.stored) as u64;
    let small = kind != Kind::Text || header.raw <= FRAME_BYTES as usize;
    (fits && small && len <= left).then_some(len)
}
