//! The memory on disk: an index of its own, one row a lineage, a row for each class in it, a row an address.
//!
//! **Invariant:** what was stored before a kill is there after it; a row that cannot be read is left out and told, and
//! learned again. It never stores which computer asked for what.

use std::net::IpAddr;
use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use super::NeedsError;
use super::callers::Callers;
use super::kept::AllKept;
use super::layout::Key;
use super::memory::{Memory, Row, Uses};
use tailwater_domain::UpdateId;
use tailwater_durable::Disk;
use tailwater_kv::{Batch, Kv, MAX_BATCH, Setup};

/// Version of every row: another shape gets another number, and rows of an older one are learned again.
const VERSION: u8 = 1;

/// Pages kept in memory by the engine, in bytes: everything is read once, at the start.
const CACHE: u64 = 4 << 20;

const LINEAGE: u8 = b'l';
const USES: u8 = b'u';
const CALLER: u8 = b'a';
const KEPT: u8 = b'p';

/// The index.
pub(super) struct Store(Kv);

pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, NeedsError> {
    Ok(postcard::to_extend(value, vec![VERSION])?)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (version, rest) = bytes.split_first()?;
    (*version == VERSION).then(|| postcard::from_bytes(rest).ok())?
}

/// Reads bytes as rows.
#[cfg(fuzzing)]
pub(super) fn read_any(bytes: &[u8]) {
    let _ = (decode::<Uses>(bytes), decode::<crate::memory::Lineage>(bytes));
    let _ = (address_of(bytes), update_of(bytes), lineage_of(bytes));
}

fn row_key(row: &Row) -> Vec<u8> {
    let mut key = Vec::with_capacity(32);
    match row {
        Row::Lineage(lineage) => {
            key.push(LINEAGE);
            key.extend_from_slice(&lineage.to_be_bytes());
        }
        Row::Uses(class, lineage) => {
            key.push(USES);
            key.extend_from_slice(&lineage.to_be_bytes());
            key.extend_from_slice(class.as_bytes());
        }
    }
    key
}

fn caller_key(address: IpAddr) -> Vec<u8> {
    let mut key = vec![CALLER];
    match address {
        IpAddr::V4(address) => key.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => key.extend_from_slice(&address.octets()),
    }
    key
}

fn address_of(key: &[u8]) -> Option<IpAddr> {
    let octets = key.get(1..)?;
    <[u8; 4]>::try_from(octets)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

fn update_of(key: &[u8]) -> Option<UpdateId> {
    uuid::Uuid::from_slice(key.get(1..)?).ok().map(UpdateId)
}

fn lineage_of(key: &[u8]) -> Option<Key> {
    Some(Key::from_be_bytes(key.get(1..9)?.try_into().ok()?))
}

impl Store {
    /// Opens the index in this folder and reads it whole.
    pub(super) fn open(dir: &Path, disk: &Disk) -> Result<(Self, Memory, Callers, AllKept), NeedsError> {
        let setup = Setup { name: "index of needs", dir: dir.to_owned(), cache: CACHE, trees: &[] };
        // what could not be read is learned again
        let (kv, _opened) = Kv::open(setup, disk)?;
        let (mut memory, mut callers, mut unreadable) = (Memory::default(), Callers::default(), 0_usize);
        let mut kept = AllKept::new();
        kv.scan(b"", |key, value| {
            let read = match key.first() {
                Some(&LINEAGE) => {
                    lineage_of(key).zip(decode(value)).map(|(key, row)| memory.restore(key, row))
                }
                Some(&USES) => {
                    let class = key.get(9..).and_then(|name| std::str::from_utf8(name).ok());
                    let row = lineage_of(key).zip(class).zip(decode::<Uses>(value));
                    row.map(|((key, class), row)| memory.restore_uses(class.to_owned(), key, row))
                }
                Some(&CALLER) => address_of(key).zip(decode(value)).map(|(address, seen)| {
                    callers.known.insert(address, seen);
                }),
                Some(&KEPT) => update_of(key).zip(decode(value)).map(|(update, row)| {
                    kept.insert(update, row);
                }),
                _ => None,
            };
            unreadable += usize::from(read.is_none());
            true
        })?;
        if unreadable > 0 {
            tracing::warn!(
                rows = unreadable,
                "rows of what was learned cannot be read; they are learned again"
            );
        }
        Ok((Self(kv), memory, callers, kept))
    }

    /// Writes changed rows, as they are by now.
    pub(super) fn save(&self, rows: Vec<(Row, Option<Vec<u8>>)>) -> Result<(), NeedsError> {
        let rows = rows.into_iter().map(|(row, value)| (row_key(&row), value));
        self.write(rows)
    }

    /// Writes addresses; `None` forgets one.
    pub(super) fn save_callers(&self, rows: Vec<(IpAddr, Option<Vec<u8>>)>) -> Result<(), NeedsError> {
        self.write(rows.into_iter().map(|(address, value)| (caller_key(address), value)))
    }

    /// Writes what was foreseen of approvals; `None` forgets one.
    pub(super) fn save_kept(&self, rows: Vec<(UpdateId, Option<Vec<u8>>)>) -> Result<(), NeedsError> {
        let key = |update: UpdateId| [&[KEPT][..], update.0.as_bytes()].concat();
        self.write(rows.into_iter().map(|(update, value)| (key(update), value)))
    }

    fn write(&self, rows: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>) -> Result<(), NeedsError> {
        let mut batch = Batch::default();
        for (key, value) in rows {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.remove(key),
            }
            if batch.len() == MAX_BATCH {
                self.0.note(&std::mem::take(&mut batch))?;
            }
        }
        Ok(self.0.note(&batch)?)
    }

    /// Makes everything written durable; on a disk that takes nothing it waits for that.
    pub(super) fn flush(&self) -> Result<(), NeedsError> {
        match self.0.flush() {
            Err(error) if error.is_read_only() => Ok(()),
            other => Ok(other?),
        }
    }
}

/// A row as it is stored; none when it is gone.
pub(super) fn value_of(memory: &Memory, row: &Row) -> Result<Option<Vec<u8>>, NeedsError> {
    match row {
        Row::Lineage(key) => memory.lineages.get(key).map(encode).transpose(),
        Row::Uses(class, key) => memory.uses.get(&(class.clone(), *key)).map(encode).transpose(),
    }
}

/// The row of an address; none when it is gone.
pub(super) fn caller_value(callers: &Callers, address: IpAddr) -> Result<Option<Vec<u8>>, NeedsError> {
    callers.known.get(&address).map(encode).transpose()
}
