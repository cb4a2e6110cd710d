//! Promises of decisions of many: one change, all or nothing however the process ends, and moves that concern nobody
//! else.

use jiff::Timestamp;

use crate::storage::record::{Location, key};
use crate::storage::segment::frame::Kind;
use crate::tests::names::*;
use crate::tests::{House, ask, bundles, facts, fill, hidden, update};
use crate::*;
use tailwater_domain::{Action, PublicationState, UpdateType};

const MANY: u32 = 300;

fn filled(house: &House) -> Catalog {
    let catalog = house.open();
    fill(&catalog, (1..=MANY).map(|number| facts(number, 1, UpdateType::Software)).collect());
    catalog
}

fn all() -> Vec<UpdateId> {
    (1..=MANY).map(update).collect()
}

fn install(group: GroupId) -> Verdict {
    Verdict::Approve { group, action: Action::Install, deadline: None }
}

#[expect(clippy::unnecessary_wraps, reason = "as the field wants it")]
fn later() -> Option<Timestamp> {
    Some(Timestamp::from_second(1_900_000_000).unwrap())
}

/// Where journal records lie.
fn journals(catalog: &Catalog) -> Vec<Location> {
    let (segments, mut found) = (catalog.0.storage.log().segments(), Vec::new());
    for segment in segments.numbers().unwrap() {
        let mut offset = 0;
        while let Some((kind, at, _)) = segments.next(segment, offset).unwrap() {
            found.extend((kind == Kind::Journal).then_some(at));
            offset = u64::from(at.offset) + u64::from(at.stored);
        }
    }
    found
}

/// What stands in the index about decisions, groups and computers.
fn index(catalog: &Catalog) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    for prefix in [&b"d"[..], b"G", b"c", key::CHANGE, key::DEPLOYMENT] {
        found.extend(storage::entries::entries(catalog.0.storage.kv(), prefix).unwrap());
    }
    found
}

#[test]
fn a_verdict_on_many_is_one_record_one_number_and_one_snapshot() {
    let house = House::new();
    let catalog = filled(&house);
    let desk = catalog.create_group("Desk", None).unwrap().id;
    let verdicts = [
        install(desk),
        install(GroupId::ALL_COMPUTERS),
        Verdict::Hold { until: later(), reason: "why".to_owned() },
        Verdict::Release,
        Verdict::Unapprove { group: Some(desk) },
        Verdict::Unapprove { group: None },
        Verdict::Decline,
        Verdict::Undecline,
    ];
    for verdict in verdicts {
        let before = (catalog.snapshot(), journals(&catalog).len());
        assert_eq!(
            catalog.decide(&all(), &verdict, "admin").unwrap(),
            vec![true; MANY as usize],
            "{verdict:?}"
        );
        let after = catalog.snapshot();
        assert_eq!(after.change_number(), before.0.change_number() + 1, "{verdict:?}");
        assert_eq!(after.sequence(), before.0.sequence() + 1, "{verdict:?}");
        assert_eq!(journals(&catalog).len(), before.1 + 1, "{verdict:?}");
    }
    // said again, most change nothing, and then nothing is written
    let before = (catalog.snapshot().sequence(), journals(&catalog).len());
    for verdict in [Verdict::Undecline, Verdict::Release, Verdict::Unapprove { group: None }] {
        assert_eq!(catalog.decide(&all(), &verdict, "admin").unwrap(), vec![false; MANY as usize]);
    }
    assert_eq!((catalog.snapshot().sequence(), journals(&catalog).len()), before);
}

#[test]
fn an_update_that_is_named_twice_is_decided_once() {
    let house = House::new();
    let catalog = filled(&house);
    let named = [update(1), update(2), update(1)];
    assert_eq!(catalog.decide(&named, &Verdict::Decline, "admin").unwrap(), [true, true, false]);
}

