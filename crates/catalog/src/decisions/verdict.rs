//! Verdicts on updates: approved, declined, held and back, for any number of updates at once.
//!
//! **Invariant:** what one command says of many updates is one change: all of it is decided, or nothing is and every
//! update that stood in the way is named. It never looks at computers.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::change::Change;
use super::decider::Decider;
use super::groups::cut;
use crate::decisions::decision::Decline;
use crate::decisions::decision::{Decision, Hold};
use crate::error::CatalogError;
use crate::snapshot::root::Snapshot;
use crate::snapshot::world::{Rev, flag};
use crate::storage::record::key;
use crate::values::belonging::DecisionKind;
use tailwater_domain::{
    Action, Approval, ApprovalId, Deadline, GroupId, Limit, USUAL_PRIORITY, UpdateId, UpdateType, limits,
};

/// The most updates of one decision: more than a catalog with every product offers.
pub const MAX_DECIDED: usize = 20_000;
/// The longest reason of a hold, in characters.
const MAX_REASON: usize = 1_000;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_DECIDED in "updates": "Updates of one decision" => "the request is refused: 400",
    MAX_REASON in "characters": "The reason of a hold" => "it is cut",
];

/// What is decided of updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Approved for a group, in the place of an earlier approval there. A declined update is taken back, as in WSUS.
    /// With [`Action::Block`] it is not approved for the group, whatever is approved for groups above it.
    Approve {
        /// For whom.
        group: GroupId,
        /// What its computers are to do.
        action: Action,
        /// By when.
        deadline: Deadline,
    },
    /// No longer approved.
    Unapprove {
        /// For this group only; for all when none.
        group: Option<GroupId>,
    },
    /// Declined; approvals go.
    Decline,
    /// No longer declined.
    Undecline,
    /// Held back on this server and those below it: offered to nobody for installation, whatever was approved. An
    /// earlier hold is replaced.
    Hold {
        /// Until then; for good when none.
        until: Option<Timestamp>,
        /// Why; cut to 1,000 characters.
        reason: String,
    },
    /// No longer held.
    Release,
}

impl Verdict {
    /// Whether it is a site's own, on a replica as well.
    fn is_local(&self) -> bool {
        matches!(self, Self::Hold { .. } | Self::Release)
    }
}

impl Decider {
    /// Whether a verdict can be asked for, and those of the updates whose license terms stand in its way. Reads
    /// documents, so it is not done while something is changed.
    fn may_be_asked(
        &self,
        updates: &[UpdateId],
        verdict: &Verdict,
    ) -> Result<HashSet<UpdateId>, CatalogError> {
        if !verdict.is_local() {
            self.may_decide()?;
        }
        if updates.len() > MAX_DECIDED {
            return Err(CatalogError::TooManyAtOnce { limit: MAX_DECIDED });
        }
        match verdict {
            Verdict::Approve { action: Action::Install, .. } => self.unaccepted(updates),
            _ => Ok(HashSet::new()),
        }
    }

    /// What deciding would answer for each of these updates.
    pub(crate) fn would_decide(
        &self,
        updates: &[UpdateId],
        verdict: &Verdict,
    ) -> Result<Vec<Result<bool, CatalogError>>, CatalogError> {
        let unaccepted = self.may_be_asked(updates, verdict)?;
        let (snapshot, now) = (self.current().snapshot(), self.now());
        let mut change = self.changes().tried(&snapshot);
        may_be_said(&change, verdict, now)?;
        let (change, by) = (&mut change, String::new());
        let mut judge = Judge { snapshot: &snapshot, change, verdict, unaccepted, by, now };
        Ok(updates.iter().map(|update| judge.decide(update)).collect())
    }

    /// Decides the same of several updates as one change.
    pub(crate) fn decide_all(
        &self,
        updates: &[UpdateId],
        verdict: &Verdict,
        by: &str,
    ) -> Result<Vec<bool>, CatalogError> {
        let unaccepted = self.may_be_asked(updates, verdict)?;
        let (by, now) = (cut(by), self.now());
        self.changes().run(|snapshot, change| {
            may_be_said(change, verdict, now)?;
            let mut judge = Judge { snapshot, change, verdict, unaccepted, by, now };
            let (mut changed, mut refused, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
            for update in updates {
                match if seen.insert(*update) { judge.decide(update) } else { Ok(false) } {
                    Ok(whether) => changed.push(whether),
                    Err(error) => refused.push((*update, error)),
                }
            }
            match refused.pop() {
                None => Ok(changed),
                Some((_, alone)) if updates.len() == 1 => Err(alone),
                Some(last) => {
                    refused.push(last);
                    Err(CatalogError::Undecided { refused, of: updates.len() })
                }
            }
        })
    }
}

/// Whether a verdict can be given at all, whatever of.
fn may_be_said(change: &Change, verdict: &Verdict, now: Timestamp) -> Result<(), CatalogError> {
    match verdict {
        Verdict::Approve { group, .. } if !change.decisions.groups.contains_key(group) => {
            Err(CatalogError::UnknownGroup(*group))
        }
        Verdict::Hold { until: Some(until), .. } if *until <= now => Err(CatalogError::HoldIsOver),
        _ => Ok(()),
    }
}

/// Gives one verdict within one change.
struct Judge<'a> {
    snapshot: &'a Snapshot,
    change: &'a mut Change,
    verdict: &'a Verdict,
    /// Updates with license terms that nobody accepted.
    unaccepted: HashSet<UpdateId>,
    by: String,
    now: Timestamp,
}

