//! What an approval will move over the link.
//!
//! **Invariant:** a class of computers counts with what it took of earlier releases, and once, however many computers it
//! has; where of a class nothing was learned, the whole release is named as the upper bound and said to be one. It never
//! decides anything.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::callers::class_of;
use super::layout::Layout;
use super::memory::Memory;
use super::plan::Replaced;
use super::{Fetching, Handle, NeedsError};
use tailwater_bandwidth::Completion;
use tailwater_domain::{GroupId, Limit, Sha1Digest, UpdateId, limits};

/// Updates that are weighed together.
pub const MAX_UPDATES: usize = 1_000;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_UPDATES in "updates": "Updates that are weighed together" => "they are not weighed",
];

/// How much is known of what a class takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Knowledge {
    /// It took something of earlier releases.
    Learned,
    /// Others took something of earlier releases, and it took other things, but nothing of these.
    TakesNothing,
    /// Nothing was learned: it may take anything.
    Unknown,
}

/// What one class of computers takes of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCost {
    /// The class.
    pub class: String,
    /// Computers of it in the group; 0 for those known by their requests only.
    pub computers: usize,
    /// How much is known.
    pub knowledge: Knowledge,
    /// Bytes that it is foreseen to take.
    pub needed: u64,
}

/// What one update moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpdateCost {
    /// The update.
    pub update_id: UpdateId,
    /// Its title.
    pub title: String,
    /// All its files.
    pub whole: u64,
    /// Bytes that computers here are foreseen to ask for; no more than [`UpdateCost::whole`].
    pub needed: u64,
    /// Of these, what is held.
    pub held: u64,
    /// Of these, what will cross the link.
    pub left: u64,
    /// What crosses at most: more than `left` when something is unknown.
    pub at_most: u64,
    /// Whether something is unknown.
    pub is_upper_bound: bool,
    /// An approved update that replaces it for the same computers: agents take that one instead.
    pub replaced_by: Option<UpdateId>,
    /// The classes of the group's computers, and those known by their requests.
    pub classes: Vec<ClassCost>,
}

/// When something will be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// At this time, when nothing else crosses the link.
    pub at: Option<Timestamp>,
    /// Seconds from now.
    pub seconds: Option<u64>,
    /// No rate is set: as fast as the link carries it.
    pub unlimited: bool,
}

/// What several updates move together, each file once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Each by itself.
    pub updates: Vec<UpdateCost>,
    /// All files.
    pub whole: u64,
    /// What computers here are foreseen to ask for.
    pub needed: u64,
    /// Of these, what is held.
    pub held: u64,
    /// Of these, what will cross the link.
    pub left: u64,
    /// What crosses at most.
    pub at_most: u64,
    /// Whether something is unknown, so that `left` is no more than an upper bound.
    pub is_upper_bound: bool,
    /// When `left` will have crossed at the calendar's rates.
    pub ends: Ends,
    /// The same for `at_most`.
    pub ends_at_most: Ends,
}

/// Bytes of one file: whole, foreseen, held.
#[derive(Debug, Clone, Copy, Default)]
struct FileCost {
    whole: u64,
    needed: u64,
    held: u64,
    /// Whether some class may take it of which nothing is known.
    unknown: bool,
}

impl FileCost {
    /// What crosses: what is foreseen, or everything where nothing is known.
    fn left(self) -> u64 {
        if self.unknown { self.at_most() } else { self.needed.saturating_sub(self.held) }
    }

    fn at_most(self) -> u64 {
        self.whole.saturating_sub(self.held)
    }

    fn wanted(self) -> u64 {
        if self.unknown { self.whole } else { self.needed }
    }
}

/// Sums over files: whole, needed, held, left, at most.
fn sums<'a>(files: impl Iterator<Item = &'a FileCost>) -> [u64; 5] {
    files.fold([0; 5], |sum, file| {
        let wanted = file.wanted();
        [
            sum[0] + file.whole,
            sum[1] + wanted,
            sum[2] + file.held.min(wanted),
            sum[3] + file.left(),
            sum[4] + if file.unknown { file.at_most() } else { file.left() },
        ]
    })
}

fn part(size: u64, share: u64) -> u64 {
    u64::try_from(u128::from(size) * u128::from(share) / 1_000).unwrap_or(size)
}

impl Memory {
    /// What is known of a class and a release.
    fn knowledge(&self, class: &str, layout: &Layout) -> Knowledge {
        let Some(lineage) = self.lineage_of(&layout.head) else { return Knowledge::Unknown };
        if self.uses.contains_key(&(class.to_owned(), lineage)) {
            return Knowledge::Learned;
        }
        let since = self.lineages.get(&lineage).map_or(0, |lineage| lineage.day);
        let took_other = self.uses.iter().any(|((name, _), uses)| name == class && uses.day >= since);
        if took_other { Knowledge::TakesNothing } else { Knowledge::Unknown }
    }
}

