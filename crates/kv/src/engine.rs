//! What an engine under an index owes to whoever uses it, and how an index is set up and found.
//!
//! **Invariant:** see the obligations on [`Backend`]; the suite of this room holds every engine to them.

use std::path::PathBuf;

use super::batch::Batch;
use super::error::KvError;

/// Where an index lies and how it is used.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What it is called in reports and errors.
    pub name: &'static str,
    /// The engine's folder.
    pub dir: PathBuf,
    /// About how many bytes of pages are kept in memory.
    pub cache: u64,
    /// Keys that begin with such a byte lie in a tree of this name, without the byte. A batch over several trees is not
    /// atomic, and a scan over several is in order within each.
    pub trees: &'static [(u8, &'static str)],
}

/// How an index was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// As it was left.
    Whole,
    /// It could not be read, and begins with nothing.
    Anew,
}

/// What an engine must do. Callers give it batches that fit ([`Batch`]).
pub(super) trait Backend: Send + Sync {
    /// The value of a key, with everything that was applied or noted before.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;
    /// Applies a batch, all of it or, after a kill, nothing.
    fn apply(&self, batch: &Batch) -> Result<(), KvError>;
    /// As `apply`, and into memory where nothing can be written.
    fn note(&self, batch: &Batch) -> Result<(), KvError> {
        self.apply(batch)
    }
    /// Calls `visit` in key order until it says stop.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError>;
    /// Returns once everything applied before survives a loss of power.
    fn flush(&self) -> Result<(), KvError>;
}
