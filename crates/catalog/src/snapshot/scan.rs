//! The software scan ([MS-WUSP] 3.1.5.7), staged as real servers stage it: an update comes when each of its
//! prerequisite clauses names something that the agent has installed.
//!
//! What is needed for one (groups, installed, categories) is a set of bits that is remembered; a request then
//! costs what its own lists weigh.
//!
//! **Invariant:** the set of needed updates depends on the installed list only, never on what is cached, so
//! that an answer which is not truncated and brings only leaves is the last one with updates.
//! Deviates: WSUS refuses more than 400 installed identities; here they are as many as the body limit allows.

use std::sync::Arc;

use super::bits::Bits;
use super::view::{Reach, View};
use super::world::{CORE, Rev};
use crate::snapshot::root::Snapshot;
use crate::values::part::PartRef;
use crate::values::scan::{Offer, ScanAnswer, ScanQuery};
use tailwater_domain::{RevisionId, UpdateId, UpdateType};

/// What computers with one installed list need.
pub(super) struct Needed {
    /// By position: to be delivered.
    pub deliver: Bits,
    /// By position: what stays in scope without the category filter.
    pub deployed: Option<Bits>,
    /// By position, with a filter: in the answer for their own sake.
    pub asked_for: Option<Bits>,
}

impl Needed {
    pub(super) fn bytes(&self) -> usize {
        let more = [&self.deployed, &self.asked_for].into_iter().flatten().map(Bits::bytes).sum::<usize>();
        self.deliver.bytes() + more
    }
}

/// A question as a number: equal questions of one snapshot have equal numbers.
pub(super) struct Question(blake3::Hasher);

impl Question {
    pub(super) fn new(kind: u8, sequence: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]).update(&sequence.to_le_bytes());
        Self(hasher)
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    pub(super) fn numbers(&mut self, numbers: &[u32]) -> &mut Self {
        self.number(numbers.len() as u64);
        for chunk in numbers.chunks(256) {
            let mut bytes = [0; 1024];
            for (four, number) in bytes.chunks_exact_mut(4).zip(chunk) {
                four.copy_from_slice(&number.to_le_bytes());
            }
            self.0.update(&bytes[..chunk.len() * 4]);
        }
        self
    }

    pub(super) fn ids<'a>(&mut self, ids: impl ExactSizeIterator<Item = &'a uuid::Uuid>) -> &mut Self {
        self.number(ids.len() as u64);
        for id in ids {
            self.0.update(id.as_bytes());
        }
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
        self
    }

    pub(super) fn fingerprint(&self) -> u128 {
        let digest = self.0.finalize();
        digest.as_bytes().first_chunk().map_or(0, |first| u128::from_le_bytes(*first))
    }
}

impl View {
    /// By requirement number: whether these installed revisions satisfy it.
    pub(super) fn satisfied(&self, installed: &[u32]) -> Vec<bool> {
        let world = &self.world;
        let mut have = Bits::new(world.updates.len());
        for rev in installed.iter().filter_map(|id| world.rev(*id)) {
            have.put(rev.update);
        }
        let clauses: Vec<bool> =
            world.clauses.iter().map(|clause| clause.iter().any(|update| have.has(*update))).collect();
        let all = |list: &[u32]| list.iter().all(|clause| clauses[*clause as usize]);
        world.requirements.iter().map(all).collect()
    }

    /// What a software scan delivers to who has this installed.
    fn needed(&self, reach: &Reach, installed: &[u32], categories: &[UpdateId]) -> Needed {
        let world = &self.world;
        let satisfied = self.satisfied(installed);
        let mut deliver = Bits::new(world.order.len());
        for position in reach.offered.as_ref().unwrap_or(&self.offered).iter() {
            let rev = &world.revs[world.order[position as usize] as usize];
            if satisfied[rev.requirement as usize] && rev.update_type != UpdateType::Driver {
                deliver.put(position);
            }
        }
        if categories.is_empty() {
            return Needed { deliver, deployed: None, asked_for: None };
        }
        let asked_for = self.in_categories(categories);
        let members =
            asked_for.iter().map(|position| world.revs[world.order[position as usize] as usize].update);
        // the categories themselves too: agents ask for one that is empty, and are told of it
        let named = categories.iter().filter_map(|id| Some(world.update(id)?.0));
        let scope = self.closure(members.chain(named));
        let mut filtered = Bits::new(world.order.len());
        deliver.iter().filter(|position| scope.has(*position)).for_each(|position| {
            filtered.put(position);
        });
        Needed { deliver: filtered, deployed: Some(deliver), asked_for: Some(asked_for) }
    }

