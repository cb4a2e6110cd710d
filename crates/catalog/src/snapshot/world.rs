//! One generation in dense arrays: what does not change when an administrator decides something.
//!
//! Revisions are indexed by their number, updates by a number of this snapshot only. Clause lists are shared:
//! hundreds of updates of one product have the same prerequisites, and a scan evaluates each list once.
//!
//! **Invariant:** about 200 bytes a revision, whatever its texts weigh. It never knows groups or approvals.

use std::collections::HashMap;

use super::bits::Bits;
use crate::storage::manifest::StoredKind;
use crate::values::part::PartKind;
use crate::values::payload_key::Secured;
use tailwater_domain::{CategoryKind, Sha1Digest, UpdateId, UpdateIdentity, UpdateType};

/// No set of languages.
pub(crate) const UNSAID: u16 = u16::MAX;

/// No index.
pub(super) const NONE: u32 = u32::MAX;

pub(crate) mod flag {
    pub(crate) const PRESENT: u8 = 1;
    pub(crate) const DEPLOYABLE: u8 = 2;
    pub(crate) const EXPIRED: u8 = 4;
    pub(crate) const UNINSTALLABLE: u8 = 8;
}

/// A revision, by its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rev {
    pub update: u32,
    pub number: u32,
    /// The next older revision of the update.
    pub older: u32,
    /// Which list of clauses.
    pub requirement: u32,
    /// Which bundle.
    pub bundle: u32,
    pub segment: u32,
    pub offset: u32,
    pub parts: u32,
    pub files: u32,
    /// Second of its arrival.
    pub arrived: u32,
    /// Change number of the activation that brought it.
    pub appeared: u32,
    /// Place in the order of delivery; [`NONE`] when it is never delivered.
    pub position: u32,
    pub file_count: u16,
    pub part_count: u16,
    pub flags: u8,
    pub update_type: UpdateType,
    pub category: Option<CategoryKind>,
    /// Which set of languages it is made for; 0 is for all.
    pub made_for: u16,
    /// Which set of languages its document was cut with; [`UNSAID`] where that was not noted.
    pub kept: u16,
}

impl Rev {
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// An update, by its number in this snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upd {
    pub id: UpdateId,
    /// Its newest revision.
    pub newest: u32,
    /// The revision that agents get.
    pub delivered: u32,
    /// Named as prerequisite: not a leaf.
    pub required: bool,
    pub superseded: bool,
    /// Change number at which its role (leaf, bundle member) last changed after it appeared; else 0.
    pub role_change: u32,
}

/// One text of a revision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub stored: u32,
    pub raw: u32,
    pub language: u16,
    pub kind: u8,
}

pub(super) const FACTS: u8 = 0;
pub(super) const DOCUMENT: u8 = 1;
pub(super) const CORE: u8 = 2;
pub(super) const EXTENDED: u8 = 3;
pub(super) const LOCALIZED: u8 = 4;
pub(super) const EULA: u8 = 5;

/// Several lists in one: list `i` is `items[ends[i - 1]..ends[i]]`.
#[derive(Debug)]
pub(crate) struct Lists<T> {
    ends: Vec<u32>,
    items: Vec<T>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { ends: Vec::new(), items: Vec::new() }
    }
}

impl<T> Lists<T> {
    pub(super) fn push(&mut self, items: impl IntoIterator<Item = T>) -> u32 {
        self.items.extend(items);
        self.ends.push(u32::try_from(self.items.len()).unwrap_or(NONE));
        u32::try_from(self.ends.len() - 1).unwrap_or(NONE)
    }

    pub(crate) fn get(&self, index: u32) -> &[T] {
        let index = index as usize;
        let Some(end) = self.ends.get(index) else { return &[] };
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.items[start as usize..*end as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[T]> {
        (0..self.ends.len()).map(|index| self.get(u32::try_from(index).unwrap_or(NONE)))
    }

    /// All items of all lists.
    pub(super) fn items_mut(&mut self) -> &mut [T] {
        &mut self.items
    }

    pub(super) fn shrink(&mut self) {
        self.ends.shrink_to_fit();
        self.items.shrink_to_fit();
    }
}

/// A revision named by a bundle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Child {
    pub update: u32,
    pub number: u32,
    /// The revision that has this number; [`NONE`] when it is not here.
    pub rev: u32,
    /// Which clause of the bundle names it; one of each clause is enough.
    pub clause: u32,
}

/// One generation.
#[derive(Default)]
pub(crate) struct World {
    pub generation: u64,
    pub change: u64,
    /// By revision number; 0 is never used.
    pub revs: Vec<Rev>,
    pub updates: Vec<Upd>,
    pub(super) by_id: HashMap<UpdateId, u32>,
    /// Clauses: the updates of which any satisfies.
    pub(super) clauses: Lists<u32>,
    /// Lists of clauses.
    pub(super) requirements: Lists<u32>,
    /// Bundles, clause after clause.
    pub(super) bundles: Lists<Child>,
    /// Delivered revisions in force that are bundles.
    pub(super) bundling: Vec<u32>,
    /// By update: those of [`World::bundling`] that name it.
    pub(super) parents: Lists<u32>,
    /// By update: nothing of it can be delivered, because no revision is here or the one in question is expired.
    pub(super) unfit: Bits,
    pub(super) parts: Vec<Part>,
    pub(super) languages: Vec<String>,
    /// Sets of languages that revisions are made for; the first, empty one means all.
    pub(super) made_for: Vec<Vec<String>>,
    /// Sets of languages that documents were cut with; none means all.
    pub kept: Vec<Option<Vec<String>>>,
    pub(super) rev_files: Vec<u32>,
    pub(super) digests: Vec<Sha1Digest>,
    /// Indexes of `digests`, by digest.
    pub(super) digests_sorted: Vec<u32>,
    /// The newest revision that declares a file, by its index.
    pub(super) file_owner: Vec<u32>,
    /// What is delivered, those first that others need; by position.
    pub(super) order: Vec<u32>,
    /// KB numbers and revisions, sorted.
    pub(super) kbs: Vec<(u32, u32)>,
    /// Hardware hashes and delivered drivers, sorted.
    pub(super) hardware: Vec<(u64, u32)>,
    /// What encrypted revisions need.
    pub secured: HashMap<u32, Secured>,
    /// Withdrawn revisions keep their numbers should they come back.
    pub retired: HashMap<UpdateIdentity, u32>,
    /// Revisions present.
    pub count: usize,
}

impl World {
    /// A revision that is present.
    pub(crate) fn rev(&self, id: u32) -> Option<&Rev> {
        self.revs.get(id as usize).filter(|rev| rev.has(flag::PRESENT))
    }

