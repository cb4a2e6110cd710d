//! What does demand fill cost beside the upstream alone? Total time, and bytes taken from upstream over
//! distinct bytes asked for.
//!
//! Budgets: a cold file takes at most 1.1 times what the upstream alone takes, for one client and for
//! twenty; 50 agents with shuffled 1 MiB ranges of 300 MB cost at most 1.01 times the distinct bytes, random
//! unaligned ranges at most 1.10 times. The upstream is held to 200 MB/s and thinks 5 ms before each answer.
//!
//! `cargo bench --bench cold_fill`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench prints, and ends when it cannot be set up"
)]

mod drain;
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use drain::Drain;
use support::origin::Origin;
use support::world::{Setup, World};
use tailwater::domain::FileDeclaration;
use tailwater::runtime::Tasks;

const MIB: u64 = 1 << 20;
const PACE: u64 = 200_000_000;
const THINK: Duration = Duration::from_millis(5);

#[tokio::main]
async fn main() {
    whole(1).await;
    whole(20).await;
    shuffled().await;
    unaligned().await;
    unpaced().await;
}

async fn world(pace: Option<u64>, think: Duration) -> (World, tempfile::TempDir) {
    let origin = Origin::start_paced(&Tasks::new(), pace, think).await;
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup { idle_timeout: Duration::from_secs(30), ..Setup::default() };
    (World::over(origin, dir.path(), setup).await, dir)
}

/// Reads an answer and throws it away; how many bytes it had, and when the first came.
async fn read(client: &mut Drain, path: &str, range: Option<(u64, u64)>) -> (u64, Duration) {
    let range = range.map(|(start, end)| format!("Range: bytes={start}-{}\r\n", end - 1)).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nHost: site.example\r\n{range}\r\n");
    client.ask(&request, |_| {}).await.unwrap()
}

async fn client(world: &World) -> Drain {
    Drain::connect(world.address, false).await.unwrap()
}

/// How long the upstream alone takes to send the file to one client.
async fn alone(origin: &Origin, file: &FileDeclaration) -> Duration {
    let address =
        origin.url(file).strip_prefix("http://").unwrap().split('/').next().unwrap().parse().unwrap();
    let mut client = Drain::connect(address, false).await.unwrap();
    let begun = Instant::now();
    assert_eq!(read(&mut client, &file.content_path(), None).await.0, file.size);
    begun.elapsed()
}

fn verdict(good: bool) -> &'static str {
    if good { "ok" } else { "MISSED" }
}

async fn whole(clients: u64) {
    let (world, _dir) = world(Some(PACE), THINK).await;
    let sample = world.file("sample.cab", 1 << 30, 1);
    let floor = alone(&world.origin, &sample).await;
    let file = world.file("cold.cab", 1 << 30, 2);
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (mut client, path, size) = (client(&world).await, file.content_path(), file.size);
        tasks.push(world.tasks.spawn("client", async move {
            assert_eq!(read(&mut client, &path, None).await.0, size);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let (time, ratio) = (begun.elapsed(), begun.elapsed().as_secs_f64() / floor.as_secs_f64());
    let cost = world.origin.sent(&file).bytes as f64 / file.size as f64;
    println!(
        "{clients:>2} clients, whole cold 1 GiB: {:.2} s, upstream alone {:.2} s, ratio {ratio:.3} (at most 1.1) {}; upstream bytes / size {cost:.4} (at most 1.01) {}",
        time.as_secs_f64(),
        floor.as_secs_f64(),
        verdict(ratio <= 1.1),
        verdict(cost <= 1.01)
    );
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

async fn shuffled() {
    let (world, _dir) = world(Some(PACE), THINK).await;
    let file = world.file("shuffled.cab", 300_000_000, 3);
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for agent in 0..50 {
        let (mut client, path, size) = (client(&world).await, file.content_path(), file.size);
        tasks.push(world.tasks.spawn("agent", async move {
            let mut random = Random(agent * 7919 + 13);
            let mut starts: Vec<_> = (0..size.div_ceil(MIB)).map(|n| n * MIB).collect();
            for at in (1..starts.len()).rev() {
                starts.swap(at, usize::try_from(random.below(at as u64 + 1)).unwrap());
            }
            for start in starts {
                let end = (start + MIB).min(size);
                assert_eq!(read(&mut client, &path, Some((start, end))).await.0, end - start);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let sent = world.origin.sent(&file);
    let cost = sent.bytes as f64 / file.size as f64;
    let twice = sent.pieces.values().filter(|times| **times > 1).count();
    println!(
        "50 agents, cold 300 MB in shuffled 1 MiB ranges: {:.2} s; upstream bytes / distinct {cost:.4} (at most 1.01) {}; pieces sent twice {twice} {}",
        begun.elapsed().as_secs_f64(),
        verdict(cost <= 1.01),
        verdict(twice == 0)
    );
}

async fn unaligned() {
    let (world, _dir) = world(Some(PACE), THINK).await;
    let size: u64 = 1 << 30;
    let file = world.file("unaligned.psf", 1 << 30, 4);
    let mut random = Random(4242);
    let starts: Vec<_> = (0..200).map(|_| random.below(size - MIB)).collect();
    let mut sorted = starts.clone();
    sorted.sort_unstable();
    let (mut distinct, mut until) = (0, 0);
    for start in sorted {
        distinct += (start + MIB).saturating_sub(until.max(start));
        until = until.max(start + MIB);
    }
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for part in starts.chunks(10) {
        let (mut client, path, part) = (client(&world).await, file.content_path(), part.to_vec());
        tasks.push(world.tasks.spawn("agent", async move {
            let mut firsts = Vec::new();
            for start in part {
                firsts.push(read(&mut client, &path, Some((start, start + MIB))).await.1);
            }
            firsts
        }));
    }
    let mut firsts = Vec::new();
    for task in tasks {
        firsts.extend(task.await.unwrap());
    }
    firsts.sort_unstable();
    let cost = world.origin.sent(&file).bytes as f64 / distinct as f64;
    println!(
        "20 agents, 200 random unaligned 1 MiB ranges of 1 GiB: {:.2} s (floor {:.2} s); upstream bytes / distinct {cost:.4} (at most 1.10) {}; first byte p50 {:.0} ms, p99 {:.0} ms",
        begun.elapsed().as_secs_f64(),
        distinct as f64 / PACE as f64,
        verdict(cost <= 1.1),
        firsts[firsts.len() / 2].as_secs_f64() * 1000.0,
        firsts[firsts.len() * 99 / 100].as_secs_f64() * 1000.0,
    );
}

/// No limit but the machine: what the way through the store costs. No budget; upstream, site and client share
/// the cores.
async fn unpaced() {
    let (world, _dir) = world(None, Duration::ZERO).await;
    let sample = world.file("sample.cab", 1 << 30, 5);
    let floor = alone(&world.origin, &sample).await;
    let file = world.file("cold.cab", 1 << 30, 6);
    let begun = Instant::now();
    assert_eq!(read(&mut client(&world).await, &file.content_path(), None).await.0, file.size);
    println!(
        "1 client, whole cold 1 GiB, nothing paced: {:.2} s, upstream alone {:.2} s",
        begun.elapsed().as_secs_f64(),
        floor.as_secs_f64()
    );
}
