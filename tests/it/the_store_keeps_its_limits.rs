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
async fn one_refusal_for_lack_of_room_blocks_nothing_else() {
    let setup = Setup {
        max_size: Some(8 * MIB as u64),
        patience: std::time::Duration::from_secs(2),
        ..Setup::default()
    };
    let world = World::with(setup).await;
    let pinned = world.file("pinned.cab", 6 * MIB, 1);
    world.client().await.get(&pinned.content_path(), &[]).await;
    world.becomes(&pinned, FileState::Verified).await;
    // somebody reads it, slowly: its bytes fill every buffer on the way
    let mut reader = world.client().await;
    let begun = reader.begin(http::Method::GET, &pinned.content_path(), &[]).await.unwrap();

    let large = world.file("large.cab", 5 * MIB, 2);
    let cut = world.client().await.ask(http::Method::GET, &large.content_path(), &[]).await;
    assert!(cut.is_err() || cut.unwrap().status == 503, "there is no room for it");
    assert!(world.store.usage().full);
    // what fits is fetched, before and after, and what is held is served
    for seed in 10..14 {
        let small = world.file("small.cab", 300_000, seed);
        let reply = world.client().await.get(&small.content_path(), &[]).await;
        assert!(reply.status == 200 && reply.body == world.origin.bytes(&small), "{}", reply.status);
        let refused = world.client().await.range(&large.content_path(), 0, 5 * MIB as u64).await;
        assert_eq!(refused.status, 503);
        assert!(!refused.header("retry-after").is_empty());
    }
    let body = begun.into_body().collect().await.unwrap().to_bytes();
    assert!(body == world.origin.bytes(&pinned));
    drop(reader);
    // and when the reader has left the large one is
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let reply = world.client().await.ask(http::Method::GET, &large.content_path(), &[]).await;
        if reply.is_ok_and(|reply| reply.status == 200 && reply.body == world.origin.bytes(&large)) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{:?}", world.transfer.list());
    }
    assert!(world.store.usage().held <= 8 * MIB as u64);
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
