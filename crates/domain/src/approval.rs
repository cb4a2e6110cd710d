//! What an administrator decided of an update for a group, and how decisions that meet at one computer are
//! weighed (as WSUS weighs them). Invariant: an approval keeps its [`ApprovalId`] on every server of a chain.
//! It never knows which computers there are.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ApprovalId;

/// What an approval asks of the computers of a group. The order is that of strength among groups of equal
/// depth, and that of the numbers on the wire ([MS-WSUSSS] 3.1.4.10.3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Install it.
    Install,
    /// Remove it.
    Uninstall,
    /// Only report whether it is needed; overrides an approval of a group above.
    Detect,
    /// Do not offer it (*not approved*); overrides an approval of a group above.
    #[serde(alias = "not_approved", alias = "not-approved", alias = "notapproved")]
    Block,
}

impl Action {
    /// As administrators write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Uninstall => "uninstall",
            Self::Detect => "detect",
            Self::Block => "not_approved",
        }
    }

    /// Whether computers are to do something.
    pub fn acts(self) -> bool {
        matches!(self, Self::Install | Self::Uninstall)
    }
}

/// By when an approval must be carried out. `None` on the wire is "no deadline".
pub type Deadline = Option<Timestamp>;

/// Priority of approvals made here: the middle one of 1 to 3.
pub const USUAL_PRIORITY: u8 = 2;

/// An approval of one update for one group (a *deployment* on the wire).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its name in the whole chain of servers (`DeploymentGuid`).
    pub id: ApprovalId,
    /// What to do.
    pub action: Action,
    /// By when.
    pub deadline: Deadline,
    /// From when on; for one made here, when it was made (`GoLiveTime`).
    pub made_at: Timestamp,
    /// Who made it; at most 255 characters.
    pub made_by: String,
    /// The revision that upstream names. None for one made here: it goes with the newest.
    pub revision: Option<u32>,
    /// Whether agents install it by themselves (`IsAssigned`).
    pub is_assigned: bool,
    /// How urgent its download is, from 1 to 3 (`DownloadPriority`).
    pub priority: u8,
    /// The number by which agents know it (`Deployment/ID`), of its own number space.
    pub deployment_id: u32,
    /// Change number of this server at which it became what it is.
    pub change: u64,
}

impl Approval {
    /// Of two approvals that reach one computer through groups of equal depth, the one that is in force:
    /// install before uninstall before the others, a deadline before none, an earlier deadline before a
    /// later one. A deeper group wins before this is asked.
    pub fn stronger<'a>(&'a self, other: &'a Self) -> &'a Self {
        let rank = |approval: &Self| (approval.action, approval.deadline.is_none(), approval.deadline);
        if rank(other) < rank(self) { other } else { self }
    }

    /// Whether both say the same, whatever numbers this server gave them.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self {
            id,
            action,
            deadline,
            made_at,
            made_by,
            revision,
            is_assigned,
            priority,
            deployment_id: _,
            change: _,
        } = self;
        (id, action, deadline, made_at, made_by, revision, is_assigned, priority)
            == (
                &other.id,
                &other.action,
                &other.deadline,
                &other.made_at,
                &other.made_by,
                &other.revision,
                &other.is_assigned,
                &other.priority,
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval(action: Action, deadline: Option<i64>) -> Approval {
        Approval {
            id: ApprovalId(uuid::Uuid::from_u128(1)),
            action,
            deadline: deadline.map(|second| Timestamp::from_second(second).unwrap()),
            made_at: Timestamp::UNIX_EPOCH,
            made_by: "test".to_owned(),
            revision: None,
            is_assigned: true,
            priority: USUAL_PRIORITY,
            deployment_id: 1,
            change: 1,
        }
    }

    #[test]
    fn conflicts_end_as_in_wsus() {
        use Action::{Block, Detect, Install, Uninstall};
        // (winner, loser)
        let table = [
            ((Install, None), (Uninstall, None)),
            ((Install, None), (Uninstall, Some(5))),
            ((Install, Some(9)), (Install, None)),
            ((Install, Some(5)), (Install, Some(9))),
            ((Uninstall, Some(5)), (Uninstall, None)),
            ((Uninstall, None), (Detect, None)),
            ((Install, None), (Block, None)),
        ];
        for ((win_action, win_deadline), (lose_action, lose_deadline)) in table {
            let (win, lose) = (approval(win_action, win_deadline), approval(lose_action, lose_deadline));
            assert_eq!(win.stronger(&lose), &win);
            assert_eq!(lose.stronger(&win), &win);
        }
    }

    #[test]
    fn numbers_of_this_server_do_not_make_another_approval() {
        let one = approval(Action::Install, None);
        let same = Approval { deployment_id: 7, change: 9, ..one.clone() };
        let other = Approval { revision: Some(2), ..one.clone() };
        assert!(one.says_the_same(&same) && !one.says_the_same(&other));
    }
}
