//! What is held survives restarts and kill -9, and what was damaged on disk is noticed.

#![expect(clippy::unwrap_used, reason = "test code: what cannot be set up ends the test")]

use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tailwater::content::{self, FileState, Store, Verdict};
use tailwater::domain::{ByteCount, Class, FileDeclaration};
use tailwater::runtime::{Clock, Tasks};

use crate::support::origin::{Origin, content, declare};
use crate::support::world::{Setup, World};

const MIB: usize = 1024 * 1024;
const PIECE: usize = 65_536;

fn open(dir: &std::path::Path) -> Store {
    let config = content::Config { dir: dir.to_owned(), max_size: None, min_free: ByteCount(0) };
    Store::open(config, Clock::system()).unwrap()
}

fn data_path(dir: &std::path::Path, file: &FileDeclaration) -> PathBuf {
    let hex = file.sha1.hex();
    dir.join(&hex[38..]).join(hex)
}

/// Runs only when [`a_killed_fill_goes_on_where_it_was`] starts it: fills a file until it is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child of another test"]
async fn child_that_fills_until_it_is_killed() {
    let (Ok(dir), Ok(url)) = (std::env::var("TAILWATER_TEST_DIR"), std::env::var("TAILWATER_TEST_URL"))
    else {
        return;
    };
    let origin = Origin::start(&Tasks::new()).await;
    let world = World::over(origin, dir.as_ref(), Setup::default()).await;
    let file = declare("killed.cab", &content(64 * MIB, 1));
    world.known.declare(&file, &[url]);
    world.transfer.fetch(&file, Class::Background).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_fill_goes_on_where_it_was() {
    let tasks = Tasks::new();
    let origin = Origin::start_paced(&tasks, Some(20_000_000), Duration::ZERO).await;
    let file = origin.add("killed.cab", 64 * MIB, 1);
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "held_pieces_survive::child_that_fills_until_it_is_killed", "--ignored"])
        .env("TAILWATER_TEST_DIR", dir.path())
        .env("TAILWATER_TEST_URL", origin.url(&file))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while origin.sent(&file).bytes < 20 * MIB as u64 {
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // what was on its way is lost; let it run into the closed socket
    tokio::time::sleep(Duration::from_millis(200)).await;

    let before = origin.sent(&file).bytes;
    let world = World::over(origin.clone(), dir.path(), Setup::default()).await;
    world.known.declare(&file, &[origin.url(&file)]);
    let held = world.store.status(&file.sha1).unwrap().held;
    assert!(held > 10 * MIB as u64, "{held} of {before} survived");
    let reply = world.client().await.get(&file.content_path(), &[]).await;
    assert!(reply.body == origin.bytes(&file));
    assert_eq!(origin.sent(&file).bytes - before, file.size - held, "held pieces are not fetched again");
    world.becomes(&file, FileState::Verified).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_restart_everything_is_served_without_the_upstream() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, part);
    {
        let origin = Origin::start(&Tasks::new()).await;
        let world = World::over(origin, dir.path(), Setup::default()).await;
        whole = world.file("whole.cab", 3 * MIB, 1);
        part = world.file("part.cab", 3 * MIB, 2);
        world.client().await.get(&whole.content_path(), &[]).await;
        world.becomes(&whole, FileState::Verified).await;
        world.client().await.range(&part.content_path(), 0, MIB as u64).await;
        world.stop().await;
    }
    let world = World::over(Origin::start(&Tasks::new()).await, dir.path(), Setup::default()).await;
    let status = world.store.status(&whole.sha1).unwrap();
    assert_eq!((status.state, status.names), (FileState::Verified, vec!["whole.cab".to_owned()]));
    let reply = world.client().await.get(&whole.content_path(), &[]).await;
    assert!(reply.body == content(3 * MIB, 1));
    let reply = world.client().await.range(&part.content_path(), 0, MIB as u64).await;
    assert!(reply.body == content(3 * MIB, 2)[..MIB]);
}

#[test]
fn after_an_unclean_stop_pieces_are_checked_before_they_count() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(10 * PIECE, 1);
    let file = declare("doubtful.cab", &bytes);
    {
        let store = open(dir.path());
        let held = store.prepare(&file).unwrap();
        for (index, piece) in bytes.chunks(PIECE).enumerate().take(6) {
            assert!(!store.write_piece(&held, index as u64, piece).unwrap());
        }
    }
    let mut data = std::fs::OpenOptions::new().write(true).open(data_path(dir.path(), &file)).unwrap();
    data.write_all_at(b"lost", 2 * PIECE as u64 + 17).unwrap();
    data.flush().unwrap();

    let store = open(dir.path());
    let held = store.held(&file.sha1).unwrap().unwrap();
    let pieces: Vec<_> = (0..10).filter(|piece| held.holds_piece(*piece)).collect();
    assert_eq!(pieces, [0, 1, 3, 4, 5]);
    assert_eq!(store.usage().held, 5 * PIECE as u64);
}

