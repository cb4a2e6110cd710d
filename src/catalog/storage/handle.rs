//! The one handle to everything that is kept: log, index, marks and the clock; every part of the catalog stands on it.
//!
//! **Invariant:** as long as a handle lives no other process has the store. It never knows what a record means.

use std::fs::File;

use super::lineage::Lineage;
use super::log::Log;
use crate::catalog::error::CatalogError;
use crate::kv::{Kv, Op};
use crate::runtime::Clock;

/// Where everything is kept.
pub(in crate::catalog) struct Storage {
    log: Log,
    lineage: Lineage,
    clock: Clock,
    _lock: File,
}

impl Storage {
    /// A handle to an opened log; `lock` is that of its folder.
    pub(in crate::catalog) fn new(log: Log, lineage: Lineage, clock: Clock, lock: File) -> Self {
        Self { log, lineage, clock, _lock: lock }
    }

    /// The log and what was appended to it.
    pub(in crate::catalog) fn log(&self) -> &Log {
        &self.log
    }

    /// The index, for reading.
    pub(in crate::catalog) fn kv(&self) -> &Kv {
        self.log.kv()
    }

    /// The marks of change numbers.
    pub(in crate::catalog) fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// The time.
    pub(in crate::catalog) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Writes without waiting for the disk; into memory while it takes nothing.
    pub(in crate::catalog) fn put(&self, op: Op) -> Result<(), CatalogError> {
        Ok(self.kv().note_all(&[op])?)
    }

    /// Applies operations, each batch of them whole, and makes them durable.
    pub(in crate::catalog) fn apply_durably(&self, ops: &[Op]) -> Result<(), CatalogError> {
        if ops.is_empty() {
            return Ok(());
        }
        self.kv().apply_all(ops)?;
        Ok(self.kv().flush()?)
    }
}