    /// By position: software that names one of these categories itself.
    fn in_categories(&self, categories: &[UpdateId]) -> Bits {
        let world = &self.world;
        let wanted: Vec<u32> = categories.iter().filter_map(|id| Some(world.update(id)?.0)).collect();
        let clauses: Vec<bool> =
            world.clauses.iter().map(|clause| clause.iter().any(|update| wanted.contains(update))).collect();
        let lists: Vec<bool> = world
            .requirements
            .iter()
            .map(|list| list.iter().any(|clause| clauses[*clause as usize]))
            .collect();
        let mut found = Bits::new(world.order.len());
        for position in self.offered.iter() {
            let rev = &world.revs[world.order[position as usize] as usize];
            if rev.update_type == UpdateType::Software && lists[rev.requirement as usize] {
                found.put(position);
            }
        }
        found
    }

    pub(super) fn part_ref(&self, id: u32, rev: &Rev, kind: u8, language: Option<u16>) -> Option<PartRef> {
        let mut offset = rev.offset;
        for part in self.world.parts_of(rev) {
            if part.kind == kind && language.is_none_or(|language| language == part.language) {
                return Some(PartRef {
                    revision: id,
                    segment: rev.segment,
                    offset,
                    stored: part.stored,
                    raw: part.raw,
                });
            }
            offset += part.stored;
        }
        None
    }

    /// A revision as agents get it; `None` when it has no Core fragment.
    pub(super) fn offer(&self, id: u32, reach: &Reach, dependency: bool) -> Option<Offer> {
        let rev = self.world.rev(id)?;
        Some(Offer {
            id: RevisionId(id),
            deployment: self.deployment(id, rev, reach, dependency),
            is_leaf: !self.world.update_of(rev).required,
            core: self.part_ref(id, rev, CORE, None)?,
            hardware_ids: Vec::new(),
        })
    }
}

impl Snapshot {
    pub(super) fn needed(&self, reach: &Reach, query: &ScanQuery<'_>) -> Arc<Needed> {
        let mut question = Question::new(b'n', self.sequence());
        let world = &self.view().world;
        // what is not known changes nothing
        let installed: Vec<u32> =
            query.installed.iter().copied().filter(|id| world.rev(*id).is_some()).collect();
        let categories: Vec<UpdateId> =
            query.categories.iter().copied().filter(|id| world.update(id).is_some()).collect();
        question.numbers(&installed).number(u64::from(query.categories.is_empty()));
        question.ids(categories.iter().map(|id| &id.0));
        if reach.offered.is_some() {
            question.ids(query.groups.iter().map(|id| &id.0));
        }
        let key = question.fingerprint();
        self.needed_once(key, || self.view().needed(reach, query.installed, query.categories))
    }

    pub(super) fn answer(&self, query: &ScanQuery<'_>, fingerprint: u128) -> ScanAnswer {
        let world = &self.view().world;
        let reach = self.reach(query.groups);
        let needed = self.needed(&reach, query);
        let dependency = |position: u32| needed.asked_for.as_ref().is_some_and(|asked| !asked.has(position));
        let mut cached = Bits::new(world.order.len());
        let behind = query.moved || query.since < self.change_number();
        let hears = |rev: &Rev| {
            self.view().change_of(rev) > query.since || query.moved && self.view().differs_by_group(rev)
        };
        let mut answer =
            ScanAnswer { fingerprint, change_number: self.change_number(), ..ScanAnswer::default() };
        for id in query.installed.iter().chain(query.other) {
            let position = world.rev(*id).map(|rev| rev.position);
            match position {
                Some(position) if needed.deliver.has(position) => {
                    let rev = &world.revs[*id as usize];
                    if cached.put(position) && behind && hears(rev) {
                        answer.changed.extend(self.view().offer(*id, &reach, dependency(position)));
                    }
                }
                Some(position)
                    if query.two_groups
                        && needed.deployed.as_ref().is_some_and(|deployed| deployed.has(position)) =>
                {
                    answer.deployed_out_of_scope.push(*id);
                }
                _ => answer.out_of_scope.push(*id),
            }
        }
        for list in [&mut answer.out_of_scope, &mut answer.deployed_out_of_scope] {
            list.sort_unstable();
            list.dedup();
        }
        let mut bytes = 0;
        for position in needed.deliver.without(&cached) {
            let Some(offer) = self.view().offer(world.order[position as usize], &reach, dependency(position))
            else {
                continue;
            };
            bytes += offer.core.len();
            if !answer.new.is_empty() && (answer.new.len() >= query.limit || bytes > query.max_bytes) {
                answer.truncated = true;
                break;
            }
            answer.new.push(offer);
        }
        answer
    }
}
