//! How far the lists of an upstream that is a tailwater were read.
//!
//! **Invariant:** numbers mean something only together with the server that gave them. It never moves by itself: it is
//! kept in the batch that makes what it stands for visible.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::select::Selection;
use tailwater_wire::peer::Numbers;

/// How far the lists of a tailwater were read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Whose numbers these are.
    pub(super) server: Uuid,
    pub(super) numbers: Numbers,
    /// The number up to which decisions were taken over, by a replica.
    #[serde(default)]
    pub(super) decisions: Option<u64>,
    /// The mark of that number.
    #[serde(default)]
    pub(super) decisions_branch: u64,
    /// What was selected.
    pub(super) selection: Selection,
}

impl Mark {
    /// Whether the server has no other revisions than when its lists were read.
    pub(super) fn knows_updates(&self, now: &Numbers) -> bool {
        (self.numbers.updates, self.numbers.updates_mark) == (now.updates, now.updates_mark)
    }

    /// Whether nothing else was decided there than was taken over.
    pub(super) fn knows_decisions(&self, now: &Numbers) -> bool {
        (self.decisions, self.decisions_branch) == (Some(now.decisions), now.decisions_mark)
    }
}
