//! An index that is damaged, or on a disk that takes nothing, is made again from the segments by itself.

use std::path::Path;

use jiff::Timestamp;

use crate::Catalog;
use crate::config::Config;
use crate::values::computer::Caller;
use tailwater_domain::ComputerId;
use tailwater_durable::Disk;
use tailwater_runtime::Clock;

fn open(dir: &Path, disk: &Disk) -> Catalog {
    let config = Config { disk: disk.clone(), ..Config::new(dir) };
    Catalog::open(config, Clock::manual(Timestamp::from_second(1_000_000_000).unwrap())).unwrap()
}

fn names(catalog: &Catalog) -> Vec<String> {
    catalog.groups().into_iter().map(|group| group.name).collect()
}

#[test]
fn a_damaged_index_is_made_again_by_itself() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::unwatched());
    let (before, kept) = {
        let catalog = open(dir.path(), &disk);
        catalog.create_group("Pilot", None).unwrap();
        catalog.keep("identity", b"the same server").unwrap();
        (names(&catalog), catalog.place(1))
    };
    // a snapshot that a full disk cut: sled takes it for the newest
    std::fs::write(dir.path().join("index/snap.7FFFFFFFFFFFFFFF"), b"half").unwrap();
    let catalog = open(dir.path(), &disk);
    assert_eq!(names(&catalog), before);
    assert_eq!(catalog.kept("identity").unwrap().as_deref(), Some(&b"the same server"[..]));
    assert_eq!(catalog.place(1), kept, "it has the same past");
    drop(catalog);
    assert!(dir.path().join("damaged-index-1").exists());
    // a record that nobody can read is found only when it is read
    let setup = crate::storage::rebuild::index_setup(&Config::new(dir.path()));
    let (kv, _) = tailwater_kv::Kv::open(setup, &disk).unwrap();
    let mut batch = tailwater_kv::Batch::default();
    batch.put(crate::storage::record::key::LINEAGE, vec![1]);
    kv.apply(&batch).unwrap();
    kv.flush().unwrap();
    drop(kv);
    let catalog = open(dir.path(), &disk);
    assert_eq!(names(&catalog), before);
    drop(catalog);
    assert!(dir.path().join("damaged-index-2").exists());
}

#[test]
fn computers_go_on_in_memory_and_decisions_are_refused_while_nothing_can_be_written() {
    for damaged in [false, true] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::unwatched());
        {
            let catalog = open(dir.path(), &disk);
            catalog.create_group("Pilot", None).unwrap();
        }
        if damaged {
            std::fs::write(dir.path().join("index/snap.7FFFFFFFFFFFFFFF"), b"half").unwrap();
        }
        disk.set_room(false);
        let catalog = open(dir.path(), &disk);
        let before = names(&catalog);
        assert!(before.iter().any(|name| name == "Pilot"), "{damaged}: {before:?}");
        let id = ComputerId("pc-1".to_owned());
        catalog.enrol(&id, "pc-1.example", None).unwrap();
        catalog.register(&Caller::default(), &id, tailwater_domain::ComputerFacts::default()).unwrap();
        catalog.contacted(&Caller::default(), &id, Some("E:x=1")).unwrap();
        assert!(catalog.computer(&id).is_some_and(|computer| computer.info.is_some()));
        let error = catalog.create_group("Later", None).unwrap_err();
        assert!(error.is_read_only(), "{error}");
        assert_eq!(names(&catalog), before, "what was refused did not happen");
        assert!(catalog.set_setting("x", Some(b"1")).unwrap_err().is_read_only());
        catalog.keep("late", b"value").unwrap();
        disk.set_room(true);
        disk.resume_all();
        catalog.create_group("Later", None).unwrap();
        drop(catalog);
        let catalog = open(dir.path(), &disk);
        assert!(names(&catalog).iter().any(|name| name == "Later"));
        assert!(
            catalog.computer(&id).is_some(),
            "{damaged}: registered in memory, written when there was room"
        );
        assert_eq!(catalog.kept("late").unwrap().as_deref(), Some(&b"value"[..]));
    }
}
