//! Why bytes that were asked for cannot be had.

use std::time::Duration;

use jiff::Timestamp;

use tailwater_content::ContentError;
use tailwater_domain::Sha1Digest;

/// Why bytes that were asked for cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransferError {
    /// The policy is to fetch nothing; the client may go to the origin itself.
    #[error("{sha1} is not held and nothing is fetched (content.fetch = \"none\")")]
    Elsewhere {
        /// The file.
        sha1: Sha1Digest,
        /// Where it can be had, where that is known.
        url: Option<String>,
    },
    /// No source has the file.
    #[error("no source has {sha1}; it is asked for again later")]
    Gone {
        /// The file.
        sha1: Sha1Digest,
    },
    /// Sources exist but nothing arrived in time.
    #[error("nothing of {sha1} arrived for {} s; see the transfer's trouble in the status", patience.as_secs())]
    TimedOut {
        /// The file.
        sha1: Sha1Digest,
        /// How long was waited.
        patience: Duration,
    },
    /// Sources exist, and none hands the file out.
    #[error("no source hands out {sha1} ({trouble}); it is asked for again later")]
    Refused {
        /// The file.
        sha1: Sha1Digest,
        /// What went wrong last.
        trouble: String,
    },
    /// The servers of all sources are known to be down.
    #[error("no server that has {sha1} can be reached now; ask again in {} s", again.as_secs())]
    Unreachable {
        /// The file.
        sha1: Sha1Digest,
        /// When they are asked again.
        again: Duration,
    },
    /// No source is asked for longer than a client waits: they asked to be left alone, or rest from failures.
    #[error("no source of {sha1} is asked before {} s are over; ask again then", again.as_secs())]
    Deferred {
        /// The file.
        sha1: Sha1Digest,
        /// When one is asked again; whole seconds, at least one.
        again: Duration,
    },
    /// What the sources send is not what was declared.
    #[error("what the sources send for {sha1} does not match its digest")]
    Mismatch {
        /// The file.
        sha1: Sha1Digest,
    },
    /// The bytes were made to share their SHA-1 with others, and metadata declares nothing else.
    #[error(
        "{sha1} was made to collide: other bytes have the same SHA-1, and no SHA-256 is declared; decline the update and ask who \
         published it"
    )]
    Collision {
        /// The file.
        sha1: Sha1Digest,
    },
    /// The file changed under its reader; asking again continues.
    #[error("{sha1} was dropped while it was read; ask again")]
    Dropped {
        /// The file.
        sha1: Sha1Digest,
    },
    /// An administrator paused or cancelled the transfer.
    #[error("the transfer of {sha1} was stopped by an administrator")]
    Stopped {
        /// The file.
        sha1: Sha1Digest,
    },
    /// The link's budget lets nobody have it now.
    #[error("the link's budget is spent until {until}; what is held is served")]
    Spent {
        /// When it begins anew.
        until: Timestamp,
    },
    /// Too many wait already.
    #[error("too many requests wait for bytes from upstream; try again later")]
    Crowded,
    /// The store cannot take the file.
    #[error(transparent)]
    Store(std::sync::Arc<ContentError>),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl From<ContentError> for TransferError {
    fn from(error: ContentError) -> Self {
        Self::Store(std::sync::Arc::new(error))
    }
}