    pub(crate) fn update_of(&self, rev: &Rev) -> &Upd {
        &self.updates[rev.update as usize]
    }

    pub(crate) fn update(&self, id: &UpdateId) -> Option<(u32, &Upd)> {
        let index = *self.by_id.get(id)?;
        Some((index, &self.updates[index as usize]))
    }

    /// The revision an agent would get of this update.
    pub(super) fn delivered(&self, update: u32) -> Option<(u32, &Rev)> {
        let id = self.updates[update as usize].delivered;
        Some((id, self.rev(id)?))
    }

    pub(crate) fn find(&self, identity: &UpdateIdentity) -> Option<u32> {
        let (_, update) = self.update(&identity.update)?;
        self.revisions(update).find(|(_, rev)| rev.number == identity.revision).map(|(id, _)| id)
    }

    /// The revisions of an update, newest first.
    pub(crate) fn revisions(&self, update: &Upd) -> impl Iterator<Item = (u32, &Rev)> {
        let first = self.rev(update.newest).map(|rev| (update.newest, rev));
        std::iter::successors(first, |(_, rev)| Some((rev.older, self.rev(rev.older)?)))
    }

    pub(crate) fn identity(&self, rev: &Rev) -> UpdateIdentity {
        UpdateIdentity { update: self.update_of(rev).id, revision: rev.number }
    }

    /// Bytes of all texts of a revision in its segment.
    pub(crate) fn stored_of(&self, rev: &Rev) -> u64 {
        self.parts_of(rev).iter().map(|part| u64::from(part.stored)).sum()
    }

    pub(super) fn parts_of(&self, rev: &Rev) -> &[Part] {
        let start = rev.parts as usize;
        &self.parts[start..start + usize::from(rev.part_count)]
    }

    pub(super) fn files_of(&self, rev: &Rev) -> impl Iterator<Item = Sha1Digest> {
        let start = rev.files as usize;
        self.rev_files[start..start + usize::from(rev.file_count)]
            .iter()
            .map(|index| self.digests[*index as usize])
    }

    /// The newest revision that declares this file.
    pub(crate) fn owner_of(&self, sha1: &Sha1Digest) -> Option<u32> {
        let found = self.digests_sorted.binary_search_by_key(sha1, |index| self.digests[*index as usize]);
        Some(self.file_owner[*self.digests_sorted.get(found.ok()?)? as usize])
    }

    /// Every update that some clause of this revision names.
    pub(crate) fn named_by(&self, rev: &Rev) -> impl Iterator<Item = u32> {
        let clauses = self.requirements.get(rev.requirement).iter();
        clauses.flat_map(|clause| self.clauses.get(*clause).iter().copied())
    }

    pub(crate) fn children(&self, rev: &Rev) -> &[Child] {
        self.bundles.get(rev.bundle)
    }

    /// Revisions with this KB number.
    pub(crate) fn with_kb(&self, kb: u32) -> impl Iterator<Item = u32> {
        let start = self.kbs.partition_point(|entry| entry.0 < kb);
        self.kbs[start..].iter().take_while(move |entry| entry.0 == kb).map(|entry| entry.1)
    }

    /// Delivered drivers for a hardware hash.
    pub(super) fn drivers_for(&self, hash: u64) -> impl Iterator<Item = u32> {
        let start = self.hardware.partition_point(|entry| entry.0 < hash);
        self.hardware[start..].iter().take_while(move |entry| entry.0 == hash).map(|entry| entry.1)
    }

    pub(super) fn kind_of(&self, part: &Part) -> Option<PartKind> {
        let language = || self.languages.get(usize::from(part.language)).cloned().unwrap_or_default();
        Some(match part.kind {
            DOCUMENT => PartKind::Document,
            CORE => PartKind::Core,
            EXTENDED => PartKind::Extended,
            LOCALIZED => PartKind::Localized(language()),
            EULA => PartKind::Eula(language()),
            _ => return None,
        })
    }
}

/// A stored text's kind as a number, with its language.
pub(super) fn kind_number(kind: &StoredKind) -> (u8, Option<&str>) {
    match kind {
        StoredKind::Facts => (FACTS, None),
        StoredKind::Part(PartKind::Document) => (DOCUMENT, None),
        StoredKind::Part(PartKind::Core) => (CORE, None),
        StoredKind::Part(PartKind::Extended) => (EXTENDED, None),
        StoredKind::Part(PartKind::Localized(language)) => (LOCALIZED, Some(language)),
        StoredKind::Part(PartKind::Eula(language)) => (EULA, Some(language)),
    }
}