#[test]
fn one_that_cannot_be_decided_keeps_all_from_it_and_is_named() {
    let house = House::new();
    let catalog = house.open();
    let mut expired = facts(2, 1, UpdateType::Software);
    expired.publication_state = PublicationState::Expired;
    let bundle = bundles(facts(3, 1, UpdateType::Software), &[(4, 1)]);
    let member = hidden(facts(4, 1, UpdateType::Software));
    fill(&catalog, vec![facts(1, 1, UpdateType::Software), expired, bundle, member]);
    let everyone = GroupId::ALL_COMPUTERS;
    let remove = Verdict::Approve { group: everyone, action: Action::Uninstall, deadline: None };
    let nowhere = GroupId(uuid::Uuid::from_u128(9));
    let over = Verdict::Hold { until: Some(Timestamp::UNIX_EPOCH), reason: String::new() };
    // verdict, whom it is about beside update 1, and who stands in the way
    let cases: Vec<(Verdict, Vec<u32>, Vec<u32>)> = vec![
        (install(everyone), vec![2], vec![2]),
        (install(everyone), vec![2, 4, 9], vec![2, 4, 9]),
        (remove, vec![3], vec![1, 3]),
        (Verdict::Decline, vec![4], vec![4]),
        (Verdict::Decline, vec![9], vec![9]),
        (Verdict::Undecline, vec![9], vec![9]),
        (Verdict::Unapprove { group: None }, vec![9], vec![9]),
        (Verdict::Hold { until: None, reason: String::new() }, vec![4, 9], vec![4, 9]),
        (Verdict::Release, vec![9], vec![9]),
        (install(nowhere), vec![3], vec![]),
        (over, vec![3], vec![]),
    ];
    for (verdict, others, blamed) in cases {
        let before = (catalog.snapshot().sequence(), index(&catalog), journals(&catalog).len());
        let named: Vec<UpdateId> = std::iter::once(1).chain(others).map(update).collect();
        let error = catalog.decide(&named, &verdict, "admin").unwrap_err();
        match &error {
            CatalogError::Undecided { refused, of } => {
                let who: Vec<UpdateId> = refused.iter().map(|(id, _)| *id).collect();
                assert_eq!(
                    (who, *of),
                    (blamed.iter().map(|n| update(*n)).collect(), named.len()),
                    "{verdict:?}"
                );
                assert!(error.to_string().contains(&who_first(refused)), "{error}");
            }
            _ => assert!(blamed.is_empty(), "{verdict:?}: {error}"),
        }
        let after = (catalog.snapshot().sequence(), index(&catalog), journals(&catalog).len());
        assert_eq!(before, after, "{verdict:?}");
    }
    let alone = catalog.decide(&[update(2)], &install(everyone), "admin");
    assert!(matches!(alone, Err(CatalogError::Expired(id)) if id == update(2)), "{alone:?}");
    let too_many: Vec<UpdateId> = (0..=20_000).map(update).collect();
    let refused = catalog.decide(&too_many, &Verdict::Decline, "admin");
    assert!(matches!(refused, Err(CatalogError::TooManyAtOnce { limit: MAX_DECIDED })), "{refused:?}");
}