impl Handle {
    /// Classes of the group's computers with how many there are, and those known by their requests only.
    fn classes(&self, group: &GroupId) -> BTreeMap<String, usize> {
        let mut classes = BTreeMap::new();
        for computer in self.0.catalog.members(group) {
            if let Some(class) = class_of(&computer) {
                *classes.entry(class).or_insert(0) += 1;
            }
        }
        let unseen = [super::callers::OTHERS, super::callers::SERVERS];
        let living = self.living_classes().into_iter().filter(|class| unseen.contains(&class.as_str()));
        classes.extend(living.map(|class| (class, 0)));
        classes
    }

    /// What weighs approvals for a group, with what is approved by now. Reads the catalog: it may wait for a disk.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn scales(&self, group: &GroupId) -> Result<Scales, NeedsError> {
        let (classes, replaced) = (self.classes(group), self.replaced()?);
        Ok(Scales { needs: self.clone(), group: *group, classes, replaced })
    }

    fn cost_of(
        &self,
        layout: &Layout,
        classes: &BTreeMap<String, usize>,
        replaced_by: Option<UpdateId>,
    ) -> (UpdateCost, HashMap<Sha1Digest, FileCost>) {
        let memory = self.memory();
        let matched = memory.matched(layout);
        let mut files: Vec<FileCost> = Vec::with_capacity(layout.files.len());
        for placed in &layout.files {
            let held = self.0.store.status(&placed.file.sha1).map_or(0, |status| status.held);
            files.push(FileCost { whole: placed.file.size, held, ..FileCost::default() });
        }
        let mut shown = Vec::new();
        for (class, &computers) in classes {
            let knowledge = memory.knowledge(class, layout);
            let mut needed = 0;
            for (place, (file, placed)) in files.iter_mut().zip(&layout.files).enumerate() {
                let key = matched.as_ref().and_then(|matched| Some((matched.lineage, matched.key(place)?)));
                let foreseen =
                    key.map(|(lineage, key)| memory.foreseen(class, lineage, key, &placed.file.sha1));
                let bytes = part(file.whole, foreseen.unwrap_or_default().share);
                needed += bytes;
                file.needed = file.needed.max(bytes);
                file.unknown |= knowledge == Knowledge::Unknown;
            }
            shown.push(ClassCost { class: class.clone(), computers, knowledge, needed });
        }
        drop(memory);
        if replaced_by.is_some() {
            for file in &mut files {
                (file.needed, file.unknown) = (0, false);
            }
        }
        // without computers nothing tells what they will be
        let nobody = classes.is_empty() && replaced_by.is_none();
        for (file, placed) in files.iter_mut().zip(&layout.files) {
            file.unknown |= nobody;
            match self.0.fetching {
                // parts of express payloads come when they are asked for
                Fetching::Approved if !placed.file.is_taken_in_parts() => {
                    (file.needed, file.unknown) = (file.whole, false);
                }
                Fetching::None => (file.needed, file.unknown) = (0, false),
                _ => {}
            }
        }
        let [whole, needed, held, left, at_most] = sums(files.iter());
        let row = UpdateCost {
            update_id: layout.head.update,
            title: layout.head.title.clone(),
            whole,
            needed,
            held,
            left,
            at_most,
            is_upper_bound: files.iter().any(|file| file.unknown),
            replaced_by,
            classes: shown,
        };
        (row, layout.files.iter().map(|placed| placed.file.sha1).zip(files).collect())
    }

    fn ends(&self, bytes: u64) -> Ends {
        let now = self.0.clock.now();
        match self.0.timetable.completion(bytes) {
            Completion::At(at) => {
                let seconds = u64::try_from(at.duration_since(now).as_secs()).unwrap_or_default();
                Ends { at: Some(at), seconds: Some(seconds), unlimited: false }
            }
            Completion::Unlimited => Ends { at: None, seconds: None, unlimited: true },
            Completion::BeyondHorizon => Ends { at: None, seconds: None, unlimited: false },
        }
    }
}

/// Weighs approvals for one group.
pub struct Scales {
    needs: Handle,
    group: GroupId,
    classes: BTreeMap<String, usize>,
    replaced: Replaced,
}

impl Scales {
    /// What approving these updates will move over the link, at most [`MAX_UPDATES`] of them. Reads the catalog: it may
    /// wait for a disk.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn weigh(&self, updates: &[UpdateId]) -> Result<Cost, NeedsError> {
        let (mut rows, mut all) = (Vec::new(), HashMap::<Sha1Digest, FileCost>::new());
        for update in updates.iter().take(MAX_UPDATES) {
            let Some(layout) = self.needs.layout(update)? else { continue };
            let replaced_by = self.replaced.whom(update, std::slice::from_ref(&self.group));
            let (row, files) = self.needs.cost_of(&layout, &self.classes, replaced_by);
            rows.push(row);
            for (sha1, file) in files {
                let known = all.entry(sha1).or_insert(file);
                known.needed = known.needed.max(file.needed);
                known.unknown |= file.unknown;
            }
        }
        let [whole, needed, held, left, at_most] = sums(all.values());
        let is_upper_bound = rows.iter().any(|row| row.is_upper_bound);
        let (ends, ends_at_most) = (self.needs.ends(left), self.needs.ends(at_most));
        Ok(Cost { updates: rows, whole, needed, held, left, at_most, is_upper_bound, ends, ends_at_most })
    }
}
