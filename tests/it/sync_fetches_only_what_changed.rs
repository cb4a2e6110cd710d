//! A synchronisation without news fetches no document; with news, exactly the changed revisions.

use tailwater::upstream::{Outcome, SyncOptions};

use crate::office::{self, Office};
use crate::replica::Replica;

fn world() -> Vec<office::Document> {
    let mut documents = office::categories();
    documents.extend((0..30).map(|n| office::update(1000 + n, 1, 800)));
    documents
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_news_costs_nothing_and_news_cost_themselves() {
    let office = Office::open(world(), 100).await;
    let dir = tempfile::tempdir().unwrap();
    let product = |config: &mut tailwater::upstream::Config| config.products = vec!["windows 11".to_owned()];
    let replica = Replica::open(dir.path(), &office.url, product);
    replica.upstream.sync(SyncOptions::default()).await.unwrap();

    office.forget_counters();
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    let counters = office.counters();
    assert_eq!((report.outcome, report.fetched, report.listed), (Outcome::Complete, 0, 0));
    assert!(!counters.operations.contains_key("GetUpdateData"), "{counters:?}");
    // the cookie still holds: no handshake
    assert!(!counters.operations.contains_key("GetCookie"), "{counters:?}");
    assert!(report.received < 20_000, "{}", report.received);

    office.forget_counters();
    office.publish(office::update(1003, 2, 800));
    office.publish(office::update(2000, 1, 800));
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Complete);
    let mut fetched = office.counters().handed_out;
    fetched.sort_unstable();
    assert_eq!(fetched, [office::revision(1003, 2), office::revision(2000, 1)]);
    replica.close().await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_under_the_same_address_is_listed_again_and_not_fetched_again() {
    let office = Office::open(world(), 100).await;
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), &office.url, |_| {});
    replica.upstream.sync(SyncOptions::default()).await.unwrap();
    office.forget_counters();
    office.become_another();
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.fetched, report.listed), (Outcome::Complete, 0, 33));
    assert_eq!(office.counters().handed_out, []);
    // after a restart the cookie of the earlier process still serves
    replica.close().await;
    let replica = Replica::open(dir.path(), &office.url, |_| {});
    office.forget_counters();
    replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert!(!office.counters().operations.contains_key("GetCookie"));
    replica.close().await;
    office.close().await;
}
