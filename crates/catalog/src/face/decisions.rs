//! The catalog towards administrators who decide, and towards servers from which decisions come or to which they go.
//!
//! **Invariant:** as the catalog's. It never decides who may ask.

use jiff::Timestamp;
use uuid::Uuid;

use crate::decisions::decision::Hold;
use crate::decisions::export::DecisionSet;
use crate::decisions::groups::Removal;
use crate::decisions::replace::Replaced;
use crate::decisions::terms::Terms;
use crate::decisions::verdict::Verdict;
use crate::error::CatalogError;
use crate::parts::Catalog;
use crate::values::computer::Group;
use tailwater_domain::{Action, Approval, Deadline, DecryptionKey, GroupId, Sha1Digest, UpdateId};

impl Catalog {
    /// All groups as the tree that they are: each one followed by those below it, by name.
    pub fn groups(&self) -> Vec<Group> {
        self.0.current.snapshot().view().decisions.sorted()
    }

    /// A group by name (any letter case) or identity.
    pub fn find_group(&self, name_or_id: &str) -> Option<Group> {
        let (name, id) = (name_or_id.trim().to_lowercase(), name_or_id.parse::<GroupId>().ok());
        self.groups().into_iter().find(|group| Some(group.id) == id || group.name.to_lowercase() == name)
    }

    /// Makes a group; without a parent, in All Computers.
    pub fn create_group(&self, name: &str, parent: Option<&GroupId>) -> Result<Group, CatalogError> {
        self.0.decider.create_group(name, parent)
    }

    /// Renames a group.
    pub fn rename_group(&self, group: &GroupId, name: &str) -> Result<Group, CatalogError> {
        self.change_group(group, Some(name), None)
    }

    /// Removes a group and those below it with their approvals; their computers become unassigned.
    pub fn remove_group(&self, group: &GroupId) -> Result<(), CatalogError> {
        self.0.decider.may_decide()?;
        self.0.fleet.leaving(|leaving| self.0.decider.remove_group(group, leaving))
    }

    /// What [`Catalog::remove_group`] would take away.
    ///
    /// # Errors
    /// As that would fail.
    pub fn removal(&self, group: &GroupId) -> Result<Removal, CatalogError> {
        self.0.decider.removal(group, self.0.fleet.members().all())
    }

    /// Renames a group, puts it with all below it under another one, or both, as one change.
    ///
    /// # Errors
    /// When one of them is unknown or well-known, the parent lies in the group, it would be too deep, or the name is
    /// taken; on a replica.
    pub fn change_group(
        &self,
        group: &GroupId,
        name: Option<&str>,
        parent: Option<&GroupId>,
    ) -> Result<Group, CatalogError> {
        self.0.decider.change_group(group, name, parent)
    }

    /// Whether computers say themselves in which group they are (client-side targeting).
    pub fn is_client_side_targeting(&self) -> bool {
        self.0.decider.is_client_side_targeting()
    }
    /// Decides the same of several updates, at most [`crate::MAX_DECIDED`], as one change: one journal record, one change
    /// number, one snapshot. Answers in their order whether anything changed.
    ///
    /// # Errors
    /// When one of them cannot be decided so, nothing is changed: its own error when there is only one, else
    /// [`CatalogError::Undecided`] with all that stood in the way.
    pub fn decide(
        &self,
        updates: &[UpdateId],
        verdict: &Verdict,
        by: &str,
    ) -> Result<Vec<bool>, CatalogError> {
        self.0.decider.decide_all(updates, verdict, by)
    }

    /// What [`Catalog::decide`] would answer for each of these updates, in their order. Changes nothing.
    ///
    /// # Errors
    /// When it could be decided of none of them: on a replica, for a group that is not there.
    pub fn would_decide(
        &self,
        updates: &[UpdateId],
        verdict: &Verdict,
    ) -> Result<Vec<Result<bool, CatalogError>>, CatalogError> {
        self.0.decider.would_decide(updates, verdict)
    }

