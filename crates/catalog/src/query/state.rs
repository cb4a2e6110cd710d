//! How an update stands, in one word, and whether it can be approved.
//!
//! **Invariant:** one order of precedence for everybody who shows an update: what ends it comes before what was
//! approved. Nothing is read here; the row has it all.

use super::rows::{UpdateRow, UpdateState};

impl UpdateRow {
    /// The first that is true of: declined, expired, held, withheld, approved, unapproved.
    pub fn state(&self) -> UpdateState {
        if self.declined.is_some() {
            UpdateState::Declined
        } else if self.expired {
            UpdateState::Expired
        } else if self.hold.is_some() {
            UpdateState::Held
        } else if !self.withheld.is_empty() {
            UpdateState::Withheld
        } else if self.approvals.iter().any(|entry| entry.approval.action.acts()) {
            UpdateState::Approved
        } else {
            UpdateState::Unapproved
        }
    }

    /// Whether it can be approved by itself: it is no mere part of bundles, and its publisher did not expire it.
    pub fn is_approvable(&self) -> bool {
        self.explicitly_deployable && !self.expired
    }
}