impl Judge<'_> {
    /// Decides of one update; false when that changes nothing.
    fn decide(&mut self, update: &UpdateId) -> Result<bool, CatalogError> {
        self.is_possible(update)?;
        let known = self.change.decisions.updates.get(update);
        // nothing was decided of it yet
        let mut decision = known.map(|known| (**known).clone()).unwrap_or_default();
        if !self.apply(&mut decision) {
            return Ok(false);
        }
        decision.change = self.change.number();
        decision.at = self.now.as_second();
        self.change.ops.push((key::decision(update), Some(decision.encode()?)));
        self.change.decisions.updates.insert(*update, Arc::new(decision));
        Ok(true)
    }

    fn is_possible(&self, update: &UpdateId) -> Result<(), CatalogError> {
        match self.verdict {
            Verdict::Approve { action, .. } => {
                may_approve(self.snapshot, update, *action)?;
                if self.unaccepted.contains(update) {
                    return Err(CatalogError::TermsNotAccepted(*update));
                }
                Ok(())
            }
            Verdict::Decline => deployable(self.snapshot, update, DecisionKind::Decline).map(|_| ()),
            Verdict::Hold { .. } => deployable(self.snapshot, update, DecisionKind::Hold).map(|_| ()),
            Verdict::Unapprove { .. } | Verdict::Undecline | Verdict::Release => {
                known(self.snapshot, update).map(|_| ())
            }
        }
    }

    /// Whether anything changed.
    fn apply(&mut self, decision: &mut Decision) -> bool {
        let number = self.change.number();
        match self.verdict {
            Verdict::Approve { group, action, deadline } => {
                let approval = self.approval(*action, *deadline);
                // not to approve takes no decline back
                if action.acts() && decision.declined.take().is_some() {
                    decision.decline_change = number;
                }
                decision.retire_those(number, |other, _| other == group);
                decision.approvals.push((*group, approval));
                decision.approvals.sort_by_key(|(group, _)| *group);
                true
            }
            Verdict::Unapprove { group } => {
                decision.retire_those(number, |other, _| group.is_none_or(|group| group == *other))
            }
            Verdict::Decline if decision.declined.is_some() => false,
            Verdict::Decline => {
                decision.retire_those(number, |_, _| true);
                decision.declined = Some(Decline { at: self.now, by: self.by.clone() });
                decision.decline_change = number;
                true
            }
            Verdict::Undecline => {
                decision.declined.take().map(|_| decision.decline_change = number).is_some()
            }
            Verdict::Hold { until, reason } => {
                let reason = reason.chars().take(MAX_REASON).collect();
                decision.hold = Some(Hold { until: *until, reason, by: self.by.clone(), at: self.now });
                decision.hold_change = number;
                true
            }
            Verdict::Release => decision.hold.take().map(|_| decision.hold_change = number).is_some(),
        }
    }

    fn approval(&mut self, action: Action, deadline: Deadline) -> Approval {
        let (deployment_id, change) = (self.change.deployment(), self.change.number());
        Approval {
            id: ApprovalId(Uuid::new_v4()),
            action,
            deadline,
            made_at: self.now,
            made_by: self.by.clone(),
            revision: None,
            is_assigned: true,
            priority: USUAL_PRIORITY,
            deployment_id,
            change,
        }
    }
}

fn known<'a>(snapshot: &'a Snapshot, update: &UpdateId) -> Result<&'a Rev, CatalogError> {
    let world = snapshot.world();
    let newest = world.update(update).and_then(|(_, update)| world.rev(update.newest));
    newest.ok_or(CatalogError::UnknownUpdate(*update))
}

fn deployable<'a>(
    snapshot: &'a Snapshot,
    update: &UpdateId,
    kind: DecisionKind,
) -> Result<&'a Rev, CatalogError> {
    let rev = known(snapshot, update)?;
    match rev.update_type {
        UpdateType::Software | UpdateType::Driver if rev.has(flag::DEPLOYABLE) => Ok(rev),
        _ => {
            let belonging = snapshot.belonging(update);
            Err(CatalogError::NotDeployable { update: *update, kind, belonging })
        }
    }
}

fn may_approve(snapshot: &Snapshot, update: &UpdateId, action: Action) -> Result<(), CatalogError> {
    let rev = deployable(snapshot, update, DecisionKind::Approve)?;
    match action {
        Action::Install if rev.has(flag::EXPIRED) => Err(CatalogError::Expired(*update)),
        Action::Uninstall if !can_uninstall(snapshot, rev) => Err(CatalogError::NotUninstallable(*update)),
        _ => Ok(()),
    }
}

/// A bundle can be uninstalled when something in it can.
fn can_uninstall(snapshot: &Snapshot, rev: &Rev) -> bool {
    let world = snapshot.world();
    let child = |update: u32| world.rev(world.updates[update as usize].delivered);
    rev.has(flag::UNINSTALLABLE)
        || world.children(rev).iter().filter_map(|it| child(it.update)).any(|it| it.has(flag::UNINSTALLABLE))
}
