//! An update whose document is poison costs itself: the synchronisation ends, says which and why, and the others are in.

use std::io::Write as _;

use tailwater::upstream::{Outcome, SyncOptions};

use crate::office::{self, Office};
use crate::replica::Replica;

/// A sound cabinet of one small document.
fn cabinet() -> Vec<u8> {
    let mut builder = cab::CabinetBuilder::new();
    builder.add_folder(cab::CompressionType::MsZip).add_file("blob");
    let mut writer = builder.build(std::io::Cursor::new(Vec::new())).unwrap();
    while let Some(mut file) = writer.next_file().unwrap() {
        file.write_all(&"<a>no update</a>".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>())
            .unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn changed(place: usize, bytes: &[u8]) -> Vec<u8> {
    let mut cabinet = cabinet();
    cabinet[place..place + bytes.len()].copy_from_slice(bytes);
    cabinet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poisonous_cabinets_among_good_ones() {
    let mut documents = office::categories();
    documents.extend((0..40).map(|n| office::Document { cabinet: true, ..office::update(1000 + n, 1, 300) }));
    let office = Office::open(documents, 40).await;
    let sound = cabinet();
    let files = usize::try_from(u32::from_le_bytes(sound[16..20].try_into().unwrap())).unwrap();
    let poisons = [
        // a file that begins far behind its folder, which makes the library panic
        changed(files + 4, &[0xff, 0xff, 0, 0]),
        changed(files + 4, &[33, 0, 0, 0]),
        // no blocks at all, blocks of nothing, a window of 32 MiB
        changed(40, &[0, 0]),
        changed(42, &[3, 25]),
        sound[..sound.len() / 2].to_vec(),
        Vec::new(),
        b"MSCF".to_vec(),
    ];
    let mut bad = Vec::new();
    for (n, poison) in (0..).step_by(5).zip(&poisons) {
        bad.push(office::revision(1000 + n, 1));
        office.poison(office::revision(1000 + n, 1), poison);
    }
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), &office.url, |_| {});
    let good = 43 - bad.len();
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.fetched, report.missing_total), (Outcome::Partial, good, bad.len()));
    let mut missing: Vec<_> = report.missing.iter().map(|missing| missing.identity).collect();
    missing.sort_unstable();
    assert_eq!(missing, bad);
    for missing in &report.missing {
        assert!(
            missing.reason.contains("cabinet") || missing.reason.contains("document"),
            "{}",
            missing.reason
        );
    }
    assert_eq!(replica.visible().len(), good);
    // the next one is no worse, and what was mended upstream comes in
    office.publish(office::Document { cabinet: true, ..office::update(1000, 1, 300) });
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.missing_total), (Outcome::Partial, bad.len() - 1));
    assert!(replica.visible().contains(&bad[0]));
    replica.close().await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_says_too_much_is_refused_alone() {
    let mut documents = office::categories();
    documents.extend((0..60).map(|n| office::update(1000 + n, 1, 300)));
    let too_many = |count: u128, element: &str| {
        let named = |n| {
            format!("<upd:UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"1\"/>", office::id(5_000_000 + n))
        };
        let inner = (0..count).map(named).collect::<Vec<_>>().concat();
        format!("<upd:{element}>{inner}</upd:{element}>")
    };
    let bad = [office::revision(2000, 1), office::revision(2001, 1)];
    for (identity, relations) in
        bad.iter().zip([too_many(50_001, "SupersededUpdates"), too_many(20_001, "Prerequisites")])
    {
        documents.push(office::document(*identity, "Software", "Too much", &relations, ""));
    }
    let most = office::revision(2002, 1);
    documents.push(office::document(most, "Software", "Much", &too_many(50_000, "SupersededUpdates"), ""));
    let office = Office::open(documents, 100).await;
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), &office.url, |_| {});
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.fetched, report.missing_total), (Outcome::Partial, 64, 2));
    for missing in &report.missing {
        assert!(
            bad.contains(&missing.identity) && missing.reason.contains("more than"),
            "{}",
            missing.reason
        );
    }
    let before = replica.visible();
    assert!(before.contains(&most) && before.len() == 64);
    replica.close().await;
    let replica = Replica::open(dir.path(), &office.url, |_| {});
    assert_eq!(replica.visible(), before, "nothing was lost with the store's next opening");
    replica.close().await;
    office.close().await;
}
