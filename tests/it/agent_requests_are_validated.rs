//! Every row of the "Request Validation" tables of [MS-WUSP] 3.1.5, and what is no request at all.
#![expect(clippy::format_collect, reason = "a few short texts for a test")]

use http::StatusCode;
use tailwater::serve::client::Config;
use tailwater::wire::client_update::Service;
use tailwater::wire::soap;

use crate::agents::{Agent, Document, Server};

fn one_update() -> Server {
    Server::over([Document::new(1, "Software").file(7, "a.cab").text()])
}

async fn refused(server: &Server, service: Service, operation: &str, content: &str) -> (String, String) {
    let reply = server.ask(service, operation, content).await;
    let code = reply.code().to_owned();
    let method = format!("\"{}/{operation}\"", service.namespace());
    assert_eq!(reply.one("Method").replace("&quot;", "\""), method);
    assert!(uuid::Uuid::try_parse(reply.one("ID")).is_ok());
    (code, reply.one("Message").to_owned())
}

/// Service, operation, content, and the parameter that is wrong in it.
type Row = (Service, &'static str, String, &'static str);

#[rustfmt::skip]
fn wrong_parameters(agent: &Agent) -> Vec<Row> {
    let with = |content: &str| agent.with(content);
    let extended = "<infoTypes><XmlUpdateFragmentType>Extended</XmlUpdateFragmentType></infoTypes>";
    let localized = extended.replace("Extended", "LocalizedProperties");
    let many: String = (0..51).map(|id| format!("<int>{id}</int>")).collect();
    let categories = format!(
        "<requestedCategories>{}</requestedCategories>",
        "<CategoryRelationship><IndexOfAndGroup>0</IndexOfAndGroup><CategoryId>dd78b8a1-0b20-45c1-add6-4da72e9364cf</CategoryId></CategoryRelationship>"
            .repeat(200)
    );
    let auth = |client: &str, dns: &str| format!("<clientId>{client}</clientId><dnsName>{dns}</dnsName>");
    let skip = "<SkipSoftwareSync>false</SkipSoftwareSync>";
    vec![
        (Service::Client, "GetConfig", String::new(), "protocolVersion"),
        (Service::Client, "GetConfig", "<protocolVersion>8</protocolVersion>".into(), "protocolVersion"),
        (Service::SimpleAuth, "GetAuthorizationCookie", auth("", "pc"), "clientId"),
        (Service::SimpleAuth, "GetAuthorizationCookie", auth("a", "a b/c\\&lt;&gt;!"), "dnsName"),
        (Service::SimpleAuth, "GetAuthorizationCookie", auth(&"x".repeat(256), "pc"), "clientId"),
        (Service::Client, "GetCookie", agent.get_cookie("", "1"), "protocolVersion"),
        (Service::Client, "RegisterComputer", with(""), "computerInfo"),
        (Service::Client, "StartCategoryScan", String::new(), "requestedCategories"),
        (Service::Client, "StartCategoryScan", categories, "requestedCategories"),
        (Service::Client, "SyncUpdates", with(""), "parameters"),
        (
            Service::Client,
            "SyncUpdates",
            with(&format!("<parameters><SystemSpec><Device/></SystemSpec>{skip}</parameters>")),
            "parameters.SystemSpec",
        ),
        (
            Service::Client,
            "SyncUpdates",
            with("<parameters><SkipSoftwareSync>perhaps</SkipSoftwareSync></parameters>"),
            "SkipSoftwareSync",
        ),
        (Service::Client, "RefreshCache", with(""), "globalIDs"),
        (Service::Client, "GetExtendedUpdateInfo", with(extended), "revisionIDs"),
        (
            Service::Client,
            "GetExtendedUpdateInfo",
            with(&format!("<revisionIDs>{many}</revisionIDs>{extended}")),
            "revisionIDs",
        ),
        (
            Service::Client,
            "GetExtendedUpdateInfo",
            with("<revisionIDs><int>1</int></revisionIDs>"),
            "infoTypes",
        ),
        (
            Service::Client,
            "GetExtendedUpdateInfo",
            with(&format!("<revisionIDs><int>1</int></revisionIDs>{localized}")),
            "locales",
        ),
        (Service::Client, "GetExtendedUpdateInfo2", with(extended), "updateIDs"),
        (Service::Client, "GetFileLocations", with(""), "fileDigests"),
        (
            Service::Client,
            "GetFileLocations",
            with("<fileDigests><base64Binary>AAAA</base64Binary></fileDigests>"),
            "fileDigests",
        ),
    ]
}

