//! Whatever is wrong with a request, its sender gets a fault that it can read: in its own SOAP version, with the method
//! that it named ([MS-WUSP] 2.2.2.4, [MS-WSUSSS] 2.2.9). `Ping` is answered by every service.

use tailwater::runtime::Clock;
use tailwater::wire::soap::Version;

use crate::agents::all;
use crate::server::{Answer, Server};

const MONITOR: &str = "http://www.microsoft.com/SoftwareDistribution/Server/IMonitorable";
const SHARED: &str = "http://www.microsoft.com/SoftwareDistribution";
const REPORTING: &str = "/ReportingWebService/ReportingWebService.asmx";

/// Path, namespace and an operation of each service; roll-ups are a half of their own.
const SERVICES: [(&str, &str, &str); 6] = [
    (
        "/ClientWebService/client.asmx",
        "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService",
        "GetConfig",
    ),
    (
        "/SimpleAuthWebService/SimpleAuth.asmx",
        "http://www.microsoft.com/SoftwareDistribution/Server/SimpleAuthWebService",
        "GetAuthorizationCookie",
    ),
    (REPORTING, SHARED, "ReportEventBatch"),
    (REPORTING, SHARED, "RollupComputers"),
    ("/ServerSyncWebService/ServerSyncWebService.asmx", SHARED, "GetConfigData"),
    (
        "/DssAuthWebService/DssAuthWebService.asmx",
        "http://www.microsoft.com/SoftwareDistribution/Server/DssAuthWebService",
        "GetAuthorizationCookie",
    ),
];

/// How a sender says which SOAP it speaks and what it asks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Headers {
    /// As .NET does: `SOAPAction`, or the parameter of the media type.
    Usual,
    /// Only the media type.
    Media,
    /// The body alone: the media type is the same for both versions.
    None,
}

fn envelope(version: Version, inside: &str) -> String {
    format!("<e:Envelope xmlns:e=\"{}\"><e:Body>{inside}</e:Body></e:Envelope>", version.namespace())
}

fn send(
    server: &Server,
    path: &str,
    version: Version,
    (headers, action): (Headers, &str),
    more: &str,
    body: &[u8],
) -> Answer {
    let media = match (headers, version) {
        (Headers::None, _) => "Content-Type: text/xml\r\n".to_owned(),
        (Headers::Usual, Version::V12) => {
            format!("Content-Type: application/soap+xml; charset=utf-8; action=\"{action}\"\r\n")
        }
        (Headers::Media, Version::V12) => "Content-Type: application/soap+xml; charset=utf-8\r\n".to_owned(),
        (_, Version::V11) => "Content-Type: text/xml; charset=utf-8\r\n".to_owned(),
    };
    let soap_action = match (headers, version) {
        (Headers::Usual, Version::V11) => format!("SOAPAction: \"{action}\"\r\n"),
        _ => String::new(),
    };
    server.ask_agents_with("POST", path, &format!("Host: x:8530\r\n{media}{soap_action}{more}"), body)
}

fn assert_fault(answer: &Answer, version: Version, path: &str, method: Option<&str>, what: &str) {
    assert_fault_with(500, answer, version, path, method, what);
}

fn assert_fault_with(
    status: u16,
    answer: &Answer,
    version: Version,
    path: &str,
    method: Option<&str>,
    what: &str,
) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{what}: {text}");
    let media = version.content_type();
    assert!(answer.headers.contains(&format!("content-type: {media}")), "{what}: {}", answer.headers);
    assert!(text.contains(&format!("=\"{}\"", version.namespace())), "{what}: {text}");
    assert_eq!(all(&text, "ErrorCode"), ["InvalidParameters"], "{what}: {text}");
    assert!(uuid::Uuid::try_parse(all(&text, "ID")[0]).is_ok(), "{what}: {text}");
    let shown = all(&text, "Method")[0].replace("&quot;", "\"");
    assert_eq!(shown, method.map(|action| format!("\"{action}\"")).unwrap_or_default(), "{what}: {text}");
    match version {
        Version::V11 => assert!(text.contains("<faultcode>") && text.contains("<detail>"), "{what}: {text}"),
        Version::V12 => assert!(text.contains(":Reason>") && text.contains("etail>"), "{what}: {text}"),
    }
    let client = path.starts_with("/Client");
    assert_eq!(text.starts_with("<?xml"), !client, "{what}: {text}");
}

