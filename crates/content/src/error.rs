//! Why the store could not do what was asked.

use std::io;
use std::path::PathBuf;

use tailwater_domain::{ByteCount, Sha1Digest};
use tailwater_kv::KvError;

/// What the store could not do.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// A file or folder of the store cannot be used.
    #[error("cannot {action} {path}; check the permissions and the disk")]
    Io {
        /// What was tried: `open`, `write`, ….
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The index of files cannot be used.
    #[error(
        "cannot use the index of files; stop other servers on this folder, or remove the index: it is made again"
    )]
    Index(#[from] KvError),
    /// A record of the index cannot be written.
    #[error("a record of the index of files cannot be written")]
    Record(#[source] postcard::Error),
    /// There is no room, even after dropping what may be dropped.
    #[error(
        "no room for {wanted} more; free disk space, or raise content.max_size or lower content.min_free"
    )]
    NoRoom {
        /// What was to be written.
        wanted: ByteCount,
    },
    /// A file cannot be kept whole, whatever is dropped.
    #[error(
        "{sha1} has {size}, more than the store can hold; it is passed through to who reads it and not kept; raise content.max_size or free disk space to keep it"
    )]
    Beyond {
        /// The digest.
        sha1: Sha1Digest,
        /// Its length.
        size: ByteCount,
    },
    /// Two declarations give one digest different lengths or SHA-256.
    #[error(
        "{sha1} is held as {held} bytes but was declared again with another length or SHA-256 ({declared} bytes); the newer declaration is not believed"
    )]
    Conflict {
        /// The digest.
        sha1: Sha1Digest,
        /// The length of the file that is held.
        held: u64,
        /// The length declared now.
        declared: u64,
    },
    /// A declared length is beyond what one file may have.
    #[error("{sha1} is declared with {size} bytes, more than the largest payload that is taken")]
    TooLarge {
        /// The digest.
        sha1: Sha1Digest,
        /// The declared length.
        size: u64,
    },
    /// The file was dropped while it was in use: damaged, or its bytes did not match.
    #[error("{sha1} was dropped while it was read; ask again")]
    Dropped {
        /// The digest.
        sha1: Sha1Digest,
    },
}

impl ContentError {
    /// Whether what lies on the disk under a file's name is no file that can be read, now or later. What an administrator
    /// can mend, or what passes, is no damage.
    pub(super) fn is_damage(&self) -> bool {
        use io::ErrorKind as Kind;
        let Self::Io { action: "open" | "read", source, .. } = self else { return false };
        let is_broken = source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
        let is_other = matches!(
            source.kind(),
            Kind::IsADirectory | Kind::NotADirectory | Kind::InvalidData | Kind::UnexpectedEof
        );
        is_broken || is_other
    }
}
