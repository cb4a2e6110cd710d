//! Why an index could not be used, with the next step.
//!
//! **Invariant:** every error says whether the files are damaged and whether the disk takes nothing, so that nobody has to
//! read its text. It never decides what is done about it.

use std::io;
use std::path::PathBuf;

use super::batch::{MAX_BATCH, MAX_ENTRY};

/// Why the index could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The engine's files are locked by another process.
    #[error("the index in {} is locked by another process", dir.display())]
    Locked {
        /// The engine's folder.
        dir: PathBuf,
    },
    /// The engine failed.
    #[error(
        "the index engine failed; check the disk, else make the index again: stop the server, and run `tailwater store \
         rebuild`"
    )]
    Engine(#[from] ::sled::Error),
    /// The engine's files cannot be read.
    #[error(
        "the index in {} is damaged ({reason}); stop the server, and run `tailwater store rebuild`", dir.display()
    )]
    Damaged {
        /// The engine's folder.
        dir: PathBuf,
        /// What the engine says.
        reason: String,
    },
    /// Nothing can be written, and this must be.
    #[error("the {name} cannot be written: {reason}")]
    ReadOnly {
        /// Which index.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// The engine's file could not be synced.
    #[error("{} could not be synced to disk", path.display())]
    Sync {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A dump could not be written, was cut short, or was altered.
    #[error("the dump is not usable after {records} records; make it again")]
    Dump {
        /// How many records were good.
        records: u64,
        /// The cause.
        source: io::Error,
    },
    /// A key or value is larger than an entry may be; nothing was changed.
    #[error("an entry of {len} bytes is larger than the {MAX_ENTRY} that the index keeps of one")]
    EntryTooLarge {
        /// Its length.
        len: usize,
    },
    /// More operations than a batch may have.
    #[error("a batch of {0} operations is larger than {MAX_BATCH}")]
    BatchTooLarge(usize),
}

impl KvError {
    /// What the system said, where the cause is an error of the disk.
    pub(super) fn io(&self) -> Option<io::Error> {
        match self {
            Self::Engine(::sled::Error::Io(error)) => Some(io::Error::new(error.kind(), error.to_string())),
            Self::Sync { source, .. } => Some(io::Error::new(source.kind(), source.to_string())),
            _ => None,
        }
    }

    /// Whether the files are not what the engine wrote.
    pub fn is_damage(&self) -> bool {
        use ::sled::Error as Engine;
        match self {
            Self::Damaged { .. }
            | Self::Engine(
                Engine::Corruption { .. } | Engine::ReportableBug(_) | Engine::CollectionNotFound(_)
                // how it was set up cannot be read; there is one version of the engine and one set-up
                | Engine::Unsupported(_),
            ) => true,
            Self::Engine(Engine::Io(error)) => {
                matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
            }
            _ => false,
        }
    }

    /// Whether it is about a disk that takes nothing now.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly { .. })
            || self.io().is_some_and(|error| tailwater_durable::Trouble::of(&error).is_some())
    }
}
