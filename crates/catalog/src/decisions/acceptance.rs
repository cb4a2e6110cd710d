//! That license terms were accepted on this server.
//!
//! **Invariant:** a plain value; what was accepted is never forgotten.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// When terms were accepted here, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// When.
    pub at: Timestamp,
    /// Who; at most 255 characters.
    pub by: String,
}
