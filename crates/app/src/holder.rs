//! Who holds a data directory.
//!
//! **Invariant:** it says how to reach the process, never what it does.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Who holds a data directory, as written into its lock file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Where its admin listener answers; none for a command that opened the store itself.
    pub admin: Option<SocketAddr>,
}
