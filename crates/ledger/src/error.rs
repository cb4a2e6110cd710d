//! What can go wrong with the ledger.

use std::io;
use std::path::PathBuf;

use tailwater_durable::Trouble;

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file or folder.
    #[error("cannot keep the ledger in {}; check the folder and its disk", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was read is no ledger, or of another version.
    #[error("{} cannot be read as a part of the ledger; it is left out", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
}

impl LedgerError {
    /// Why the disk takes nothing, where that is it.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Io { source, .. } => Trouble::of(source),
            Self::Damaged { .. } => None,
        }
    }
}
