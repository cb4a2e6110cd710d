//! License terms of updates, and which of them were accepted: here, or upstream.
//!
//! An update has the terms that its document names (`EulaID`, or an `EulaFile` alone) and those of everything it bundles.
//! Agents never ask their user: whoever approves an update for installation accepts its terms for all computers
//! ([MS-WUSP] 3.1.1.1), once for all updates with the same terms.
//!
//! **Invariant:** what was accepted here is journaled with who and when before a call returns, and is never forgotten.
//! An approval for installation that is in force counts for the terms of its update, because stores of earlier versions
//! have no other record. It never reads the terms themselves: they are payloads.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Mutex;

use uuid::Uuid;

use super::groups::cut;
use crate::decisions::acceptance::Acceptance;
use crate::decisions::decider::Decider;
use crate::error::CatalogError;
use crate::snapshot::root::Snapshot;
use crate::storage::lock::leaf;
use crate::storage::record;
use crate::storage::record::key;
use tailwater_domain::{Action, Facts, Limit, RevisionId, UpdateId, limits};

/// Revisions whose terms are remembered; twelve bytes each, and as many again for the table.
const MAX_REMEMBERED: usize = 1 << 20;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_REMEMBERED in "revisions": "Revisions whose licence terms are remembered" => "all are looked up again",
];

/// Terms without an identity of their own are named after their update in this space.
const UNNAMED: Uuid = Uuid::from_u128(0x6c0e_52f7_9d3b_4b1c_8a44_2f6e_0d91_7b35);

/// License terms of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Their identity (`EulaID`); made of the update's where the document gives none.
    pub id: Uuid,
    /// The updates that have them: the one asked about, or what it bundles.
    pub updates: Vec<UpdateId>,
    /// Whether nobody needs to be asked any more.
    pub is_accepted: bool,
    /// Who accepted them here; none when that was upstream or with an earlier version.
    pub acceptance: Option<Acceptance>,
}

/// Terms by revision, as far as they were looked up; a revision never gets others.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<HashMap<u32, Option<Uuid>>>);

/// The terms that a document names.
fn named(facts: &Facts, has_file: bool) -> Option<Uuid> {
    let text = facts.eula_id.as_deref().map(str::trim).filter(|text| !text.is_empty());
    match text.map(Uuid::try_parse) {
        Some(Ok(id)) if !id.is_nil() => Some(id),
        // nobody could name these to another server
        Some(Err(_)) => Some(Uuid::new_v5(&UNNAMED, facts.identity.update.0.as_bytes())),
        Some(Ok(_)) | None => has_file.then(|| Uuid::new_v5(&UNNAMED, facts.identity.update.0.as_bytes())),
    }
}

/// Whether an update is approved for installation, which counts for its terms.
fn accepted_by_approval(snapshot: &Snapshot, update: &UpdateId) -> bool {
    let decision = snapshot.view().decisions.updates.get(update);
    decision.is_some_and(|decision| {
        decision.approvals.iter().any(|(_, approval)| approval.action == Action::Install)
    })
}

impl Decider {
    /// The license terms of an update and of all it bundles, by identity. May wait for a disk.
    pub(crate) fn terms_of(&self, update: &UpdateId) -> Result<Vec<Terms>, CatalogError> {
        let snapshot = self.current().snapshot();
        let decisions = &snapshot.view().decisions;
        let by_approval = accepted_by_approval(&snapshot, update);
        let found = self.terms_in(&snapshot, update)?.into_iter().map(|(id, updates)| Terms {
            id,
            updates: updates.into_iter().collect(),
            is_accepted: by_approval || decisions.has_accepted(&id),
            acceptance: decisions.accepted.get(&id).cloned(),
        });
        Ok(found.collect())
    }

    /// Accepts the terms of these updates and of all they bundle, durably and in one step. Returns those that nobody
    /// had accepted.
    ///
    /// # Errors
    /// On a replica, which takes what was accepted from its upstream.
    pub(crate) fn accept_terms(&self, updates: &[UpdateId], by: &str) -> Result<Vec<Uuid>, CatalogError> {
        self.may_decide()?;
        let snapshot = self.current().snapshot();
        let mut wanted = BTreeSet::new();
        for update in updates {
            wanted.extend(self.terms_in(&snapshot, update)?.into_keys());
        }
        wanted.retain(|id| !snapshot.view().decisions.has_accepted(id));
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let acceptance = Acceptance { at: self.now(), by: cut(by) };
        self.changes().run(|_, change| {
            for id in &wanted {
                change.ops.push((key::terms(id), Some(record::encode(&acceptance)?)));
                change.decisions.accepted.insert(*id, acceptance.clone());
            }
            Ok(())
        })?;
        Ok(wanted.into_iter().collect())
    }
}

impl Decider {
    /// Of these updates, those with terms that nobody accepted. Reads documents: never while something is changed.
    pub(crate) fn unaccepted(&self, updates: &[UpdateId]) -> Result<HashSet<UpdateId>, CatalogError> {
        let snapshot = self.current().snapshot();
        let decisions = &snapshot.view().decisions;
        let mut found = HashSet::new();
        for update in updates {
            let terms = self.terms_in(&snapshot, update)?;
            if terms.keys().any(|id| !decisions.has_accepted(id)) && !accepted_by_approval(&snapshot, update)
            {
                found.insert(*update);
            }
        }
        Ok(found)
    }

    /// Everything that was accepted, and the terms of what is approved for installation: what replicas are told.
    pub(crate) fn accepted_eulas(&self, snapshot: &Snapshot) -> Result<Vec<Uuid>, CatalogError> {
        let decisions = &snapshot.view().decisions;
        let mut accepted: BTreeSet<Uuid> = decisions.eulas.iter().copied().collect();
        accepted.extend(decisions.accepted.keys().copied());
        for update in decisions.updates.keys().filter(|id| accepted_by_approval(snapshot, id)) {
            accepted.extend(self.terms_in(snapshot, update)?.into_keys());
        }
        Ok(accepted.into_iter().collect())
    }

    /// The terms of an update and of all it bundles, each with the updates that have them.
    fn terms_in(
        &self,
        snapshot: &Snapshot,
        update: &UpdateId,
    ) -> Result<BTreeMap<Uuid, BTreeSet<UpdateId>>, CatalogError> {
        let world = snapshot.world();
        let mut found: BTreeMap<Uuid, BTreeSet<UpdateId>> = BTreeMap::new();
        let Some((index, _)) = world.update(update) else { return Ok(found) };
        for part in snapshot.bundled(&[index]) {
            let part = &world.updates[part as usize];
            if let Some(id) = self.terms_of_revision(snapshot, part.delivered)? {
                found.entry(id).or_default().insert(part.id);
            }
        }
        Ok(found)
    }

    fn terms_of_revision(&self, snapshot: &Snapshot, id: u32) -> Result<Option<Uuid>, CatalogError> {
        if let Some(known) = leaf(&self.terms().0).get(&id) {
            return Ok(*known);
        }
        let Some(facts) = self.texts().facts_in(snapshot, id)? else { return Ok(None) };
        let terms = named(&facts.facts, snapshot.has_terms(RevisionId(id)));
        let mut known = leaf(&self.terms().0);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(id, terms);
        Ok(terms)
    }
}
