//! What each class of computers used of each lineage: the memory, in memory.
//!
//! **Invariant:** a file that no class used is in nobody's memory, and nothing is foreseen of it. The numbers of
//! lineages, of classes and of versions kept have limits; what was used longest ago goes first. Pure: it is told the day.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::layout::{Head, Key, Layout};
use tailwater_domain::{ByteRange, Limit, Sha1Digest, UpdateId, limits};

/// Lineages remembered: a catalog of every product of Microsoft has a few hundred that live.
const MAX_LINEAGES: usize = 4_096;

/// Pairs of a class and a lineage: a row each, about 300 bytes with four files.
const MAX_USES: usize = 16_384;

/// Files remembered of one lineage, over all classes: a release of definitions has 155.
const MAX_FILES: usize = 1_024;

/// Releases remembered of one lineage by name, so that what replaces one of them is found.
const MAX_RELEASES: usize = 16;

/// Versions of a file that are weighed.
const VERSIONS: usize = 4;

/// How much the use of a version counts, the latest first.
const WEIGHTS: [u32; VERSIONS] = [4, 3, 2, 1];

/// Used in either of the latest two versions, in tenths of the weights: 3 of 10.
const FORESEEN_TENTHS: u32 = 3;

/// Days after which something that is no longer used is forgotten: two quarterly releases were passed over.
const KEEP_DAYS: i32 = 200;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_LINEAGES in "lineages": "Lineages remembered" => "the one used longest ago is forgotten",
    MAX_USES in "pairs": "Pairs of a class and a lineage remembered" => "the one used longest ago is forgotten",
    MAX_FILES in "files": "Files remembered of one lineage" => "it is not remembered",
    MAX_RELEASES in "releases": "Releases remembered of one lineage" => "the oldest is forgotten",
    KEEP_DAYS in "days": "Days that something unused is remembered" => "it is forgotten",
];

/// Parts of a file by which it is remembered what was asked of it.
const PARTS: u64 = 64;

/// A class of computers: `Windows 10.0.26100 AMD64`.
pub(super) type ClassName = String;

/// A lineage, whoever uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lineage {
    /// Title of the latest release.
    pub(super) title: String,
    loose: Key,
    /// Its latest releases, the newest last.
    releases: Vec<UpdateId>,
    /// Files that some class used.
    pub(super) files: BTreeMap<Key, Known>,
    pub(super) day: i32,
}

/// A file of a lineage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    loose: Key,
    /// Of the latest version used.
    pub(super) name: String,
}

/// What a class used of a lineage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Uses {
    /// Releases of which it used something, the newest last.
    pub(super) releases: Vec<UpdateId>,
    /// Versions of each file that it used at least once, the newest last; those passed over included.
    pub(super) files: BTreeMap<Key, Vec<Version>>,
    pub(super) day: i32,
}

/// One version of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    sha1: Sha1Digest,
    pub(super) size: u64,
    /// Parts of the file of which something was asked.
    parts: u64,
    /// Bytes asked, by all computers together.
    asked: u64,
}

impl Version {
    /// How much of it was asked for, of 1,000: no more than the parts that were touched, nor than the bytes asked.
    pub(super) fn share(&self) -> u64 {
        let touched = u64::from(self.parts.count_ones()) * 1_000 / PARTS;
        touched.min(self.asked.saturating_mul(1_000) / self.size.max(1))
    }

    /// Whether anything of it was asked for.
    pub(super) fn is_used(&self) -> bool {
        self.parts != 0
    }

    fn ask(&mut self, range: ByteRange) {
        let part = |offset: u64| u128::from(offset) * u128::from(PARTS) / u128::from(self.size.max(1));
        for at in part(range.start)..=part(range.end.saturating_sub(1)) {
            self.parts |= u32::try_from(at).ok().and_then(|at| 1_u64.checked_shl(at)).unwrap_or_default();
        }
        self.asked = self.asked.saturating_add(range.len());
    }
}

