//! A downstream server that lies gets the fault that is specified, and nothing is fetched for it ([MS-WSUSSS] 2.2.9.3).

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::agents::{Document, id, ingest};
use crate::downstream::{Child, Upper};

fn upper(server: u128) -> Upper {
    Upper::over(server, [Document::new(1, "Software").file(7, "a.cab").text()])
}

/// Another server with the same history, and its anchor.
async fn stranger() -> (Upper, String) {
    let theirs = upper(2);
    let (anchor, _) = Child::of(&theirs, 5).await.list(&theirs, "<GetConfig>false</GetConfig>").await;
    (theirs, anchor)
}

fn since(anchor: &str) -> String {
    format!("<filter><Anchor>{anchor}</Anchor><GetConfig>false</GetConfig></filter>")
}

#[tokio::test]
async fn anchors_of_others_and_from_the_future_are_refused() {
    let ours = upper(1);
    let child = Child::of(&ours, 5).await;
    let (anchor, _) = child.list(&ours, "<GetConfig>false</GetConfig>").await;
    let (theirs, foreign) = stranger().await;
    // the same store a moment later is ahead of what it was
    theirs.clock.advance(Duration::from_hours(24 * 40));
    ingest(&theirs.catalog, [Document::new(2, "Software").text()]);
    let other = Child::of(&theirs, 5).await;
    let (future, _) = other.list(&theirs, "<GetConfig>false</GetConfig>").await;
    let (number, rest) = anchor.split_once(',').unwrap();
    let ahead = format!("{},{rest}", number.parse::<u64>().unwrap() + 1);
    let later = anchor.replace("2026-", "2027-");
    // whoever shows what this store did not give is told to begin anew; what is no anchor is a wrong parameter
    for anchor in [&foreign, &future, &ahead, &later, &format!("7{anchor}")] {
        let reply = ours.ask("GetRevisionIdList", &child.with(&since(anchor))).await;
        assert_eq!(reply.code(), "ServerChanged", "{anchor}");
    }
    for anchor in [format!("{anchor}0"), format!("0{anchor}"), anchor.replace(',', ";")] {
        let reply = ours.ask("GetRevisionIdList", &child.with(&since(&anchor))).await;
        assert_eq!((reply.code(), reply.one("Message")), ("InvalidParameters", "filter"), "{anchor}");
    }
    assert_eq!(
        child.list(&ours, &since(&anchor).replace("<filter>", "").replace("</filter>", "")).await.1.len(),
        0
    );
}

#[tokio::test]
async fn a_cookie_of_an_earlier_self_is_told_so() {
    let ours = upper(1);
    let child = Child::of(&ours, 5).await;
    let Upper { service, catalog, clock, dir, .. } = ours;
    drop((service, catalog));
    // the store was carried over, but the server is another one now
    let catalog =
        tailwater::catalog::Catalog::open(tailwater::catalog::Config::new(dir.path()), clock.clone())
            .unwrap();
    let another = Upper::carried(2, catalog, clock, dir);
    assert_eq!(another.ask("GetConfigData", &child.with("")).await.code(), "ServerChanged");
}

#[tokio::test]
async fn digests_that_nothing_names_cost_nothing_upstream() {
    let upper = upper(1);
    let child = Child::of(&upper, 5).await;
    let known = "BwcHBwcHBwcHBwcHBwcHBwcHBwc=".to_owned();
    let unknown = "CAgICAgICAgICAgICAgICAgICAg=".to_owned();
    let short = "AAAA".to_owned();
    let missing = child.download(&upper, &[known.clone(), unknown.clone(), short.clone()]).await;
    assert_eq!(
        (missing.code(), missing.one("Message")),
        ("FileDigestsMissing", &*format!("{unknown}|{short}"))
    );
    for no_digest in ["not base64!", "A", &"A".repeat(1_000)] {
        let reply = child.download(&upper, &[known.clone(), no_digest.to_owned()]).await;
        assert_eq!(
            (reply.code(), reply.one("Message")),
            ("InvalidParameters", "fileDigestList"),
            "{no_digest}"
        );
    }
    assert_eq!(
        upper.fetches.begun.load(Ordering::Relaxed),
        0,
        "nothing is begun of a request that is refused"
    );
    child.download(&upper, &vec![known.clone(); 100]).await.ok();
    assert_eq!(upper.fetches.begun.load(Ordering::Relaxed), 1, "each file once");
    // a flood is answered; what there is no room for is put off
    for _ in 0..300 {
        child.download(&upper, std::slice::from_ref(&known)).await.ok();
        assert_eq!(child.download(&upper, std::slice::from_ref(&unknown)).await.code(), "FileDigestsMissing");
    }
    assert_eq!(upper.fetches.begun.load(Ordering::Relaxed), 301);
}

#[tokio::test]
async fn a_revoked_server_is_refused_with_the_next_thing_it_asks() {
    let upper = upper(1);
    let (child, other) = (Child::of(&upper, 5).await, Child::of(&upper, 6).await);
    upper.catalog.revoke_server(&id(5)).unwrap();
    assert_eq!(upper.ask("GetConfigData", &child.with("")).await.code(), "InvalidCookie");
    let again = crate::downstream::get_cookie(&child.authorization, "1.20");
    assert_eq!(upper.ask("GetCookie", &again).await.code(), "InvalidAuthorizationCookie");
    assert_eq!(upper.authorize("branch5.example", &id(5)).await.code(), "InvalidParameters");
    // nor under another identity with its name
    assert_eq!(upper.authorize("BRANCH5.example", &id(7)).await.code(), "InvalidParameters");
    upper.ask("GetConfigData", &other.with("")).await.ok();
}
