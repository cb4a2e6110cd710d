//! Every row of the request-validation tables between servers, with its fault ([MS-WSUSSS] 3.1.4.1 to 3.1.4.18).

use std::time::Duration;

use http::StatusCode;
use tailwater::wire::server_sync::served::Service;

use crate::agents::{Document, Reply, id};
use crate::downstream::{Child, Upper, cookie, get_cookie};

fn upper() -> Upper {
    Upper::over(1, [Document::new(1, "Software").file(7, "a.cab").text()])
}

fn refused(reply: &Reply, code: &str, message: &str) {
    assert_eq!((reply.code(), reply.one("Message")), (code, message), "{}", reply.text);
}

const CHILD: &str = "6f1c2f6e-3f0b-4d3a-9b1e-0d2f6a1c5e12";

#[tokio::test]
async fn who_asks_for_an_authorization_must_have_a_name_and_an_identity() {
    let upper = upper();
    for (content, parameter) in [
        (format!("<accountGuid>{CHILD}</accountGuid>"), "accountName"),
        (format!("<accountName></accountName><accountGuid>{CHILD}</accountGuid>"), "accountName"),
        (format!("<accountName>no name!</accountName><accountGuid>{CHILD}</accountGuid>"), "accountName"),
        ("<accountName>a.example</accountName>".to_owned(), "accountGuid"),
        ("<accountName>a.example</accountName><accountGuid />".to_owned(), "accountGuid"),
        ("<accountName>a.example</accountName><accountGuid>1234</accountGuid>".to_owned(), "accountGuid"),
    ] {
        let reply = upper.ask_in(Service::Authorization, "GetAuthorizationCookie", &content).await;
        refused(&reply, "InvalidParameters", parameter);
    }
    assert_eq!(upper.authorize("a.example", CHILD).await.ok().one("PlugInId"), "DssTargeting");
}

#[tokio::test]
async fn a_cookie_takes_one_authorization_and_a_version_of_ours() {
    let upper = upper();
    let child = Child::of(&upper, 5).await;
    let good = get_cookie(&child.authorization, "1.20");
    let row = &good[good.find("<AuthorizationCookie>").unwrap()..good.find("</authCookies>").unwrap()];
    for (content, code, message) in [
        (good.replace(row, ""), "InvalidParameters", "authCookies"),
        (good.replace(row, &row.repeat(2)), "InvalidParameters", "authCookies"),
        ("<protocolVersion>1.20</protocolVersion>".to_owned(), "InvalidParameters", "authCookies"),
        (good.replace(&child.authorization, "Z2FyYmFnZQ=="), "InvalidAuthorizationCookie", ""),
        (good.replace(&child.authorization, ""), "InvalidAuthorizationCookie", ""),
        (good.replace("1.20", "1"), "InvalidParameters", "protocolVersion"),
        (good.replace("1.20", "one.two"), "InvalidParameters", "protocolVersion"),
        (good.replace("<protocolVersion>1.20</protocolVersion>", ""), "InvalidParameters", "protocolVersion"),
        (good.replace("1.20", "2.0"), "IncompatibleProtocolVersion", "2.0"),
        (good.replace("1.20", "0.9"), "IncompatibleProtocolVersion", "0.9"),
    ] {
        refused(&upper.ask("GetCookie", &content).await, code, message);
    }
    for version in ["1.1", "1.2", "1.3", "1.6", "1.8", "1.20", "1.21"] {
        upper.ask("GetCookie", &get_cookie(&child.authorization, version)).await.ok();
    }
}

#[tokio::test]
async fn every_operation_wants_a_cookie_that_is_ours_and_not_over() {
    let (upper, other) = (upper(), Upper::over(1, [Document::new(1, "Software").text()]));
    let child = Child::of(&upper, 5).await;
    let sealed = child.sealed();
    let mut changed = sealed.clone();
    changed[sealed.len() / 2] ^= 1;
    let authorization =
        child.cookie.replace(crate::agents::all(&child.cookie, "EncryptedData")[0], &child.authorization);
    let foreign = Child::of(&other, 5).await.cookie;
    let cookies = [
        String::new(),
        "<cookie><Expiration>2099-01-01T00:00:00Z</Expiration><EncryptedData /></cookie>".to_owned(),
        cookie(b"no cookie of yours"),
        cookie(&changed),
        authorization,
        foreign,
    ];
    let one = format!(
        "<UpdateIdentity><UpdateID>{}</UpdateID><RevisionNumber>1</RevisionNumber></UpdateIdentity>",
        id(1)
    );
    let operations = [
        ("GetConfigData", String::new()),
        ("GetRevisionIdList", "<filter><GetConfig>true</GetConfig></filter>".to_owned()),
        ("GetUpdateData", format!("<updateIds>{one}</updateIds>")),
        ("GetUpdateDecryptionData", format!("<updateIds>{one}</updateIds>")),
        ("GetDriverIdList", "<filter />".to_owned()),
        ("GetDriverSetData", "<driverSets />".to_owned()),
        ("GetRelatedRevisionsForUpdates", String::new()),
        ("DownloadFiles", "<fileDigestList />".to_owned()),
    ];
    for (operation, content) in &operations {
        for cookie in &cookies {
            refused(&upper.ask(operation, &format!("{cookie}{content}")).await, "InvalidCookie", "");
        }
        upper.ask(operation, &child.with(content)).await.ok();
    }
    upper.clock.advance(Duration::from_mins(239));
    upper.ask("GetConfigData", &child.with("")).await.ok();
    upper.clock.advance(Duration::from_mins(1));
    // this protocol has no other word for it
    refused(&upper.ask("GetConfigData", &child.with("")).await, "InvalidCookie", "");
    refused(
        &upper.ask("GetCookie", &get_cookie(&child.authorization, "1.20")).await,
        "InvalidAuthorizationCookie",
        "",
    );
}