#[rustfmt::skip]
fn wrong_reports(agent: &Agent) -> Vec<Row> {
    let with = |content: &str| agent.with(content);
    vec![
        (Service::Reporting, "ReportEventBatch", with("<eventBatch/>"), "clientTime"),
        (
            Service::Reporting,
            "ReportEventBatch",
            with("<clientTime>2026-01-01T00:00:00Z</clientTime>"),
            "eventBatch",
        ),
        (Service::Reporting, "ReportEventBatch2", "<eventBatch/>".into(), "computerId"),
        (
            Service::Reporting,
            "ReportEventBatch2",
            format!("<computerId>{}</computerId>", "x".repeat(256)),
            "computerId",
        ),
        (Service::Reporting, "ReportEventBatch2", "<computerId>A</computerId><eventBatch/>".into(), "clientTime"),
        (
            Service::Reporting,
            "ReportEventBatch2",
            "<computerId>a</computerId><clientTime>2026-01-01T00:00:00Z</clientTime>".into(),
            "eventBatch",
        ),
    ]
}

#[tokio::test]
async fn parameters_are_refused_by_name() {
    let server = one_update();
    let agent = Agent::registered(&server, "a").await;
    for (service, operation, content, parameter) in
        wrong_parameters(&agent).into_iter().chain(wrong_reports(&agent))
    {
        let refused = refused(&server, service, operation, &content).await;
        assert_eq!(refused, ("InvalidParameters".to_owned(), parameter.to_owned()), "{operation} {content}");
    }
}

#[tokio::test]
async fn every_operation_wants_its_cookie() {
    let server = one_update();
    let agent = Agent::registered(&server, "a").await;
    let mut flipped = agent.clone();
    let mut sealed = agent.sealed();
    sealed[40] ^= 1;
    flipped.set_sealed(&sealed);
    let mut authorization = agent.clone();
    authorization.cookie = format!("<EncryptedData>{}</EncryptedData>", agent.authorization);
    let cookies = [
        String::new(),
        "<cookie/>".to_owned(),
        "<cookie><EncryptedData>bm90IG91cnM=</EncryptedData></cookie>".to_owned(),
        flipped.with(""),
        authorization.with(""),
    ];
    let operations = [
        (
            Service::Client,
            "SyncUpdates",
            "<parameters><SkipSoftwareSync>false</SkipSoftwareSync></parameters>",
        ),
        (Service::Client, "SyncPrinterCatalog", ""),
        (Service::Client, "RefreshCache", "<globalIDs/>"),
        (Service::Client, "RegisterComputer", "<computerInfo/>"),
        (
            Service::Client,
            "GetExtendedUpdateInfo",
            "<revisionIDs/><infoTypes><XmlUpdateFragmentType>Extended</XmlUpdateFragmentType></infoTypes>",
        ),
        (
            Service::Client,
            "GetExtendedUpdateInfo2",
            "<updateIDs/><infoTypes><XmlUpdateFragmentType>FileUrl</XmlUpdateFragmentType></infoTypes>",
        ),
        (Service::Client, "GetFileLocations", "<fileDigests/>"),
        (
            Service::Reporting,
            "ReportEventBatch",
            "<clientTime>2026-01-01T00:00:00Z</clientTime><eventBatch/>",
        ),
    ];
    for (service, operation, content) in operations {
        for cookie in &cookies {
            let (code, _) = refused(&server, service, operation, &format!("{cookie}{content}")).await;
            assert_eq!(code, "InvalidCookie", "{operation} {cookie}");
        }
        server.ask(service, operation, &agent.with(content)).await.ok();
    }
}

#[tokio::test]
async fn a_computer_registers_when_it_is_asked_to() {
    let server = one_update();
    let stranger = Agent::introduced(&server, "b", "2.90").await;
    let scan = "<parameters><SkipSoftwareSync>false</SkipSoftwareSync></parameters>";
    assert_eq!(server.client("SyncUpdates", &stranger.with(scan)).await.code(), "RegistrationRequired");
    assert_eq!(server.client("SyncPrinterCatalog", &stranger.with("")).await.code(), "RegistrationRequired");

    let config = Config { registration_required: false, ..Config::default() };
    let server = Server::configured(config, [Document::new(1, "Software").text()]);
    let agent = Agent::introduced(&server, "a", "2.90").await;
    server.client("SyncUpdates", &agent.with(scan)).await.ok();
    let reply = server.client("RegisterComputer", &agent.with("<computerInfo/>")).await;
    assert_eq!(reply.code(), "RegistrationNotRequired");
}

