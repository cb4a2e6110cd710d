//! What asks for a roll-up after a synchronisation.
//!
//! **Invariant:** a synchronisation that failed asks for none.

use crate::report::{Outcome, Trigger};

/// What asks for a roll-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RollupRequest {
    /// Nothing so far.
    #[default]
    None,
    /// A synchronisation on schedule ended.
    Scheduled,
    /// A synchronisation that somebody asked for ended.
    Demanded,
}

impl RollupRequest {
    /// What the end of a synchronisation asks for.
    pub(crate) fn of(trigger: Trigger, outcome: Outcome) -> Self {
        match (outcome, trigger) {
            (Outcome::Failed | Outcome::Cancelled, _) => Self::None,
            (_, Trigger::Schedule) => Self::Scheduled,
            _ => Self::Demanded,
        }
    }
}