/// What is foreseen of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Foreseen {
    /// How much of it will be asked for, of 1,000; 0 when it will not be.
    pub(super) share: u64,
}

/// Everything remembered.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) lineages: HashMap<Key, Lineage>,
    pub(super) uses: HashMap<(ClassName, Key), Uses>,
    /// By release, the lineage it was found to belong to.
    known: HashMap<UpdateId, Key>,
    /// What changed since it was last taken for storing.
    changed: HashSet<Row>,
}

/// What is stored by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Row {
    Lineage(Key),
    Uses(ClassName, Key),
}

/// The files of a release that are remembered, by place.
pub(super) struct Matched {
    pub(super) lineage: Key,
    /// For each file of the layout the key by which it is known.
    keys: Vec<Option<Key>>,
}

impl Matched {
    /// The key under which a file of the layout is remembered.
    pub(super) fn key(&self, place: usize) -> Option<Key> {
        self.keys.get(place).copied().flatten()
    }
}

fn push_last<T>(list: &mut Vec<T>, item: T, most: usize) {
    list.push(item);
    if list.len() > most {
        list.remove(0);
    }
}

impl Memory {
    /// Takes stored rows over.
    pub(super) fn restore(&mut self, key: Key, lineage: Lineage) {
        self.known.extend(lineage.releases.iter().map(|release| (*release, key)));
        self.lineages.insert(key, lineage);
    }

    pub(super) fn restore_uses(&mut self, class: ClassName, key: Key, uses: Uses) {
        self.uses.insert((class, key), uses);
    }

    /// What changed since this was asked last; a row that is no longer there is to be removed.
    pub(super) fn take_changed(&mut self) -> HashSet<Row> {
        std::mem::take(&mut self.changed)
    }

    /// The lineage that a release belongs to: by its title, or by what it replaces when the titles differ in numbers
    /// only.
    pub(super) fn lineage_of(&self, head: &Head) -> Option<Key> {
        if let Some(key) = self.known.get(&head.update) {
            return Some(*key);
        }
        if self.lineages.contains_key(&head.lineage) {
            return Some(head.lineage);
        }
        let replaced = head.supersedes.iter().filter_map(|update| self.known.get(update));
        replaced.copied().find(|key| self.lineages.get(key).is_some_and(|known| known.loose == head.loose))
    }

    /// Lays a release over what is remembered of its lineage.
    pub(super) fn matched(&self, layout: &Layout) -> Option<Matched> {
        let lineage = self.lineage_of(&layout.head)?;
        let known = &self.lineages.get(&lineage)?.files;
        let mut keys: Vec<Option<Key>> =
            layout.files.iter().map(|file| known.contains_key(&file.key).then_some(file.key)).collect();
        let taken: HashSet<Key> = keys.iter().flatten().copied().collect();
        let mut left: HashMap<Key, Key> = HashMap::new();
        for (key, file) in known.iter().filter(|(key, _)| !taken.contains(key)) {
            left.insert(file.loose, *key);
        }
        for (key, file) in keys.iter_mut().zip(&layout.files).filter(|(key, _)| key.is_none()) {
            *key = left.remove(&file.loose);
        }
        Some(Matched { lineage, keys })
    }

