//! How fast revisions come in: list, fetch, parse, cut, compress, store durably, activate, from an upstream
//! in memory.
//!
//! Budget: at least 5,000 revisions a second; on disk at most 1.35 times the compressed texts.
//! `cargo bench --bench ingest [-- NUMBER_OF_REVISIONS]`
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on ends, and prints")]

#[path = "../tests/office/mod.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod office;
#[path = "../tests/it/replica.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod replica;

use std::path::Path;

use office::Office;
use replica::Replica;
use tailwater::upstream::SyncOptions;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const REVISIONS: u128 = 20_000;

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| {
        let data = entry.metadata().unwrap();
        if data.is_dir() { size_of(&entry.path()) } else { data.len() }
    });
    sizes.sum()
}

fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default().to_owned();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
}

fn main() {
    let revisions =
        std::env::args().filter_map(|argument| argument.parse().ok()).next_back().unwrap_or(REVISIONS);
    // one in eight travels compressed and is larger, as behind a real upstream
    let sized = |n: u128| {
        let cabinet = n.is_multiple_of(8);
        let document = office::update(1_000 + n, 1, if cabinet { 9_000 } else { 1_200 });
        office::Document { cabinet, ..document }
    };
    let mut documents = office::categories();
    documents.extend((0..revisions).map(sized));
    let raw: usize = documents.iter().map(|document| document.text.len()).sum();
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (theirs, ours) = (runtime(), runtime());
    let office = theirs.block_on(Office::open(documents, 100));
    let dir = tempfile::tempdir().unwrap();
    ours.block_on(async {
        let replica = Replica::open(dir.path(), &office.url, |_| {});
        let started = std::time::Instant::now();
        let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "ingested {} revisions ({} MB of documents) in {seconds:.2} s: {:.0} a second",
            report.fetched,
            raw / 1_000_000,
            f64::from(u32::try_from(report.fetched).unwrap()) / seconds
        );
        replica.close().await;
    });
    // the texts lie compressed in segments; everything else is what keeping them costs
    let (texts, all) = (size_of(&dir.path().join("catalog/documents")), size_of(dir.path()));
    println!(
        "on disk {} kB, {}.{:02} times the compressed texts; peak resident {} MiB with the upstream in it",
        all / 1000,
        all / texts,
        all % texts * 100 / texts,
        resident("VmHWM")
    );
}
