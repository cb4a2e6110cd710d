//! Promises about damage: whatever bytes of whatever file go bad, the store opens, nothing wrong is handed out, and after
//! one more synchronisation everything is there again.

use std::path::{Path, PathBuf};

use crate::storage::record;
use crate::storage::record::key;
use crate::storage::segment::Step;
use crate::storage::segment::frame::Kind;
use crate::tests::names::*;
use crate::tests::{House, bundles, core_of, facts, needs, revision};
use crate::*;
use tailwater_domain::{Action, UpdateType};
use tailwater_kv::Batch;

const COUNT: u32 = 120;
const BATCH: u32 = 20;

fn world() -> Vec<Facts> {
    (1..=COUNT)
        .map(|number| {
            let mut facts = facts(number, 1, UpdateType::Software);
            // enough text for a dictionary, and for several segments
            let word = |at: u32| format!("w{:x}", number * 7_919 * (at + 1) % 4_096);
            facts.titles[0].text = (0..200).map(word).collect::<Vec<_>>().join(" ");
            match number % 10 {
                0 => bundles(facts, &[(number - 1, 1)]),
                5 => needs(facts, &[&[number - 4]]),
                _ => facts,
            }
        })
        .collect()
}

fn config(dir: &Path) -> Config {
    Config {
        index_cache: tailwater_domain::ByteCount(4 << 20),
        segment_size: tailwater_domain::ByteCount(24 << 10),
        ..Config::new(dir.to_path_buf())
    }
}

fn open(dir: &Path) -> Catalog {
    let clock = Clock::manual(jiff::Timestamp::from_second(1_790_000_000).unwrap());
    Catalog::open(config(dir), clock).unwrap()
}

/// A store of several segments with decisions, and a dictionary.
fn built(dir: &Path) {
    let catalog = open(dir);
    let staging = catalog.staging().unwrap();
    for batch in world().chunks(BATCH as usize) {
        staging.store(batch.iter().cloned().map(revision).collect()).unwrap();
        staging.activate(Activation::default()).unwrap();
        let group = catalog.create_group(&batch[0].identity.to_string(), None).unwrap();
        let verdict = Verdict::Approve { group: group.id, action: Action::Install, deadline: None };
        catalog.decide(&[batch[1].identity.update], &verdict, "admin").unwrap();
    }
    assert!(catalog.0.storage.log().segments().numbers().unwrap().len() > 1);
    assert!(catalog.0.storage.log().codec().knows(1), "a dictionary was trained");
}

/// What a synchronisation does, with an upstream that lists only what changed unless everything is asked for.
fn synchronise(catalog: &Catalog) {
    let staging = catalog.staging().unwrap();
    staging.check_texts(|| false).unwrap();
    let unnamed = staging.unnamed();
    let mut asked: Vec<UpdateIdentity> = catalog.damaged();
    asked.extend(staging.damaged());
    if unnamed.is_some() {
        asked.extend(world().iter().map(|facts| facts.identity));
    }
    let wanted = world()
        .into_iter()
        .filter(|facts| asked.contains(&facts.identity) && !staging.holds(&facts.identity))
        .map(revision)
        .collect();
    staging.store(wanted).unwrap();
    staging.activate(Activation { force: true, ..Activation::default() }).unwrap();
    if let Some(unnamed) = unnamed {
        staging.is_complete_again(&unnamed).unwrap();
    }
}

/// Everything is active and can be read; gives the number of each.
fn check_whole(catalog: &Catalog, what: &str) -> Vec<(UpdateIdentity, u32)> {
    let snapshot = catalog.snapshot();
    let mut numbers = Vec::new();
    for facts in world() {
        let id = snapshot.world().find(&facts.identity);
        let id = id.unwrap_or_else(|| panic!("{what}: {} is not there", facts.identity));
        numbers.push((facts.identity, id));
        for (kind, part) in snapshot.parts(RevisionId(id)) {
            let text = catalog.read(&part).unwrap_or_else(|error| panic!("{what}: {kind:?}: {error}"));
            if kind == PartKind::Core {
                assert_eq!(text, core_of(&facts), "{what}");
            }
        }
        let stored = catalog.facts(RevisionId(id)).unwrap().unwrap();
        assert_eq!(stored.facts.titles, facts.titles, "{what}");
        assert_eq!(stored.facts.bundled, facts.bundled, "{what}");
    }
    assert_eq!(snapshot.world().count, numbers.len(), "{what}: nothing twice");
    assert!(catalog.damaged().is_empty(), "{what}");
    numbers
}

/// What was decided.
fn decided(catalog: &Catalog) -> (Vec<String>, Vec<Option<GroupId>>) {
    let groups = catalog.groups().into_iter().map(|group| group.name).collect();
    let approvals = world()
        .iter()
        .map(|facts| {
            let row = catalog.rows(&[facts.identity.update]).unwrap().pop()?;
            row.approvals.first().map(|approval| approval.group)
        })
        .collect();
    (groups, approvals)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(dir.join("documents")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort_unstable();
    found
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % limit.max(1) as u64).unwrap()
    }
}

