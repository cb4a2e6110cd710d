//! What goes bad on the disk is missing from then on, and comes back with the next synchronisation: nothing else is
//! fetched, and nothing stays lost.

use std::path::Path;

use tailwater::upstream::{Outcome, SyncOptions};

use crate::office::{self, Office};
use crate::replica::Replica;

/// Zeroes a part of the only segment, given in thousandths of its length.
fn harm(dir: &Path, from: usize, to: usize) {
    let path = dir.join("catalog/documents/00000001.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    let place = |thousandth: usize| bytes.len() * thousandth / 1_000;
    let (from, to) = (place(from), place(to));
    bytes[from..to].fill(0);
    std::fs::write(path, bytes).unwrap();
}

fn cut_off(dir: &Path, at: usize) {
    let path = dir.join("catalog/documents/00000001.seg");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() * at / 1_000]).unwrap();
}

/// Every text of everything visible.
fn texts(replica: &Replica) -> Vec<(String, Vec<u8>)> {
    let snapshot = replica.catalog.snapshot();
    let mut found = Vec::new();
    for identity in replica.visible() {
        let id = snapshot.find(&identity).unwrap();
        for (kind, part) in snapshot.parts(id) {
            let text = replica.catalog.read(&part).unwrap_or_else(|error| panic!("{identity}: {error}"));
            found.push((format!("{identity} {kind:?}"), text.to_vec()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_part_of_the_store_goes_bad() {
    let mut documents = office::categories();
    documents.extend((0..150).map(|n| office::update(1000 + n, 1, 900)));
    // named by a bundle only: no list brings it back
    let child = office::revision(501, 3);
    documents
        .push(office::Document { listed: false, ..office::document(child, "Software", "A child", "", "") });
    let bundle = office::bundles(&[child]);
    documents.push(office::document(office::revision(500, 1), "Software", "A bundle", &bundle, ""));
    let office = Office::open(documents, 20).await;
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), &office.url, |_| {});
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.fetched), (Outcome::Complete, 155));
    let before = (replica.visible(), texts(&replica));
    replica.close().await;
    for (round, (from, to)) in
        [(0, 0), (100, 104), (0, 200), (300, 700), (990, 1_000), (0, 1_000)].into_iter().enumerate()
    {
        harm(dir.path(), from, to);
        if round == 0 {
            cut_off(dir.path(), 600);
        }
        office.forget_counters();
        let replica = Replica::open(dir.path(), &office.url, |_| {});
        let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
        assert_eq!(report.outcome, Outcome::Complete, "{from} to {to}: {:?}", report.missing);
        assert_eq!(replica.visible(), before.0, "{from} to {to}");
        assert!(texts(&replica) == before.1, "{from} to {to}: other texts");
        assert_eq!(replica.catalog.lost(), None, "{from} to {to}");
        assert_eq!(office.counters().handed_out.len(), report.fetched, "{from} to {to}: each once");
        // and then all is quiet
        office.forget_counters();
        let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
        assert_eq!((report.outcome, report.fetched), (Outcome::Complete, 0));
        assert_eq!(office.counters().handed_out.len(), 0);
        replica.close().await;
    }
    office.close().await;
}
