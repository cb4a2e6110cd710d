//! Why a run ended early, and whom to blame for it.
//!
//! **Invariant:** what nobody is to blame for costs no source anything. Pure.

use std::sync::Arc;

use super::TransferError;
use super::answer::Refusal;
use super::health::Blame;
use tailwater_bandwidth::{self as bandwidth, LinkError};
use tailwater_content::ContentError;
use tailwater_domain::Sha1Digest;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Unanswered(#[source] LinkError),
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("the source's address cannot be used")]
    Address(#[from] http::Error),
    #[error("the answer ended before its end")]
    Short,
    #[error("the source sends next to nothing")]
    Slow,
    #[error("the source sends whole files only; the whole is on its way already")]
    OnItsWay,
    #[error("the source sends the whole file, of which most is held")]
    Unranged,
    #[error("nobody wants the rest any more")]
    Unwanted,
    #[error("{0}")]
    Store(Arc<ContentError>),
    #[error("{0} of its pieces came damaged")]
    Damaged(usize),
    #[error("the server is stopping")]
    Stopping,
}

impl Fault {
    /// What to think of the source; `None` when it is not to blame.
    pub(super) fn blame(&self) -> Option<Blame> {
        match self {
            Self::Link(error) | Self::Unanswered(error)
                if matches!(error.blame(), bandwidth::Blame::Shutdown | bandwidth::Blame::Budget) =>
            {
                None
            }
            Self::Unanswered(error) if error.retry_may_help() => Some(Blame::Unreachable),
            Self::Link(error) if error.retry_may_help() => Some(Blame::Trouble),
            Self::Link(_) | Self::Unanswered(_) | Self::Address(_) => Some(Blame::Unfit),
            Self::Refused(refusal) => Some(refusal.blame()),
            Self::Unranged => Some(Blame::Unranged),
            Self::Short | Self::Slow | Self::Damaged(_) => Some(Blame::Trouble),
            Self::OnItsWay | Self::Unwanted | Self::Store(_) | Self::Stopping => None,
        }
    }

    /// Whether it counts towards giving up for a while.
    pub(super) fn counts(&self) -> bool {
        // how long an outage lasts is the server's affair, and is watched for all files together; refusals are counted
        // for each source
        !matches!(self.blame(), Some(Blame::Unreachable | Blame::Unranged | Blame::Unfit | Blame::Gone))
            && !matches!(self, Self::OnItsWay | Self::Unwanted)
            && !self.is_spent()
    }

    /// Whether the link's budget ended it.
    fn is_spent(&self) -> bool {
        matches!(self, Self::Link(LinkError::Spent { .. }) | Self::Unanswered(LinkError::Spent { .. }))
    }

    /// Whether there was no room for what comes: that passes, and is nobody's fault.
    pub(super) fn is_crowded(&self) -> bool {
        matches!(self, Self::Store(error) if matches!(**error, ContentError::NoRoom { .. }))
    }

    /// The fault as those who wait see it, when it is not about a source.
    pub(super) fn store_error(&self, sha1: Sha1Digest) -> Option<TransferError> {
        match self {
            Self::Store(error) => match **error {
                ContentError::Dropped { .. } => Some(TransferError::Dropped { sha1 }),
                _ => Some(TransferError::Store(Arc::clone(error))),
            },
            Self::Stopping | Self::Link(LinkError::Stopping) | Self::Unanswered(LinkError::Stopping) => {
                Some(TransferError::Stopping)
            }
            _ => None,
        }
    }
}

impl From<ContentError> for Fault {
    fn from(error: ContentError) -> Self {
        Self::Store(Arc::new(error))
    }
}