    /// A class asked for ranges of the file at a place of a release.
    pub(super) fn asked(
        &mut self,
        class: &str,
        layout: &Layout,
        place: usize,
        ranges: &[ByteRange],
        day: i32,
    ) {
        let Some(placed) = layout.files.get(place) else { return };
        let matched = self.matched(layout);
        let lineage = matched.as_ref().map_or(layout.head.lineage, |matched| matched.lineage);
        let key = matched.as_ref().and_then(|matched| matched.key(place)).unwrap_or(placed.key);
        self.note_lineage(lineage, layout, key, place, day);
        let uses = self.uses.entry((class.to_owned(), lineage)).or_default();
        uses.day = day;
        if !uses.releases.contains(&layout.head.update) {
            push_last(&mut uses.releases, layout.head.update, MAX_RELEASES);
            // from now on the class could use the others too: versions it passes over count
            for (place, other) in layout.files.iter().enumerate() {
                let known = matched.as_ref().and_then(|matched| matched.key(place)).unwrap_or(other.key);
                if let Some(versions) = uses.files.get_mut(&known) {
                    version_of(versions, other.file.sha1, other.file.size);
                }
            }
        }
        if uses.files.len() >= MAX_FILES && !uses.files.contains_key(&key) {
            return;
        }
        let version = version_of(uses.files.entry(key).or_default(), placed.file.sha1, placed.file.size);
        for range in ranges {
            version.ask(*range);
        }
        self.changed.insert(Row::Uses(class.to_owned(), lineage));
    }

    fn note_lineage(&mut self, lineage: Key, layout: &Layout, key: Key, place: usize, day: i32) {
        let (head, placed) = (&layout.head, &layout.files[place]);
        let fresh = || Lineage {
            title: head.title.clone(),
            loose: head.loose,
            releases: Vec::new(),
            files: BTreeMap::new(),
            day,
        };
        let known = self.lineages.entry(lineage).or_insert_with(fresh);
        let mut changed = known.day != day;
        known.day = day;
        if !known.releases.contains(&head.update) {
            push_last(&mut known.releases, head.update, MAX_RELEASES);
            self.known.insert(head.update, lineage);
            known.title.clone_from(&head.title);
            changed = true;
        }
        let file = Known { loose: placed.loose, name: placed.name.clone() };
        if known.files.get(&key) != Some(&file)
            && (known.files.len() < MAX_FILES || known.files.contains_key(&key))
        {
            known.files.insert(key, file);
            changed = true;
        }
        if changed {
            self.changed.insert(Row::Lineage(lineage));
        }
    }

    /// What a class is foreseen to ask of the file with this key and digest.
    pub(super) fn foreseen(&self, class: &str, lineage: Key, key: Key, sha1: &Sha1Digest) -> Foreseen {
        let versions = self.uses.get(&(class.to_owned(), lineage)).and_then(|uses| uses.files.get(&key));
        let Some(versions) = versions else { return Foreseen::default() };
        let own = versions.iter().find(|version| version.sha1 == *sha1).map_or(0, Version::share);
        let earlier = versions.iter().filter(|version| version.sha1 != *sha1);
        Foreseen { share: weighed(earlier).max(own) }
    }

    /// Forgets what was not used for long, and what is too much.
    pub(super) fn age(&mut self, day: i32) {
        // days of a clock that was ahead are today
        self.uses.values_mut().for_each(|uses| uses.day = day.min(uses.day));
        self.lineages.values_mut().for_each(|lineage| lineage.day = day.min(lineage.day));
        let old = |last: i32| day.saturating_sub(last) > KEEP_DAYS;
        let mut gone: Vec<(ClassName, Key)> =
            self.uses.iter().filter(|(_, uses)| old(uses.day)).map(|(row, _)| row.clone()).collect();
        let mut left: Vec<_> = self.uses.iter().filter(|(_, uses)| !old(uses.day)).collect();
        left.sort_unstable_by_key(|(_, uses)| uses.day);
        let surplus = left.len().saturating_sub(MAX_USES);
        gone.extend(left.into_iter().take(surplus).map(|(row, _)| row.clone()));
        for row in gone {
            self.uses.remove(&row);
            self.changed.insert(Row::Uses(row.0, row.1));
        }
        let used: HashSet<Key> = self.uses.keys().map(|(_, lineage)| *lineage).collect();
        let mut days: Vec<_> = self.lineages.iter().map(|(key, lineage)| (lineage.day, *key)).collect();
        days.sort_unstable();
        let surplus = days.len().saturating_sub(MAX_LINEAGES);
        let unused = days.iter().enumerate().filter(|(at, (_, key))| *at < surplus || !used.contains(key));
        let gone: Vec<Key> = unused.map(|(_, (_, key))| *key).collect();
        for key in gone {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: Key) {
        self.lineages.remove(&key);
        self.known.retain(|_, lineage| *lineage != key);
        self.changed.insert(Row::Lineage(key));
        let rows: Vec<_> = self.uses.keys().filter(|(_, lineage)| *lineage == key).cloned().collect();
        for row in rows {
            self.uses.remove(&row);
            self.changed.insert(Row::Uses(row.0, row.1));
        }
    }
}

/// How much of the next version is foreseen, of 1,000, by versions with the newest last.
fn weighed<'a>(versions: impl DoubleEndedIterator<Item = &'a Version>) -> u64 {
    let (mut all, mut used, mut shares) = (0, 0, 0);
    for (version, weight) in versions.rev().zip(WEIGHTS) {
        all += weight;
        if version.is_used() {
            used += weight;
            shares += u64::from(weight) * version.share();
        }
    }
    let is_foreseen = used > 0 && used * 10 >= all * FORESEEN_TENTHS;
    if is_foreseen { shares / u64::from(used) } else { 0 }
}

