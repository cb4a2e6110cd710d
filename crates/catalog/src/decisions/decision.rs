//! What was decided of one update, as it is kept: approvals, decline, hold, and which approvals there were.
//!
//! **Invariant:** an approval that agents or downstream servers may have heard of is here or among the
//! retired; of the retired, what is forgotten is known by its change number. Records of version 1, which knew
//! neither names of approvals nor holds, are read for ever; what they lack is derived, always the same.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::CatalogError;
use crate::storage::record::encode_as;
use tailwater_domain::{Action, Approval, ApprovalId, Deadline, GroupId, Limit, UpdateId, limits};

/// Version of the record.
const VERSION: u8 = 2;
/// Retired approvals that are remembered of one update.
const MAX_RETIRED: usize = 64;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_RETIRED in "approvals": "Retired approvals remembered of one update" => "the oldest is forgotten",
];

/// Who declined, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
}

// not a limit: VERSION: a version of a record
// not a limit: CLOCK_ERROR: by how much clocks may differ

/// By how much the clocks of two servers may differ before an approval from the future waits.
const CLOCK_ERROR: SignedDuration = SignedDuration::from_mins(10);
/// Names of approvals that had none are derived in this space.
const UNNAMED: Uuid = Uuid::from_u128(0x3b5f_4d64_8a0e_4f0f_9c55_d1a6_7c3e_0b21);

/// Why an update is held back on this server, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Until then; for good when none.
    pub until: Option<Timestamp>,
    /// Why; may be empty.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
}

/// An approval that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retired {
    pub id: ApprovalId,
    /// Change number at which it went.
    pub change: u64,
}

/// What was decided of an update. Kept after everything was taken back, because agents and downstream servers
/// must hear of that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decision {
    /// In force, at most one for a group.
    pub approvals: Vec<(GroupId, Approval)>,
    /// Not in force: for an older revision than another one of the same group, or from a later time on.
    pub waiting: Vec<(GroupId, Approval)>,
    pub declined: Option<Decline>,
    pub hold: Option<Hold>,
    /// Change number of the last change that agents notice.
    pub change: u64,
    /// Change number of the last decline or undecline.
    pub decline_change: u64,
    /// Change number of the last hold or release.
    pub hold_change: u64,
    /// Second of the last decision.
    pub at: i64,
    /// The latest last.
    pub retired: Vec<Retired>,
    /// Change number of the newest one that is no longer among the retired.
    pub forgotten: u64,
}

