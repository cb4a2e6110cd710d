//! Cookies: how long they live, what they survive, and what they are refused for ([MS-WUSP] 3.1.5.4).

use std::time::Duration;

use tailwater::serve::client::Config;

use crate::agents::{Agent, Document, Server};

const SCAN: &str = "<parameters><SkipSoftwareSync>false</SkipSoftwareSync></parameters>";

fn server() -> Server {
    Server::over([Document::new(1, "Software").text()])
}

#[tokio::test]
async fn a_cookie_lives_an_hour_and_use_does_not_prolong_it() {
    let server = server();
    let mut agent = Agent::registered(&server, "a").await;
    let expires = agent.cookie.clone();
    for _ in 0..5 {
        server.clock.advance(Duration::from_mins(10));
        let reply = agent.sync(&server, &[], &[]).await;
        let expiration = reply.one("Expiration").to_owned();
        assert!(expires.contains(&expiration), "{expiration} in {expires}");
    }
    server.clock.advance(Duration::from_mins(11));
    let reply = server.client("SyncUpdates", &agent.with(SCAN)).await;
    assert_eq!(reply.code(), "CookieExpired");
    // the clear text beside the seal is not believed
    let sealed = agent.sealed();
    agent.set_sealed(&sealed);
    assert_eq!(server.client("SyncUpdates", &agent.with(SCAN)).await.code(), "CookieExpired");
}

#[tokio::test]
async fn an_expired_cookie_is_a_good_old_cookie() {
    let server = server();
    let agent = Agent::registered(&server, "a").await;
    server.clock.advance(Duration::from_hours(2));
    let fresh = Agent::introduced(&server, "a", "2.90").await;
    let old = format!("<oldCookie>{}</oldCookie>", agent.cookie);
    server.client("GetCookie", &fresh.get_cookie(&old, "2.90")).await.ok();
    let garbage = "<oldCookie><EncryptedData>Z2FyYmFnZQ==</EncryptedData></oldCookie>";
    assert_eq!(server.client("GetCookie", &fresh.get_cookie(garbage, "2.90")).await.code(), "InvalidCookie");
    assert_eq!(
        server.client("GetCookie", &agent.get_cookie("", "2.90")).await.code(),
        "InvalidAuthorizationCookie",
        "an authorization of two hours ago"
    );
}

#[tokio::test]
async fn exactly_one_authorization_of_ours_is_wanted() {
    let server = server();
    let agent = Agent::introduced(&server, "a", "2.90").await;
    let good = agent.get_cookie("", "2.90");
    let row = &good[good.find("<AuthorizationCookie>").unwrap()..good.find("</authCookies>").unwrap()];
    let sealed = crate::agents::all(&agent.cookie, "EncryptedData")[0];
    for changed in [
        good.replace(row, ""),
        good.replace(row, &row.repeat(2)),
        good.replace(&agent.authorization, sealed),
        good.replace(&agent.authorization, "Z2FyYmFnZQ=="),
    ] {
        assert_eq!(
            server.client("GetCookie", &changed).await.code(),
            "InvalidAuthorizationCookie",
            "{changed}"
        );
    }
    server.client("GetCookie", &good).await.ok();
}

#[tokio::test]
async fn another_configuration_is_noticed() {
    let server = server();
    let mut agent = Agent::registered(&server, "a").await;
    let wrong = agent.get_cookie("", "2.90").replace(&agent.last_change, "2001-01-01T00:00:00Z");
    assert_eq!(server.client("GetCookie", &wrong).await.code(), "ConfigChanged");

    // from its first scan on it is known after a restart
    agent.sync(&server, &[], &[]).await;
    server.clock.advance(Duration::from_secs(5));
    let server = server.restarted();
    agent.sync(&server, &[], &[]).await;

    let mut server = server;
    server.config = Config { registration_required: false, ..Config::default() };
    let server = server.restarted();
    assert_eq!(server.client("SyncUpdates", &agent.with(SCAN)).await.code(), "ConfigChanged");
}

#[tokio::test]
async fn cookies_of_another_server_are_refused() {
    let (ours, theirs) = (server(), server());
    let agent = Agent::registered(&theirs, "a").await;
    assert_eq!(ours.client("SyncUpdates", &agent.with(SCAN)).await.code(), "InvalidCookie");
}
