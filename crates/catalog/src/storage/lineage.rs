//! The lineage of a store: one mark for every change number that it gave.
//!
//! A data folder can be put back from a copy or run twice. What either branch then gives has the same numbers and
//! another meaning. Each mark is a hash of the mark before it, of what the change did, of chance and of the time, so
//! two branches never have the same mark for one number, even when a machine was resumed from a snapshot of its
//! memory. Who remembers numbers carries the [`Place`] up to which they were given; a store knows whether that place
//! lies in its own past.
//!
//! **Invariant:** a mark is durable together with the change it stands for, and both before anybody is told of the
//! number; marks are journaled with their changes, so a rebuilt index has the same. It never holds a key or a time.

use std::collections::{HashMap, VecDeque};
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::CatalogError;
use crate::storage::record;
use crate::storage::record::key;
use tailwater_domain::{Limit, limits};
use tailwater_kv::{Kv, Op};

/// Marks in one entry of the index: it is written anew with every change.
const CHUNK: u64 = 32;
/// The most changes whose marks are kept, at 8 bytes each: with 1,000 changes a day those of almost three years. Who
/// comes back after more of them is asked to start anew.
const MAX_MARKS: u64 = 1 << 20;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_MARKS in "changes": "Changes whose marks are kept" => "who comes back from before them starts anew",
];

/// Bytes of a mark.
const MARK: usize = 8;
/// The mark of a change number that was given when there were no marks yet.
pub(crate) const UNMARKED: u64 = 0;

/// A place in the history of a store: a change number, and the mark of what had led to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The change number.
    pub change: u64,
    /// Its mark; 0 for one that was given by a program that knew no marks.
    pub mark: u64,
}

/// Where marks begin.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Base {
    /// The change number at which the store learnt to make marks. What was given up to it may come without one.
    change: u64,
}

struct History {
    base: u64,
    /// The change number of the first mark.
    first: u64,
    marks: VecDeque<u64>,
}

/// A change that is being made durable.
pub(crate) struct Next {
    pub place: Place,
    /// What goes into the journal with it.
    pub ops: Vec<Op>,
}

/// The marks of a store.
pub(crate) struct Lineage(RwLock<History>);

impl History {
    fn last(&self) -> Place {
        let behind = (self.marks.len() as u64).saturating_sub(1);
        Place { change: self.first + behind, mark: self.marks.back().copied().unwrap_or(UNMARKED) }
    }

    fn mark(&self, change: u64) -> Option<u64> {
        let behind = usize::try_from(change.checked_sub(self.first)?).ok()?;
        self.marks.get(behind).copied()
    }

    /// The entry of the index in which a change number's mark is.
    fn chunk(&self, change: u64) -> Op {
        let number = change / CHUNK;
        let mut value = vec![record::VERSION];
        for change in number * CHUNK..=change {
            value.extend_from_slice(&self.mark(change).unwrap_or(UNMARKED).to_le_bytes());
        }
        (key::marks(number), Some(value))
    }

    /// Appends the mark of a change number, and drops those of an entry when there are too many.
    fn push(&mut self, place: Place) {
        let last = self.last();
        if place.change == last.change + 1 && !self.marks.is_empty() {
            self.marks.push_back(place.mark);
        } else {
            // numbers were passed over: what was given between cannot be told from what was not
            (self.first, self.marks) = (place.change, VecDeque::from([place.mark]));
        }
        if self.marks.len() as u64 > MAX_MARKS {
            let next = (self.first / CHUNK + 1) * CHUNK;
            self.marks.drain(..usize::try_from(next - self.first).unwrap_or_default());
            self.first = next;
        }
    }
}

fn marks_of(value: &[u8]) -> Option<Vec<u64>> {
    let (version, marks) = value.split_first()?;
    let (marks, _) = marks.as_chunks::<MARK>();
    (*version == record::VERSION).then(|| marks.iter().map(|mark| u64::from_le_bytes(*mark)).collect())
}

