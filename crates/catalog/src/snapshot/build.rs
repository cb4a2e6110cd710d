//! Builds a [`World`] from manifests, given in the order in which they were stored.
//!
//! **Invariant:** of several manifests with one number the last counts; building twice from the same
//! manifests gives the same world. It never reads a disk: manifests are handed to it.

use std::collections::HashMap;

use super::world::{Child, NONE, Part, Rev, UNSAID, Upd, World, flag, kind_number};
use crate::storage::manifest::Manifest;
use tailwater_domain::{Limit, Sha1Digest, UpdateId, UpdateType, limits};

/// The most revisions that can be numbered; the number is a positive `xs:int` on the wire.
const MAX_ID: u32 = 1 << 30;

/// The most different sets of languages; what has another one is taken to be for all languages.
const MAX_LANGUAGE_SETS: usize = 1_000;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_ID in "revisions": "Revisions that a store can number" => "the synchronisation fails",
    MAX_LANGUAGE_SETS in "sets": "Different sets of languages" => "it counts as for all languages",
];

/// Gathers manifests.
pub(crate) struct Builder {
    world: World,
    clause_numbers: HashMap<Vec<u32>, u32>,
    requirement_numbers: HashMap<Vec<u32>, u32>,
    file_numbers: HashMap<Sha1Digest, u32>,
    supersedes: Vec<(u32, u32)>,
    hardware: Vec<(u64, u32)>,
}

const ABSENT: Rev = Rev {
    update: 0,
    number: 0,
    older: NONE,
    requirement: NONE,
    bundle: NONE,
    segment: 0,
    offset: 0,
    parts: 0,
    files: 0,
    arrived: 0,
    appeared: 0,
    position: NONE,
    file_count: 0,
    part_count: 0,
    flags: 0,
    update_type: UpdateType::Detectoid,
    category: None,
    made_for: 0,
    kept: UNSAID,
};

fn index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(NONE)
}

impl Builder {
    pub(crate) fn new() -> Self {
        let mut world = World::default();
        world.requirements.push([]);
        world.made_for.push(Vec::new());
        Self {
            world,
            clause_numbers: HashMap::new(),
            requirement_numbers: HashMap::from([(Vec::new(), 0)]),
            file_numbers: HashMap::new(),
            supersedes: Vec::new(),
            hardware: Vec::new(),
        }
    }

    fn update(&mut self, id: UpdateId) -> u32 {
        let updates = &mut self.world.updates;
        *self.world.by_id.entry(id).or_insert_with(|| {
            updates.push(Upd {
                id,
                newest: NONE,
                delivered: NONE,
                required: false,
                superseded: false,
                role_change: 0,
            });
            index(updates.len() - 1)
        })
    }

    fn requirement(&mut self, clauses: &[Vec<UpdateId>]) -> u32 {
        let mut list: Vec<u32> = clauses
            .iter()
            .map(|clause| {
                let mut updates: Vec<u32> = clause.iter().map(|id| self.update(*id)).collect();
                updates.sort_unstable();
                updates.dedup();
                if let Some(number) = self.clause_numbers.get(&updates) {
                    return *number;
                }
                let number = self.world.clauses.push(updates.iter().copied());
                self.clause_numbers.insert(updates, number);
                number
            })
            .collect();
        list.sort_unstable();
        list.dedup();
        if let Some(number) = self.requirement_numbers.get(&list) {
            return *number;
        }
        let number = self.world.requirements.push(list.iter().copied());
        self.requirement_numbers.insert(list, number);
        number
    }

    fn parts(&mut self, manifest: &Manifest) -> (u32, u16) {
        let start = index(self.world.parts.len());
        for part in &manifest.parts {
            let (kind, language) = kind_number(&part.kind);
            let languages = &mut self.world.languages;
            let language = language.map_or(0, |tag| {
                languages.iter().position(|known| known == tag).unwrap_or_else(|| {
                    // the last number is nobody's: what no number is left for is of no language, not of another one
                    if languages.len() < usize::from(u16::MAX) {
                        languages.push(tag.to_owned());
                        languages.len() - 1
                    } else {
                        usize::from(u16::MAX)
                    }
                })
            });
            let language = u16::try_from(language).unwrap_or(u16::MAX);
            self.world.parts.push(Part { stored: part.stored, raw: part.raw, language, kind });
        }
        // a document has a few thousand texts at most (`Counted::Localized`)
        (start, u16::try_from(manifest.parts.len()).unwrap_or(u16::MAX))
    }

