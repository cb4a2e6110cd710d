//! Agents see the world before a synchronisation or the world after it, and no more than one batch is ever
//! under way.

use tailwater::upstream::{Outcome, SyncError, SyncOptions, SyncProgress};

use crate::office::{self, Office};
use crate::replica::Replica;

const BATCH: usize = 20;

fn world() -> Vec<office::Document> {
    let mut documents = office::categories();
    documents.extend(
        (0..95).map(|n| office::Document { cabinet: n % 3 == 0, ..office::update(1000 + n, 1, 1500) }),
    );
    documents
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_visible_until_everything_is() {
    let office = Office::open(world(), BATCH).await;
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), &office.url, |_| {});
    let mut progress = replica.upstream.progress();
    let handle = {
        let upstream = replica.upstream.clone();
        replica.tasks.spawn("test", async move { upstream.sync(SyncOptions::default()).await })
    };
    progress.wait_for(|progress| progress.fetched >= 3).await.unwrap();
    office.hold(true);
    assert!(replica.visible().is_empty());
    assert!(matches!(replica.upstream.sync(SyncOptions::default()).await, Err(SyncError::AlreadyRunning)));
    office.hold(false);
    let report = handle.await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Complete, "{report:?}");
    assert_eq!((report.fetched, report.listed), (98, 98));
    assert_eq!(replica.visible().len(), 98);
    assert!(office.counters().most_in_flight <= BATCH, "{}", office.counters().most_in_flight);
    assert_eq!(replica.upstream.history(), vec![report]);
    replica.close().await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synchronisation_that_was_stopped_goes_on_where_it_stood() {
    let office = Office::open(world(), BATCH).await;
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), &office.url, |_| {});
    let mut progress = replica.upstream.progress();
    let handle = {
        let upstream = replica.upstream.clone();
        replica.tasks.spawn("test", async move { upstream.sync(SyncOptions::default()).await })
    };
    let wanted = |progress: &SyncProgress| progress.fetched >= 40;
    progress.wait_for(wanted).await.unwrap();
    assert!(replica.upstream.cancel());
    assert!(matches!(handle.await.unwrap(), Err(SyncError::Cancelled)));
    assert_eq!(replica.upstream.history()[0].outcome, Outcome::Cancelled);
    assert!(replica.visible().is_empty());
    replica.close().await;

    let replica = Replica::open(dir.path(), &office.url, |_| {});
    assert!(replica.visible().is_empty());
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Complete);
    assert_eq!(replica.visible().len(), 98);
    let twice = office.counters().handed_out.len() - 98;
    assert!(twice <= BATCH, "{twice} were fetched twice");
    replica.close().await;
    office.close().await;
}