impl Lineage {
    /// Reads the marks up to the store's change number. A store that has none yet begins with one for `content`, a
    /// digest of what it holds: then the second value is what to journal.
    pub(crate) fn load(
        kv: &Kv,
        change: u64,
        content: &blake3::Hash,
    ) -> Result<(Self, Vec<Op>), CatalogError> {
        let base = kv.get(key::LINEAGE)?.map(|value| record::decode::<Base>('L', &value)).transpose()?;
        let mut chunks = HashMap::new();
        kv.scan(key::LINEAGE, |key, value| {
            if let Some(number) = key.get(1..).and_then(|number| number.first_chunk()) {
                chunks.insert(u64::from_be_bytes(*number), marks_of(value).unwrap_or_default());
            }
            true
        })?;
        let known = |change: u64| {
            let place = usize::try_from(change % CHUNK).ok()?;
            chunks.get(&(change / CHUNK))?.get(place).copied().filter(|mark| *mark != UNMARKED)
        };
        let (mut first, mut marks) = (change, VecDeque::new());
        while let Some(mark) = known(first) {
            marks.push_front(mark);
            match first.checked_sub(1) {
                Some(before) => first = before,
                None => break,
            }
        }
        // the loop went one too far, but for the very first number
        let first = (change + 1).saturating_sub(marks.len() as u64);
        let mut history = History { base: base.map_or(change, |base| base.change), first, marks };
        let mut ops = Vec::new();
        if base.is_none() {
            ops.push((key::LINEAGE.to_vec(), Some(record::encode(&Base { change })?)));
        }
        if history.marks.is_empty() {
            let mark = mark(&[content.as_bytes(), &change.to_le_bytes()]);
            history.push(Place { change, mark });
            ops.push(history.chunk(change));
        }
        Ok((Self(RwLock::new(history)), ops))
    }

    /// The mark of a change that is about to be made durable: `parts` are what it does.
    pub(crate) fn next<'a>(
        &self,
        change: u64,
        now: jiff::Timestamp,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Next {
        let mut does = blake3::Hasher::new();
        for part in parts {
            does.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let history = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (last, random) = (history.last(), Uuid::new_v4());
        let mark = mark(&[
            &last.mark.to_le_bytes(),
            &change.to_le_bytes(),
            does.finalize().as_bytes(),
            random.as_bytes(),
            &now.as_millisecond().to_le_bytes(),
        ]);
        let place = Place { change, mark };
        // one entry is written: its marks so far, and this one
        let first = change / CHUNK * CHUNK;
        let mut marks: VecDeque<u64> =
            (first..change).map(|change| history.mark(change).unwrap_or(UNMARKED)).collect();
        marks.push_back(mark);
        let mut ops = vec![History { base: history.base, first, marks }.chunk(change)];
        if history.marks.len() as u64 >= MAX_MARKS {
            ops.push((key::marks(history.first / CHUNK), None));
        }
        Next { place, ops }
    }

    /// The change is durable.
    pub(crate) fn commit(&self, place: Place) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(place);
    }

    /// The place of a change number; of one before the first mark or behind the last, that of the nearest.
    pub(crate) fn place(&self, change: u64) -> Place {
        let history = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let change = change.clamp(history.first, history.last().change);
        Place { change, mark: history.mark(change).unwrap_or(UNMARKED) }
    }

    /// Whether this store was there.
    pub(crate) fn gave(&self, place: &Place) -> bool {
        let history = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if place.mark == UNMARKED {
            return place.change <= history.base;
        }
        history.mark(place.change) == Some(place.mark)
    }
}

/// Eight bytes of a hash, never those that stand for none.
fn mark(parts: &[&[u8]]) -> u64 {
    let mut hash = blake3::Hasher::new();
    for part in parts {
        hash.update(part);
    }
    let first = hash.finalize().as_bytes().first_chunk().map_or(1, |first| u64::from_le_bytes(*first));
    first.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_marks_go_with_their_entries_once_there_are_too_many() {
        let first = 5;
        let marks: VecDeque<u64> = (0..MAX_MARKS - 3).map(|number| number + 1).collect();
        let lineage = Lineage(RwLock::new(History { base: 3, first, marks }));
        let oldest = lineage.place(first);
        assert!(lineage.gave(&oldest));
        let mut gone = Vec::new();
        for change in (first + MAX_MARKS - 3..).take(100) {
            let next = lineage.next(change, jiff::Timestamp::UNIX_EPOCH, [&b"x"[..]]);
            gone.extend(next.ops.into_iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key));
            lineage.commit(next.place);
            assert!(lineage.gave(&next.place) && lineage.place(change) == next.place);
        }
        let history = lineage.0.read().unwrap();
        assert!(history.marks.len() as u64 <= MAX_MARKS);
        let dropped: Vec<Vec<u8>> = (0..history.first / CHUNK).map(key::marks).collect();
        assert_eq!(gone, dropped, "what is not in memory is not in the index");
        drop(history);
        assert!(!lineage.gave(&oldest));
        assert!(lineage.gave(&Place { change: 3, mark: UNMARKED }));
    }
}