#[test]
fn a_lost_index_is_rebuilt_from_the_maps() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(3 * PIECE + 5, 1);
    let file = declare("indexed.cab", &bytes);
    {
        let store = open(dir.path());
        let held = store.prepare(&file).unwrap();
        for (index, piece) in bytes.chunks(PIECE).enumerate() {
            store.write_piece(&held, index as u64, piece).unwrap();
        }
        assert_eq!(store.finish(&held).unwrap(), Verdict::Verified);
        store.close().unwrap();
    }
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let store = open(dir.path());
    let status = store.status(&file.sha1).unwrap();
    assert_eq!((status.state, status.held), (FileState::Verified, file.size));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_on_disk_is_found_dropped_and_only_that_is_fetched_again() {
    let world = World::start().await;
    let file = world.file("damaged.cab", 10 * PIECE, 1);
    let sound = world.file("sound.cab", 10 * PIECE, 2);
    for file in [&file, &sound] {
        world.client().await.get(&file.content_path(), &[]).await;
        world.becomes(file, FileState::Verified).await;
    }
    let path = data_path(world.dir(), &file);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o222, 0, "verified is read-only");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let data = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    data.write_all_at(b"rot", 4 * PIECE as u64).unwrap();

    let store = world.store.clone();
    let report = tokio::task::spawn_blocking(move || store.verify(|_, _| true)).await.unwrap().unwrap();
    assert!(report.finished && report.files == 2);
    assert_eq!(report.damaged.len(), 1);
    assert_eq!((report.damaged[0].sha1, report.damaged[0].dropped), (file.sha1, PIECE as u64));

    let reply = world.client().await.get(&file.content_path(), &[]).await;
    assert!(reply.body == world.origin.bytes(&file));
    assert_eq!(world.origin.sent(&file).bytes, file.size + PIECE as u64);
    world.becomes(&file, FileState::Verified).await;
}

#[test]
fn a_second_declaration_that_disagrees_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let file = declare("first.cab", b"payload");
    store.prepare(&file).unwrap();
    let mut other = file.clone();
    other.size = 8;
    assert!(store.prepare(&other).is_err());
    let mut other = file.clone();
    other.sha256 = Some(tailwater::domain::Sha256Digest([1; 32]));
    assert!(store.prepare(&other).is_err());
    assert!(store.prepare(&file).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_file_that_cannot_be_opened_is_never_a_404() {
    // what lies in the place of the payload or of its map
    let damages: [fn(&std::path::Path); 6] = [
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir_all(path.join("full/of")).unwrap();
        },
        |path| std::fs::remove_file(path).unwrap(),
        |path| std::fs::write(path, b"nonsense").unwrap(),
        |path| {
            std::fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("nowhere", path).unwrap();
        },
        |path| {
            std::fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink(path, path).unwrap();
        },
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        for extension in ["", "map"] {
            for whole in [true, false] {
                let what = format!("damage {number} of {extension:?}, whole {whole}");
                let origin = Origin::start(&Tasks::new()).await;
                let dir = tempfile::tempdir().unwrap();
                let file = origin.add("damaged.cab", 5 * PIECE, 1);
                let world = World::over(origin.clone(), dir.path(), Setup::default()).await;
                world.known.declare(&file, &[origin.url(&file)]);
                let mut client = world.client().await;
                if whole {
                    client.get(&file.content_path(), &[]).await;
                    world.becomes(&file, FileState::Verified).await;
                } else {
                    client.range(&file.content_path(), 0, PIECE as u64).await;
                }
                drop(client);
                world.stop().await;
                drop(world);
                damage(&data_path(dir.path(), &file).with_extension(extension));
                let world = World::over(origin.clone(), dir.path(), Setup::default()).await;
                world.known.declare(&file, &[origin.url(&file)]);
                for method in [http::Method::HEAD, http::Method::GET] {
                    let reply = world.client().await.ask(method, &file.content_path(), &[]).await.unwrap();
                    match reply.status.as_u16() {
                        200 => assert!(reply.body.is_empty() || reply.body == origin.bytes(&file), "{what}"),
                        503 => assert!(!reply.header("retry-after").is_empty(), "{what}"),
                        other => panic!("{what}: {other}"),
                    }
                }
            }
        }
    }
}
