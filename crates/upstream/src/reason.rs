//! Why a synchronisation failed, as one of a fixed set of words.
//!
//! **Invariant:** a word may label a metric: texts from outside never get in. It never decides what is tried again.

use serde::{Deserialize, Serialize};

use super::error::SyncError;
use tailwater_bandwidth::{Blame, LinkError};

/// Why a synchronisation failed, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No connection, no answer, or answers that break off.
    Unreachable,
    /// A proxy between refused.
    Proxy,
    /// TLS or its certificates.
    Certificate,
    /// The link's budget is spent.
    Budget,
    /// The upstream answered with a fault or a status that refuses.
    Refused,
    /// What answered is no update server, or damages its answers.
    WrongAnswer,
    /// Something in this server's configuration.
    Configuration,
    /// This server's disk or store.
    Storage,
    /// A fault of this program.
    Internal,
}

impl Reason {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Unreachable,
        Self::Proxy,
        Self::Certificate,
        Self::Budget,
        Self::Refused,
        Self::WrongAnswer,
        Self::Configuration,
        Self::Storage,
        Self::Internal,
    ];

    /// As in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Proxy => "proxy",
            Self::Certificate => "certificate",
            Self::Budget => "budget",
            Self::Refused => "refused",
            Self::WrongAnswer => "wrong_answer",
            Self::Configuration => "configuration",
            Self::Storage => "storage",
            Self::Internal => "internal",
        }
    }

    /// What an administrator does about it.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "check upstream.url, the network and the upstream itself; it is tried again by itself, and at once with \
                 `tailwater sync`"
            }
            Self::Proxy => "check upstream.proxy and its credentials, then run `tailwater sync`",
            Self::Certificate => {
                "check the upstream's certificate, upstream.ca_file and this machine's clock, then run `tailwater sync`"
            }
            Self::Budget => {
                "wait until the budget renews, or raise bandwidth.budget; `tailwater bandwidth show` says when"
            }
            Self::Refused => {
                "see what the upstream said; on the upstream, check that this server may synchronise from it"
            }
            Self::WrongAnswer => {
                "check that upstream.url names an update server and that no proxy changes its answers"
            }
            Self::Configuration => "correct the configuration; `tailwater check-config` reads it",
            Self::Storage => {
                "check the disk of server.data_dir and its free space, then run `tailwater sync`"
            }
            Self::Internal => "see the log, and report it",
        }
    }

    /// The reason of a failure; `None` for what is no failure of the synchronisation.
    pub(super) fn of(error: &SyncError) -> Option<Self> {
        Some(match error {
            SyncError::AlreadyRunning | SyncError::Cancelled => return None,
            SyncError::Link { source, .. } => Self::of_link(source),
            SyncError::Status { status: 407, .. } => Self::Proxy,
            SyncError::Status { .. } | SyncError::Fault { .. } | SyncError::Busy => Self::Refused,
            SyncError::Answer { .. }
            | SyncError::AnswerTooLong { .. }
            | SyncError::ForeignAuthorization { .. } => Self::WrongAnswer,
            SyncError::Url { .. } => Self::Configuration,
            SyncError::File { .. } | SyncError::Catalog(_) => Self::Storage,
            SyncError::RootFingerprint { .. } | SyncError::RootStatus { .. } => Self::Certificate,
            SyncError::Worker => Self::Internal,
        })
    }

    fn of_link(error: &LinkError) -> Self {
        match error {
            LinkError::Tls { .. } | LinkError::TlsSetup(_) | LinkError::CertificateFile { .. } => {
                Self::Certificate
            }
            other => match other.blame() {
                Blame::Upstream | Blame::Shutdown => Self::Unreachable,
                Blame::Proxy => Self::Proxy,
                Blame::Configuration => Self::Configuration,
                Blame::Budget => Self::Budget,
            },
        }
    }
}
