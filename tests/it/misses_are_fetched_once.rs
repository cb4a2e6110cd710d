//! However many ask for what is not held, the upstream sends each byte once.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "test code: test files fit the address space"
)]

use std::time::Duration;

use tailwater::content::FileState;

use crate::support::world::World;

const MIB: u64 = 1024 * 1024;

/// A small generator, so that a failing run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, usize::try_from(self.below(at as u64 + 1)).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_agents_with_shuffled_ranges_cost_the_file_once() {
    let world = World::start().await;
    let size = 32 * MIB + 12_345;
    let file = world.file("update.cab", usize::try_from(size).unwrap(), 1);
    let bytes = world.origin.bytes(&file);
    let path = file.content_path();
    let mut agents = Vec::new();
    for agent in 0..50 {
        let (mut client, bytes, path) = (world.client().await, bytes.clone(), path.clone());
        agents.push(world.tasks.spawn("agent", async move {
            let mut starts: Vec<_> = (0..size.div_ceil(MIB)).map(|n| n * MIB).collect();
            Random(77 + agent).shuffle(&mut starts);
            for start in starts {
                let end = (start + MIB).min(size);
                let reply = client.range(&path, start, end).await;
                assert_eq!(reply.status, 206);
                assert!(reply.body == bytes[start as usize..end as usize], "agent {agent} at {start}");
            }
        }));
    }
    for agent in agents {
        agent.await.unwrap();
    }
    let sent = world.origin.sent(&file);
    assert_eq!(sent.bytes, size, "{} requests", sent.requests);
    assert!(sent.pieces.values().all(|times| *times == 1));
    world.becomes(&file, FileState::Verified).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unaligned_ranges_cost_at_most_a_tenth_more() {
    let world = World::start().await;
    let size = 256 * MIB;
    let file = world.file("large.psf", usize::try_from(size).unwrap(), 2);
    let bytes = world.origin.bytes(&file);
    let path = file.content_path();
    let mut random = Random(4242);
    let starts: Vec<_> = (0..60).map(|_| random.below(size - MIB)).collect();
    let mut distinct = vec![false; usize::try_from(size / 1024).unwrap()];
    for start in &starts {
        let (from, to) = (start / 1024, (start + MIB).div_ceil(1024));
        distinct[from as usize..(to as usize).min((size / 1024) as usize)].fill(true);
    }
    let mut agents = Vec::new();
    for part in starts.chunks(3) {
        let (mut client, bytes, path, part) =
            (world.client().await, bytes.clone(), path.clone(), part.to_vec());
        agents.push(world.tasks.spawn("agent", async move {
            for start in part {
                let reply = client.range(&path, start, start + MIB).await;
                assert!(reply.body == bytes[start as usize..(start + MIB) as usize], "at {start}");
            }
        }));
    }
    for agent in agents {
        agent.await.unwrap();
    }
    let sent = world.origin.sent(&file);
    let asked = distinct.iter().filter(|asked| **asked).count() as u64 * 1024;
    assert!(sent.bytes * 100 <= asked * 110, "sent {} for {asked}", sent.bytes);
    assert!(sent.pieces.values().all(|times| *times == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_file_and_ranges_of_it_share_what_is_fetched() {
    let world = World::start().await;
    let file = world.file("shared.cab", 9_000_001, 3);
    let bytes = world.origin.bytes(&file);
    let path = file.content_path();
    let (mut one, mut two, mut three) = (world.client().await, world.client().await, world.client().await);
    let (whole, part, again) =
        tokio::join!(one.get(&path, &[]), two.range(&path, 4_000_000, 9_000_001), three.get(&path, &[]));
    assert!(whole.status == 200 && whole.body == bytes && again.body == bytes);
    assert!(part.body == bytes[4_000_000..]);
    assert_eq!(world.origin.sent(&file).bytes, 9_000_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_under_another_name_costs_nothing() {
    let world = World::start().await;
    let file = world.file("first.cab", 300_000, 4);
    let mut other = file.clone();
    other.name = "second.exe".to_owned();
    let mut client = world.client().await;
    client.get(&file.content_path(), &[]).await;
    world.becomes(&file, FileState::Verified).await;
    world.known.declare(&other, &[world.origin.url(&file)]);
    let reply = client.get(&other.content_path(), &[]).await;
    assert_eq!(reply.body, world.origin.bytes(&file));
    assert_eq!(world.origin.sent(&file).bytes, 300_000);
    assert_eq!(world.store.usage().files, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_last_reader_leaves_fetching_stops_soon() {
    let world = World::start().await;
    let file = world.file("abandoned.cab", 200 * 1024 * 1024, 5);
    let mut client = world.client().await;
    let begun = client.begin(http::Method::GET, &file.content_path(), &[]).await.unwrap();
    assert_eq!(begun.status(), 200);
    drop((begun, client));
    // it is over when no transfer is left; what the origin wrote into its sockets by then was sent
    let started = std::time::Instant::now();
    while !world.transfer.list().is_empty() {
        assert!(started.elapsed() < Duration::from_mins(1), "{:?}", world.transfer.list());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last = world.origin.sent(&file).bytes;
    // what the sockets' buffers took before the client left, what was ahead of it, and running windows
    assert!(last < 24 * MIB, "{last} bytes were fetched for a reader who left at once");
    assert!(world.transfer.list().is_empty(), "{:?}", world.transfer.list());
    let held = world.store.status(&file.sha1).unwrap().held;
    // less what was between socket and file when the requests were broken off; what the system's buffers held is lost
    let received = world.meter.received();
    assert!(
        held <= received && received - held < MIB,
        "what came is kept: {held} of {received} ({last} sent)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_digest_never_reaches_the_upstream() {
    let world = World::start().await;
    let file = world.origin.add("undeclared.cab", 1000, 6);
    let reply = world.client().await.get(&file.content_path(), &[]).await;
    assert_eq!(reply.status, 404);
    assert_eq!(world.origin.sent(&file).requests, 0);
}
