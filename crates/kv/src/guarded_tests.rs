//! An index on a disk that is full, read-only or damaged: what it says, what it takes, and what is there afterwards.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Batch, Kv, KvError, Opened, Setup};
use tailwater_durable::Disk;

fn setup(dir: &Path) -> Setup {
    Setup { name: "index", dir: dir.join("index"), cache: 0, trees: &[(b't', "tree")] }
}

fn open(dir: &Path, disk: &Disk) -> (Kv, Opened) {
    Kv::open(setup(dir), disk).unwrap()
}

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::default();
    batch.put(key, value);
    batch
}

fn removal(key: &str) -> Batch {
    let mut batch = Batch::default();
    batch.remove(key);
    batch
}

fn all(kv: &Kv, prefix: &str) -> BTreeMap<String, String> {
    let (mut found, mut last) = (BTreeMap::new(), Vec::new());
    kv.scan(prefix.as_bytes(), |key, value| {
        assert!(prefix.is_empty() || last.as_slice() < key, "in order");
        last = key.to_vec();
        found.insert(String::from_utf8(key.to_vec()).unwrap(), String::from_utf8(value.to_vec()).unwrap());
        true
    })
    .unwrap();
    found
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_noted_on_a_full_disk_is_seen_and_written_once_there_is_room() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::unwatched());
    let (kv, _) = open(dir.path(), &disk);
    kv.apply(&put("a", "1")).unwrap();
    kv.apply(&put("b", "1")).unwrap();
    kv.apply(&put("t1", "in the tree")).unwrap();
    kv.flush().unwrap();
    disk.set_room(false);
    kv.note(&put("b", "2")).unwrap();
    kv.note(&put("c", "2")).unwrap();
    kv.note(&removal("a")).unwrap();
    kv.note(&put("t2", "as well")).unwrap();
    assert!(
        matches!(kv.apply(&put("d", "durable")), Err(KvError::ReadOnly { .. })),
        "what must last is refused"
    );
    assert!(matches!(kv.flush(), Err(KvError::ReadOnly { .. })), "and nothing is called durable");
    assert!(disk.report().unwrap().affected.contains(&"index"));
    let seen = all(&kv, "");
    let wanted = [("b", "2"), ("c", "2"), ("t1", "in the tree"), ("t2", "as well")];
    let wanted: BTreeMap<String, String> =
        wanted.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    assert_eq!(seen, wanted);
    assert_eq!(all(&kv, "t").len(), 2);
    assert_eq!((kv.get(b"a").unwrap(), kv.get(b"c").unwrap().as_deref()), (None, Some(&b"2"[..])));
    disk.set_room(true);
    disk.resume_all();
    assert_eq!(disk.report(), None);
    kv.apply(&put("d", "durable")).unwrap();
    kv.flush().unwrap();
    drop(kv);
    let (kv, opened) = open(dir.path(), &disk);
    assert_eq!((opened, all(&kv, "").len()), (Opened::Whole, wanted.len() + 1));
}

#[test]
fn an_index_opens_on_a_full_disk_and_takes_over_what_was_noted() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::unwatched());
    {
        let (kv, _) = open(dir.path(), &disk);
        kv.apply(&put("a", "1")).unwrap();
        kv.apply(&put("t1", "1")).unwrap();
        kv.flush().unwrap();
    }
    disk.set_room(false);
    let before = names(&dir.path().join("index"));
    let (kv, opened) = open(dir.path(), &disk);
    assert_eq!(opened, Opened::Whole);
    assert_eq!(kv.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(names(&dir.path().join("index")), before, "nothing was written");
    kv.note(&put("b", "2")).unwrap();
    assert!(kv.apply(&put("c", "3")).is_err());
    assert_eq!(all(&kv, "").len(), 3);
    disk.set_room(true);
    disk.resume_all();
    kv.apply(&put("c", "3")).unwrap();
    kv.flush().unwrap();
    drop(kv);
    let (kv, _) = open(dir.path(), &disk);
    assert_eq!(all(&kv, "").len(), 4);
}

