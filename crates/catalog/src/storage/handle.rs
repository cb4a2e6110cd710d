//! The one handle to everything that is kept: log, index, marks and the clock; every part of the catalog stands on it.
//!
//! **Invariant:** as long as a handle lives no other process has the store. It never knows what a record means.

use std::fs::File;

use super::lineage::Lineage;
use super::log::Log;
use crate::error::CatalogError;
use tailwater_kv::{Kv, Op};
use tailwater_runtime::Clock;

/// Where everything is kept.
pub(crate) struct Storage {
    log: Log,
    lineage: Lineage,
    clock: Clock,
    _lock: File,
}

impl Storage {
    /// A handle to an opened log; `lock` is that of its folder.
    pub(crate) fn new(log: Log, lineage: Lineage, clock: Clock, lock: File) -> Self {
        Self { log, lineage, clock, _lock: lock }
    }

    /// The log and what was appended to it.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// The index, for reading.
    pub(crate) fn kv(&self) -> &Kv {
        self.log.kv()
    }

    /// The marks of change numbers.
    pub(crate) fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// The time.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Writes without waiting for the disk; into memory while it takes nothing.
    pub(crate) fn put(&self, op: Op) -> Result<(), CatalogError> {
        Ok(self.kv().note_all(&[op])?)
    }

    /// Applies operations, each batch of them whole, and makes them durable.
    pub(crate) fn apply_durably(&self, ops: &[Op]) -> Result<(), CatalogError> {
        if ops.is_empty() {
            return Ok(());
        }
        self.kv().apply_all(ops)?;
        Ok(self.kv().flush()?)
    }
}