    /// The number of a set of languages. There are a few dozen sets; what no number is left for is for all.
    fn made_for(&mut self, languages: &[String]) -> u16 {
        let sets = &mut self.world.made_for;
        let known = sets.iter().position(|set| set[..] == *languages);
        let number = known.unwrap_or_else(|| {
            let new = sets.len();
            if new < MAX_LANGUAGE_SETS {
                sets.push(languages.to_vec());
            }
            new
        });
        u16::try_from(number).ok().filter(|number| usize::from(*number) < MAX_LANGUAGE_SETS).unwrap_or(0)
    }

    /// The number of the set of languages that a document was cut with. A site has a few in its life.
    fn kept(&mut self, manifest: &Manifest) -> u16 {
        let Some(cut) = &manifest.cut else { return UNSAID };
        let sets = &mut self.world.kept;
        let known = sets.iter().position(|set| *set == cut.kept);
        let number = known.unwrap_or_else(|| {
            let new = sets.len();
            if new < MAX_LANGUAGE_SETS {
                sets.push(cut.kept.clone());
            }
            new
        });
        u16::try_from(number).ok().filter(|number| usize::from(*number) < MAX_LANGUAGE_SETS).unwrap_or(UNSAID)
    }

    fn files(&mut self, id: u32, files: &[Sha1Digest]) -> (u32, u16) {
        let start = index(self.world.rev_files.len());
        let world = &mut self.world;
        for digest in files.iter().take(usize::from(u16::MAX)) {
            let number = *self.file_numbers.entry(*digest).or_insert_with(|| {
                world.digests.push(*digest);
                world.file_owner.push(id);
                index(world.digests.len() - 1)
            });
            world.rev_files.push(number);
        }
        // a document has 20,000 files at most (`Counted::Files`)
        (start, u16::try_from(files.len()).unwrap_or(u16::MAX))
    }

    /// Adds a manifest whose activation had this change number.
    pub(crate) fn add(&mut self, manifest: &Manifest, appeared: u64) {
        let id = manifest.id;
        if id == 0 || id >= MAX_ID {
            return;
        }
        if self.world.revs.len() <= id as usize {
            self.world.revs.resize(id as usize + 1, ABSENT);
        }
        let update = self.update(manifest.identity.update);
        let requirement = self.requirement(&manifest.prerequisites);
        let mut children: Vec<Child> = Vec::new();
        for (clause, alternatives) in (0..).zip(&manifest.bundled) {
            children.extend(alternatives.iter().map(|child| {
                let update = self.update(child.update);
                Child { update, number: child.revision, rev: NONE, clause }
            }));
        }
        let bundle = if children.is_empty() { NONE } else { self.world.bundles.push(children) };
        let (parts, part_count) = self.parts(manifest);
        let (files, file_count) = self.files(id, &manifest.files);
        let made_for = self.made_for(&manifest.languages);
        for superseded in &manifest.supersedes {
            let superseded = self.update(*superseded);
            self.supersedes.push((id, superseded));
        }
        self.hardware.extend(manifest.hardware.iter().map(|hash| (*hash, id)));
        self.world.kbs.extend(manifest.kb_articles.iter().map(|kb| (*kb, id)));
        match manifest.secured() {
            Some(secured) => self.world.secured.insert(id, secured),
            None => self.world.secured.remove(&id),
        };
        let before = self.world.revs[id as usize];
        let again = manifest.cut.as_ref().is_some_and(|cut| cut.again)
            && before.has(flag::PRESENT)
            && (before.update, before.number) == (update, manifest.identity.revision);
        // the same revision with more of its texts is no news to anybody who knows it
        let appeared = if again { before.appeared } else { u32::try_from(appeared).unwrap_or(u32::MAX) };
        let kept = self.kept(manifest);
        let set = |on: bool, flag: u8| if on { flag } else { 0 };
        self.world.revs[id as usize] = Rev {
            update,
            number: manifest.identity.revision,
            older: NONE,
            requirement,
            bundle,
            segment: manifest.segment,
            offset: manifest.offset,
            parts,
            files,
            // a clock before 1970 or after 2106 gives no second
            arrived: u32::try_from(manifest.arrived).unwrap_or(0),
            appeared,
            position: NONE,
            file_count,
            part_count,
            flags: flag::PRESENT
                | set(manifest.explicitly_deployable, flag::DEPLOYABLE)
                | set(manifest.expired, flag::EXPIRED)
                | set(manifest.uninstallable, flag::UNINSTALLABLE),
            update_type: manifest.update_type,
            category: manifest.category,
            made_for,
            kept,
        };
    }

