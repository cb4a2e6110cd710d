//! Addresses at Microsoft that carry a token: used, never written down, and asked for when none is known.

use tailwater::domain::{FileDeclaration, Sha1Digest};
use tailwater::upstream::SyncOptions;

use crate::office::{self, Office};
use crate::replica::Replica;

const TOKEN: &str = "P1=1791126000&P2=404&P3=2&P4=secret%2btoken";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_only_a_token_leads_to_can_be_fetched_after_a_restart_too() {
    let file = FileDeclaration {
        sha1: Sha1Digest([7; 20]),
        sha256: None,
        size: 7,
        name: "f.cab".to_owned(),
        patching: None,
    };
    let files = format!(
        "<upd:Files><upd:File Digest=\"{}\" DigestAlgorithm=\"SHA1\" FileName=\"f.cab\" Size=\"7\" /></upd:Files>",
        file.sha1.base64()
    );
    let mut documents = office::categories();
    documents.push(office::document(office::revision(1_000, 1), "Software", "One", "", &files));
    let office = Office::open(documents, 100).await;
    let signed = |time: u32| format!("http://tlu.dl.example/f.cab?{TOKEN}&time={time}");
    office.point_at(&file.sha1.base64(), &signed(1));
    let dir = tempfile::tempdir().unwrap();
    let asked = || office.counters().operations.get("GetUpdateData").copied().unwrap_or_default();
    let urls = async |replica: &Replica| -> Vec<String> {
        replica.upstream.sources(&file).await.into_iter().map(|address| address.url).collect()
    };

    let replica = Replica::open(dir.path(), &office.url, |_| {});
    replica.upstream.sync(SyncOptions::default()).await.unwrap();
    let before = asked();
    assert_eq!(urls(&replica).await, [signed(1)], "what the synchronisation told is used");
    assert_eq!(asked(), before, "and not asked for again");
    let origin = async |replica: &Replica| replica.upstream.origin(&file).await;
    assert_eq!(origin(&replica).await, Some(signed(1)), "agents that fetch it themselves are sent there");
    assert_eq!(asked(), before, "and it is not asked for while it is good");
    let known = replica.catalog.file(&file.sha1).unwrap().unwrap();
    assert_eq!((known.mu_url, known.uss_url), (None, None), "nothing of it is written down");
    // it expired: another one is asked for
    office.point_at(&file.sha1.base64(), &signed(2));
    let renewed = replica.upstream.renewed_sources(&file).await;
    assert_eq!(renewed[0].url, signed(2));
    replica.close().await;

    let replica = Replica::open(dir.path(), &office.url, |_| {});
    let before = asked();
    assert_eq!(urls(&replica).await, [signed(2)], "after a restart it is asked for before anything is tried");
    assert_eq!((urls(&replica).await, asked()), (vec![signed(2)], before + 1), "once");
    replica.close().await;

    let replica = Replica::open(dir.path(), &office.url, |_| {});
    assert_eq!(origin(&replica).await, Some(signed(2)), "agents are sent to what is told after a restart");
    replica.close().await;
    office.close().await;
}
