//! `max_size` and `min_free` are kept by dropping what is least worth keeping, never what is in use.

use http_body_util::BodyExt as _;
use tailwater::content::{self, FileState, Store};
use tailwater::domain::ByteCount;
use tailwater::runtime::Clock;

use crate::support::world::{Setup, World};

const MIB: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_read_stays_and_the_longest_unused_goes() {
    let setup = Setup { max_size: Some(40 * MIB as u64), ..Setup::default() };
    let world = World::with(setup).await;
    let read = world.file("read.cab", 24 * MIB, 1);
    let old = world.file("old.cab", 6 * MIB, 2);
    let young = world.file("young.cab", 6 * MIB, 3);
    for file in [&read, &old, &young] {
        world.client().await.get(&file.content_path(), &[]).await;
        world.becomes(file, FileState::Verified).await;
    }
    let mut reader = world.client().await;
    let begun = reader.begin(http::Method::GET, &read.content_path(), &[]).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    world.client().await.get(&young.content_path(), &[]).await;

    let fresh = world.file("fresh.cab", 8 * MIB, 4);
    let reply = world.client().await.get(&fresh.content_path(), &[]).await;
    assert!(reply.body == world.origin.bytes(&fresh));
    assert!(world.store.status(&old.sha1).is_none(), "the longest unused goes");
    assert!(world.store.status(&young.sha1).is_some());
    assert!(world.store.status(&read.sha1).is_some(), "what is read stays");
    assert!(world.store.usage().held <= 40 * MIB as u64);

    let body = begun.into_body().collect().await.unwrap().to_bytes();
    assert!(body == world.origin.bytes(&read));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_fetching_stops_and_serving_goes_on() {
    let setup = Setup { max_size: Some(8 * MIB as u64), ..Setup::default() };
    let world = World::with(setup).await;
    let small = world.file("small.cab", MIB, 1);
    world.client().await.get(&small.content_path(), &[]).await;
    world.becomes(&small, FileState::Verified).await;
    let (mut reader, path) = (world.client().await, small.content_path());
    reader.get(&path, &[]).await;

    let large = world.file("large.cab", 32 * MIB, 2);
    let result = world.client().await.ask(http::Method::GET, &large.content_path(), &[]).await;
    assert!(result.is_err(), "a body that cannot be finished must not look whole");
    assert!(world.store.usage().full);
    let reply = world.client().await.range(&large.content_path(), 31 * MIB as u64, 32 * MIB as u64).await;
    assert_eq!(reply.status, 503);
    assert!(!reply.header("retry-after").is_empty());
    let held = world.client().await.range(&large.content_path(), 0, MIB as u64).await;
    assert!(held.body == world.origin.bytes(&large)[..MIB]);
}

#[test]
fn a_store_has_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let config = content::Config { dir: dir.path().to_owned(), max_size: None, min_free: ByteCount(0) };
    let _first = Store::open(config.clone(), Clock::system()).unwrap();
    let error = Store::open(config, Clock::system()).map(drop).unwrap_err();
    assert!(error.to_string().contains("stop other servers"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_declares_is_collected() {
    let world = World::start().await;
    let (live, dead) = (world.file("live.cab", 100_000, 1), world.file("dead.cab", 100_000, 2));
    for file in [&live, &dead] {
        world.client().await.get(&file.content_path(), &[]).await;
        world.becomes(file, FileState::Verified).await;
    }
    let mut report = content::CollectReport::default();
    // a connection that just ended may still have the file
    while report.files == 0 {
        let (store, keep) = (world.store.clone(), live.sha1);
        report = tokio::task::spawn_blocking(move || store.collect(|sha1| *sha1 == keep)).await.unwrap();
        assert_eq!(report.files + report.in_use, 1);
    }
    assert_eq!(report.bytes, 100_000);
    assert!(world.store.status(&dead.sha1).is_none() && world.store.status(&live.sha1).is_some());
}
