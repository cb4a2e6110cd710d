//! A revision that is stored and not yet active.
//!
//! **Invariant:** it keeps its number whatever becomes of its texts. It never says whether it is durable: its ticket does.

use std::sync::Arc;

use crate::values::part::PartRef;
use crate::values::payload_key::Secured;

/// A revision that is stored and not yet active.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    pub id: u32,
    pub block: u64,
    pub facts: PartRef,
    /// Bytes of all its texts in the segment.
    pub len: u64,
    /// Durable when the log has settled this.
    pub ticket: u64,
    /// The keys that it needs.
    pub secured: Option<Arc<Secured>>,
    /// Its texts are damaged: it is asked for again.
    pub damaged: bool,
}