#[tokio::test]
async fn a_batch_without_a_cookie_counts_like_one_with_it() {
    let server = one_update();
    let mut agent = Agent::registered(&server, "a").await;
    agent.sync(&server, &[], &[]).await;
    let batch = |instance: u128, list: &str| {
        format!(
            "<clientTime>2026-10-04T15:03:36Z</clientTime><eventBatch><ReportingEvent><BasicData>\
             <TimeAtTarget>2026-10-04T15:03:36Z</TimeAtTarget><EventInstanceID>{}</EventInstanceID>\
             <NamespaceID>1</NamespaceID><EventID>156</EventID><SourceID>101</SourceID></BasicData>\
             <ExtendedData><MiscData><string>{list}={}</string></MiscData></ExtendedData></ReportingEvent></eventBatch>",
            crate::agents::id(instance),
            crate::agents::id(1)
        )
    };
    let status = || {
        let id = tailwater::domain::ComputerId("a".to_owned());
        let detail = server.catalog.computer_detail(&id).unwrap().unwrap();
        (detail.status.installed.len(), detail.status.needed.len())
    };
    server.ask(Service::Reporting, "ReportEventBatch", &agent.with(&batch(1, "U"))).await.ok();
    assert_eq!(status(), (0, 1));
    let second = format!("<computerId>A</computerId>{}", batch(2, "V"));
    let reply = server.ask(Service::Reporting, "ReportEventBatch2", &second).await.ok();
    assert_eq!(reply.one("ReportEventBatch2Result"), "true");
    assert_eq!(status(), (1, 0));
    // it makes nobody known
    let stranger = format!("<computerId>b</computerId>{}", batch(3, "V"));
    let reply = server.ask(Service::Reporting, "ReportEventBatch2", &stranger).await;
    assert_eq!(reply.code(), "RegistrationRequired");
    assert!(server.catalog.computer(&tailwater::domain::ComputerId("b".to_owned())).is_none());
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_server_goes_on() {
    let server = one_update();
    let namespace = Service::Client.namespace();
    let get_config = soap::request(namespace, "GetConfig", "<protocolVersion>2.90</protocolVersion>");
    let deep = "<a>".repeat(10_000);
    let bodies = [
        String::new(),
        "<soap:Envelope".to_owned(),
        "<html/>".to_owned(),
        get_config.replace("GetConfig", "NoSuchThing"),
        get_config.replace(namespace, Service::SimpleAuth.namespace()),
        get_config.replace("<protocolVersion>", &deep),
        format!(
            "<!DOCTYPE a [<!ENTITY b \"c\">]>{}",
            get_config.trim_start_matches("<?xml version=\"1.0\" encoding=\"utf-8\"?>")
        ),
        get_config.replace("2.90", "&b;"),
    ];
    for body in bodies {
        let reply = server.send(Service::Client.path(), &[], body.clone()).await;
        assert_eq!(reply.code(), "InvalidParameters", "{body}");
    }
    let other = format!("\"{namespace}/GetCookie\"");
    let reply = server.send(Service::Client.path(), &[("SOAPAction", &other)], get_config.clone()).await;
    assert_eq!(reply.code(), "InvalidParameters", "SOAPAction and body must agree");
    let reply = server.send("/ClientWebService/other.asmx", &[], get_config.clone()).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    server.send("/clientwebservice/CLIENT.ASMX", &[], get_config).await.ok();
}

#[tokio::test]
async fn answers_are_compressed_for_who_asks_and_is_worth_it() {
    let server = one_update();
    let body =
        soap::request(Service::Client.namespace(), "GetConfig", "<protocolVersion>2.90</protocolVersion>");
    for (accepts, coded) in
        [(None, false), (Some("xpress"), true), (Some("gzip, xpress;q=0"), false), (Some("*"), false)]
    {
        let headers: Vec<_> = accepts.map(|accepts| ("Accept-Encoding", accepts)).into_iter().collect();
        let reply = server.send(Service::Client.path(), &headers, body.clone()).await.ok();
        assert_eq!(reply.headers.contains_key("Content-Encoding"), coded, "{accepts:?}");
        assert_eq!(reply.headers["Vary"], "Accept-Encoding");
        assert_eq!(reply.headers["Cache-Control"], "private");
        assert_eq!(reply.headers["Content-Type"], "text/xml; charset=utf-8");
        assert!(reply.text.starts_with("<s:Envelope"), "the client service has no XML declaration");
    }
    let content = "<clientId>a</clientId><dnsName>b</dnsName>";
    let reply = server.ask(Service::SimpleAuth, "GetAuthorizationCookie", content).await.ok();
    assert!(reply.text.starts_with("<?xml version=\"1.0\" encoding=\"utf-8\"?><soap:Envelope"));
    assert_eq!(reply.headers["Cache-Control"], "private, max-age=0");
}

#[tokio::test]
async fn soap_1_2_is_answered_in_kind() {
    let server = one_update();
    let body =
        soap::request(Service::Client.namespace(), "GetConfig", "<protocolVersion>2.90</protocolVersion>")
            .replace(soap::Version::V11.namespace(), soap::Version::V12.namespace());
    let reply = server.send(Service::Client.path(), &[], body).await.ok();
    assert_eq!(reply.headers["Content-Type"], "application/soap+xml; charset=utf-8");
    assert!(reply.text.contains(soap::Version::V12.namespace()));
}