#[test]
fn an_index_is_made_on_a_full_disk_and_lands_on_it_later() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::unwatched());
    disk.set_room(false);
    let (kv, opened) = open(dir.path(), &disk);
    assert_eq!(opened, Opened::Anew);
    for number in 0..500 {
        kv.note(&put(&format!("k{number:04}"), "v")).unwrap();
    }
    assert!(!dir.path().join("index").exists());
    disk.set_room(true);
    disk.resume_all();
    drop(kv);
    let (kv, opened) = open(dir.path(), &disk);
    assert_eq!((opened, all(&kv, "k").len()), (Opened::Whole, 500));
}

/// Ways in which a file ends up other than it was.
fn spoil(path: &Path, how: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let len = bytes.len();
    match how {
        "empty" => bytes.clear(),
        "half" => bytes.truncate(len / 2),
        "zeros" => bytes.fill(0),
        "noise" => bytes.iter_mut().zip((0..251_u8).cycle()).for_each(|(byte, n)| *byte = n.wrapping_mul(31)),
        "a flipped byte" => bytes[len / 3] ^= 0xff,
        "garbage behind" => bytes.extend([0x5a; 700]),
        other => panic!("{other}"),
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_files_are_set_aside_and_never_stop_a_start() {
    for kind in ["db", "conf", "snap.", "snap.FFFFFFFFFFFFFFFF.generating"] {
        for how in ["empty", "half", "zeros", "noise", "a flipped byte", "garbage behind"] {
            let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::unwatched());
            for round in 0..2 {
                let (kv, _) = open(dir.path(), &disk);
                for number in 0..300 {
                    kv.apply(&put(&format!("k{round}{number:04}"), &"v".repeat(200))).unwrap();
                }
                kv.flush().unwrap();
            }
            let index = dir.path().join("index");
            if kind.ends_with("generating") {
                std::fs::write(index.join(kind), vec![7; 5_000]).unwrap();
            }
            let file = names(&index).into_iter().find(|name| name.starts_with(kind));
            let Some(file) = file else { continue };
            spoil(&index.join(&file), how);
            let (kv, opened) = open(dir.path(), &disk);
            kv.apply(&put("after", "1")).unwrap();
            kv.flush().unwrap();
            let found = all(&kv, "k").len();
            drop(kv);
            let aside: Vec<String> =
                names(dir.path()).into_iter().filter(|name| name.starts_with("damaged-")).collect();
            assert_eq!(opened == Opened::Anew, aside == ["damaged-index-1"], "{kind} {how}: {aside:?}");
            if kind.ends_with("generating") {
                assert_eq!((opened, found), (Opened::Whole, 600), "half a snapshot costs nothing");
                let name = format!("damaged-{file}-1");
                assert!(index.join(&name).exists(), "{how}: nothing is deleted");
            }
            let (kv, opened) = open(dir.path(), &disk);
            assert_eq!(opened, Opened::Whole, "{kind} {how}");
            assert_eq!(kv.get(b"after").unwrap().as_deref(), Some(&b"1"[..]), "{kind} {how}");
        }
    }
}

#[test]
fn damage_on_a_disk_that_takes_nothing_is_mended_once_it_does() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::unwatched());
    {
        let (kv, _) = open(dir.path(), &disk);
        kv.apply(&put("old", "1")).unwrap();
        kv.flush().unwrap();
    }
    let snapshot = dir.path().join("index/snap.7FFFFFFFFFFFFFFF");
    std::fs::write(&snapshot, b"no snapshot at all").unwrap();
    disk.set_room(false);
    let (kv, opened) = open(dir.path(), &disk);
    assert_eq!((opened, kv.get(b"old").unwrap()), (Opened::Anew, None));
    kv.note(&put("made again", "1")).unwrap();
    disk.set_room(true);
    disk.resume_all();
    assert_eq!(disk.report(), None);
    drop(kv);
    let (kv, opened) = open(dir.path(), &disk);
    assert_eq!((opened, all(&kv, "").len()), (Opened::Whole, 1));
    assert!(dir.path().join("damaged-index-1").exists());
}
