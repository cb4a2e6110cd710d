//! Taking over what another server decided: groups, approvals and declines become what it says, in one step.
//!
//! **Invariant:** what stays as it was keeps its numbers, so that agents hear only of what changed. Everything
//! is shown at once and, however the process ends, kept whole or not at all. It never touches what only this
//! site decided: holds, and which computer is in which group that still exists.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::change::Change;
use super::decider::Decider;
use super::groups::{Leaving, MAX_DEPTH, MAX_GROUPS, cut};
use crate::decisions::decided::well_known;
use crate::decisions::decision::Decision;
use crate::decisions::decision::Decline;
use crate::decisions::export::{DecisionSet, SharedApproval, SharedDecline};
use crate::error::CatalogError;
use crate::storage::record;
use crate::storage::record::key;
use crate::values::computer::Group;
use tailwater_domain::{Approval, ApprovalId, GroupId, Limit, UpdateId, limits};

/// The most approvals or declines taken over; a WSUS with everything approved for ten groups has a tenth.
const MAX_DECISIONS: usize = 2_000_000;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_DECISIONS in "decisions": "Approvals or declines taken over from an upstream" => "the synchronisation of decisions fails",
];

/// What a replacement changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Updates of which something else is decided now.
    pub updates: usize,
    /// Groups that are new, changed or gone.
    pub groups: usize,
}

impl Decider {
    /// Makes groups, approvals and declines what another server says, as one change. Nobody else may change computers
    /// meanwhile.
    pub(crate) fn replace_decisions(
        &self,
        set: DecisionSet,
        settings: Vec<(String, Option<Vec<u8>>)>,
        leaving: Leaving<'_>,
    ) -> Result<Replaced, CatalogError> {
        if set.approvals.len().max(set.declined.len()).max(set.retired.len()) > MAX_DECISIONS {
            return Err(CatalogError::TooManyDecisions { limit: MAX_DECISIONS });
        }
        let now = self.now();
        self.changes().run(|_, change| {
            change.also.extend(settings.into_iter().map(|(name, value)| (key::setting(&name), value)));
            let (groups, gone) = replace_groups(change, set.groups)?;
            let eulas: BTreeSet<uuid::Uuid> = set.accepted_eulas.into_iter().collect();
            if change.decisions.eulas != eulas {
                change.also.push((key::EULAS.to_vec(), Some(record::encode(&eulas)?)));
                change.decisions.eulas = eulas;
            }
            let mut work = Work::new(change, &gone, set.complete, set.approvals, &set.retired, set.declined);
            let updates = work.run(change, now)?;
            if !gone.is_empty() {
                change.ops.extend(leaving(&gone)?);
            }
            Ok(Replaced { updates, groups })
        })
    }
}

/// Groups with known parents, each below All Computers, with their depth.
fn tidy(groups: Vec<Group>) -> Result<HashMap<GroupId, Group>, CatalogError> {
    if groups.len() > MAX_GROUPS {
        return Err(CatalogError::TooManyGroups { limit: MAX_GROUPS });
    }
    let fixed = well_known();
    let ids: Vec<GroupId> = groups.iter().map(|group| group.id).collect();
    let mut known: HashMap<GroupId, Group> = groups.into_iter().map(|group| (group.id, group)).collect();
    known.extend(fixed.iter().map(|group| (group.id, group.clone())));
    for id in ids.iter().filter(|id| fixed.iter().all(|group| group.id != **id)) {
        let depth = depth_of(&known, id);
        if let Some(group) = known.get_mut(id) {
            if depth.is_none() {
                group.parent = Some(GroupId::ALL_COMPUTERS);
            }
            let name = cut(group.name.trim());
            group.name = if name.is_empty() { id.to_string() } else { name };
        }
    }
    let depths: Vec<(GroupId, u32)> =
        ids.iter().filter_map(|id| Some((*id, depth_of(&known, id)?))).collect();
    for (id, depth) in depths {
        known.entry(id).and_modify(|group| group.depth = depth);
    }
    Ok(known)
}

/// How far below All Computers a group lies; none when its parents do not lead there.
fn depth_of(groups: &HashMap<GroupId, Group>, id: &GroupId) -> Option<u32> {
    let mut at = *id;
    for depth in 0..=MAX_DEPTH {
        if at == GroupId::ALL_COMPUTERS {
            return Some(depth);
        }
        at = groups.get(&at)?.parent.filter(|parent| *parent != GroupId::UNASSIGNED_COMPUTERS)?;
    }
    None
}