    /// Approves an update for a group, replacing an earlier approval there. A declined update is taken
    /// back, as in WSUS.
    pub fn approve(
        &self,
        update: &UpdateId,
        group: &GroupId,
        action: Action,
        deadline: Deadline,
        by: &str,
    ) -> Result<Approval, CatalogError> {
        self.decide(&[*update], &Verdict::Approve { group: *group, action, deadline }, by)?;
        let snapshot = self.snapshot();
        let decision = snapshot.view().decisions.updates.get(update).cloned();
        let made = decision.and_then(|one| one.approvals.iter().find(|(of, _)| of == group).cloned());
        made.map(|(_, approval)| approval).ok_or(CatalogError::UnknownUpdate(*update))
    }

    /// Takes an approval back. False when there was none.
    pub fn unapprove(&self, update: &UpdateId, group: &GroupId) -> Result<bool, CatalogError> {
        self.decide_one(update, &Verdict::Unapprove { group: Some(*group) }, "")
    }

    /// Declines an update; its approvals go. False when it was declined already.
    pub fn decline(&self, update: &UpdateId, by: &str) -> Result<bool, CatalogError> {
        self.decide_one(update, &Verdict::Decline, by)
    }

    /// Takes a decline back. False when it was not declined.
    pub fn undecline(&self, update: &UpdateId) -> Result<bool, CatalogError> {
        self.decide_one(update, &Verdict::Undecline, "")
    }

    /// Holds an update back on this server; see [`Verdict::Hold`].
    pub fn hold(
        &self,
        update: &UpdateId,
        until: Option<Timestamp>,
        reason: &str,
        by: &str,
    ) -> Result<Hold, CatalogError> {
        self.decide(&[*update], &Verdict::Hold { until, reason: reason.to_owned() }, by)?;
        let snapshot = self.snapshot();
        let decision = snapshot.view().decisions.updates.get(update).cloned();
        decision.and_then(|one| one.hold.clone()).ok_or(CatalogError::UnknownUpdate(*update))
    }

    /// Takes a hold back. False when there was none.
    pub fn release(&self, update: &UpdateId) -> Result<bool, CatalogError> {
        self.decide_one(update, &Verdict::Release, "")
    }

    fn decide_one(&self, update: &UpdateId, verdict: &Verdict, by: &str) -> Result<bool, CatalogError> {
        Ok(self.decide(&[*update], verdict, by)?.contains(&true))
    }
    /// Makes groups, approvals and declines what another server says, durably and in one step, with these
    /// settings (at most 30). What it says already changes nothing. Blocks; agents are answered meanwhile.
    pub fn replace_decisions(
        &self,
        set: DecisionSet,
        settings: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<Replaced, CatalogError> {
        self.0.fleet.leaving(|leaving| self.0.decider.replace_decisions(set, settings, leaving))
    }
    /// When something next comes into force by itself: a hold that ends, an approval for a later time. To be
    /// followed by [`Catalog::bring_due`].
    pub fn next_due(&self) -> Option<Timestamp> {
        self.0.decider.next_due()
    }

    /// Brings into force whatever is due. How many updates that concerned.
    pub fn bring_due(&self) -> Result<usize, CatalogError> {
        self.0.decider.bring_due()
    }
    /// What a downstream server is to know that knows everything up to the change number `since` (0:
    /// nothing), as far as it changed up to `until`. None when `since` is too long ago: ask from 0.
    ///
    /// Approvals of updates that are not in the catalog are left out until they are.
    pub fn export_decisions(&self, since: u64, until: u64) -> Result<Option<DecisionSet>, CatalogError> {
        self.0.decider.export_decisions(since, until)
    }

    /// The license terms of an update and of all it bundles, by identity. May wait for a disk.
    pub fn terms_of(&self, update: &UpdateId) -> Result<Vec<Terms>, CatalogError> {
        self.0.decider.terms_of(update)
    }

    /// Accepts the terms of these updates and of all they bundle, durably and in one step. Returns those that nobody
    /// had accepted.
    ///
    /// # Errors
    /// On a replica, which takes what was accepted from its upstream.
    pub fn accept_terms(&self, updates: &[UpdateId], by: &str) -> Result<Vec<Uuid>, CatalogError> {
        self.0.decider.accept_terms(updates, by)
    }

    /// Keeps keys durably; none says that the upstream has none. What was withheld for them is offered at once. How
    /// many are new or others than before. Blocks.
    pub fn keep_keys(&self, told: Vec<(Sha1Digest, Option<DecryptionKey>)>) -> Result<usize, CatalogError> {
        self.0.decider.keep_keys(told)
    }
}
