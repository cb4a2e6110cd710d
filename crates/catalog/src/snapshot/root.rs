//! The snapshot itself: what it consists of, and what is looked up in it.
//!
//! **Invariant:** a snapshot never changes; whoever holds one sees one generation and one set of decisions.
//! It never reads a disk.

use std::sync::{Arc, OnceLock};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::scan::{Needed, Question};
use super::view::{Reach, View};
use super::world::{self, Rev, World, flag};
use crate::values::part::{FRAME_BYTES, PartKind, PartRef};
use crate::values::scan::{Offer, ScanAnswer, ScanQuery};
use tailwater_domain::{
    CategoryKind, GroupId, Limit, RevisionId, Sha1Digest, UpdateId, UpdateIdentity, UpdateType, limits,
};
use tailwater_runtime::ByteCache;

/// Memory for the sets of needed updates that are remembered: at 1,000,000 revisions one takes 125 KB.
pub(super) const NEEDS_BYTES: u64 = 16 << 20;
/// Memory for answers that are remembered: of ids and references, not of texts. One of 200 updates takes 30 KB.
pub(super) const ANSWERS_BYTES: u64 = 16 << 20;
/// Memory for the approvals in force that are remembered by set of groups: 1,000 approvals take 200 KB.
pub(super) const REACHES_BYTES: u64 = 32 << 20;

pub(super) const LIMITS: &[Limit] = limits![
    NEEDS_BYTES in "bytes": "Sets of needed updates that are remembered between scans" => "they are worked out again",
    ANSWERS_BYTES in "bytes": "Answers to scans that are remembered, without their texts" => "they are worked out again",
    REACHES_BYTES in "bytes": "Approvals in force that are remembered by set of groups" => "they are worked out again",
];

/// One generation of the catalog with the decisions in force.
pub struct Snapshot {
    view: View,
    sequence: u64,
    needs: Cache<u128, Arc<Needed>, ByBytes>,
    answers: Cache<u128, Arc<ScanAnswer>, ByBytes>,
    reaches: ByteCache<Vec<GroupId>, Arc<Reach>>,
    /// Payloads of what is approved, sorted; gathered when somebody first asks.
    deployed: OnceLock<Vec<Sha1Digest>>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<u128, Arc<Needed>> for ByBytes {
    fn weight(&self, _key: &u128, needed: &Arc<Needed>) -> u64 {
        needed.bytes() as u64 + 64
    }
}

impl Weighter<u128, Arc<ScanAnswer>> for ByBytes {
    fn weight(&self, _key: &u128, answer: &Arc<ScanAnswer>) -> u64 {
        answer.bytes() as u64 + 64
    }
}

/// What a snapshot knows of a revision.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each with a name of the field")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// Its number.
    pub id: RevisionId,
    /// Which revision of which update.
    pub identity: UpdateIdentity,
    /// What it is.
    pub update_type: UpdateType,
    /// Which kind of category, if it is one.
    pub category: Option<CategoryKind>,
    /// Whether no update names it as prerequisite.
    pub is_leaf: bool,
    /// Whether it is the newest revision of its update.
    pub is_newest: bool,
    /// Whether its publisher withdrew it.
    pub expired: bool,
    /// Whether its update was declined.
    pub declined: bool,
    /// Whether it can be approved by itself.
    pub explicitly_deployable: bool,
}

impl Snapshot {
    pub(crate) fn new(view: View, sequence: u64, remembered_answers: usize) -> Self {
        Self {
            view,
            sequence,
            needs: Cache::with_weighter(256, NEEDS_BYTES, ByBytes),
            answers: Cache::with_weighter(remembered_answers.max(1), ANSWERS_BYTES, ByBytes),
            reaches: ByteCache::new(REACHES_BYTES, 256, |groups: &Vec<GroupId>, reach: &Arc<Reach>| {
                groups.capacity() * size_of::<GroupId>() + reach.bytes()
            }),
            deployed: OnceLock::new(),
        }
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.view.world
    }

    /// The set of needed updates for a question, worked out unless it is remembered.
    pub(super) fn needed_once(&self, key: u128, work_out: impl FnOnce() -> Needed) -> Arc<Needed> {
        if let Some(known) = self.needs.get(&key) {
            return known;
        }
        let needed = Arc::new(work_out());
        self.needs.insert(key, Arc::clone(&needed));
        needed
    }

    /// Payloads of what is approved, sorted; gathered when somebody first asks.
    pub(super) fn deployed(&self, gather: impl FnOnce() -> Vec<Sha1Digest>) -> &[Sha1Digest] {
        self.deployed.get_or_init(gather)
    }

