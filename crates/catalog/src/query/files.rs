//! Categories, payloads and numbers.
//!
//! **Invariant:** a bundle has no payloads of its own: what it needs is found by walking what it bundles.
//! It never says whether a payload is held; that is another room's knowledge.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::lookup::Query;
use super::updates::title;
use crate::error::CatalogError;
use crate::query::rows::{CategoryRow, KnownFile, Totals};
use crate::snapshot::root::Snapshot;
use crate::snapshot::withheld::is_hidden;
use crate::snapshot::world::flag;
use tailwater_domain::{Action, CategoryKind, FileDeclaration, Sha1Digest, UpdateId, UpdateType};

impl Query {
    /// The payloads of updates and all they bundle, each once.
    pub(super) fn files_of_all(
        &self,
        snapshot: &Snapshot,
        updates: &[u32],
    ) -> Result<Vec<FileDeclaration>, CatalogError> {
        let world = snapshot.world();
        let (mut files, mut seen) = (Vec::new(), HashSet::new());
        for update in snapshot.bundled(updates) {
            let id = world.updates[update as usize].delivered;
            let Some(part) =
                world.rev(id).filter(|rev| rev.file_count > 0).and_then(|_| snapshot.facts_part(id))
            else {
                continue;
            };
            let facts = match self.texts().decode_facts(&part) {
                Err(CatalogError::Damaged { .. }) => continue,
                other => other?,
            };
            files.extend(facts.facts.files.iter().filter(|file| seen.insert(file.sha1)).cloned());
        }
        Ok(files)
    }

    pub(crate) fn files_of(&self, update: &UpdateId) -> Result<Vec<FileDeclaration>, CatalogError> {
        let snapshot = self.current().snapshot();
        match snapshot.world().update(update) {
            Some((index, _)) => self.files_of_all(&snapshot, &[index]),
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn approved_files(&self) -> Result<Vec<FileDeclaration>, CatalogError> {
        let snapshot = self.current().snapshot();
        let decisions = &snapshot.view().decisions.updates;
        let approved =
            decisions.iter().filter(|(_, decision)| decision.hold.is_none()).filter(|(_, decision)| {
                decision.approvals.iter().any(|(_, approval)| approval.action == Action::Install)
            });
        let mut approved: Vec<u32> =
            approved.filter_map(|(id, _)| Some(snapshot.world().update(id)?.0)).collect();
        approved.retain(|update| !snapshot.view().is_withheld(*update));
        approved.sort_unstable();
        self.files_of_all(&snapshot, &approved)
    }

    pub(crate) fn file(&self, sha1: &Sha1Digest) -> Result<Option<KnownFile>, CatalogError> {
        let snapshot = self.current().snapshot();
        let part = snapshot.world().owner_of(sha1).and_then(|id| snapshot.facts_part(id));
        let Some(part) = part else { return Ok(None) };
        let stored = self.texts().read_facts(&part)?;
        let url = stored.file_urls.iter().find(|url| url.sha1 == *sha1);
        let known = stored.facts.files.iter().find(|file| file.sha1 == *sha1).map(|file| KnownFile {
            declaration: file.clone(),
            update: stored.facts.identity,
            mu_url: url.and_then(|url| url.mu_url.clone()),
            uss_url: url.and_then(|url| url.uss_url.clone()),
        });
        Ok(known)
    }

    pub(crate) fn categories(&self, language: Option<&str>) -> Result<Vec<CategoryRow>, CatalogError> {
        let snapshot = self.current().snapshot();
        let world = snapshot.world();
        let mut updates = vec![0; world.updates.len()];
        for id in snapshot.view().offered_revisions() {
            let rev = &world.revs[id as usize];
            if matches!(rev.update_type, UpdateType::Software | UpdateType::Driver) && !is_hidden(rev) {
                world
                    .named_by(rev)
                    .collect::<BTreeSet<_>>()
                    .iter()
                    .for_each(|named| updates[*named as usize] += 1);
            }
        }
        let mut rows = Vec::new();
        for (index, update) in world.updates.iter().enumerate() {
            let Some(rev) = world.rev(update.newest).filter(|rev| rev.update_type == UpdateType::Category)
            else {
                continue;
            };
            let facts = match snapshot.facts_part(update.newest).map(|part| self.texts().read_facts(&part)) {
                None | Some(Err(CatalogError::Damaged { .. })) => continue,
                Some(other) => other?,
            };
            let parents = world.named_by(rev).map(|named| &world.updates[named as usize]);
            let is_category =
                |id: u32| world.rev(id).is_some_and(|rev| rev.update_type == UpdateType::Category);
            rows.push(CategoryRow {
                id: update.id,
                kind: rev.category.unwrap_or(CategoryKind::Other),
                title: title(&facts.facts, language),
                parents: parents
                    .filter(|parent| is_category(parent.newest))
                    .map(|parent| parent.id)
                    .collect(),
                updates: updates[index],
            });
        }
        rows.sort_unstable_by(|a, b| (a.kind as u8, &a.title, a.id).cmp(&(b.kind as u8, &b.title, b.id)));
        Ok(rows)
    }

    pub(crate) fn categories_together(&self) -> HashMap<Vec<UpdateId>, usize> {
        let snapshot = self.current().snapshot();
        let world = snapshot.world();
        let is_category = |id: u32| world.rev(id).is_some_and(|rev| rev.category.is_some());
        let mut found = HashMap::new();
        for update in &world.updates {
            let Some(rev) = world.rev(update.newest) else { continue };
            if is_hidden(rev) || !matches!(rev.update_type, UpdateType::Software | UpdateType::Driver) {
                continue;
            }
            let named = world.named_by(rev).map(|named| &world.updates[named as usize]);
            let mut named: Vec<UpdateId> =
                named.filter(|named| is_category(named.newest)).map(|named| named.id).collect();
            named.sort_unstable();
            named.dedup();
            *found.entry(named).or_default() += 1;
        }
        found
    }

    pub(crate) fn totals(&self) -> Totals {
        let snapshot = self.current().snapshot();
        let (world, view) = (snapshot.world(), snapshot.view());
        let present = |update: &&crate::snapshot::world::Upd| world.rev(update.newest).is_some();
        let expired = |update: &crate::snapshot::world::Upd| {
            world.rev(update.newest).is_some_and(|rev| rev.has(flag::EXPIRED))
        };
        let decided = view.decisions.updates.values();
        Totals {
            revisions: world.count,
            updates: world.updates.iter().filter(present).count(),
            offered: view.offered_count(),
            approved: decided.clone().filter(|decision| decision.is_approved()).count(),
            declined: decided.filter(|decision| decision.declined.is_some()).count(),
            expired: world.updates.iter().filter(|update| expired(update)).count(),
            staged: self.ingest().staged().len(),
            damaged: view.decisions.damaged.len(),
            computers: self.fleet().members().len(),
            computers_below: self.descendants().known().len(),
            servers_below: self.servers().known().len(),
            segment_bytes: self.storage().log().segments().bytes(),
            text_bytes: snapshot.text_bytes(),
        }
    }
}