impl Decision {
    /// All approvals, in force or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = &(GroupId, Approval)> {
        self.approvals.iter().chain(&self.waiting)
    }

    /// Whether it asks some computer to do something.
    pub(crate) fn is_approved(&self) -> bool {
        self.approvals.iter().any(|(_, approval)| approval.action.acts())
    }

    /// Remembers that an approval is no more.
    pub(crate) fn retire(&mut self, id: ApprovalId, change: u64) {
        self.retired.push(Retired { id, change });
        while self.retired.len() > MAX_RETIRED {
            self.forgotten = self.forgotten.max(self.retired.remove(0).change);
        }
    }

    /// Takes out and retires the approvals that `goes` picks. Whether there were any.
    pub(crate) fn retire_those(&mut self, change: u64, goes: impl Fn(&GroupId, &Approval) -> bool) -> bool {
        let gone: Vec<ApprovalId> =
            self.all().filter(|(group, approval)| goes(group, approval)).map(|(_, one)| one.id).collect();
        for list in [&mut self.approvals, &mut self.waiting] {
            list.retain(|(group, approval)| !goes(group, approval));
        }
        for id in &gone {
            self.retire(*id, change);
        }
        !gone.is_empty()
    }

    /// Sorts approvals into those in force at `now` and those that wait. What came into force once does not wait again for
    /// its time: the clock that it was made by may have been set back.
    pub(crate) fn sort_out(&mut self, now: Timestamp) {
        let in_force = std::mem::take(&mut self.approvals).into_iter().map(|one| (one, true));
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|one| (one, false));
        let mut all: Vec<_> = in_force.chain(waiting).collect();
        all.sort_by_key(|((group, approval), _)| {
            (*group, std::cmp::Reverse(approval.revision), std::cmp::Reverse(approval.made_at), approval.id)
        });
        for ((group, approval), was_in_force) in all {
            let later = !was_in_force && due_at(&approval) > now;
            let taken = self.approvals.last().is_some_and(|(other, _)| *other == group);
            let list = if later || taken { &mut self.waiting } else { &mut self.approvals };
            list.push((group, approval));
        }
    }

    /// Lets a hold for a time that a clock noted which was ahead begin now, as long as it was meant to be. Whether it did.
    pub(crate) fn begin_hold_by(&mut self, now: Timestamp) -> bool {
        let Some(hold) = self.hold.as_mut().filter(|hold| hold.at.duration_since(now) > CLOCK_ERROR) else {
            return false;
        };
        if let Some(until) = hold.until {
            hold.until = Some(now.saturating_add(until.duration_since(hold.at)).unwrap_or(until));
        }
        hold.at = now;
        true
    }

    /// When something of it comes into force by itself: a hold that ends, or an approval for later.
    pub(crate) fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.waiting.iter().map(|(_, approval)| due_at(approval)).filter(|due| *due > now);
        let hold = self.hold.as_ref().and_then(|hold| hold.until);
        waiting.chain(hold).min()
    }

    /// Whether agents are told the same by both.
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        type Seen<'a> = (&'a GroupId, Action, Deadline, bool, Timestamp);
        fn seen(decision: &Decision) -> Vec<Seen<'_>> {
            let mut seen: Vec<Seen<'_>> = Vec::new();
            if decision.hold.is_none() && decision.is_approved() {
                seen.extend(
                    decision
                        .approvals
                        .iter()
                        .map(|(group, one)| (group, one.action, one.deadline, one.is_assigned, one.made_at)),
                );
                seen.sort_unstable();
            }
            seen
        }
        self.declined.is_some() == other.declined.is_some() && seen(self) == seen(other)
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, CatalogError> {
        encode_as(VERSION, self)
    }

    /// Reads a record of any version; `update` is whose it is.
    pub(crate) fn decode(update: &UpdateId, bytes: &[u8]) -> Result<Self, CatalogError> {
        let fail = |source| CatalogError::Record { kind: 'd', source };
        match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(fail),
            Some((1, rest)) => {
                postcard::from_bytes(rest).map(|old: first::Decision| old.now(update)).map_err(fail)
            }
            Some((&newer, _)) if newer > VERSION => Err(CatalogError::Newer { found: newer, known: VERSION }),
            _ => Err(fail(postcard::Error::DeserializeUnexpectedEnd)),
        }
    }
}

fn due_at(approval: &Approval) -> Timestamp {
    approval.made_at.checked_sub(CLOCK_ERROR).unwrap_or(approval.made_at)
}

/// Version 1.
mod first {
    use jiff::Timestamp;
    use serde::Deserialize;
    #[cfg(test)]
    use serde::Serialize;
    use uuid::Uuid;