/// Makes the groups these. How many changed, and which are gone.
fn replace_groups(change: &mut Change, groups: Vec<Group>) -> Result<(usize, Vec<GroupId>), CatalogError> {
    let wanted = tidy(groups)?;
    let known = &change.decisions.groups;
    let gone: Vec<GroupId> = known.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
    let changed: Vec<Group> =
        wanted.into_values().filter(|group| known.get(&group.id) != Some(group)).collect();
    let count = gone.len() + changed.len();
    for id in &gone {
        change.decisions.groups.remove(id);
        change.ops.push((key::group(id), None));
    }
    for group in changed {
        change.group(group)?;
    }
    Ok((count, gone))
}

/// What there is to do for each update.
struct Work {
    complete: bool,
    gone: HashSet<GroupId>,
    /// By update: new and changed approvals.
    approvals: HashMap<UpdateId, Vec<SharedApproval>>,
    retired: HashSet<ApprovalId>,
    declined: HashMap<UpdateId, SharedDecline>,
    /// Updates to look at.
    visit: BTreeSet<UpdateId>,
}

impl Work {
    fn new(
        change: &Change,
        gone: &[GroupId],
        complete: bool,
        approvals: Vec<SharedApproval>,
        retired: &[ApprovalId],
        declined: Vec<SharedDecline>,
    ) -> Self {
        let mut work = Self {
            complete,
            gone: gone.iter().copied().collect(),
            approvals: HashMap::new(),
            retired: retired.iter().copied().collect(),
            declined: declined.into_iter().map(|one| (one.update, one)).collect(),
            visit: BTreeSet::new(),
        };
        for one in approvals {
            work.approvals.entry(one.update).or_default().push(one);
        }
        let known = change.decisions.updates.iter();
        let concerned = known.filter(|(id, decision)| {
            complete
                || decision.declined.is_some() != work.declined.contains_key(id)
                || decision.all().any(|(group, one)| work.goes(group, one))
        });
        work.visit = concerned.map(|(id, _)| *id).collect();
        work.visit.extend(work.approvals.keys());
        let undecided = work.declined.keys().filter(|id| !change.decisions.updates.contains_key(id));
        work.visit.extend(undecided);
        work
    }

    /// Whether an approval of before is no more.
    fn goes(&self, group: &GroupId, approval: &Approval) -> bool {
        self.retired.contains(&approval.id) || self.gone.contains(group)
    }

    /// Changes every decision that must. How many did.
    fn run(&mut self, change: &mut Change, now: Timestamp) -> Result<usize, CatalogError> {
        let before = change.ops.len();
        for update in std::mem::take(&mut self.visit) {
            // of an update of which nothing was decided yet nothing is lost
            let old = change.decisions.updates.get(&update).cloned().unwrap_or_default();
            let new = self.renew(change, &update, &old, now);
            if new != *old {
                change.ops.push((key::decision(&update), Some(new.encode()?)));
                change.decisions.updates.insert(update, Arc::new(new));
            }
        }
        Ok(change.ops.len() - before)
    }

    fn renew(&mut self, change: &mut Change, update: &UpdateId, old: &Decision, now: Timestamp) -> Decision {
        let mut new = old.clone();
        let told = self.approvals.remove(update).unwrap_or_default();
        let named: HashSet<ApprovalId> = told.iter().map(|one| one.approval.id).collect();
        new.retire_those(change.number(), |group, one| {
            !named.contains(&one.id) && (self.complete || self.goes(group, one))
        });
        for one in told {
            place(change, &mut new, old, one);
        }
        new.sort_out(now);
        match (self.declined.get(update), &new.declined) {
            (Some(told), None) => {
                let by = told.by.as_deref().map_or_else(|| "upstream".to_owned(), cut);
                new.declined = Some(Decline { at: told.at.unwrap_or(now), by });
                new.decline_change = change.number();
            }
            (None, Some(_)) => {
                new.declined = None;
                new.decline_change = change.number();
            }
            _ => {}
        }
        if !new.looks_like(old) {
            (new.change, new.at) = (change.number(), now.as_second());
        }
        new
    }
}

/// Puts an approval in the place of its former self, with new numbers unless it says the same.
fn place(change: &mut Change, new: &mut Decision, old: &Decision, told: SharedApproval) {
    let id = told.approval.id;
    let mut approval = told.approval;
    approval.made_by = cut(&approval.made_by);
    approval.priority = approval.priority.clamp(1, 3);
    for list in [&mut new.approvals, &mut new.waiting] {
        list.retain(|(_, one)| one.id != id);
    }
    let before = old.all().find(|(group, one)| *group == told.group && one.says_the_same(&approval));
    if let Some((_, before)) = before {
        (approval.deployment_id, approval.change) = (before.deployment_id, before.change);
    } else {
        (approval.deployment_id, approval.change) = (change.deployment(), change.number());
    }
    // one that came back is not dead
    new.retired.retain(|retired| retired.id != id);
    new.waiting.push((told.group, approval));
}
