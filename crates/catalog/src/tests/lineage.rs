//! Promises of the lineage: numbers that another branch of a store gave are known as such, whatever brought the two
//! apart, and numbers of this branch are never refused, whatever the process went through.

use std::collections::HashMap;
use std::path::Path;

use crate::storage::record::key;
use crate::tests::names::*;
use crate::tests::{facts, fill};
use crate::*;
use tailwater_domain::UpdateType;

/// Small random numbers, the same for a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// What a branch did: one number, drawn once, for each change number it gave.
type Past = Vec<u64>;

/// A running store beside what the model knows of it.
struct Branch {
    catalog: Option<Catalog>,
    past: Past,
}

/// Who remembers numbers: the place, what the model calls it, and what the numbers meant.
struct Agent {
    place: Place,
    past: Past,
    meant: HashMap<u32, UpdateIdentity>,
}

struct World {
    dir: tempfile::TempDir,
    clock: Clock,
    dice: Dice,
    branches: Vec<Branch>,
    copies: Vec<Past>,
    agents: Vec<Agent>,
    drawn: u64,
    refused: usize,
    kept: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = Clock::manual(jiff::Timestamp::from_second(1_790_000_000).unwrap());
        let mut world = Self {
            dir: tempfile::tempdir().unwrap(),
            clock,
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            branches: Vec::new(),
            copies: Vec::new(),
            agents: Vec::new(),
            drawn: 0,
            refused: 0,
            kept: 0,
        };
        world.branches.push(Branch { catalog: None, past: vec![0] });
        world.branches[0].catalog = Some(world.open(0));
        world
    }

    fn config(&self, branch: usize) -> Config {
        let index_cache = tailwater_domain::ByteCount(4 << 20);
        Config { index_cache, ..Config::new(self.dir.path().join(format!("branch-{branch}"))) }
    }

    fn open(&self, branch: usize) -> Catalog {
        Catalog::open(self.config(branch), self.clock.clone()).unwrap()
    }

    /// One change of a branch: updates, a group or a computer that moves.
    fn change(&mut self, branch: usize) {
        let catalog = self.branches[branch].catalog.clone().unwrap();
        let before = catalog.snapshot().change_number();
        self.drawn += 1;
        if self.dice.below(4) == 0 {
            let group = catalog.create_group(&format!("group {}", self.drawn), None).unwrap();
            let id = ComputerId("desk".to_owned());
            catalog.enrol(&id, "desk.example", None).unwrap();
            catalog.assign(&id, &[group.id]).unwrap();
        } else {
            let number = u32::try_from(self.drawn).unwrap();
            let stored = self.dice.below(3) + 1;
            let some = (0..stored)
                .map(|more| facts(number * 8 + u32::try_from(more).unwrap(), 1, UpdateType::Software));
            fill(&catalog, some.collect());
        }
        self.branches[branch].past.push(self.drawn);
        let past = &self.branches[branch].past;
        let after = catalog.snapshot().change_number();
        assert!(after > before && past.len() as u64 == after + 1, "the model counts as the store does");
    }

    fn reopen(&mut self, branch: usize, rebuild: bool) {
        self.branches[branch].catalog = None;
        if rebuild {
            rebuild_index(&self.config(branch)).unwrap();
        }
        self.branches[branch].catalog = Some(self.open(branch));
    }

    fn copy(&mut self, branch: usize) {
        let name = format!("copy-{}", self.copies.len());
        copy(&self.config(branch).dir, &self.dir.path().join(name));
        self.copies.push(self.branches[branch].past.clone());
    }

    /// Puts a copy in the place of a branch, or runs it beside the others.
    fn restore(&mut self, beside: bool) {
        if self.copies.is_empty() {
            return;
        }
        let copy_number = self.dice.below(self.copies.len());
        let branch = if beside && self.branches.len() < 3 {
            self.branches.push(Branch { catalog: None, past: Vec::new() });
            self.branches.len() - 1
        } else {
            self.dice.below(self.branches.len())
        };
        self.branches[branch].catalog = None;
        let dir = self.config(branch).dir;
        let _ = std::fs::remove_dir_all(&dir);
        copy(&self.dir.path().join(format!("copy-{copy_number}")), &dir);
        self.branches[branch].past = self.copies[copy_number].clone();
        self.branches[branch].catalog = Some(self.open(branch));
    }

    /// An agent scans at a branch: at the one where it was before, or at another that took its address over.
    fn visit(&mut self, branch: usize) {
        let (catalog, past) =
            (self.branches[branch].catalog.clone().unwrap(), self.branches[branch].past.clone());
        let change = catalog.snapshot().change_number();
        let meant: HashMap<u32, UpdateIdentity> = (0..200)
            .filter_map(|number| {
                let id = RevisionId(number);
                Some((number, catalog.snapshot().revision(id)?.identity))
            })
            .collect();
        let agent = Agent { place: catalog.place(change), past: past.clone(), meant };
        if self.agents.len() < 6 {
            self.agents.push(agent);
            return;
        }
        let who = self.dice.below(self.agents.len());
        let known = &self.agents[who];
        let last = known.past.len() - 1;
        let ours = past.get(last) == known.past.last();
        assert_eq!(
            catalog.gave(&known.place),
            ours,
            "{:?} at a store with {} changes",
            known.place,
            past.len() - 1
        );
        if ours {
            for (number, identity) in &known.meant {
                assert_eq!(agent.meant.get(number), Some(identity), "number {number} means something else");
            }
            self.kept += 1;
        } else {
            self.refused += 1;
        }
        self.agents[who] = agent;
    }
}

