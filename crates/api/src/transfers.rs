//! Transfers: files on their way from upstream.
//!
//! **Invariant:** what has arrived of a file is kept, whatever is done with its transfer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::inputs;
use super::page::listed;
use super::{Class, PageInfo};

/// One page of transfers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Transfers {
    /// Which rows these are.
    #[serde(flatten)]
    pub page: PageInfo,
    /// The rows.
    pub transfers: Vec<Transfer>,
}

listed!(Transfers, transfers: Transfer);

/// A transfer that runs or waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Transfer {
    /// The file's SHA-1, as hexadecimal digits.
    pub sha1: String,
    /// Its declared name.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// Bytes that are cached.
    pub held: u64,
    /// How urgent it is.
    pub class: Class,
    /// What it does.
    pub state: TransferState,
    /// Clients that wait for bytes of it.
    pub waiting: usize,
    /// Requests that run for it.
    pub flights: usize,
    /// What went wrong last, while it is not overcome.
    pub trouble: Option<String>,
}

/// What a transfer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// In the background queue.
    Queued,
    /// Bytes are asked for or arrive.
    Running,
    /// Waits before it tries again, for a source or for room on the disk.
    Waiting,
    /// An administrator paused it.
    Paused,
    /// Every piece is there and the digests are compared.
    Verifying,
    /// It failed; asked for again, it begins anew.
    Failed,
}

impl TransferState {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Verifying => "verifying",
            Self::Failed => "failed",
        }
    }
}

/// What is to change of a transfer; at least one field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeTransfer {
    /// Pause it, or go on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// At least so urgent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
}

inputs!(ChangeTransfer);

/// A transfer that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedTransfer {
    /// The file's SHA-1, as hexadecimal digits.
    pub sha1: String,
    /// Whether it was paused; null when nothing was said of that.
    pub paused: Option<bool>,
    /// How urgent it was made; null when nothing was said of that.
    pub class: Option<Class>,
}

/// A transfer that was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelledTransfer {
    /// The file's SHA-1, as it was named.
    pub cancelled: String,
}
