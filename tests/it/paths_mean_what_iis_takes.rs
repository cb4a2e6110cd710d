//! However a path is written, it reaches what it means and nothing else; every announced address answers, and so does
//! what monitoring asks.

use std::time::{Duration, Instant};

use http::Method;
use tailwater::domain::{ContentPath, FileDeclaration, Sha1Digest};
use tailwater::wire::client_update::Service;
use tailwater::wire::xml::escape;

use crate::agents::{self, Agent, Document};
use crate::server::{Answer, Server};
use crate::support::world::{Setup, World};

/// How long a line of the log may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names as publishers might write them.
fn odd_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "plain.cab",
        "two.parts.tar.gz",
        "no_extension",
        "ends.",
        ".hidden",
        "a.windows10.0-kb5000001-x64_5d2e0e5b0b1f4c6d8a7e9f0123456789abcdef01",
        "a.very-very-very-long-extension",
        "a.with space",
        "a.50%",
        "a.%41",
        "a.\u{e9}\u{4e2d}\u{1f600}",
        "a.q?x#y",
        "a.semi;colon",
        "a.tilde~1",
        "a.plus+",
        "a.quote\"<&>'",
        "folder/in.it/name",
        "folder\\in.it\\name.psf",
        "..",
        "a.b/../../c",
        "a.WIM",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push(format!("a.{}", "x".repeat(128)));
    names.push(format!("a.{}", "x".repeat(5_000)));
    names
}

/// The SOAP services.
const SERVICES: [&str; 5] = [
    "/ClientWebService/client.asmx",
    "/SimpleAuthWebService/SimpleAuth.asmx",
    "/ReportingWebService/ReportingWebService.asmx",
    "/ServerSyncWebService/ServerSyncWebService.asmx",
    "/DssAuthWebService/DssAuthWebService.asmx",
];

/// The same path in other hands.
fn ways(path: &str) -> Vec<String> {
    let (folder, rest) = path[1..].split_once('/').unwrap();
    let encoded: String = rest.bytes().fold(String::new(), |text, byte| match byte {
        b'/' => text + "/",
        byte => text + &format!("%{byte:02x}"),
    });
    vec![
        path.to_owned(),
        format!("/{path}"),
        format!("{path}/"),
        format!("///{folder}//.///{rest}//"),
        path.to_uppercase(),
        path.to_lowercase(),
        format!("/{folder}/{encoded}"),
        format!("/%2e/{folder}/x/%2E%2e/{encoded}/."),
        format!("/elsewhere/..{path}"),
        format!("http://updates.example:8530/{path}"),
    ]
}

/// Paths that are no service, whatever they look like.
fn nothing(path: &str) -> Vec<String> {
    vec![
        format!("/..{path}"),
        format!("/x{path}"),
        format!("{path}/x"),
        format!("{path}%00"),
        path.replacen('/', "/%2f", 1),
        format!("/{}", path[1..].replace('/', "%2f")),
        format!("/{}", path[1..].replace('/', "%5c")),
        format!("/{}", path[1..].replace('/', "\\")),
        // encoded twice
        format!("/%25{:02x}{}", path.as_bytes()[1], &path[2..]),
        path.replace('.', "%"),
    ]
}

fn ask(server: &Server, method: &str, target: &str, body: &str) -> Answer {
    server.ask_agents_with(
        method,
        target,
        "Host: updates.example:8530\r\nContent-Type: text/xml\r\n",
        body.as_bytes(),
    )
}

#[test]
fn services_are_found_however_their_path_is_written() {
    let server = Server::started("");
    for path in SERVICES {
        for target in ways(path) {
            let answer = ask(&server, "POST", &target, "<x/>");
            assert!(
                answer.status == 500 && answer.text().contains("<ErrorCode>"),
                "{target}: {}",
                answer.text()
            );
            let answer = ask(&server, "GET", &target, "");
            assert!(answer.status == 200 && answer.text().contains("Web Service"), "{target}");
        }
        for target in nothing(path) {
            for method in ["POST", "GET"] {
                let answer = ask(&server, method, &target, "");
                assert_eq!(answer.status, 404, "{method} {target}: {}", answer.text());
            }
        }
    }
    for target in ways("/tailwater/v1") {
        assert!(ask(&server, "GET", &target, "").text().contains("\"protocol\":1"), "{target}");
    }
    for target in ways("/tailwater/v1/changes") {
        assert_eq!(ask(&server, "GET", &target, "").status, 403, "{target} wants its cookie");
    }
}

