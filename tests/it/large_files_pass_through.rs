//! A file that the store cannot keep reaches whoever reads it all the same, takes no other file's room, and leaves
//! nothing pinned.

#![expect(clippy::cast_possible_truncation, reason = "test files fit the address space")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use tailwater::content::{FileState, PIECE};
use tailwater::domain::{Class, FileDeclaration};
use tailwater::runtime::Tasks;
use tokio::time::Instant;

use crate::support::origin::{Fault, Origin};
use crate::support::world::{Setup, World};

const MIB: u64 = 1024 * 1024;
const STORE: u64 = 8 * MIB;
const SIZE: u64 = 3 * STORE + 12_345;

async fn world() -> World {
    World::with(Setup { max_size: Some(STORE), ..Setup::default() }).await
}

/// Waits until nothing is transferred and nothing is in use.
async fn rests(world: &World) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let store = world.store.clone();
        let pins = tokio::task::spawn_blocking(move || store.collect(|_| false).in_use).await.unwrap();
        if pins == 0 && world.transfer.list().is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{pins} files are pinned; {:?}", world.transfer.list());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Watches that the store keeps its size.
fn watch(world: &World) -> (Arc<AtomicBool>, Arc<AtomicU64>) {
    let (is_over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (store, over, seen) = (world.store.clone(), Arc::clone(&is_over), Arc::clone(&most));
    world.tasks.spawn("watch", async move {
        while !over.load(Ordering::Relaxed) {
            seen.fetch_max(store.usage().held, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    (is_over, most)
}

async fn range(world: &World, file: &FileDeclaration, start: u64, end: u64) -> Bytes {
    let reply = world.client().await.range(&file.content_path(), start, end).await;
    assert_eq!(reply.status, 206, "{start}..{end}");
    reply.body
}

#[tokio::test(flavor = "multi_thread")]
async fn five_readers_of_a_file_three_times_the_store() {
    let world = world().await;
    let kept = world.file("kept.cab", 2 * MIB as usize, 1);
    world.client().await.get(&kept.content_path(), &[]).await;
    world.becomes(&kept, FileState::Verified).await;
    let (is_over, most) = watch(&world);
    let large = world.file("large.esd", SIZE as usize, 2);
    let truth = world.origin.bytes(&large);
    let part = |start: u64, end: u64| {
        let (world, large, truth) = (&world, &large, &truth);
        async move {
            let body = range(world, large, start, end).await;
            assert!(body == truth[start as usize..end as usize], "{start}..{end}");
        }
    };
    let others = async {
        // others are fetched beside it
        for seed in 20..24 {
            let other = world.file("other.cab", 150_000, seed);
            let reply = world.client().await.get(&other.content_path(), &[]).await;
            assert!(reply.body == world.origin.bytes(&other));
        }
    };
    tokio::join!(
        part(0, SIZE),
        part(0, SIZE),
        part(SIZE / 2, SIZE),
        part(SIZE / 3, SIZE / 3 + 5 * MIB),
        part(17, 9 * MIB),
        others
    );
    is_over.store(true, Ordering::Relaxed);
    let most = most.load(Ordering::Relaxed);
    assert!(most <= STORE, "{most} B were held");
    let status = world.store.status(&large.sha1).unwrap();
    assert_eq!(status.state, FileState::Partial, "what was never hashed whole is never called verified");
    assert!(status.held <= STORE / 2 + MIB, "{status:?}");
    assert_eq!(world.store.status(&kept.sha1).unwrap().state, FileState::Verified, "others keep their place");
    let account = world.known.account(&large);
    println!("{SIZE} B read by five: {account:?}, {} B received", world.meter.received());
    assert!(account.stored >= SIZE && account.stored <= 5 * SIZE, "{account:?}");
    // what is left goes first, and others have all the room that there is
    let fresh = world.file("fresh.cab", 7 * MIB as usize, 3);
    let reply = world.client().await.get(&fresh.content_path(), &[]).await;
    assert!(reply.body == world.origin.bytes(&fresh));
    world.becomes(&fresh, FileState::Verified).await;
    rests(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reader_costs_each_byte_once() {
    let world = world().await;
    let large = world.file("large.esd", SIZE as usize, 2);
    let reply = world.client().await.get(&large.content_path(), &[]).await;
    assert!(reply.status == 200 && reply.body == world.origin.bytes(&large));
    let account = world.known.account(&large);
    assert_eq!((account.stored, account.wasted, world.origin.sent(&large).bytes), (SIZE, 0, SIZE));
    rests(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_everything_and_holds_nobody_up() {
    let world = world().await;
    let large = world.file("large.esd", SIZE as usize, 4);
    let truth = world.origin.bytes(&large);
    let mut slow = world.client().await;
    let begun = slow.begin(Method::GET, &large.content_path(), &[]).await.unwrap();
    let mut body = begun.into_body();
    let mut got = Vec::new();
    for round in 0..4 {
        // while it does not read another one reads all
        let reply = world.client().await.get(&large.content_path(), &[]).await;
        assert!(reply.body == truth, "round {round}");
        while got.len() < (round + 1) * (SIZE as usize / 5)
            && let Some(frame) = body.frame().await
        {
            got.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }
    while let Some(frame) = body.frame().await {
        got.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    assert!(got == truth);
    assert!(world.store.usage().held <= STORE);
    drop((body, slow));
    rests(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_in_the_middle_leaves_nothing_pinned() {
    let world = world().await;
    let large = world.file("large.esd", SIZE as usize, 5);
    let truth = world.origin.bytes(&large);
    for start in [0, 5 * MIB, SIZE - MIB] {
        let mut client = world.client().await;
        let asked = [("range", &*format!("bytes={start}-"))];
        let mut body = client.begin(Method::GET, &large.content_path(), &asked).await.unwrap().into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(truth[start as usize..].starts_with(&first));
        drop((body, client));
        let fits = world.file("fits.cab", 7 * MIB as usize, 50 + start);
        let deadline = Instant::now() + Duration::from_secs(20);
        // whoever left is seen to have left a moment later
        while world.client().await.ask(Method::GET, &fits.content_path(), &[]).await.is_err() {
            assert!(Instant::now() < deadline, "{:?}", world.transfer.list());
        }
        world.becomes(&fits, FileState::Verified).await;
    }
    rests(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_it_goes_on_with_what_is_there() {
    let origin = Origin::start(&Tasks::new()).await;
    let dir = tempfile::tempdir().unwrap();
    let large = origin.add("large.esd", SIZE as usize, 5);
    let truth = origin.bytes(&large);
    for end in [10 * MIB, SIZE] {
        let setup = Setup { max_size: Some(STORE), ..Setup::default() };
        let world = World::over(origin.clone(), dir.path(), setup).await;
        world.known.declare(&large, &[origin.url(&large)]);
        assert!(range(&world, &large, 0, end).await == truth[..end as usize]);
        assert!(world.store.usage().held <= STORE);
        world.stop().await;
    }
    // and with a store that can keep it, it is kept
    let world = World::over(origin.clone(), dir.path(), Setup::default()).await;
    world.known.declare(&large, &[origin.url(&large)]);
    assert!(range(&world, &large, 0, SIZE).await == truth);
    world.becomes(&large, FileState::Verified).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_ranges_and_unaligned_ones_are_right() {
    let world = world().await;
    let large = world.file("large.esd", SIZE as usize, 6);
    let truth = world.origin.bytes(&large);
    let mut tasks = Vec::new();
    for agent in 0..5_u64 {
        let (mut client, path, truth) = (world.client().await, large.content_path(), truth.clone());
        tasks.push(world.tasks.spawn("agent", async move {
            let mut at = agent * 977 * 1_000 % SIZE;
            for _ in 0..12 {
                let end = (at + 1_300_000).min(SIZE);
                let reply = client.range(&path, at, end).await;
                assert!(reply.status == 206 && reply.body == truth[at as usize..end as usize], "{at}");
                at = (at + 7_654_321) % (SIZE - 1);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let parts = "bytes=0-99,5000000-5000099,20000000-20000099";
    let reply = world.client().await.get(&large.content_path(), &[("range", parts)]).await;
    assert!(
        reply.status == 206 && reply.body.windows(100).any(|part| part == &truth[20_000_000..20_000_100])
    );
    rests(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_ranges_is_read_as_fast_as_the_reader() {
    let world = world().await;
    let large = world.file("large.esd", SIZE as usize, 7);
    world.origin.inject([Fault::NoRange; 50]);
    let reply = world.client().await.get(&large.content_path(), &[]).await;
    assert!(reply.status == 200 && reply.body == world.origin.bytes(&large));
    let account = world.known.account(&large);
    assert_eq!(
        (account.stored, account.wasted),
        (SIZE, 0),
        "{} requests",
        world.origin.sent(&large).requests
    );
    rests(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_not_fetched_ahead_and_stands_in_nobodys_way() {
    let world = world().await;
    let (large, small) = (world.file("large.esd", SIZE as usize, 8), world.file("small.cab", 3_000_000, 9));
    let kept = world.file("kept.cab", 2 * MIB as usize, 1);
    world.client().await.get(&kept.content_path(), &[]).await;
    world.becomes(&kept, FileState::Verified).await;
    world.transfer.fetch(&large, Class::Normal).unwrap();
    world.transfer.fetch(&small, Class::Background).unwrap();
    world.becomes(&small, FileState::Verified).await;
    assert_eq!(world.origin.sent(&large).requests, 0);
    assert_eq!(world.store.status(&kept.sha1).unwrap().state, FileState::Verified);
    assert_eq!(world.store.status(&large.sha1).map_or(0, |status| status.held), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_smaller_than_its_readers_windows_serves_them_in_turn() {
    let world = World::with(Setup { max_size: Some(20 * PIECE), ..Setup::default() }).await;
    let large = world.file("large.esd", 4 * MIB as usize, 10);
    let truth = world.origin.bytes(&large);
    let read = |start: u64| {
        let (world, large, truth) = (&world, &large, &truth);
        async move { assert!(range(world, large, start, 4 * MIB).await == truth[start as usize..], "{start}") }
    };
    tokio::join!(read(0), read(MIB), read(2 * MIB), read(3 * MIB), read(70_000));
    assert!(world.store.usage().held <= 20 * PIECE, "{:?}", world.store.usage());
    rests(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_fails_is_not_pinned_by_its_failure() {
    let world = World::with(Setup { max_size: Some(STORE), ..Setup::default() }).await;
    let second = Origin::start(&world.tasks).await;
    let failed = world.file("failed.cab", 6 * MIB as usize, 11);
    range(&world, &failed, 0, 4 * MIB).await;
    world.origin.remove(&failed);
    let reply = world.client().await.range(&failed.content_path(), 5 * MIB, 6 * MIB).await;
    assert_eq!(reply.status, 404);
    let large = second.add("fits.cab", 7 * MIB as usize, 12);
    world.known.declare(&large, &[second.url(&large)]);
    let reply = world.client().await.get(&large.content_path(), &[]).await;
    assert!(reply.body == second.bytes(&large), "what failed gives its room at once");
    world.becomes(&large, FileState::Verified).await;
}

/// Sends ranges at once; whether each came whole.
async fn come_whole(world: &World, file: &FileDeclaration, ranges: &[(u64, u64)]) -> Vec<bool> {
    let mut readers = Vec::new();
    for (start, end) in ranges.iter().copied() {
        let (mut client, path) = (world.client().await, file.content_path());
        readers.push(world.tasks.spawn("reader", async move {
            let reply =
                client.ask(Method::GET, &path, &[("range", &format!("bytes={start}-{}", end - 1))]).await;
            reply.is_ok_and(|reply| reply.status == 206 && reply.body.len() as u64 == end - start)
        }));
    }
    let mut whole = Vec::new();
    for reader in readers {
        whole.push(reader.await.unwrap());
    }
    whole
}

/// Puts the bytes of a file with one byte changed under its address.
fn lie(origin: &Origin, file: &FileDeclaration, truth: &Bytes, at: u64) -> String {
    let mut bytes = truth.to_vec();
    bytes[at as usize] ^= 1;
    origin.add_under(file, bytes.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_the_end_of_a_file_whose_bytes_are_wrong() {
    let last = (SIZE - 1) / PIECE * PIECE;
    // at once, one after the other, from the middle, the end alone, and in any order
    let all: [&[&[(u64, u64)]]; 5] = [
        &[&[(0, SIZE)]],
        &[&[(0, SIZE), (0, SIZE), (SIZE / 2, SIZE)]],
        &[&[(0, SIZE / 3)], &[(SIZE / 3, SIZE)]],
        &[&[(last, SIZE)]],
        &[&[(SIZE / 2, last)], &[(0, SIZE / 2)], &[(last, SIZE)]],
    ];
    for wrong_at in [0, SIZE / 2, SIZE - 1] {
        for (number, steps) in all.iter().enumerate() {
            let world = world().await;
            let large = world.file("large.esd", SIZE as usize, 2);
            lie(&world.origin, &large, &world.origin.bytes(&large), wrong_at);
            for ranges in *steps {
                let whole = come_whole(&world, &large, ranges).await;
                let ended = ranges.iter().zip(whole).any(|((_, end), whole)| whole && *end == SIZE);
                assert!(!ended, "wrong at {wrong_at}, {number}: {ranges:?} came to its end");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_alone_comes_once_the_whole_was_seen() {
    let world = world().await;
    let large = world.file("large.esd", SIZE as usize, 2);
    let truth = world.origin.bytes(&large);
    assert!(range(&world, &large, SIZE - MIB, SIZE).await == truth[(SIZE - MIB) as usize..]);
    let cost = world.origin.sent(&large).bytes;
    assert!((SIZE - 2 * MIB..=SIZE + STORE).contains(&cost), "{cost}");
    // from then on it is known
    assert!(range(&world, &large, SIZE - 10, SIZE).await == truth[(SIZE - 10) as usize..]);
    assert!(world.origin.sent(&large).bytes <= cost + 2 * MIB);
    rests(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_read_in_parts_costs_its_parts() {
    let world = world().await;
    let mut large = world.file("large.psf", SIZE as usize, 2);
    large.patching = Some("Express".to_owned());
    assert!(large.is_taken_in_parts());
    world.known.declare(&large, &[world.origin.url(&large)]);
    let truth = world.origin.bytes(&large);
    assert!(range(&world, &large, SIZE - 1_000, SIZE).await == truth[(SIZE - 1_000) as usize..]);
    assert!(world.origin.sent(&large).bytes <= MIB, "{:?}", world.origin.sent(&large).bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lie_another_source_is_asked_and_who_resumes_begins_anew() {
    let world = world().await;
    let right = Origin::start(&world.tasks).await;
    let large = right.add("large.esd", SIZE as usize, 2);
    let truth = right.bytes(&large);
    let wrong = lie(&world.origin, &large, &truth, 100);
    world.known.declare(&large, &[wrong, right.url(&large)]);
    let path = large.content_path();
    // somebody has a wrong beginning, under this name
    let early = world.client().await.get(&path, &[("range", "bytes=0-999")]).await;
    assert!(early.status == 206 && early.body != truth[..1_000]);
    let (etag, date) = (early.header("etag").to_owned(), early.header("last-modified").to_owned());
    assert!(world.client().await.ask(Method::GET, &path, &[]).await.is_err(), "the lie is found");
    // whoever asks again gets it right; the one who resumes does not join it to what was wrong
    for validator in [&etag, &date] {
        let headers = [("range", "bytes=1000-"), ("if-range", &**validator)];
        let reply = world.client().await.get(&path, &headers).await;
        assert!(reply.status == 200 && reply.body == truth, "{validator}: {}", reply.status);
    }
    let before =
        world.client().await.get(&path, &[("if-unmodified-since", &date), ("range", "bytes=1000-")]).await;
    assert_eq!(before.status, 412);
    let reply = world.client().await.get(&path, &[("if-match", &etag)]).await;
    assert_eq!(reply.status, 412);
    // with the new name it resumes
    let fresh = world.client().await.get(&path, &[("range", "bytes=0-999")]).await;
    let headers = [("range", "bytes=1000-1999"), ("if-range", fresh.header("etag"))];
    let reply = world.client().await.get(&path, &headers).await;
    assert!(reply.status == 206 && reply.body == truth[1_000..2_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_that_comes_again_is_the_same_or_nobody_gets_the_end() {
    let (origin, dir) = (Origin::start(&Tasks::new()).await, tempfile::tempdir().unwrap());
    let large = origin.add("large.esd", SIZE as usize, 2);
    let truth = origin.bytes(&large);
    let start = async || {
        let setup = Setup { max_size: Some(STORE), ..Setup::default() };
        let world = World::over(origin.clone(), dir.path(), setup).await;
        world.known.declare(&large, &[origin.url(&large)]);
        world
    };
    let world = start().await;
    assert!(range(&world, &large, 0, SIZE).await == truth);
    // it is known piece by piece: a damaged one is asked for again, by itself
    let before = world.origin.sent(&large).bytes;
    world.origin.inject([Fault::Corrupt]);
    assert!(range(&world, &large, 0, 4 * MIB).await == truth[..4 * MIB as usize]);
    assert!(world.origin.sent(&large).bytes - before <= 6 * MIB);
    // a restart knows what was seen no more, so that what it gives has another name
    let path = large.content_path();
    let name = world.client().await.get(&path, &[("range", "bytes=0-9")]).await.header("etag").to_owned();
    world.stop().await;
    drop(world);
    let world = start().await;
    let reply = world.client().await.get(&path, &[("range", "bytes=10-"), ("if-range", &name)]).await;
    assert!(reply.status == 200 && reply.body == truth, "{}", reply.status);
}