    /// Takes a revision away again; from then on its change number is that of the activation that did so.
    pub(crate) fn withdraw(&mut self, id: u32, change: u64) {
        if let Some(rev) = self.world.revs.get_mut(id as usize) {
            rev.flags &= !flag::PRESENT;
            rev.appeared = u32::try_from(change).unwrap_or(u32::MAX);
        }
    }

    /// The finished world.
    pub(crate) fn build(mut self, generation: u64, change: u64) -> World {
        self.world.generation = generation;
        self.world.change = change;
        self.link_revisions();
        self.world.find_members();
        self.choose_delivered();
        self.mark_required();
        self.mark_superseded();
        self.put_in_order();
        self.index_files();
        self.remember_retired();
        self.world.index_bundles();
        self.world.note_turns();
        let World { updates, revs, hardware, .. } = &mut self.world;
        self.hardware.retain(|(_, id)| {
            let rev = &revs[*id as usize];
            rev.has(flag::PRESENT) && updates[rev.update as usize].delivered == *id
        });
        self.hardware.sort_unstable();
        self.hardware.dedup();
        *hardware = self.hardware;
        self.world.shrink();
        self.world
    }

    /// Chains the revisions of each update, newest first.
    fn link_revisions(&mut self) {
        let World { revs, updates, count, .. } = &mut self.world;
        let mut present: Vec<(u32, u32, u32)> = (0..)
            .zip(revs.iter())
            .filter(|(_, rev)| rev.has(flag::PRESENT))
            .map(|(id, rev)| (rev.update, rev.number, id))
            .collect();
        present.sort_unstable();
        *count = present.len();
        for (update, _, id) in present {
            let newest = &mut updates[update as usize].newest;
            revs[id as usize].older = *newest;
            *newest = id;
        }
    }

    /// Agents get the newest revision; but of what only exists inside bundles the newest that a bundle
    /// names, because a bundle is evaluated with exactly the revisions it names.
    fn choose_delivered(&mut self) {
        let world = &mut self.world;
        for update in &mut world.updates {
            update.delivered = update.newest;
        }
        let parents: Vec<u32> =
            world.in_force().filter(|id| world.revs[*id as usize].bundle != NONE).collect();
        let mut named: HashMap<u32, (bool, u32, u32)> = HashMap::new();
        for parent in parents {
            let (bundle, appeared) =
                (world.revs[parent as usize].bundle, world.revs[parent as usize].appeared);
            for child in world.bundles.get(bundle) {
                let update = &mut world.updates[child.update as usize];
                // the older bundles around it may all be withheld
                update.role_change = update.role_change.max(appeared);
                if let Some(rev) = world.revs.get(child.rev as usize) {
                    let best = named.entry(child.update).or_insert((false, 0, child.rev));
                    *best = (!rev.has(flag::EXPIRED), child.number, child.rev).max(*best);
                }
            }
        }
        for (update, (_, _, id)) in named {
            let newest = world.updates[update as usize].newest;
            if world.rev(newest).is_some_and(|rev| !rev.has(flag::DEPLOYABLE)) {
                world.updates[update as usize].delivered = id;
            }
        }
    }

