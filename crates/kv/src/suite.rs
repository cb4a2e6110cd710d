//! What every engine under the index must keep, run against each of them.

use super::{Batch, Kv, KvError, MAX_BATCH, Op, Setup};
use tailwater_durable::Disk;

fn engines(test: impl Fn(&str, &Kv)) {
    test("memory", &Kv::memory());
    let dir = tempfile::tempdir().unwrap();
    test("sled", &Kv::sled(dir.path(), 0).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup { name: "index", dir: dir.path().to_owned(), cache: 0, trees: &[] };
    test("sled on a disk that may fail", &Kv::open(setup, &Disk::unwatched()).unwrap().0);
}

fn batch(ops: &[(&str, Option<&str>)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in ops {
        match value {
            Some(value) => batch.put(*key, *value),
            None => batch.remove(*key),
        }
    }
    batch
}

fn all(kv: &Kv, prefix: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    kv.scan(prefix.as_bytes(), |key, value| {
        found.push((String::from_utf8(key.to_vec()).unwrap(), String::from_utf8(value.to_vec()).unwrap()));
        true
    })
    .unwrap();
    found
}

#[test]
fn a_batch_puts_and_removes_in_order() {
    engines(|name, kv| {
        kv.apply(&batch(&[("a", Some("1")), ("b", Some("2")), ("a", Some("3"))])).unwrap();
        kv.apply(&batch(&[("b", None), ("never", None)])).unwrap();
        assert_eq!(kv.get(b"a").unwrap().as_deref(), Some(&b"3"[..]), "{name}");
        assert_eq!(kv.get(b"b").unwrap(), None, "{name}");
    });
}

#[test]
fn a_scan_sees_its_prefix_only_and_in_order() {
    engines(|name, kv| {
        kv.apply(&batch(&[("p2", Some("b")), ("o", Some("x")), ("p1", Some("a")), ("q", Some("y"))]))
            .unwrap();
        let want = vec![("p1".to_owned(), "a".to_owned()), ("p2".to_owned(), "b".to_owned())];
        assert_eq!(all(kv, "p"), want, "{name}");
        let mut seen = 0;
        kv.scan(b"", |_, _| {
            seen += 1;
            seen < 3
        })
        .unwrap();
        assert_eq!(seen, 3, "{name}: a scan stops when told");
    });
}

#[test]
fn a_batch_beyond_the_limit_is_refused_whole() {
    engines(|name, kv| {
        let mut many = Batch::default();
        for number in 0..=MAX_BATCH {
            many.put(format!("k{number}"), "v");
        }
        assert!(matches!(kv.apply(&many), Err(KvError::BatchTooLarge(_))), "{name}");
        assert!(all(kv, "").is_empty(), "{name}");
        kv.apply(&Batch::default()).unwrap();
        kv.flush().unwrap();
    });
}

#[test]
fn any_number_of_operations_is_divided_into_batches_in_their_order() {
    engines(|name, kv| {
        let mut ops: Vec<Op> = (0..3 * MAX_BATCH + 7)
            .map(|number| (format!("k{number:04}").into_bytes(), Some(vec![b'1'])))
            .collect();
        // what comes later counts, in whichever batch it is
        ops.push((b"k0000".to_vec(), None));
        ops.push((b"k0001".to_vec(), Some(vec![b'2'])));
        kv.apply_all(&ops).unwrap();
        assert_eq!(all(kv, "k").len(), 3 * MAX_BATCH + 6, "{name}");
        assert_eq!(kv.get(b"k0001").unwrap().as_deref(), Some(&b"2"[..]), "{name}");
        let gone: Vec<Op> = ops.iter().map(|(key, _)| (key.clone(), None)).collect();
        kv.note_all(&gone).unwrap();
        kv.note_all(&[]).unwrap();
        assert!(all(kv, "").is_empty(), "{name}");
    });
}

#[test]
fn a_dump_of_one_engine_loads_into_another() {
    engines(|name, kv| {
        let mut ops = Batch::default();
        for number in 0..MAX_BATCH {
            ops.put(format!("k{number:04}"), vec![b'v'; number]);
        }
        kv.apply(&ops).unwrap();
        let mut dump = Vec::new();
        kv.dump(&mut dump).unwrap();
        let other = Kv::memory();
        assert_eq!(other.load(&mut dump.as_slice()).unwrap(), MAX_BATCH as u64, "{name}");
        assert_eq!(all(&other, ""), all(kv, ""), "{name}");
        dump.truncate(dump.len() - 3);
        assert!(matches!(Kv::memory().load(&mut dump.as_slice()), Err(KvError::Dump { .. })), "{name}");
    });
}

#[test]
fn what_was_flushed_is_there_after_reopening_and_the_files_are_locked_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let kv = Kv::sled(dir.path(), 0).unwrap();
    kv.apply(&batch(&[("a", Some("1"))])).unwrap();
    kv.flush().unwrap();
    assert!(matches!(Kv::sled(dir.path(), 0), Err(KvError::Locked { .. })));
    drop(kv);
    assert_eq!(all(&Kv::sled(dir.path(), 0).unwrap(), "").len(), 1);
}