#[test]
fn numbers_of_other_branches_are_known_and_those_of_this_one_are_never_refused() {
    let (mut refused, mut kept) = (0, 0);
    for seed in 1..=8 {
        let mut world = World::new(seed);
        for _ in 0..60 {
            let branch = world.dice.below(world.branches.len());
            match world.dice.below(14) {
                0..4 => world.change(branch),
                4 => world.copy(branch),
                5 => world.restore(false),
                6 => world.restore(true),
                7 => world.reopen(branch, false),
                8 => world.reopen(branch, true),
                _ => world.visit(branch),
            }
        }
        (refused, kept) = (refused + world.refused, kept + world.kept);
    }
    assert!(refused > 20 && kept > 60, "{refused} refused, {kept} kept: the dice must show both");
}

/// A store as an earlier program left it: without marks.
fn aged(world: &mut World) {
    world.branches[0].catalog = None;
    let kv = kv::Kv::sled(&world.config(0).dir.join("index"), 4 << 20).unwrap();
    let mut batch = kv::Batch::default();
    kv.scan(key::LINEAGE, |key, _| {
        batch.remove(key.to_vec());
        true
    })
    .unwrap();
    kv.apply(&batch).unwrap();
    kv.flush().unwrap();
    drop(kv);
    world.branches[0].catalog = Some(world.open(0));
}

#[test]
fn what_was_given_before_there_were_marks_counts_up_to_where_they_begin() {
    let mut world = World::new(1);
    for _ in 0..3 {
        world.change(0);
    }
    aged(&mut world);
    let catalog = world.branches[0].catalog.clone().unwrap();
    let now = catalog.snapshot().change_number();
    for change in 0..=now + 3 {
        assert_eq!(catalog.gave(&Place { change, mark: 0 }), change <= now, "{change} of {now}");
    }
    // two copies of one old folder begin with the same mark, and part with their first change
    let first = catalog.place(now);
    world.copy(0);
    drop(catalog);
    aged(&mut world);
    world.restore(true);
    assert!(world.branches.iter().all(|branch| branch.catalog.as_ref().unwrap().place(now) == first));
    world.change(0);
    let later = world.branches[0].catalog.as_ref().unwrap();
    let place = later.place(later.snapshot().change_number());
    world.change(1);
    let other = world.branches[1].catalog.as_ref().unwrap();
    assert!(!other.gave(&place) && other.gave(&first));
    assert!(!other.gave(&Place { change: now + 1, mark: 0 }));
}

#[test]
fn what_another_room_keeps_outlives_a_rebuilt_index() {
    let mut world = World::new(1);
    let catalog = world.branches[0].catalog.clone().unwrap();
    catalog.set_setting("old", Some(b"mere setting")).unwrap();
    assert_eq!(catalog.kept("old").unwrap().as_deref(), Some(&b"mere setting"[..]));
    catalog.keep("old", b"mere setting").unwrap();
    catalog.keep("key", b"first").unwrap();
    catalog.keep("key", b"second").unwrap();
    drop(catalog);
    world.reopen(0, true);
    let catalog = world.branches[0].catalog.clone().unwrap();
    assert_eq!(catalog.kept("old").unwrap().as_deref(), Some(&b"mere setting"[..]));
    assert_eq!(catalog.kept("key").unwrap().as_deref(), Some(&b"second"[..]));
}

#[test]
fn entries_are_small_and_what_a_lost_one_told_of_is_refused() {
    let mut world = World::new(3);
    for _ in 0..40 {
        world.change(0);
    }
    let catalog = world.branches[0].catalog.clone().unwrap();
    let now = catalog.snapshot().change_number();
    let places: Vec<Place> = (0..=now).map(|change| catalog.place(change)).collect();
    drop(catalog);
    world.branches[0].catalog = None;
    // the first entry is lost: what it told of is refused, what follows is not
    let kv = kv::Kv::sled(&world.config(0).dir.join("index"), 4 << 20).unwrap();
    let mut batch = kv::Batch::default();
    batch.remove(key::marks(0));
    kv.apply(&batch).unwrap();
    assert!(kv.get(&key::marks(1)).unwrap().is_some_and(|entry| entry.len() <= 1 + 32 * 8));
    drop(kv);
    let catalog = world.open(0);
    for place in places {
        assert_eq!(catalog.gave(&place), place.change >= 32, "{place:?}");
    }
    assert_eq!(catalog.place(1).change, 32, "the nearest that is known");
}
