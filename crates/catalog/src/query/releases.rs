//! Updates as releases: what one is, which payloads it has and where in it they stand, and which of them a payload
//! belongs to.
//!
//! **Invariant:** payloads come in the order in which the bundle names its parts, so that two releases of one product
//! can be laid side by side. It never says whether a payload is held or was used.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;

use super::lookup::Query;
use super::updates::{categories_of, title};
use crate::error::CatalogError;
use crate::snapshot::root::Snapshot;
use crate::snapshot::world::flag;
use tailwater_domain::{
    Action, CategoryKind, FileDeclaration, GroupId, Limit, Sha1Digest, UpdateId, UpdateIdentity, UpdateType,
    limits,
};

/// Updates that may bundle each other in a chain: real ones have three (release, hidden bundle, package).
const MAX_DEPTH: usize = 8;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_DEPTH in "levels": "Bundles within bundles of a release" => "they are not looked into",
];

/// An update that can be approved, without its payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The revision that agents get.
    pub identity: UpdateIdentity,
    /// What it is.
    pub update_type: UpdateType,
    /// Its title, in the document's own language.
    pub title: String,
    /// Its products.
    pub products: Vec<UpdateId>,
    /// Its classifications, one as a rule.
    pub classifications: Vec<UpdateId>,
    /// What it replaces.
    pub supersedes: Vec<UpdateId>,
    /// When it came to this server.
    pub arrived: Timestamp,
}

/// A payload of a release, and the part of the bundle that declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFile {
    /// The part; the release itself when it is no bundle.
    pub part: UpdateId,
    /// The part's title, in its document's own language.
    pub title: String,
    /// What the part needs to be there: every update that its prerequisites name, sorted.
    pub needs: Vec<UpdateId>,
    /// The payload.
    pub file: FileDeclaration,
}

/// An update that computers of some group are to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedInstall {
    /// The update.
    pub update: UpdateId,
    /// The revision that agents get.
    pub revision: u32,
    /// The earliest deadline, where there is one.
    pub deadline: Option<Timestamp>,
    /// For which groups.
    pub groups: Vec<GroupId>,
}

/// The parts of an update, itself first, each once, in the order in which they are named.
fn parts(snapshot: &Snapshot, update: u32) -> Vec<u32> {
    let world = snapshot.world();
    let (mut found, mut seen, mut open) = (Vec::new(), HashSet::from([update]), vec![update]);
    while let Some(update) = open.pop() {
        found.push(update);
        let rev = world.rev(world.updates[update as usize].delivered);
        let children = rev.map_or(&[][..], |rev| world.children(rev));
        open.extend(children.iter().rev().map(|child| child.update).filter(|child| seen.insert(*child)));
    }
    found
}

impl Query {
    pub(crate) fn release_of(&self, id: &UpdateId) -> Result<Option<Release>, CatalogError> {
        let snapshot = self.current().snapshot();
        let world = snapshot.world();
        let Some((_, update)) = world.update(id) else { return Ok(None) };
        let Some(rev) = world.rev(update.delivered) else { return Ok(None) };
        let Some(facts) = self.texts().facts_in(&snapshot, update.delivered)? else { return Ok(None) };
        Ok(Some(Release {
            identity: facts.facts.identity,
            update_type: rev.update_type,
            title: title(&facts.facts, None),
            products: categories_of(&snapshot, rev, CategoryKind::Product),
            classifications: categories_of(&snapshot, rev, CategoryKind::Classification),
            supersedes: facts.facts.supersedes.clone(),
            arrived: Timestamp::from_second(i64::from(rev.arrived)).unwrap_or_default(),
        }))
    }

    pub(crate) fn release_files(&self, id: &UpdateId) -> Result<Vec<ReleaseFile>, CatalogError> {
        let snapshot = self.current().snapshot();
        let world = snapshot.world();
        let Some((index, _)) = world.update(id) else { return Ok(Vec::new()) };
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        for part in parts(&snapshot, index) {
            let update = &world.updates[part as usize];
            let Some(rev) = world.rev(update.delivered).filter(|rev| rev.file_count > 0) else { continue };
            let Some(facts) = self.texts().facts_in(&snapshot, update.delivered)? else { continue };
            let needs: BTreeSet<u32> = world.named_by(rev).collect();
            let needs: BTreeSet<UpdateId> =
                needs.into_iter().map(|named| world.updates[named as usize].id).collect();
            found.extend(facts.facts.files.iter().filter(|file| seen.insert(file.sha1)).map(|file| {
                ReleaseFile {
                    part: update.id,
                    title: title(&facts.facts, None),
                    needs: needs.iter().copied().collect(),
                    file: file.clone(),
                }
            }));
        }
        Ok(found)
    }

    /// The updates that can be approved and have this payload, themselves or in what they bundle.
    pub(crate) fn releases_with(&self, sha1: &Sha1Digest) -> Vec<UpdateId> {
        let snapshot = self.current().snapshot();
        let world = snapshot.world();
        let Some(owner) = world.owner_of(sha1).and_then(|id| world.rev(id)) else { return Vec::new() };
        let mut found = BTreeSet::new();
        let (mut level, mut seen) = (BTreeSet::from([owner.update]), HashSet::from([owner.update]));
        for _ in 0..MAX_DEPTH {
            let deployable = |update: &u32| {
                world
                    .rev(world.updates[*update as usize].delivered)
                    .is_some_and(|rev| rev.has(flag::DEPLOYABLE))
            };
            found.extend(
                level
                    .iter()
                    .filter(|update| deployable(update))
                    .map(|update| world.updates[*update as usize].id),
            );
            let above = (0_u32..).zip(&world.updates).filter(|(index, update)| {
                let rev = world.rev(update.delivered);
                !seen.contains(index)
                    && rev.is_some_and(|rev| {
                        world.children(rev).iter().any(|child| level.contains(&child.update))
                    })
            });
            let above: BTreeSet<u32> = above.map(|(index, _)| index).collect();
            if above.is_empty() {
                break;
            }
            seen.extend(&above);
            level = above;
        }
        found.into_iter().collect()
    }

    pub(crate) fn approved_installs(&self) -> Vec<ApprovedInstall> {
        let snapshot = self.current().snapshot();
        let world = snapshot.world();
        let decided = snapshot.view().decisions.updates.iter();
        let decided = decided.filter(|(_, decision)| decision.hold.is_none() && decision.declined.is_none());
        let mut found = BTreeMap::new();
        for (id, decision) in decided {
            let installs =
                decision.approvals.iter().filter(|(_, approval)| approval.action == Action::Install);
            let (groups, deadlines): (Vec<_>, Vec<_>) =
                installs.map(|(group, approval)| (*group, approval.deadline)).unzip();
            let known = world.update(id).filter(|(index, _)| !snapshot.view().is_withheld(*index));
            let rev = known.and_then(|(_, update)| world.rev(update.delivered));
            if let Some(rev) = rev.filter(|_| !groups.is_empty()) {
                let deadline = deadlines.into_iter().flatten().min();
                found.insert(*id, ApprovedInstall { update: *id, revision: rev.number, deadline, groups });
            }
        }
        found.into_values().collect()
    }
}