#[test]
fn every_mistake_is_told_in_the_senders_version_with_its_method() {
    let server = Server::started("");
    for (path, namespace, operation) in SERVICES {
        for version in [Version::V11, Version::V12] {
            let action = format!("{namespace}/{operation}");
            let other = format!("{namespace}/NoSuchThing");
            let usual = (Headers::Usual, action.as_str());
            let open = format!("<{operation} xmlns=\"{namespace}\">");
            let deep = "<a>".repeat(1_000);
            // which headers, the body, and whether its operation can be told
            let bodies = [
                (
                    "broken off",
                    envelope(version, &format!("{open}<cookie>")).replace("</e:Body></e:Envelope>", ""),
                    true,
                ),
                ("crossed", envelope(version, &format!("{open}<a></b></{operation}>")), true),
                ("deep", envelope(version, &format!("{open}{deep}")), true),
                ("entity", envelope(version, &format!("{open}&nothing;</{operation}>")), true),
                ("no operation", envelope(version, ""), false),
                ("no body", format!("<e:Envelope xmlns:e=\"{}\"></e:Envelope>", version.namespace()), false),
            ];
            for headers in [Headers::Usual, Headers::Media, Headers::None] {
                for (what, body, tells) in &bodies {
                    // nothing at all says that it is a roll-up: reporting is answered as to agents
                    let method = (*tells || headers == Headers::Usual).then_some(action.as_str());
                    let answer = send(&server, path, version, (headers, &action), "", body.as_bytes());
                    assert_fault(
                        &answer,
                        version,
                        path,
                        method,
                        &format!("{path} {operation} {version:?} {headers:?} {what}"),
                    );
                }
            }
            for (what, body) in [("nothing", ""), ("no XML", "no XML"), ("a page", "<html/>")] {
                let answer = send(&server, path, version, usual, "", body.as_bytes());
                assert_fault(&answer, version, path, Some(&action), &format!("{path} {version:?} {what}"));
            }
            let unknown = envelope(version, &format!("<NoSuchThing xmlns=\"{namespace}\"/>"));
            let answer = send(&server, path, version, (Headers::Usual, &other), "", unknown.as_bytes());
            assert_fault(
                &answer,
                version,
                path,
                Some(&other),
                &format!("{path} {version:?} unknown operation"),
            );
            let answer = send(&server, path, version, usual, "", unknown.as_bytes());
            assert_fault(
                &answer,
                version,
                path,
                Some(&action),
                &format!("{path} {version:?} two operations"),
            );
            let strange = envelope(version, &format!("<{operation} xmlns=\"urn:other\"/>"));
            let answer = send(&server, path, version, usual, "", strange.as_bytes());
            assert_fault(
                &answer,
                version,
                path,
                Some(&action),
                &format!("{path} {version:?} other namespace"),
            );
        }
    }
}

#[test]
fn what_is_too_large_gets_its_fault_too() {
    let server = Server::started("");
    let large = vec![b' '; (7 << 20) + 1];
    for (path, namespace, operation) in
        SERVICES.into_iter().filter(|(.., operation)| *operation != "RollupComputers")
    {
        for version in [Version::V11, Version::V12] {
            let action = format!("{namespace}/{operation}");
            let answer = send(&server, path, version, (Headers::Usual, &action), "", &large);
            assert_fault_with(413, &answer, version, path, Some(&action), &format!("{path} {version:?}"));
            assert!(answer.headers.contains("connection: close"), "{}", answer.headers);
        }
    }
    // whoever waits to be told whether to send it is told at once
    let expects = "Expect: 100-continue\r\n";
    let (path, namespace, operation) = SERVICES[0];
    let action = format!("{namespace}/{operation}");
    let answer = send(&server, path, Version::V11, (Headers::Usual, &action), expects, &large);
    assert_fault_with(413, &answer, Version::V11, path, Some(&action), "expecting");
}

#[test]
fn rollups_that_cannot_be_unpacked_get_their_fault() {
    let server = Server::started("");
    let action = format!("{SHARED}/RollupComputers");
    for version in [Version::V11, Version::V12] {
        let packed = zstd::encode_all(&b"not XML at all"[..], 3).unwrap();
        for body in [&packed[..], &packed[..packed.len() / 2], b"no zstd"] {
            let coding = "Content-Encoding: zstd\r\n";
            let answer = send(&server, REPORTING, version, (Headers::Usual, &action), coding, body);
            assert_fault(&answer, version, REPORTING, Some(&action), &format!("{version:?} {body:?}"));
        }
        // who sends another coding acts on the status, and may read why
        let answer =
            send(&server, REPORTING, version, (Headers::Usual, &action), "Content-Encoding: br\r\n", b"x");
        assert!(answer.status == 415 && answer.text().contains("<ErrorCode>"), "{}", answer.text());
    }
}

#[test]
fn every_service_answers_a_ping_as_microsofts_client_reads_it() {
    let server = Server::started("");
    for (path, ..) in SERVICES {
        for version in [Version::V11, Version::V12] {
            let body =
                envelope(version, &format!("<Ping xmlns=\"{MONITOR}\"><pingLevel>1</pingLevel></Ping>"));
            for headers in [Headers::Usual, Headers::None] {
                let action = format!("{MONITOR}/Ping");
                let answer = send(&server, path, version, (headers, &action), "", body.as_bytes());
                let text = answer.text();
                assert_eq!(answer.status, 200, "{path} {version:?} {headers:?}: {text}");
                assert!(text.contains(version.namespace()), "{text}");
                assert!(text.contains("<DebugMode>false</DebugMode></PingResult></PingResponse>"), "{text}");
                assert_eq!(all(&text, "SuccessFlag"), ["true"]);
            }
        }
    }
}

#[test]
fn the_time_of_the_last_change_is_true_and_outlasts_restarts() {
    let began = Clock::system().now();
    let mut server = Server::started("");
    let last_change = |server: &Server| {
        let (path, namespace, _) = SERVICES[4];
        let body = envelope(Version::V11, &format!("<GetAuthConfig xmlns=\"{namespace}\"/>"));
        let action = format!("{namespace}/GetAuthConfig");
        let answer = send(server, path, Version::V11, (Headers::Usual, &action), "", body.as_bytes()).text();
        all(&answer, "LastChange")[0].parse::<jiff::Timestamp>().unwrap()
    };
    let first = last_change(&server);
    let second = jiff::SignedDuration::from_secs(1);
    assert!(first >= began - second && first <= Clock::system().now() + second, "{first}");
    assert!(server.stop());
    server.start();
    assert_eq!(last_change(&server), first);
}