fn who_first(refused: &[(UpdateId, CatalogError)]) -> String {
    refused[0].0.to_string()
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Ends the process at every step: after each cut of the log before the index knows of the change, and after each
/// batch of the index. Then opens what is left.
#[test]
fn killed_at_any_point_all_of_a_decision_is_there_or_none() {
    let house = House::new();
    let catalog = filled(&house);
    catalog.decide(&all(), &install(GroupId::ALL_COMPUTERS), "admin").unwrap();
    let before = index(&catalog);
    let (segment, start) = {
        let last = *journals(&catalog).last().unwrap();
        (last.segment, last.offset + last.stored)
    };
    drop(catalog);
    let root = house.dir.path();
    copy(&root.join("catalog"), &root.join("before"));
    let catalog = house.open();
    catalog.decide(&all(), &Verdict::Decline, "admin").unwrap();
    let after = index(&catalog);
    let record = *journals(&catalog).last().unwrap();
    assert_eq!((record.segment, record.offset), (segment, start), "one record, right behind the former");
    let log = segment::Segments::new(root.join("catalog/documents"));
    let bytes = log.read(segment, u64::from(start), record.stored as usize).unwrap();
    let content = catalog
        .0
        .storage
        .log()
        .segments()
        .record(Kind::Journal, record, catalog.0.storage.log().codec())
        .unwrap();
    drop(catalog);
    let reopened = |name: &str| {
        let config = Config { dir: root.join(name), ..house.config() };
        index(&Catalog::open(config, house.clock.clone()).unwrap())
    };
    // the log was cut: nothing, whether the index is there or made anew
    for part in [0, 1, 20, record.stored / 2, record.stored - 1] {
        for lost in [false, true] {
            let name = format!("cut-{part}-{lost}");
            copy(&root.join("before"), &root.join(&name));
            append(&root.join(&name), segment, &bytes[..part as usize]);
            if lost {
                std::fs::remove_dir_all(root.join(&name).join("index")).unwrap();
            }
            assert_eq!(reopened(&name), before, "{name}");
        }
    }
    // the log has all of it: with the first batches in the index the rest follows
    let (journal, _last) = record::Journal::decode(&content).unwrap();
    for batches in 0..=journal.ops.len().div_ceil(98) {
        let name = format!("batches-{batches}");
        copy(&root.join("before"), &root.join(&name));
        append(&root.join(&name), segment, &bytes);
        let kv = kv::Kv::sled(&root.join(&name).join("index"), 4 << 20).unwrap();
        for (number, ops) in journal.ops.chunks(98).take(batches).enumerate() {
            let mut batch = kv::Batch::default();
            if number == 0 {
                let end = u64::from(record.offset) + u64::from(record.stored);
                let next_id = MANY + 1;
                let committed = record::Committed { segment, len: end, next_id };
                batch.put(key::COMMITTED, record::encode(&committed).unwrap());
                batch.put(key::BEGUN, record::encode(&vec![record]).unwrap());
            }
            for (key, value) in ops {
                batch.put(key.as_slice(), value.clone().unwrap());
            }
            kv.apply(&batch).unwrap();
        }
        kv.flush().unwrap();
        drop(kv);
        assert_eq!(reopened(&name), if batches == 0 { before.clone() } else { after.clone() }, "{name}");
    }
}

fn append(store: &std::path::Path, segment: u32, bytes: &[u8]) {
    use std::io::Write as _;
    let folder = std::fs::read_dir(store.join("documents")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = folder.collect();
    files.sort();
    let file = &files[segment as usize - 1];
    std::fs::OpenOptions::new().append(true).open(file).unwrap().write_all(bytes).unwrap();
}

#[test]
fn a_journal_of_several_records_counts_whole_or_not_at_all_when_an_index_is_made_of_it() {
    let house = House::new();
    let catalog = filled(&house);
    catalog.set_setting("before", Some(b"1")).unwrap();
    let op = |number: u32| (key::setting(&format!("big-{number}")), Some(vec![7; 1 << 20]));
    catalog.0.storage.journal((0..9).map(op).collect()).unwrap();
    let records = journals(&catalog);
    assert!(records.len() > 2, "{records:?}");
    drop(catalog);
    let root = house.dir.path();
    for kept in 0..=records.len() {
        let name = format!("kept-{kept}");
        copy(&root.join("catalog"), &root.join(&name));
        std::fs::remove_dir_all(root.join(&name).join("index")).unwrap();
        let mut files: Vec<_> = std::fs::read_dir(root.join(&name).join("documents"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        let end = match kept.checked_sub(1) {
            Some(last) => u64::from(records[last].offset + records[last].stored),
            None => u64::from(records[0].offset),
        };
        let file = std::fs::OpenOptions::new().write(true).open(files.last().unwrap()).unwrap();
        file.set_len(end).unwrap();
        let config = Config { dir: root.join(&name), ..house.config() };
        let catalog = Catalog::open(config, house.clock.clone()).unwrap();
        let there = (0..9).filter(|n| catalog.setting(&format!("big-{n}")).unwrap().is_some()).count();
        assert_eq!(there, if kept == records.len() { 9 } else { 0 }, "{kept} of {} records", records.len());
    }
}

fn pc(number: u32) -> ComputerId {
    ComputerId(format!("pc-{number}"))
}

#[test]
fn a_move_is_of_no_concern_to_others_and_the_moved_hear_of_everything_again() {
    let house = House::new();
    let config = Config { client_side_targeting: true, ..house.config() };
    let catalog = Catalog::open(config.clone(), house.clock.clone()).unwrap();
    fill(&catalog, vec![facts(1, 1, UpdateType::Software)]);
    let [office, desk] = ["Office", "Desk"].map(|name| catalog.create_group(name, None).unwrap().id);
    for number in 0..300 {
        catalog.enrol(&pc(number), "pc", None).unwrap();
    }
    let (snapshot, records) = (catalog.snapshot(), journals(&catalog).len());
    let unassigned = snapshot.reach_of(&[]);
    let untouched = || {
        let now = catalog.snapshot();
        (now.sequence(), now.change_number()) == (snapshot.sequence(), snapshot.change_number())
    };
    // many at once are one record; one that is unknown keeps all
    let some: Vec<ComputerId> = (0..200).map(pc).collect();
    let moved = catalog.assign_all(&some, &[office]).unwrap();
    assert!(moved.iter().all(|one| one.groups == [office]) && untouched());
    assert_eq!(journals(&catalog).len(), records + 1);
    let with_stranger = [pc(1), ComputerId("nobody".to_owned())];
    let refused = catalog.assign_all(&with_stranger, &[desk]);
    assert!(matches!(refused, Err(CatalogError::UnknownComputer(_))), "{refused:?}");
    assert_eq!(catalog.computer(&pc(1)).unwrap().groups, [office]);
    // one that an administrator moves, one that says itself where it belongs
    catalog.assign(&pc(200), &[desk]).unwrap();
    let own = catalog.enrol(&pc(201), "pc", Some("nowhere; DESK")).unwrap();
    assert_eq!(own.groups, [desk]);
    assert!(untouched());
    assert_ne!(snapshot.reach_of(&[desk]), unassigned);
    assert_ne!(snapshot.reach_of(&[desk]), snapshot.reach_of(&[office]));
    assert_eq!(snapshot.reach_of(&[desk, office]), snapshot.reach_of(&[office, desk]));
    let groups =
        |catalog: &Catalog| [1, 200, 201, 299].map(|n| catalog.computer(&pc(n)).unwrap().groups.clone());
    let now = groups(&catalog);
    drop(catalog);
    assert_eq!(groups(&Catalog::open(config, house.clock.clone()).unwrap()), now);
}

#[test]
fn a_group_that_goes_takes_approvals_and_members_with_it_in_one_change() {
    let house = House::new();
    let catalog = filled(&house);
    let office = catalog.create_group("Office", None).unwrap().id;
    let desk = catalog.create_group("Desk", Some(&office)).unwrap().id;
    let everyone: Vec<ComputerId> = (0..150).map(pc).collect();
    for id in &everyone {
        catalog.enrol(id, "pc", None).unwrap();
    }
    catalog.assign_all(&everyone, &[desk]).unwrap();
    catalog.decide(&all(), &install(desk), "admin").unwrap();
    let reach = catalog.snapshot().reach_of(&[desk]);
    let before = (catalog.snapshot(), journals(&catalog).len());
    catalog.remove_group(&office).unwrap();
    let after = catalog.snapshot();
    assert_eq!(after.sequence(), before.0.sequence() + 1);
    assert_eq!(after.change_number(), before.0.change_number() + 1);
    assert_eq!(journals(&catalog).len(), before.1 + 1);
    assert!(everyone.iter().all(|id| catalog.computer(id).unwrap().groups.is_empty()));
    assert_ne!(after.reach_of(&[]), reach, "they hear of everything again");
    assert!(
        ask(&catalog, &[desk], &[], &[])
            .new
            .iter()
            .all(|one| one.deployment.action != DeploymentAction::Install)
    );
    drop(catalog);
    let catalog = house.open();
    assert!(everyone.iter().all(|id| catalog.computer(id).unwrap().groups.is_empty()));
}
