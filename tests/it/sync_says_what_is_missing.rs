//! What could not be had is named, and asked for again; what is around it is taken all the same.

use tailwater::upstream::{Outcome, SyncError, SyncOptions};

use crate::office::{self, Office};
use crate::replica::Replica;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refused_revision_does_not_stop_the_others() {
    let mut documents = office::categories();
    documents.extend((0..60).map(|n| office::update(1000 + n, 1, 500)));
    let office = Office::open(documents, 40).await;
    let bad = office::revision(1017, 1);
    office.refuse(bad);
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), &office.url, |_| {});
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.fetched, report.missing_total), (Outcome::Partial, 62, 1));
    assert_eq!(report.missing[0].identity, bad);
    assert!(report.missing[0].reason.contains("InternalServerError"), "{}", report.missing[0].reason);
    assert_eq!(replica.visible().len(), 62);
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.missing_total), (Outcome::Partial, 1));
    replica.close().await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_that_no_list_names_come_with_their_bundle() {
    let mut documents = office::categories();
    let (child, grandchild) = (office::revision(501, 3), office::revision(502, 4));
    documents.push(office::Document {
        listed: false,
        ..office::document(child, "Software", "A child", &office::bundles(&[grandchild]), "")
    });
    documents.push(office::Document {
        listed: false,
        ..office::document(grandchild, "Software", "Its child", "", "")
    });
    let gone = office::revision(503, 1);
    let bundle = office::bundles(&[child, gone]);
    documents.push(office::document(office::revision(500, 1), "Software", "A bundle", &bundle, ""));
    let office = Office::open(documents, 100).await;
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), &office.url, |_| {});
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Partial);
    assert_eq!(report.missing.iter().map(|missing| missing.identity).collect::<Vec<_>>(), [gone]);
    let visible = replica.visible();
    assert!(visible.contains(&child) && visible.contains(&grandchild), "{visible:?}");
    // it turns up later, still in no list
    let late = office::document(gone, "Software", "Late", "", "");
    office.publish(office::Document { listed: false, ..late });
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.fetched), (Outcome::Complete, 1));
    replica.close().await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_are_renewed_and_a_busy_upstream_is_waited_for() {
    let mut documents = office::categories();
    documents.push(office::update(1000, 1, 500));
    let office = Office::open(documents, 100).await;
    for (operation, code) in [
        ("GetConfigData", "InvalidCookie"),
        ("GetCookie", "InvalidAuthorizationCookie"),
        ("GetUpdateData", "InvalidCookie"),
        ("GetUpdateData", "ServerBusy"),
        ("GetRevisionIdList", "InternalServerError"),
    ] {
        office.fault(operation, code);
    }
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), &office.url, |_| {});
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.fetched), (Outcome::Complete, 4));
    replica.close().await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_stands_for_nothing_is_told_and_stops_nothing_else() {
    let mut documents = office::categories();
    documents.push(office::update(1000, 1, 500));
    let office = Office::open(documents, 100).await;
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), &office.url, |config| {
        config.products = vec!["Windows 1".to_owned()];
        config.classifications = vec!["security updates".to_owned()];
    });
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Complete);
    let said = report.warnings.join("\n");
    assert!(said.contains("\"Windows 1\"") && said.contains("did you mean Windows 11"), "{said}");
    assert!(said.contains("nothing is selected"), "{said}");
    // the categories are there, and nothing that nobody chose
    assert_eq!(replica.catalog.categories(None).unwrap().len(), 2);
    assert!(replica.visible().iter().all(|identity| identity.update != office::id(1000)));
    replica.close().await;
    let replica = Replica::open(dir.path(), &office.url, |config| {
        config.products = vec!["Windows 1".to_owned(), "Windows 11".to_owned()];
        config.classifications = vec!["security updates".to_owned()];
    });
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.warnings.len()), (Outcome::Complete, 1), "{:?}", report.warnings);
    assert!(replica.visible().iter().any(|identity| identity.update == office::id(1000)));
    replica.close().await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_names_chose_stays_chosen_when_it_is_renamed() {
    let mut documents = office::categories();
    documents.push(office::update(1000, 1, 500));
    let office = Office::open(documents, 100).await;
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        Replica::open(dir.path(), &office.url, |config| {
            config.products = vec!["Windows 11".to_owned()];
            config.classifications = vec!["Security Updates".to_owned()];
        })
    };
    let replica = open();
    let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
    assert_eq!((report.outcome, report.warnings.len(), report.notes.len()), (Outcome::Complete, 0, 0));
    replica.close().await;
    for (round, title) in [(2, "Windows 11 Client"), (3, "Windows 11, all editions")] {
        office.publish(office::category_revision(office::revision(office::PRODUCT, round), "Product", title));
        office.publish(office::category_revision(
            office::revision(office::CLASSIFICATION, round),
            "UpdateClassification",
            &format!("Patches {round}"),
        ));
        office.publish(office::update(1000 + u128::from(round), 1, 500));
        // another process each time: it is written down
        let replica = open();
        let report = replica.upstream.sync(SyncOptions::default()).await.unwrap();
        assert_eq!((report.outcome, report.warnings.len()), (Outcome::Complete, 0), "{:?}", report.warnings);
        let said = report.notes.join("\n");
        assert!(said.contains(title) && said.contains(&format!("Patches {round}")), "{said}");
        assert!(replica.visible().contains(&office::revision(1000 + u128::from(round), 1)));
        let choice = replica.upstream.choice().unwrap();
        assert_eq!(choice.chosen.len(), 2, "{choice:?}");
        replica.close().await;
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_none_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(dir.path(), "http://127.0.0.1:9", |_| {});
    let error = replica.upstream.sync(SyncOptions::default()).await.unwrap_err();
    assert!(matches!(error, SyncError::Link { .. }), "{error}");
    assert_eq!(replica.upstream.history()[0].outcome, Outcome::Failed);
    replica.close().await;
}