/// Harms one file; says how.
fn harm(dir: &Path, chance: &mut Chance) -> String {
    let files = segments(dir);
    let path = &files[chance.below(files.len())];
    let mut bytes = std::fs::read(path).unwrap();
    let at = chance.below(bytes.len());
    let how = match chance.below(6) {
        0 | 1 => {
            bytes[at] ^= 1 << chance.below(8);
            "a bit flipped"
        }
        2 => {
            let end = (at + 512).min(bytes.len());
            bytes[at..end].fill(0);
            "512 bytes zeroed"
        }
        3 => {
            let start = at / 4096 * 4096;
            let end = (start + 4096).min(bytes.len());
            bytes[start..end].fill(0);
            "a page zeroed"
        }
        4 => {
            let end = (at + 300).min(bytes.len());
            bytes[at..end].iter_mut().for_each(|byte| *byte = u8::try_from(chance.below(256)).unwrap());
            "noise"
        }
        _ => {
            bytes.truncate(at);
            "cut off"
        }
    };
    std::fs::write(path, bytes).unwrap();
    format!("{how} at {at} of {}", path.file_name().unwrap().to_string_lossy())
}

#[test]
fn damage_anywhere_in_a_segment_is_mended_by_one_synchronisation() {
    let house = House::new();
    let sound = house.dir.path().join("sound");
    built(&sound);
    let before = {
        let catalog = open(&sound);
        (check_whole(&catalog, "sound"), decided(&catalog))
    };
    for seed in 0..30 {
        let mut chance = Chance(seed * 7_919 + 1);
        let dir = house.dir.path().join(format!("s{seed}"));
        copy(&sound, &dir);
        let mut what = format!("seed {seed}");
        for _ in 0..=chance.below(3) {
            what = format!("{what}, {}", harm(&dir, &mut chance));
        }
        // every third without its index: it is made from what is left
        let rebuilt = seed % 3 == 2;
        if rebuilt {
            std::fs::remove_dir_all(dir.join("index")).unwrap();
        }
        let catalog = open(&dir);
        let noticed = catalog.lost();
        synchronise(&catalog);
        let numbers = check_whole(&catalog, &what);
        assert!(catalog.staging().unwrap().unnamed().is_none(), "{what}");
        if rebuilt {
            assert!(
                noticed.is_some() || decided(&catalog) == before.1,
                "{what}: decisions are lost in silence"
            );
        } else {
            assert_eq!(decided(&catalog), before.1, "{what}");
        }
        drop(catalog);
        let catalog = open(&dir);
        assert_eq!(check_whole(&catalog, &format!("{what}, opened again")), numbers);
        assert!(catalog.lost().is_none_or(|lost| lost.revisions + lost.stretches == 0), "{what}");
        // no number that something else had
        for (identity, number) in &numbers {
            let other = before.0.iter().find(|(_, before)| before == number);
            assert!(other.is_none_or(|(other, _)| other == identity), "{what}: {number} was {other:?}");
        }
        drop(catalog);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

/// Where the records of a kind lie.
fn records(catalog: &Catalog, wanted: Kind) -> Vec<record::Location> {
    let (segments, mut found) = (catalog.0.storage.log().segments(), Vec::new());
    for segment in segments.numbers().unwrap() {
        let mut offset = 0;
        while let Step::Record { kind, at, .. } = segments.step(segment, offset).unwrap() {
            found.extend((kind == wanted).then_some(at));
            offset = u64::from(at.offset) + u64::from(at.stored);
        }
    }
    found
}

fn spoil(dir: &Path, at: record::Location) {
    let path = dir.join(format!("documents/{:08}.seg", at.segment));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at.offset as usize + at.stored as usize / 2] ^= 16;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_lost_block_is_counted_and_told_until_everything_was_compared() {
    let house = House::new();
    let dir = house.dir.path().join("catalog");
    built(&dir);
    let catalog = open(&dir);
    let blocks = records(&catalog, Kind::Manifest);
    assert_eq!(blocks.len(), (COUNT / BATCH) as usize);
    drop(catalog);
    spoil(&dir, blocks[2]);
    for round in 0..3 {
        let catalog = open(&dir);
        let lost = catalog.lost().unwrap();
        assert_eq!(
            (lost.revisions, lost.stretches, lost.decisions),
            (u64::from(BATCH), 0, 0),
            "round {round}"
        );
        assert_eq!(catalog.totals().revisions, (COUNT - BATCH) as usize);
        let staging = catalog.staging().unwrap();
        assert!(!staging.holds(&world()[45].identity) && staging.holds(&world()[5].identity));
        // an activation in between changes nothing about it
        staging.activate(Activation::default()).unwrap();
        assert_eq!(catalog.lost().unwrap().revisions, u64::from(BATCH));
    }
    let catalog = open(&dir);
    synchronise(&catalog);
    check_whole(&catalog, "a lost block");
    assert_eq!(catalog.lost(), None);
    drop(catalog);
    let catalog = open(&dir);
    assert_eq!(catalog.lost(), None);
    // one that goes while the server runs is noticed with the next activation
    drop(catalog);
    let catalog = open(&dir);
    spoil(&dir, records(&catalog, Kind::Manifest)[0]);
    catalog.staging().unwrap().activate(Activation { force: true, ..Activation::default() }).unwrap();
    assert_eq!(catalog.lost().unwrap().revisions, u64::from(BATCH));
    synchronise(&catalog);
    check_whole(&catalog, "a block lost while running");
}

#[test]
fn what_is_staged_and_damaged_is_asked_for_again_and_stops_nothing() {
    let house = House::new();
    let dir = house.dir.path().join("catalog");
    let catalog = open(&dir);
    let staging = catalog.staging().unwrap();
    staging.store(world().into_iter().map(revision).collect()).unwrap();
    drop((staging, catalog));
    let texts = records(&open(&dir), Kind::Text);
    for at in texts.iter().step_by(50) {
        spoil(&dir, *at);
    }
    let catalog = open(&dir);
    let staging = catalog.staging().unwrap();
    assert!(world().iter().all(|facts| staging.holds(&facts.identity)));
    // reading what it says of itself is no error of everything else
    for facts in world() {
        staging.facts(&facts.identity).unwrap();
    }
    synchronise(&catalog);
    check_whole(&catalog, "staged");
    drop((staging, catalog));
    check_whole(&open(&dir), "staged, opened again");
}

#[test]
fn a_dictionary_has_a_copy_and_its_number_is_never_given_again() {
    let house = House::new();
    let dir = house.dir.path().join("catalog");
    built(&dir);
    let dictionary = records(&open(&dir), Kind::Dictionary)[0];
    spoil(&dir, dictionary);
    let catalog = open(&dir);
    check_whole(&catalog, "from the copy");
    assert_eq!(catalog.lost(), None);
    // without its copy everything that needs it is missing, and what comes is compressed otherwise
    let mut batch = Batch::default();
    batch.remove(key::dictionary_copy(1));
    catalog.0.storage.kv().apply(&batch).unwrap();
    drop(catalog);
    let catalog = open(&dir);
    assert!(catalog.lost().is_some() && !catalog.0.storage.log().codec().knows(1));
    synchronise(&catalog);
    check_whole(&catalog, "without a dictionary");
    assert!(!catalog.0.storage.log().codec().knows(1), "another dictionary would give other texts");
    drop(catalog);
    std::fs::remove_dir_all(dir.join("index")).unwrap();
    let catalog = open(&dir);
    synchronise(&catalog);
    check_whole(&catalog, "made from the segments");
    assert!(!catalog.0.storage.log().codec().knows(1));
}

#[test]
fn folders_of_earlier_versions_open_and_say_what_they_can() {
    let house = House::new();
    let dir = house.dir.path().join("catalog");
    built(&dir);
    let catalog = open(&dir);
    let blocks = records(&catalog, Kind::Manifest);
    // they kept no counts and no copies
    let mut batch = Batch::default();
    for (number, place) in (0..).zip(&blocks) {
        batch.put(key::block(number), record::encode(place).unwrap());
    }
    batch.remove(key::dictionary_copy(1));
    catalog.0.storage.kv().apply(&batch).unwrap();
    catalog.0.storage.kv().flush().unwrap();
    drop(catalog);
    let catalog = open(&dir);
    check_whole(&catalog, "earlier");
    assert!(catalog.0.storage.kv().get(&key::dictionary_copy(1)).unwrap().is_some(), "copied by now");
    drop(catalog);
    spoil(&dir, blocks[1]);
    let catalog = open(&dir);
    assert_eq!(catalog.lost().unwrap().revisions, 100, "at most as many as a block has");
    synchronise(&catalog);
    check_whole(&catalog, "earlier, mended");
}

#[test]
fn a_segment_that_is_gone_is_damage_and_all_of_them_are_an_error() {
    let house = House::new();
    let sound = house.dir.path().join("sound");
    built(&sound);
    let count = segments(&sound).len();
    for gone in 0..count {
        for index in [true, false] {
            let dir = house.dir.path().join(format!("g{gone}{index}"));
            copy(&sound, &dir);
            std::fs::remove_file(&segments(&dir)[gone]).unwrap();
            if !index {
                std::fs::remove_dir_all(dir.join("index")).unwrap();
            }
            let catalog = open(&dir);
            synchronise(&catalog);
            // without an index nothing says that there was one more at the end
            if index || gone < count - 1 {
                check_whole(&catalog, &format!("{gone} is gone, index {index}"));
            }
        }
    }
    let dir = house.dir.path().join("all");
    copy(&sound, &dir);
    for path in segments(&dir) {
        std::fs::remove_file(path).unwrap();
    }
    let clock = house.clock.clone();
    assert!(matches!(Catalog::open(config(&dir), clock), Err(CatalogError::File { .. })));
}