    /// Grows by one with every snapshot of a process.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Generation of the catalog: grows with every activation, over restarts too.
    pub fn generation(&self) -> u64 {
        self.view.world.generation
    }

    /// Grows with every change that agents can notice, over restarts too; goes into their cookies.
    pub fn change_number(&self) -> u64 {
        self.view.world.change.max(self.view.decisions.change)
    }

    /// The change number at which a revision became visible.
    pub fn appeared(&self, id: RevisionId) -> Option<u64> {
        self.view.world.rev(id.0).map(|rev| u64::from(rev.appeared))
    }

    /// Revisions that became visible after this change number.
    pub fn revisions_after(&self, change: u64) -> usize {
        let after = |rev: &&Rev| rev.has(flag::PRESENT) && u64::from(rev.appeared) > change;
        self.view.world.revs.iter().filter(after).count()
    }

    /// Whether any driver is offered to anybody (`DriverSyncNotNeeded`).
    pub fn has_drivers(&self) -> bool {
        let drivers = &self.view.world.hardware;
        drivers.iter().any(|(_, id)| self.view.is_offered(&self.view.world.revs[*id as usize]))
    }

    pub(super) fn reach(&self, groups: &[GroupId]) -> Arc<Reach> {
        let mut key = groups.to_vec();
        key.sort_unstable();
        if let Some(known) = self.reaches.get(&key) {
            return known;
        }
        let reach = Arc::new(self.view.reach(&key));
        self.reaches.insert(key, Arc::clone(&reach));
        reach
    }

    /// A number for what these groups can reach: themselves and those around them. A computer whose cookie has another
    /// one was moved, or its group was, and must hear of everything again.
    pub fn reach_of(&self, groups: &[GroupId]) -> u64 {
        let mut around: Vec<(GroupId, u32)> = self.view.decisions.around(groups).into_iter().collect();
        around.sort_unstable();
        let mut question = Question::new(b'g', 0);
        for (group, depth) in around {
            question.ids(std::iter::once(&group.0)).number(u64::from(depth));
        }
        u64::try_from(question.fingerprint() >> 64).unwrap_or_default()
    }

    /// Bytes of the answers and sets that are remembered.
    #[cfg(test)]
    pub(crate) fn remembered_bytes(&self) -> u64 {
        self.answers.weight() + self.needs.weight()
    }

    /// Bytes of the approvals in force that are remembered.
    #[cfg(test)]
    pub(crate) fn remembered_reaches(&self) -> u64 {
        self.reaches.weight()
    }

    /// A software scan ([MS-WUSP] 3.1.5.7). The same question again is answered from memory, unless it names what the
    /// catalog does not know: whoever makes identities up asks no question twice.
    pub fn scan(&self, query: &ScanQuery<'_>) -> Arc<ScanAnswer> {
        let mut question = Question::new(b's', self.sequence);
        question
            .ids(query.groups.iter().map(|id| &id.0))
            .numbers(query.installed)
            .numbers(query.other)
            .ids(query.categories.iter().map(|id| &id.0))
            .number(u64::from(query.two_groups))
            .number(query.since)
            .number(u64::from(query.moved))
            .number(query.limit as u64)
            .number(query.max_bytes);
        let fingerprint = question.fingerprint();
        if let Some(known) = self.answers.get(&fingerprint) {
            return known;
        }
        let world = &self.view.world;
        let is_known = query.installed.iter().chain(query.other).all(|id| world.rev(*id).is_some())
            && query.categories.iter().all(|id| world.update(id).is_some());
        let answer = Arc::new(ScanAnswer { is_known, ..self.answer(query, fingerprint) });
        if is_known {
            self.answers.insert(fingerprint, Arc::clone(&answer));
        }
        answer
    }

    /// What is known of a revision.
    pub fn revision(&self, id: RevisionId) -> Option<Revision> {
        let world = &self.view.world;
        let rev = world.rev(id.0)?;
        let update = world.update_of(rev);
        Some(Revision {
            id,
            identity: world.identity(rev),
            update_type: rev.update_type,
            category: rev.category,
            is_leaf: !update.required,
            is_newest: update.newest == id.0,
            expired: rev.has(flag::EXPIRED),
            declined: self.view.decision(rev.update).is_some_and(|decision| decision.declined.is_some()),
            explicitly_deployable: rev.has(flag::DEPLOYABLE),
        })
    }