    use super::{Decline, UNNAMED};
    use tailwater_domain::{Action, ApprovalId, Deadline, GroupId, USUAL_PRIORITY, UpdateId};

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(Serialize))]
    pub(crate) struct Approval {
        pub action: Action,
        pub deadline: Deadline,
        pub made_at: Timestamp,
        pub made_by: String,
        pub deployment_id: u32,
    }

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(Serialize))]
    pub(crate) struct Decision {
        pub approvals: Vec<(GroupId, Approval)>,
        pub declined: Option<Decline>,
        pub change: u64,
        pub decline_change: u64,
        pub at: i64,
    }

    impl Decision {
        pub(crate) fn now(self, update: &UpdateId) -> super::Decision {
            let (change, decline_change, at) = (self.change, self.decline_change, self.at);
            let approvals = self.approvals.into_iter().map(|(group, old)| {
                let text = format!("{update} {group} {} {}", old.deployment_id, old.made_at);
                let approval = tailwater_domain::Approval {
                    id: ApprovalId(Uuid::new_v5(&UNNAMED, text.as_bytes())),
                    action: old.action,
                    deadline: old.deadline,
                    made_at: old.made_at,
                    made_by: old.made_by,
                    revision: None,
                    is_assigned: true,
                    priority: USUAL_PRIORITY,
                    deployment_id: old.deployment_id,
                    change,
                };
                (group, approval)
            });
            super::Decision {
                approvals: approvals.collect(),
                declined: self.declined,
                change,
                decline_change,
                at,
                ..super::Decision::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::record;

    const UPDATE: UpdateId = UpdateId(Uuid::from_u128(7));

    fn old() -> Vec<u8> {
        let approval = first::Approval {
            action: Action::Uninstall,
            deadline: Some(Timestamp::from_second(9).unwrap()),
            made_at: Timestamp::from_second(5).unwrap(),
            made_by: "admin".to_owned(),
            deployment_id: 3,
        };
        record::encode(&first::Decision {
            approvals: vec![(GroupId::ALL_COMPUTERS, approval)],
            declined: None,
            change: 12,
            decline_change: 4,
            at: 5,
        })
        .unwrap()
    }

    #[test]
    fn a_record_of_the_first_version_gives_its_approvals_the_same_names_every_time() {
        let read = Decision::decode(&UPDATE, &old()).unwrap();
        let (group, approval) = &read.approvals[0];
        assert_eq!(
            (*group, approval.action, approval.deployment_id),
            (GroupId::ALL_COMPUTERS, Action::Uninstall, 3)
        );
        assert_eq!((approval.change, approval.is_assigned, read.decline_change), (12, true, 4));
        assert_eq!(read, Decision::decode(&UPDATE, &old()).unwrap());
        let other = Decision::decode(&UpdateId(Uuid::from_u128(8)), &old()).unwrap();
        assert_ne!(other.approvals[0].1.id, approval.id, "another update has another approval");
        assert_eq!(Decision::decode(&UPDATE, &read.encode().unwrap()).unwrap(), read);
    }

    #[test]
    fn a_record_of_a_later_version_is_refused_as_such() {
        let mut bytes = old();
        bytes[0] = 3;
        let refused = Decision::decode(&UPDATE, &bytes);
        assert!(matches!(refused, Err(CatalogError::Newer { found: 3, known: 2 })), "{refused:?}");
    }

    #[test]
    fn the_newest_revision_is_in_force_once_its_time_has_come() {
        let mut decision = Decision::decode(&UPDATE, &old()).unwrap();
        let first = decision.approvals.remove(0).1;
        let at = |second| Timestamp::from_second(second).unwrap();
        for (revision, second) in [(200, 1_000), (201, 1_000), (202, 90_000)] {
            let approval = Approval { revision: Some(revision), made_at: at(second), ..first.clone() };
            decision.waiting.push((GroupId::ALL_COMPUTERS, approval));
        }
        let in_force = |decision: &Decision| decision.approvals[0].1.revision;
        decision.sort_out(at(2_000));
        assert_eq!((in_force(&decision), decision.waiting.len()), (Some(201), 2));
        assert_eq!(decision.due(at(2_000)), Some(at(90_000 - 600)));
        decision.sort_out(at(90_000 - 600));
        assert_eq!((in_force(&decision), decision.due(at(90_000))), (Some(202), None));
    }

    #[test]
    fn what_is_retired_is_bounded_and_what_is_forgotten_is_known() {
        let mut decision = Decision::default();
        for change in 1..=100_u64 {
            decision.retire(ApprovalId(Uuid::from_u128(u128::from(change))), change);
        }
        assert_eq!((decision.retired.len(), decision.forgotten), (MAX_RETIRED, 36));
    }
}