    /// Marks what is named as prerequisite by anything in force, and since when.
    fn mark_required(&mut self) {
        let world = &mut self.world;
        let mut since = vec![NONE; world.requirements.len()];
        for id in world.in_force().collect::<Vec<_>>() {
            let rev = &world.revs[id as usize];
            let first = &mut since[rev.requirement as usize];
            *first = rev.appeared.min(*first);
        }
        let mut required = vec![NONE; world.updates.len()];
        for (list, since) in world.requirements.iter().zip(&since).filter(|(_, since)| **since != NONE) {
            for update in list.iter().flat_map(|clause| world.clauses.get(*clause)) {
                let first = &mut required[*update as usize];
                *first = (*since).min(*first);
            }
        }
        for (update, since) in world.updates.iter_mut().zip(required) {
            if since != NONE {
                update.required = true;
                update.role_change = update.role_change.max(since);
            }
        }
    }

    fn mark_superseded(&mut self) {
        for (by, superseded) in &self.supersedes {
            let rev = &self.world.revs[*by as usize];
            let in_force = rev.has(flag::PRESENT) && !rev.has(flag::EXPIRED);
            if in_force && self.world.updates[rev.update as usize].newest == *by {
                self.world.updates[*superseded as usize].superseded = true;
            }
        }
    }

    /// Non-leaves first, so that agents can evaluate them while they fetch the rest; then by number.
    fn put_in_order(&mut self) {
        let World { updates, revs, order, .. } = &mut self.world;
        let mut all: Vec<(bool, u32)> = updates
            .iter()
            .filter(|update| update.delivered != NONE)
            .map(|update| (!update.required, update.delivered))
            .collect();
        all.sort_unstable();
        *order = all.into_iter().map(|(_, id)| id).collect();
        for (position, id) in (0..).zip(order.iter()) {
            revs[*id as usize].position = position;
        }
    }

    fn remember_retired(&mut self) {
        let world = &mut self.world;
        let gone = |rev: &&Rev| !rev.has(flag::PRESENT) && rev.part_count > 0;
        let retired = (0..).zip(&world.revs).filter(|(_, rev)| gone(rev));
        world.retired = retired.map(|(id, rev)| (world.identity(rev), id)).collect();
    }

    fn index_files(&mut self) {
        let World { digests, digests_sorted, file_owner, revs, rev_files, kbs, .. } = &mut self.world;
        *digests_sorted = (0..index(digests.len())).collect();
        digests_sorted.sort_unstable_by_key(|number| digests[*number as usize]);
        for (id, rev) in (0..).zip(revs.iter()).filter(|(_, rev)| rev.has(flag::PRESENT)) {
            let start = rev.files as usize;
            for number in &rev_files[start..start + usize::from(rev.file_count)] {
                file_owner[*number as usize] = id;
            }
        }
        kbs.retain(|(_, id)| revs[*id as usize].has(flag::PRESENT));
        kbs.sort_unstable();
        kbs.dedup();
    }
}

impl World {
    /// Newest revisions that are not expired: what can still have an effect on agents.
    pub(super) fn in_force(&self) -> impl Iterator<Item = u32> {
        let newest = self.updates.iter().flat_map(|update| {
            let also = (update.delivered != update.newest).then_some(update.delivered);
            [Some(update.newest), also].into_iter().flatten()
        });
        newest.filter(|id| self.rev(*id).is_some_and(|rev| !rev.has(flag::EXPIRED)))
    }

    fn shrink(&mut self) {
        self.revs.shrink_to_fit();
        self.updates.shrink_to_fit();
        self.clauses.shrink();
        self.requirements.shrink();
        self.bundles.shrink();
        self.parents.shrink();
        self.parts.shrink_to_fit();
        self.rev_files.shrink_to_fit();
        self.digests.shrink_to_fit();
        self.file_owner.shrink_to_fit();
    }
}