#[tokio::test]
async fn parameters_are_named_in_the_fault() {
    let upper = upper();
    let child = Child::of(&upper, 5).await;
    let many = |name: &str, count: usize| {
        let row = format!(
            "<UpdateIdentity><UpdateID>{}</UpdateID><RevisionNumber>1</RevisionNumber></UpdateIdentity>",
            id(1)
        );
        format!("<{name}>{}</{name}>", row.repeat(count))
    };
    let digests = |count: usize| {
        format!("<fileDigestList>{}</fileDigestList>", "<base64Binary>AAAA</base64Binary>".repeat(count))
    };
    let hardware = "<filter><PnpHardwareIds><HardwareIdAndDelta><Id>x</Id><Delta>false</Delta></HardwareIdAndDelta></PnpHardwareIds></filter>";
    let anchored =
        |anchor: &str| format!("<filter><Anchor>{anchor}</Anchor><GetConfig>true</GetConfig></filter>");
    for (operation, content, message) in [
        ("GetRevisionIdList", String::new(), "filter"),
        ("GetRevisionIdList", "<filter />".to_owned(), "filter"),
        ("GetRevisionIdList", anchored("garbage"), "filter"),
        ("GetRevisionIdList", anchored("1,2024-99-01 00:00:00.000"), "filter"),
        ("GetUpdateData", String::new(), "updateIds"),
        ("GetUpdateData", many("updateIds", 101), "updateIds"),
        ("GetUpdateDecryptionData", String::new(), "updateIds"),
        ("GetUpdateDecryptionData", many("updateIds", 101), "updateIds"),
        ("DownloadFiles", String::new(), "fileDigestList"),
        ("DownloadFiles", digests(101), "fileDigestList"),
        ("GetDriverIdList", String::new(), "filter"),
        ("GetDriverIdList", hardware.to_owned(), "PnpHardwareIds"),
        ("GetDriverIdList", "<filter><Anchor>x</Anchor></filter>".to_owned(), "filter"),
        ("GetDriverSetData", String::new(), "driverSets"),
        ("GetDriverSetData", "<driverSets><guid>x</guid></driverSets>".to_owned(), "driverSets"),
    ] {
        refused(&upper.ask(operation, &child.with(&content)).await, "InvalidParameters", message);
    }
    upper.ask("GetRevisionIdList", &child.with(&anchored(""))).await.ok();
    upper.ask("GetUpdateData", &child.with(&many("updateIds", 100))).await.ok();
}

#[tokio::test]
async fn envelopes_are_read_whoever_wrote_them() {
    let upper = upper();
    let child = Child::of(&upper, 5).await;
    let soap12 = |operation: &str, content: &str| {
        format!(
            "<q:Envelope xmlns:q=\"http://www.w3.org/2003/05/soap-envelope\"><q:Body><z:{operation} \
             xmlns:z=\"http://www.microsoft.com/SoftwareDistribution\">{content}</z:{operation}></q:Body></q:Envelope>"
        )
    };
    let path = "/serversyncwebservice/SERVERSYNCWEBSERVICE.ASMX";
    let reply = upper.send(path, &[], soap12("GetAuthConfig", "")).await.ok();
    assert!(reply.headers["content-type"].to_str().unwrap().starts_with("application/soap+xml"));
    assert_eq!(reply.one("ServiceUrl"), "DssAuthWebService/DssAuthWebService.asmx");
    let reply = upper.send(path, &[], soap12("GetConfigData", "")).await;
    assert_eq!(reply.code(), "InvalidCookie");
    assert!(reply.text.contains("<Detail><ErrorCode>"), "of no namespace: {}", reply.text);
    let reply = upper.ask("GetConfigData", "").await;
    assert_eq!(
        reply.one("faultactor"),
        "http://upper.example:8530/ServerSyncWebService/ServerSyncWebService.asmx"
    );
    assert_eq!(
        reply.one("Method"),
        "&quot;http://www.microsoft.com/SoftwareDistribution/GetConfigData&quot;"
    );
    let other = [("SOAPAction", "\"http://www.microsoft.com/SoftwareDistribution/GetCookie\"")];
    assert_eq!(upper.send(path, &other, soap12("GetAuthConfig", "")).await.code(), "InvalidParameters");
    assert_eq!(upper.ask("NoSuchThing", "").await.code(), "InvalidParameters");
    assert_eq!(upper.ask("GetAuthorizationCookie", "").await.code(), "InvalidParameters", "another service");
    for body in ["", "<a><b></a>", "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>"] {
        assert_eq!(upper.send(path, &[], body).await.status, StatusCode::INTERNAL_SERVER_ERROR, "{body}");
    }
    assert_eq!(
        upper.send("/ServerSyncWebService/ServerSyncProxy.asmx", &[], "").await.status,
        StatusCode::NOT_FOUND
    );
    upper.ask("Ping", "").await.ok();
    upper.ask("GetRelatedRevisionsForUpdates", &child.with("")).await.ok();
}
