//! How something is decided, and what is decided of groups; of updates it is [`super::verdict`].
//!
//! **Invariant:** a change is one journal record, one change number and one snapshot, whatever it concerns, and is
//! journaled and durable before the snapshot shows it. Decisions are of updates, so a later revision keeps them. On a
//! replica nothing is decided here: what may differ from upstream is in [`super::overlay`].

use std::sync::Arc;

use crate::catalog::decisions::decided::Decisions;
use crate::catalog::error::CatalogError;
use crate::catalog::snapshot::root::Snapshot;
use crate::catalog::storage::log::{Op, Store, lock};
use crate::catalog::storage::record;
use crate::catalog::storage::record::key;
use crate::catalog::values::computer::{Computer, Group};
use crate::domain::{GroupId, Limit, limits};
use uuid::Uuid;

/// The most groups; every scan of a new set of groups looks at their approvals.
pub(in crate::catalog) const MAX_GROUPS: usize = 10_000;
/// How deep groups may lie.
pub(in crate::catalog) const MAX_DEPTH: u32 = 32;
/// The longest name of a group or of who decided, in characters.
const MAX_NAME: usize = 255;

pub(in crate::catalog) const LIMITS: &[Limit] = limits![
    MAX_GROUPS in "groups": "Groups of computers" => "the group is not created: 400",
    MAX_DEPTH in "levels": "Groups within groups" => "the group is not created or moved: 400",
    MAX_NAME in "characters": "The name of a group, or of who decided" => "a group's name is refused, who decided is cut",
];

pub(in crate::catalog) fn cut(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

/// A change in the making.
pub(in crate::catalog) struct Change {
    pub decisions: Decisions,
    /// What is journaled.
    pub ops: Vec<Op>,
    /// What is written with it and would come back by itself.
    pub also: Vec<Op>,
    /// Computers that it puts into other groups.
    pub computers: Vec<Computer>,
    pub number: u64,
}

impl Change {
    /// The next change after a snapshot, with nothing in it.
    pub(in crate::catalog) fn after(snapshot: &Snapshot) -> Self {
        let decisions = (*snapshot.view().decisions).clone();
        let number = snapshot.change_number() + 1;
        Self { decisions, ops: Vec::new(), also: Vec::new(), computers: Vec::new(), number }
    }

    pub(in crate::catalog) fn group(&mut self, group: Group) -> Result<Group, CatalogError> {
        self.ops.push((key::group(&group.id), Some(record::encode(&group)?)));
        self.decisions.groups.insert(group.id, group.clone());
        Ok(group)
    }
}

impl Store {
    /// Runs one change: journaled, durable, then shown. Whoever changes computers holds `computers.changing`.
    pub(in crate::catalog) fn change<T>(
        &self,
        work: impl FnOnce(&Snapshot, &mut Change) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let _one = lock(&self.changing);
        let snapshot = self.snapshot();
        let before = Arc::clone(&snapshot.view().decisions);
        let mut change = Change::after(&snapshot);
        let number = change.number;
        let outcome = work(&snapshot, &mut change)?;
        let decided = !change.ops.is_empty();
        if decided {
            if change.decisions.deployment != before.deployment {
                let last = record::encode(&change.decisions.deployment)?;
                change.ops.push((key::DEPLOYMENT.to_vec(), Some(last)));
            }
            for one in &change.computers {
                change.ops.push((key::computer(&one.id), Some(one.record()?)));
            }
            change.ops.push((key::CHANGE.to_vec(), Some(record::encode(&number)?)));
            change.decisions.change = number;
        }
        let next = decided.then(|| {
            // only for a hash: an entry that is removed says nothing
            let does =
                change.ops.iter().flat_map(|(key, value)| [&key[..], value.as_deref().unwrap_or_default()]);
            self.lineage.next(number, self.clock.now(), does)
        });
        if let Some(next) = &next {
            change.ops.extend(next.ops.iter().cloned());
        }
        if decided || !change.also.is_empty() {
            self.journal_with(change.ops, change.also)?;
        }
        if let Some(next) = next {
            self.lineage.commit(next.place);
        }
        // license terms that were accepted matter to downstream servers only, and raise no number
        if decided || change.decisions.eulas != before.eulas {
            self.publish(Arc::clone(snapshot.world()), Arc::new(change.decisions));
        }
        for computer in change.computers {
            self.computers.keep(computer);
        }
        Ok(outcome)
    }

    /// Whether decisions are made here at all.
    pub(in crate::catalog) fn may_decide(&self) -> Result<(), CatalogError> {
        match &self.config.replica_of {
            Some(upstream) => Err(CatalogError::Replica { upstream: upstream.clone() }),
            None => Ok(()),
        }
    }

    pub(in crate::catalog) fn create_group(
        &self,
        name: &str,
        parent: Option<&GroupId>,
    ) -> Result<Group, CatalogError> {
        self.may_decide()?;
        let parent = parent.copied().unwrap_or(GroupId::ALL_COMPUTERS);
        self.change(|_, change| {
            let name = free_name(&change.decisions, name, None)?;
            let depth = match change.decisions.groups.get(&parent) {
                None => return Err(CatalogError::UnknownGroup(parent)),
                Some(_) if parent == GroupId::UNASSIGNED_COMPUTERS => {
                    return Err(CatalogError::FixedGroup(parent));
                }
                Some(group) => group.depth + 1,
            };
            if depth > MAX_DEPTH || change.decisions.groups.len() >= MAX_GROUPS {
                return Err(CatalogError::TooManyGroups { limit: MAX_GROUPS });
            }
            let id = GroupId(Uuid::new_v4());
            change.group(Group { id, name, parent: Some(parent), depth })
        })
    }

    pub(in crate::catalog) fn remove_group(&self, id: &GroupId) -> Result<(), CatalogError> {
        self.may_decide()?;
        let _computers = lock(&self.computers.changing);
        self.change(|_, change| {
            own_group(&change.decisions, id)?;
            let gone = change.decisions.below(id);
            for group in &gone {
                change.decisions.groups.remove(group);
                change.ops.push((key::group(group), None));
            }
            let at = self.clock.now().as_second();
            for (update, decision) in &mut change.decisions.updates {
                if decision.all().any(|(group, _)| gone.contains(group)) {
                    let decision = Arc::make_mut(decision);
                    decision.retire_those(change.number, |group, _| gone.contains(group));
                    (decision.change, decision.at) = (change.number, at);
                    change.ops.push((key::decision(update), Some(decision.encode()?)));
                }
            }
            change.computers = self.computers.leaving(&gone);
            Ok(())
        })
    }
}

pub(in crate::catalog) fn own_group(decisions: &Decisions, id: &GroupId) -> Result<Group, CatalogError> {
    if [GroupId::ALL_COMPUTERS, GroupId::UNASSIGNED_COMPUTERS].contains(id) {
        return Err(CatalogError::FixedGroup(*id));
    }
    decisions.groups.get(id).cloned().ok_or(CatalogError::UnknownGroup(*id))
}

pub(in crate::catalog) fn free_name(
    decisions: &Decisions,
    name: &str,
    own: Option<&GroupId>,
) -> Result<String, CatalogError> {
    let name = name.trim();
    let folded = name.to_lowercase();
    let taken = decisions.groups.values().any(|it| Some(&it.id) != own && it.name.to_lowercase() == folded);
    if name.is_empty() || taken || name.chars().count() > MAX_NAME {
        Err(CatalogError::GroupName(cut(name)))
    } else {
        Ok(name.to_owned())
    }
}