    /// The number of a revision.
    pub fn find(&self, identity: &UpdateIdentity) -> Option<RevisionId> {
        self.view.world.find(identity).map(RevisionId)
    }

    /// The newest revision of an update.
    pub fn latest(&self, update: &UpdateId) -> Option<RevisionId> {
        let (_, update) = self.view.world.update(update)?;
        self.view.world.rev(update.newest).map(|_| RevisionId(update.newest))
    }

    /// How a revision is deployed to computers of these groups, whatever they have installed; `None` when it
    /// is not offered to them (`RefreshCache`, `GetExtendedUpdateInfo`). Drivers too.
    pub fn offer(&self, id: RevisionId, groups: &[GroupId]) -> Option<Offer> {
        let reach = self.reach(groups);
        let rev = self.view.world.rev(id.0)?;
        let offered = reach.offered.as_ref().unwrap_or(&self.view.offered);
        offered.has(rev.position).then(|| self.view.offer(id.0, &reach, false))?
    }

    /// Whether computers of these groups may be told what a revision is: it is offered to them, or it is another
    /// revision of an update that is, which agents may hold from an earlier scan.
    pub fn may_describe(&self, id: RevisionId, groups: &[GroupId]) -> bool {
        let world = &self.view.world;
        let Some((delivered, _)) = world.rev(id.0).and_then(|rev| world.delivered(rev.update)) else {
            return false;
        };
        let usable = || !self.view.decisions.damaged.contains_key(&id.0) && !self.view.lacks_keys(id.0);
        self.offer(RevisionId(delivered), groups).is_some() && (delivered == id.0 || usable())
    }

    /// The texts of a revision.
    pub fn parts(&self, id: RevisionId) -> Vec<(PartKind, PartRef)> {
        let world = &self.view.world;
        let Some(rev) = world.rev(id.0) else { return Vec::new() };
        let mut offset = rev.offset;
        let mut parts = Vec::new();
        for part in world.parts_of(rev) {
            let place =
                PartRef { revision: id.0, segment: rev.segment, offset, stored: part.stored, raw: part.raw };
            parts.extend(world.kind_of(part).map(|kind| (kind, place)));
            offset += part.stored;
        }
        parts
    }

    /// Whether a revision has license terms.
    pub(crate) fn has_terms(&self, id: RevisionId) -> bool {
        let world = &self.view.world;
        world.rev(id.0).is_some_and(|rev| world.parts_of(rev).iter().any(|part| part.kind == world::EULA))
    }

    /// One text of a revision.
    pub fn part(&self, id: RevisionId, kind: &PartKind) -> Option<PartRef> {
        self.parts(id).into_iter().find(|(other, _)| other == kind).map(|(_, part)| part)
    }

    /// The facts that lie with the texts.
    pub(crate) fn facts_part(&self, id: u32) -> Option<PartRef> {
        let rev = self.view.world.rev(id)?;
        self.view.part_ref(id, rev, world::FACTS, None)
    }

    /// The payloads a revision itself declares, in its document's order.
    pub fn files(&self, id: RevisionId) -> Vec<Sha1Digest> {
        let world = &self.view.world;
        world.rev(id.0).map(|rev| world.files_of(rev).collect()).unwrap_or_default()
    }

    /// Bytes of all compressed texts, without the headers of their records.
    pub(crate) fn text_bytes(&self) -> u64 {
        let world = &self.view.world;
        let present = world.revs.iter().filter(|rev| rev.has(flag::PRESENT));
        let texts = present.flat_map(|rev| world.parts_of(rev));
        texts
            .map(|part| {
                u64::from(part.stored).saturating_sub(12 * u64::from(part.raw.div_ceil(FRAME_BYTES).max(1)))
            })
            .sum()
    }

    /// The payloads that agents can still ask for, sorted.
    pub(crate) fn live_digests(&self) -> Vec<Sha1Digest> {
        self.digests_of(self.view.offered_revisions())
    }

    /// Those and the payloads of what is withheld because something in a bundle is lacking for a time, sorted.
    pub(crate) fn kept_digests(&self) -> Vec<Sha1Digest> {
        self.digests_of(self.view.kept_revisions().into_iter())
    }

    fn digests_of(&self, revisions: impl Iterator<Item = u32>) -> Vec<Sha1Digest> {
        let world = &self.view.world;
        let mut digests: Vec<Sha1Digest> =
            revisions.flat_map(|id| world.files_of(&world.revs[id as usize])).collect();
        digests.sort_unstable();
        digests.dedup();
        digests
    }
}