/// How much of the next version of a file is foreseen, of 1,000.
pub(super) fn next_share(versions: &[Version]) -> u64 {
    weighed(versions.iter())
}

/// The version with this digest, the newest when it is new.
fn version_of(versions: &mut Vec<Version>, sha1: Sha1Digest, size: u64) -> &mut Version {
    let found = versions.iter().position(|version| version.sha1 == sha1);
    let at = found.unwrap_or_else(|| {
        push_last(versions, Version { sha1, size, parts: 0, asked: 0 }, VERSIONS + 1);
        versions.len() - 1
    });
    &mut versions[at]
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::definitions;
    use super::*;

    const CLASS: &str = "Windows 10.0.26100 AMD64";

    fn place(layout: &Layout, words: &str) -> usize {
        layout.files.iter().position(|file| words.split('|').all(|word| file.name.contains(word))).unwrap()
    }

    fn whole(layout: &Layout, at: usize) -> ByteRange {
        ByteRange { start: 0, end: layout.files[at].file.size }
    }

    fn use_of(memory: &mut Memory, layout: &Layout, words: &[&str], day: i32) {
        for words in words {
            let at = place(layout, words);
            memory.asked(CLASS, layout, at, &[whole(layout, at)], day);
        }
    }

    /// Names of the files that are foreseen, with their shares.
    fn foreseen(memory: &Memory, layout: &Layout) -> Vec<(String, u64)> {
        let Some(matched) = memory.matched(layout) else { return Vec::new() };
        let of = |(at, file): (usize, &super::super::layout::Placed)| {
            let key = matched.key(at)?;
            let share = memory.foreseen(CLASS, matched.lineage, key, &file.file.sha1).share;
            (share > 0).then(|| (file.name.clone(), share))
        };
        layout.files.iter().enumerate().filter_map(of).collect()
    }

    #[test]
    fn what_was_used_of_one_release_is_foreseen_of_the_next() {
        let mut memory = Memory::default();
        let next = definitions(548, 12, true);
        assert!(foreseen(&memory, &next).is_empty());
        use_of(
            &mut memory,
            &definitions(547, 12, false),
            &["Base|amd64", "Engine|amd64", "_1.459.546.0|amd64"],
            1,
        );
        let mut found = foreseen(&memory, &next);
        found.sort();
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "AM Engine 1.1.2608137.3 for Defender amd64fre Broad: AM_Engine.exe",
                "Deltas 1.459.548.0 for Defender amd64fre: AM_Delta_Patch_1.459.547.0.exe",
                "Full Definitions 1.459.548.0 for Defender amd64fre: AM_Base.exe",
            ]
        );
        assert!(found.iter().all(|(_, share)| *share == 1_000));
    }

    #[test]
    fn what_is_passed_over_twice_is_no_longer_foreseen() {
        let mut memory = Memory::default();
        use_of(&mut memory, &definitions(547, 12, false), &["Base|amd64", "_1.459.546.0|amd64"], 1);
        use_of(&mut memory, &definitions(548, 12, false), &["_1.459.547.0|amd64"], 2);
        let has_base = |memory: &Memory, version| {
            foreseen(memory, &definitions(version, 12, false)).iter().any(|(name, _)| name.contains("Base"))
        };
        assert!(has_base(&memory, 549), "passed over once");
        use_of(&mut memory, &definitions(549, 12, false), &["_1.459.548.0|amd64"], 3);
        assert!(!has_base(&memory, 550), "passed over twice: 2 of 9");
        use_of(&mut memory, &definitions(550, 12, false), &["_1.459.549.0|amd64"], 4);
        use_of(&mut memory, &definitions(551, 12, false), &["_1.459.550.0|amd64"], 5);
        // the engine stays the same for four releases: nobody could use a newer one
        use_of(&mut memory, &definitions(552, 12, false), &["Engine|amd64"], 6);
        for version in 553..556 {
            use_of(
                &mut memory,
                &definitions(version, 12, false),
                &[&format!("_1.459.{}.0|amd64", version - 1)],
                7,
            );
        }
        let next = foreseen(&memory, &definitions(556, 12, false));
        assert!(next.iter().any(|(name, _)| name.contains("Engine")), "{next:?}");
    }

    #[test]
    fn a_part_that_was_asked_for_is_remembered_as_a_part() {
        let mut memory = Memory::default();
        let layout = definitions(547, 12, false);
        let at = place(&layout, "Base|amd64");
        let size = layout.files[at].file.size;
        let tenth: Vec<ByteRange> = (0..64)
            .map(|step| ByteRange { start: step * size / 64, end: step * size / 64 + size / 640 })
            .collect();
        memory.asked(CLASS, &layout, at, &tenth, 1);
        let share = foreseen(&memory, &definitions(548, 12, false))[0].1;
        assert!((99..=100).contains(&share), "{share}: scattered ranges are no more than their bytes");
    }

    #[test]
    fn the_same_part_asked_by_many_is_still_that_part() {
        let mut memory = Memory::default();
        let layout = definitions(547, 12, false);
        let at = place(&layout, "Base|amd64");
        let quarter = ByteRange { start: 0, end: layout.files[at].file.size / 4 };
        (0..50).for_each(|_| memory.asked(CLASS, &layout, at, &[quarter], 1));
        assert_eq!(foreseen(&memory, &definitions(548, 12, false))[0].1, 250);
    }

    #[test]
    fn what_was_not_used_for_long_is_forgotten() {
        let mut memory = Memory::default();
        use_of(&mut memory, &definitions(547, 12, false), &["Base|amd64"], 1);
        memory.take_changed();
        memory.age(1 + KEEP_DAYS);
        assert_eq!((memory.lineages.len(), memory.uses.len()), (1, 1));
        memory.age(2 + KEEP_DAYS);
        assert_eq!((memory.lineages.len(), memory.uses.len()), (0, 0));
        assert_eq!(memory.take_changed().len(), 2, "both rows are to be removed");
        assert!(foreseen(&memory, &definitions(548, 12, false)).is_empty());
    }

    #[test]
    fn days_of_a_clock_that_was_ahead_end_like_all_others() {
        for ahead in [1, 30, 3_650] {
            let mut memory = Memory::default();
            let release = definitions(548, 12, true);
            memory.asked(CLASS, &release, 0, &[whole(&release, 0)], 100 + ahead);
            memory.age(100);
            assert_eq!(memory.uses.len(), 1);
            memory.age(100 + KEEP_DAYS);
            assert_eq!(memory.uses.len(), 1, "not before its time");
            memory.age(101 + KEEP_DAYS);
            assert!(memory.uses.is_empty(), "{ahead}");
        }
    }
}