#[test]
fn monitoring_is_answered() {
    let server = Server::started("");
    let pages = SERVICES.iter().copied().chain(["/Content/anonymousCheckFile.txt"]);
    for path in pages.flat_map(ways) {
        for query in ["", "?wsdl", "?WSDL", "?singleWsdl", "?op=Ping", "?disco"] {
            let target = format!("{path}{query}");
            let got = ask(&server, "GET", &target, "");
            assert!(got.status == 200 && (1..512).contains(&got.body.len()), "{target}: {}", got.headers);
            let head = ask(&server, "HEAD", &target, "");
            assert!(head.status == 200 && head.body.is_empty(), "{target}: {}", head.headers);
            let length = format!("content-length: {}", got.body.len());
            assert!(head.headers.contains(&length), "{target}: {}", head.headers);
        }
    }
    let described = ask(&server, "GET", "/ClientWebService/client.asmx?wsdl", "");
    assert!(described.text().contains("<wsdl:definitions") && described.headers.contains("text/xml"));
    let other = ask(&server, "PUT", SERVICES[0], "");
    assert!(other.status == 405 && other.headers.contains("allow: get, head, post"), "{}", other.headers);
}

#[test]
fn an_old_agent_that_asks_in_vain_is_named_once_and_told_404() {
    let warnings = |server: &Server| server.log().matches("asks for self-updates").count();
    let server = Server::started("");
    assert_eq!(ask(&server, "GET", "/Content/x", "").status, 404);
    assert_eq!(warnings(&server), 0);
    for target in
        ["/selfupdate/wuident.cab?1412", "//SelfUpdate/AU/x86/NetServer/en/wusetup.cab", "/selfupdate"]
    {
        assert_eq!(ask(&server, "GET", target, "").status, 404, "{target}");
        // the log is written beside the answer
        let began = Instant::now();
        while warnings(&server) == 0 && began.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        assert_eq!(warnings(&server), 1, "{target}: {}", server.log());
    }
    assert!(server.log().contains("server.selfupdate_dir"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_and_selfupdate_are_found_however_their_path_is_written() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("WSUS 3")).unwrap();
    std::fs::write(folder.path().join("WSUS 3/wu\u{ef}dent.cab"), b"ident").unwrap();
    let setup = Setup { selfupdate: Some(folder.path().to_owned()), ..Setup::default() };
    let world = World::with(setup).await;
    let file = world.file("some.cab", 1_000, 1);
    let mut client = world.client().await;
    for target in ways(&file.content_path()) {
        let reply = client.get(&target, &[]).await;
        assert!(reply.status == 200 && reply.body == world.origin.bytes(&file), "{target}");
    }
    for target in nothing(&file.content_path()) {
        assert_eq!(client.get(&target, &[]).await.status, 404, "{target}");
    }
    for target in [
        "/SelfUpdate/wsus%203/wu%C3%AFdent.CAB",
        "//selfupdate/./WSUS%203//wu%c3%afdent.cab/",
        "/selfupdate/x/../WSUS%203/wu\u{ef}dent.cab",
    ] {
        assert_eq!(&client.get(target, &[]).await.body[..], b"ident", "{target}");
    }
    for target in ["/Content/WSUS%203/wu%C3%AFdent.cab", "/selfupdate/../WSUS%203/wu%C3%AFdent.cab"] {
        assert_eq!(client.get(target, &[]).await.status, 404, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_announced_address_answers_whatever_the_file_is_called() {
    let (world, names) = (World::start().await, odd_names());
    let mut documents = Document::new(1, "Software");
    for (byte, name) in (1..).zip(&names) {
        documents = documents.file(byte, &escape(name).replace('"', "&quot;"));
    }
    let server = agents::Server::over([documents.text()]);
    let agent = Agent::registered(&server, "a").await;
    let mut client = world.client().await;
    for (byte, name) in (1_u8..).zip(&names) {
        // what an agent is told
        let digest = Sha1Digest([byte; 20]);
        let wanted = format!("<fileDigests><base64Binary>{}</base64Binary></fileDigests>", digest.base64());
        let reply = server.ask(Service::Client, "GetFileLocations", &agent.with(&wanted)).await.ok();
        let declared =
            FileDeclaration { sha1: digest, sha256: None, size: 10, name: name.clone(), patching: None };
        let told = reply.one("Url").replace("&amp;", "&").replace("&apos;", "'");
        assert_eq!(told, format!("http://updates.example:8530{}", declared.content_path()), "{name:?}");
        assert_eq!(ContentPath::of(digest, name).encoded(), declared.content_path());
        // and what it gets there, from a store that holds nothing yet
        let file = world.file(name, 1_000, byte.into());
        let path = file.content_path();
        assert!(path.len() < 512 && path.is_ascii(), "{path}");
        let reply = client.get(&path, &[]).await;
        assert!(reply.status == 200 && reply.body == world.origin.bytes(&file), "{name:?}: {path}");
        let reply = client.ask(Method::HEAD, &path.to_lowercase(), &[]).await.unwrap();
        assert_eq!(reply.status, 200, "{name:?}: {path}");
    }
}
