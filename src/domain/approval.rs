//! What an administrator decided of an update for a group, and how decisions that meet at one computer are
//! weighed (as WSUS weighs them).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What an approval asks of the computers of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Install it.
    Install,
    /// Remove it.
    Uninstall,
}

/// By when an approval must be carried out. `None` on the wire is "no deadline".
pub type Deadline = Option<Timestamp>;

/// An approval of one update for one group (a *deployment* on the wire).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// What to do.
    pub action: Action,
    /// By when.
    pub deadline: Deadline,
    /// When it was made.
    pub made_at: Timestamp,
    /// Who made it; at most 255 characters.
    pub made_by: String,
    /// The number by which agents know it (`Deployment/ID`), of its own number space.
    pub deployment_id: u32,
}

impl Approval {
    /// Of two approvals that reach one computer through groups of equal depth, the one that is in force:
    /// install before uninstall, a deadline before none, an earlier deadline before a later one. A deeper
    /// group wins before this is asked.
    pub fn stronger<'a>(&'a self, other: &'a Self) -> &'a Self {
        let rank = |approval: &Self| {
            (approval.action != Action::Install, approval.deadline.is_none(), approval.deadline)
        };
        if rank(other) < rank(self) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval(action: Action, deadline: Option<i64>) -> Approval {
        Approval {
            action,
            deadline: deadline.map(|second| Timestamp::from_second(second).unwrap()),
            made_at: Timestamp::UNIX_EPOCH,
            made_by: "test".to_owned(),
            deployment_id: 1,
        }
    }

    #[test]
    fn conflicts_end_as_in_wsus() {
        use Action::{Install, Uninstall};
        // (winner, loser)
        let table = [
            ((Install, None), (Uninstall, None)),
            ((Install, None), (Uninstall, Some(5))),
            ((Install, Some(9)), (Install, None)),
            ((Install, Some(5)), (Install, Some(9))),
            ((Uninstall, Some(5)), (Uninstall, None)),
        ];
        for ((win_action, win_deadline), (lose_action, lose_deadline)) in table {
            let (win, lose) = (approval(win_action, win_deadline), approval(lose_action, lose_deadline));
            assert_eq!(win.stronger(&lose), &win);
            assert_eq!(lose.stronger(&win), &win);
        }
    }
}
