//! Whatever an upstream does, agents get right bytes or an honest failure, and what came is kept.

#![expect(clippy::cast_possible_truncation, reason = "test files fit the address space")]

use std::time::Duration;

use tailwater::content::FileState;
use tailwater::domain::{Class, FileDeclaration};
use tailwater::transfer::{Policy, Prefetch};

use crate::support::origin::{Fault, Origin};
use crate::support::world::{Setup, World};

const MIB: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn drops_stalls_errors_and_nonsense_are_overcome() {
    let faults = [
        Fault::Drop(300_000),
        Fault::Stall(100_000),
        Fault::Status(500, 0),
        Fault::Status(503, 1),
        Fault::OtherRange,
        Fault::Drop(0),
        Fault::Drop(70_000),
    ];
    for fault in faults {
        let world = World::start().await;
        let file = world.file("troubled.cab", 5 * MIB + 77, 1);
        world.origin.inject([fault, fault]);
        let reply = world.client().await.get(&file.content_path(), &[]).await;
        assert!(reply.body == world.origin.bytes(&file), "{fault:?}");
        // a piece that was cut off begins again, and what the upstream had in hand when it closed is lost;
        // nothing else is. A wrong range is worth nothing at all
        let sent = world.origin.sent(&file);
        let wasted = match fault {
            Fault::OtherRange => 2 * (MIB + MIB / 2) as u64,
            Fault::Drop(after) | Fault::Stall(after) => 2 * (after + 65_536),
            _ => 0,
        };
        assert!(sent.bytes <= file.size + wasted, "{fault:?}: {} bytes", sent.bytes);
        world.becomes(&file, FileState::Verified).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_ranges_sends_the_file_once() {
    let world = World::start().await;
    let file = world.file("whole.cab", 12 * MIB, 2);
    world.origin.inject([Fault::NoRange; 100]);
    let bytes = world.origin.bytes(&file);
    let path = file.content_path();
    let mut agents = Vec::new();
    for start in (0..12).map(|n| n * MIB as u64) {
        let (mut client, bytes, path) = (world.client().await, bytes.clone(), path.clone());
        agents.push(world.tasks.spawn("agent", async move {
            let reply = client.range(&path, start, start + MIB as u64).await;
            assert!(reply.body == bytes[start as usize..start as usize + MIB]);
        }));
    }
    for agent in agents {
        agent.await.unwrap();
    }
    world.becomes(&file, FileState::Verified).await;
    let sent = world.origin.sent(&file);
    assert_eq!((sent.bytes, sent.requests), (file.size, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_source_is_asked_when_the_first_is_unfit() {
    for fault in [Fault::Status(404, 0), Fault::Garbage, Fault::OtherLength, Fault::Status(416, 0)] {
        let world = World::start().await;
        let second = Origin::start(&world.tasks).await;
        let file = world.file("fallback.cab", 2 * MIB, 3);
        second.add("fallback.cab", 2 * MIB, 3);
        world.known.declare(&file, &[world.origin.url(&file), second.url(&file)]);
        world.origin.inject([fault; 20]);
        let reply = world.client().await.get(&file.content_path(), &[]).await;
        assert!(reply.body == second.bytes(&file), "{fault:?}");
        assert_eq!(world.origin.sent(&file).requests, 1, "{fault:?}: it is not asked for this file again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupted_piece_is_never_verified_and_is_fetched_again() {
    let world = World::start().await;
    let file = world.file("corrupted.cab", 3 * MIB, 4);
    world.origin.inject([Fault::Corrupt]);
    // the agent may see the wrong byte, and never the whole file
    drop(world.client().await.ask(http::Method::GET, &file.content_path(), &[]).await);
    world.becomes(&file, FileState::Verified).await;
    let sent = world.origin.sent(&file);
    assert_eq!(sent.bytes, 2 * file.size);
    let reply = world.client().await.get(&file.content_path(), &[]).await;
    assert!(reply.body == world.origin.bytes(&file));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_wrong_file_is_ever_complete() {
    // of one piece, of several, and of several requests; the wrong byte in the first answer or a later one
    for (size, before) in [(1_000, 0), (65_536, 0), (300_000, 0), (3 * MIB, 0), (3 * MIB, 1), (9 * MIB, 4)] {
        let world = World::start().await;
        let file = world.file("wrong.cab", size, size as u64 + before);
        world.origin.inject((0..before).map(|_| Fault::Status(500, 0)).chain([Fault::Corrupt]));
        let truth = world.origin.bytes(&file);
        let (mut one, mut two) = (world.client().await, world.client().await);
        let (path, half) = (file.content_path(), format!("bytes={}-", size / 2));
        let range = [("range", &*half)];
        let (whole, end) =
            tokio::join!(one.ask(http::Method::GET, &path, &[]), two.ask(http::Method::GET, &path, &range));
        if let Ok(reply) = whole {
            assert!(!reply.status.is_success() || reply.body == truth, "{size}: {}", reply.status);
        }
        drop(end);
        // and then it comes
        world.becomes(&file, FileState::Verified).await;
        let reply = world.client().await.get(&path, &[]).await;
        assert!(reply.body == truth, "{size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_lies_is_blamed_and_the_next_one_asked() {
    let world = World::start().await;
    let honest = Origin::start(&world.tasks).await;
    let file = honest.add("lied.cab", 2 * MIB, 5);
    // a file of the same length under the same address, with other bytes
    let liar = world.file("lied.cab", 2 * MIB, 6);
    let lied = world.origin.bytes(&liar);
    let at_liar = world.origin.add_under(&file, lied);
    world.known.declare(&file, &[at_liar, honest.url(&file)]);
    drop(world.client().await.ask(http::Method::GET, &file.content_path(), &[]).await);
    world.becomes(&file, FileState::Verified).await;
    assert_eq!(honest.sent(&file).bytes, file.size);
    let reply = world.client().await.get(&file.content_path(), &[]).await;
    assert!(reply.body == honest.bytes(&file));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_never_matches_is_given_up_and_said_so() {
    let world = World::start().await;
    let file = world.file("hopeless.cab", 200_000, 7);
    world.origin.inject([Fault::Corrupt; 50]);
    drop(world.client().await.ask(http::Method::GET, &file.content_path(), &[]).await);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !world.transfer.list().iter().any(|status| {
        status.trouble.as_deref().is_some_and(|trouble| trouble.contains("does not match its digest"))
    }) {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", world.transfer.list());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.client().await.get(&file.content_path(), &[]).await.status, 502);
    assert_eq!(world.origin.sent(&file).requests, 3);
    assert_eq!(world.store.usage().verified, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_upstream_is_a_status_and_a_gone_file_a_404() {
    let setup = Setup { patience: Duration::from_millis(300), ..Setup::default() };
    let world = World::with(setup).await;
    let gone = world.file("gone.cab", 1000, 8);
    world.origin.remove(&gone);
    assert_eq!(world.client().await.get(&gone.content_path(), &[]).await.status, 404);
    let lost = world.file("lost.cab", 1000, 9);
    world.known.declare(&lost, &["http://127.0.0.1:9/nothing".to_owned()]);
    assert_eq!(world.client().await.get(&lost.content_path(), &[]).await.status, 504);
    let mute = world.file("mute.cab", 1000, 10);
    world.origin.inject([Fault::Stall(0); 50]);
    assert_eq!(world.client().await.get(&mute.content_path(), &[]).await.status, 504);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_the_middle_closes_the_connection() {
    let setup = Setup { patience: Duration::from_millis(500), ..Setup::default() };
    let world = World::with(setup).await;
    let file = world.file("half.cab", 8 * MIB, 11);
    let mut client = world.client().await;
    client.range(&file.content_path(), 0, MIB as u64).await;
    world.origin.inject([Fault::Stall(0); 500]);
    let result = client.ask(http::Method::GET, &file.content_path(), &[]).await;
    assert!(result.is_err(), "a short body must not look whole: {result:?}");
    // what is held is served meanwhile
    let reply = world.client().await.range(&file.content_path(), 0, MIB as u64).await;
    assert!(reply.body == world.origin.bytes(&file)[..MIB]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fetch_none_clients_are_sent_to_the_origin() {
    let setup = Setup { policy: Policy::None, ..Setup::default() };
    let world = World::with(setup).await;
    let file = world.file("elsewhere.cab", 1000, 12);
    let reply = world.client().await.get(&file.content_path(), &[]).await;
    assert_eq!((reply.status.as_u16(), reply.header("location")), (302, &*world.origin.url(&file)));
    assert_eq!(world.origin.sent(&file).requests, 0);
}

fn ahead(file: &FileDeclaration) -> Prefetch {
    Prefetch { file: file.clone(), class: Class::Normal }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fetch_approved_the_listed_files_come_ahead() {
    let setup = Setup { policy: Policy::Approved, ..Setup::default() };
    let world = World::with(setup).await;
    let files: Vec<_> = (0..5).map(|n| world.file("ahead.cab", 2 * MIB, 20 + n)).collect();
    assert_eq!(world.transfer.prefetch(files.iter().map(ahead).collect()), 0);
    for file in &files {
        world.becomes(file, FileState::Verified).await;
        assert_eq!(world.origin.sent(file).bytes, file.size);
    }
}
