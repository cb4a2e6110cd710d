//! Decisions as they travel between servers: all of them, or what changed since a change number. MS-WSUSSS
//! carries them as deployments, and the protocol between two tailwaters as they are.
//!
//! **Invariant:** what was given out since a number and what is given out from there on make the whole, as
//! long as nothing in between was forgotten; then nothing is given out and all of it must be asked for. An
//! update that is held back here is forwarded as one to detect only, under the same names. It never changes
//! anything.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::decider::Decider;
use crate::decisions::decision::Decision;
use crate::error::CatalogError;
use crate::snapshot::view::View;
use crate::snapshot::world::World;
use crate::values::computer::Group;
use tailwater_domain::{Action, Approval, ApprovalId, GroupId, UpdateId};

/// What a server tells a replica of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionSet {
    /// Whether `approvals` is all there are; else it is what changed, and `retired` what went.
    pub complete: bool,
    /// All groups.
    pub groups: Vec<Group>,
    /// New and changed approvals.
    pub approvals: Vec<SharedApproval>,
    /// Approvals that are no more.
    pub retired: Vec<ApprovalId>,
    /// All declines.
    pub declined: Vec<SharedDecline>,
    /// All license terms that were accepted (`EulaID`).
    pub accepted_eulas: Vec<Uuid>,
    /// The change number up to which this tells.
    pub change: u64,
}

/// An approval with what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedApproval {
    /// Which update.
    pub update: UpdateId,
    /// For whom.
    pub group: GroupId,
    /// The approval. `deployment_id` and `change` are the sender's own and count for nobody else.
    pub approval: Approval,
}

/// A decline. MS-WSUSSS only says that there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedDecline {
    /// Which update.
    pub update: UpdateId,
    /// When, if known.
    pub at: Option<Timestamp>,
    /// Who, if known.
    pub by: Option<String>,
}

/// The revision that an approval is told of, and since when it is here.
fn told_of(world: &World, update: &UpdateId, approval: &Approval, until: u64) -> Option<(u32, u64)> {
    let (_, update) = world.update(update)?;
    let here = || {
        let revisions = world.revisions(update).map(|(_, rev)| (rev.number, u64::from(rev.appeared)));
        revisions.filter(move |(_, appeared)| *appeared <= until)
    };
    let named = here().find(|(number, _)| Some(*number) == approval.revision);
    named.or_else(|| here().next())
}

/// The approvals of one update that changed after `since` and up to `until`.
fn changed(
    view: &View,
    update: UpdateId,
    decision: &Decision,
    since: u64,
    until: u64,
) -> impl Iterator<Item = SharedApproval> {
    let world = &*view.world;
    let index = world.update(&update).map(|(index, _)| index);
    // a bundle with a member that is held is held
    let paused = index.is_some_and(|index| view.is_paused(index));
    let turned = index.map_or(0, |index| view.turned_at(index));
    decision.all().filter_map(move |(group, approval)| {
        let (revision, appeared) = told_of(world, &update, approval, until)?;
        let change = approval.change.max(decision.hold_change).max(appeared).max(turned);
        (since < change && change <= until).then(|| {
            let held = (decision.hold.is_some() || paused) && approval.action.acts();
            let action = if held { Action::Detect } else { approval.action };
            let approval = Approval { action, revision: Some(revision), ..approval.clone() };
            SharedApproval { update, group: *group, approval }
        })
    })
}

impl Decider {
    /// What a downstream server is to know that knows everything up to `since`, as far as it changed up to `until`.
    pub(crate) fn export_decisions(
        &self,
        since: u64,
        until: u64,
    ) -> Result<Option<DecisionSet>, CatalogError> {
        let snapshot = self.current().snapshot();
        let (view, decisions) = (snapshot.view(), &snapshot.view().decisions);
        let until = until.min(snapshot.change_number());
        if since > 0 && decisions.updates.values().any(|decision| decision.forgotten > since) {
            return Ok(None);
        }
        let mut set = DecisionSet {
            complete: since == 0,
            groups: decisions.sorted(),
            accepted_eulas: self.accepted_eulas(&snapshot)?,
            change: until,
            ..DecisionSet::default()
        };
        for (update, decision) in &decisions.updates {
            set.approvals.extend(changed(view, *update, decision, since, until));
            if since > 0 {
                let gone = decision.retired.iter().filter(|one| since < one.change && one.change <= until);
                set.retired.extend(gone.map(|one| one.id));
            }
            set.declined.extend(decision.declined.as_ref().map(|declined| SharedDecline {
                update: *update,
                at: Some(declined.at),
                by: Some(declined.by.clone()),
            }));
        }
        set.approvals.sort_by_key(|one| (one.update, one.group, one.approval.id));
        set.declined.sort_by_key(|one| one.update);
        Ok(Some(set))
    }
}
