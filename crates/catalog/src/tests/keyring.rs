//! Keys lie in files of their own, are replaced in time, and those of earlier folders leave the index.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::Catalog;
use crate::config::Config;
use crate::keyring::SEAL_KEY;
use crate::storage::opening::rebuild_index;
use crate::storage::record::key;
use tailwater_runtime::Clock;

const LIFE: Duration = Duration::from_hours(4);
const PERIOD: Duration = Duration::from_hours(720);

fn clock() -> Clock {
    Clock::manual(Timestamp::from_second(1_000_000_000).unwrap())
}

fn open(dir: &Path, clock: &Clock) -> Catalog {
    Catalog::open(Config::new(dir), clock.clone()).unwrap()
}

fn files(dir: &Path) -> Vec<(String, u32)> {
    let entries = std::fs::read_dir(dir.join("keys")).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries
        .map(|entry| {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    files.sort();
    files
}

/// Whether some file below a folder has these bytes.
fn lies_in(dir: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().map(Result::unwrap).any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return lies_in(&path, bytes);
        }
        std::fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes)
    })
}

#[test]
fn a_key_is_replaced_in_time_and_opens_for_a_cookies_life() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let catalog = open(dir.path(), &clock);
    let ring = catalog.keyring("client", LIFE, None).unwrap();
    let first = ring.newest();
    assert_eq!(files(dir.path()), [("client-000001.key".to_owned(), 0o600)]);
    assert_eq!(catalog.rotate_keys(Some(PERIOD)).unwrap(), 0, "not yet");
    clock.advance(PERIOD);
    assert_eq!(catalog.rotate_keys(Some(PERIOD)).unwrap(), 1);
    let second = ring.newest();
    assert!(first != second && ring.all() == [second, first], "the old one opens");
    clock.advance(LIFE);
    catalog.rotate_keys(Some(PERIOD)).unwrap();
    assert_eq!(ring.all().len(), 2, "to the last minute");
    clock.advance(Duration::from_secs(1));
    catalog.rotate_keys(Some(PERIOD)).unwrap();
    assert_eq!(ring.all(), [second]);
    assert_eq!(files(dir.path()), [("client-000002.key".to_owned(), 0o600)]);
    // by hand, as often as somebody likes
    for _ in 0..40 {
        assert_eq!(catalog.rotate_keys(None).unwrap(), 1);
    }
    assert!(ring.all().len() <= 16 && files(dir.path()).len() <= 16);
    let (newest, infos) = (ring.newest(), catalog.keys());
    assert_eq!(infos.iter().filter(|info| info.seals).count(), 1);
    drop((catalog, ring));
    let again = open(dir.path(), &clock).keyring("client", LIFE, None).unwrap();
    assert_eq!(again.newest(), newest, "a restart is no change");
}

#[test]
fn a_clock_that_was_ahead_replaces_nothing_for_ever_and_nothing_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let ahead = Clock::manual(Timestamp::from_second(4_000_000_000).unwrap());
    let first = open(dir.path(), &ahead).keyring("client", LIFE, None).unwrap().newest();
    let clock = clock();
    let catalog = open(dir.path(), &clock);
    let ring = catalog.keyring("client", LIFE, None).unwrap();
    assert_eq!((catalog.rotate_keys(Some(PERIOD)).unwrap(), ring.newest()), (0, first));
    // by hand it can be replaced, and is replaced in time from then on
    catalog.rotate_keys(None).unwrap();
    clock.advance(PERIOD);
    assert_eq!(catalog.rotate_keys(Some(PERIOD)).unwrap(), 1);
    assert_eq!(ring.all().len(), 2, "the first is gone");
}

#[test]
fn the_key_of_an_earlier_folder_leaves_the_index() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let old: [u8; SEAL_KEY] = std::array::from_fn(|at| u8::try_from(at).unwrap() ^ 0x5a);
    {
        // as it was: journaled, and before that a mere setting
        let catalog = open(dir.path(), &clock);
        catalog.keep("client.cookie_key", &old).unwrap();
        catalog.set_setting("downstream.cookie_key", Some(&old)).unwrap();
    }
    let catalog = open(dir.path(), &clock);
    let anchors = catalog.lasting_secret("anchors", Some("downstream.cookie_key")).unwrap();
    let client = catalog.keyring("client", LIFE, Some("client.cookie_key")).unwrap();
    let downstream = catalog.keyring("downstream", LIFE, Some("downstream.cookie_key")).unwrap();
    assert_eq!(anchors, old, "anchors stay good");
    for ring in [&client, &downstream] {
        assert!(
            ring.newest() != old && ring.all()[1] == old,
            "it opens what it sealed, and seals nothing more"
        );
    }
    for name in ["client.cookie_key", "downstream.cookie_key"] {
        assert_eq!(catalog.0.storage.kv().get(&key::kept(name)).unwrap(), None);
        assert_eq!(catalog.setting(name).unwrap(), None);
        assert_eq!(catalog.kept(name).unwrap(), None);
    }
    let newest = client.newest();
    drop((catalog, client, downstream));
    // nor does an index that is made again have it, and the server stays the same by its files
    rebuild_index(&Config::new(dir.path())).unwrap();
    let catalog = open(dir.path(), &clock);
    assert_eq!(catalog.kept("client.cookie_key").unwrap(), None);
    let client = catalog.keyring("client", LIFE, Some("client.cookie_key")).unwrap();
    assert_eq!((client.newest(), client.all().len()), (newest, 2));
    // what seals lies nowhere but in its file
    drop((catalog, client));
    for folder in ["index", "documents"] {
        assert!(!lies_in(&dir.path().join(folder), &newest), "{folder}");
    }
}

#[test]
fn key_files_that_cannot_be_trusted_are_closed_set_aside_or_refused() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let first = open(dir.path(), &clock).keyring("client", LIFE, None).unwrap().newest();
    let path = dir.path().join("keys/client-000001.key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(open(dir.path(), &clock).keyring("client", LIFE, None).unwrap().newest(), first);
    assert_eq!(files(dir.path()), [("client-000001.key".to_owned(), 0o600)]);
    // half a file, as an editor or a bad disk leaves it
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_ne!(open(dir.path(), &clock).keyring("client", LIFE, None).unwrap().newest(), first);
    let names: Vec<String> = files(dir.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["client-000001.key", "damaged-client-000001.key-1"]);
    // one that is no key at all, in a folder that somebody opened
    std::fs::write(&path, vec![b'x'; 100_000]).unwrap();
    std::fs::set_permissions(dir.path().join("keys"), std::fs::Permissions::from_mode(0o777)).unwrap();
    open(dir.path(), &clock).keyring("client", LIFE, None).unwrap();
    assert_eq!(files(dir.path()).len(), 3);
    let folder = std::fs::metadata(dir.path().join("keys")).unwrap().permissions().mode() & 0o777;
    assert_eq!(folder, 0o700);
}
