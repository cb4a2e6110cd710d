//! What two readers could take for different requests is refused on both listeners, with 400 and the end of the connection,
//! and nothing behind it is answered; browsers' requests for other pages are refused.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::server::Server;

/// How long a test waits for the end of a connection; the server is to close it at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Behind each wrong request stands one that would be answered, were it read as a request.
const SMUGGLED: &str =
    "GET /Content/anonymousCheckFile.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// The same for the administrators' listener.
const SMUGGLED_ADMIN: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Requests that are wrong whatever they ask for. `{path}` becomes an address that exists.
const WRONG: &[&str] = &[
    // lines
    "GET {path} HTTP/1.1\nHost: localhost\n\n",
    "GET {path} HTTP/1.1\nHost: localhost\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\n\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nX: y\n\r\n",
    "GET {path} HTTP/1.1\rHost: localhost\r\r",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nX: y\rZ: w\r\n\r\n",
    "GET {path} HTTP/1.1\r\r\nHost: localhost\r\n\r\n",
    "\nGET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "\r\n\r\nGET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    " GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    // the first line
    "GET  {path} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET\t{path} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET {path}  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET {path} HTTP/1.1 \r\nHost: localhost\r\n\r\n",
    "GET {path}\r\nHost: localhost\r\n\r\n",
    "GET {path} x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET {path} HTTP/1.2\r\nHost: localhost\r\n\r\n",
    "GET {path} HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "GET {path} HTTP/0.9\r\nHost: localhost\r\n\r\n",
    "GET {path} http/1.1\r\nHost: localhost\r\n\r\n",
    "GET {path} HTTP/1.11\r\nHost: localhost\r\n\r\n",
    "G(T {path} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET {path}\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    // hosts
    "GET {path} HTTP/1.1\r\n\r\n",
    "GET {path} HTTP/1.1\r\nX-Host: localhost\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nhost: evil\r\n\r\n",
    "GET {path} HTTP/1.0\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: local host\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost, evil\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost/x\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: user@localhost\r\n\r\n",
    "GET http://localhost{path} HTTP/1.1\r\n\r\n",
    // header lines
    "GET {path} HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost\t: localhost\r\n\r\n",
    "GET {path} HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\n X: folded\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nX: y\r\n folded\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nX: y\r\n\tfolded\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nnothing\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\n: nothing\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nX\0: y\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nX: \x7f\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nX: \x0b\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nX y: z\r\n\r\n",
    // lengths
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0, 0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\nabcde",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x5\r\n\r\nabcde",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5 5\r\n\r\nabcde",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length:\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length : 5\r\n\r\nabcde",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
    // codings
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
    "POST {path} HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    // chunks
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3;x\nabc\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\ng\r\nabc\r\n0\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n",
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n",
];

/// Everything that came until the end of the connection, after these bytes were sent in these pieces.
fn raw(address: SocketAddr, pieces: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for piece in pieces {
        // who was refused already may be cut off
        let _ = stream.write_all(piece);
    }
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

/// The statuses of all answers.
fn statuses(text: &str) -> Vec<&str> {
    text.split("HTTP/1.").skip(1).filter_map(|answer| answer.get(2..5)).collect()
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_on_both_listeners() {
    assert!(WRONG.len() >= 60);
    let server = Server::started("");
    let listeners = [
        (server.agents(), "/Content/anonymousCheckFile.txt", SMUGGLED),
        (server.admin().unwrap(), "/healthz", SMUGGLED_ADMIN),
    ];
    for (address, path, smuggled) in listeners {
        assert_eq!(statuses(&raw(address, &[smuggled.as_bytes()])), ["200"]);
        for request in WRONG {
            let request = request.replace("{path}", path);
            let both = format!("{request}{smuggled}");
            assert_eq!(statuses(&raw(address, &[both.as_bytes()])), ["400"], "{request:?}");
            // behind one that is answered
            let keep = smuggled.replace("Connection: close\r\n", "");
            let behind = raw(address, &[format!("{keep}{both}").as_bytes()]);
            assert_eq!(statuses(&behind), ["200", "400"], "{request:?}");
        }
    }
}

#[test]
fn a_wrong_request_that_comes_in_pieces_is_not_answered_either() {
    let server = Server::started("");
    let address = server.agents();
    for request in WRONG.iter().step_by(3) {
        let both = format!("{}{SMUGGLED}", request.replace("{path}", "/Content/anonymousCheckFile.txt"));
        for cut in (1..request.len()).step_by(11) {
            let (one, two) = both.as_bytes().split_at(cut);
            let text = raw(address, &[one, two]);
            let seen = statuses(&text);
            // where the rest is a chunked body, the answer may have been made of the header alone
            assert!(
                seen.len() <= 1 && seen != ["200"] || request.contains("chunked"),
                "{request:?} at {cut}: {seen:?}"
            );
            assert!(!text.contains("Content can be reached"), "{request:?} at {cut}: {text}");
        }
    }
}

#[test]
fn what_agents_and_servers_send_is_answered() {
    let server = Server::started("");
    let address = server.agents();
    let path = "/Content/anonymousCheckFile.txt";
    let good = [
        format!("GET {path} HTTP/1.0\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nHost: localhost:8530\r\nConnection: close\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nHOST:[::1]\r\nX-Empty:\r\nconnection: close\r\n\r\n"),
        format!("GET http://other{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        format!("\r\nGET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    ];
    for request in good {
        assert_eq!(statuses(&raw(address, &[request.as_bytes()])), ["200"], "{request:?}");
    }
    // a body whose bytes look like requests is a body
    let inner = SMUGGLED.len();
    let post = format!(
        "POST /ClientWebService/client.asmx HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nConnection: close\r\nContent-Length: {inner}\r\n\r\n{SMUGGLED}"
    );
    let text = raw(address, &[post.as_bytes()]);
    assert_eq!(statuses(&text).len(), 1, "{text}");
    assert!(!text.contains("Content can be reached"), "{text}");
}

#[test]
fn pages_of_browsers_cannot_use_the_agents_listener() {
    let server = Server::started("");
    let ask = |method: &str, path: &str, headers: &str| {
        server.ask_agents_with(method, path, &format!("Host: localhost\r\n{headers}"), b"<x/>").status
    };
    let paths = [
        "/ClientWebService/client.asmx",
        "/Content/anonymousCheckFile.txt",
        "/ServerSyncWebService/ServerSyncWebService.asmx",
        "/nothing",
        "/tailwater",
    ];
    let xml = "Content-Type: text/xml\r\n";
    for path in paths {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE"] {
            for from in [
                "Origin: http://evil\r\n",
                "Origin: null\r\n",
                "Origin: http://localhost\r\n",
                "Sec-Fetch-Site: cross-site\r\n",
            ] {
                assert_eq!(ask(method, path, &format!("{xml}{from}")), 403, "{method} {path} {from}");
            }
            assert_ne!(ask(method, path, &format!("{xml}Sec-Fetch-Site: none\r\n")), 403, "{method} {path}");
        }
    }
    for path in [
        "/ClientWebService/client.asmx",
        "/SimpleAuthWebService/SimpleAuth.asmx",
        "/ReportingWebService/ReportingWebService.asmx",
        "/DssAuthWebService/DssAuthWebService.asmx",
    ] {
        for kind in [
            "",
            "Content-Type: text/plain\r\n",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            "Content-Type: multipart/form-data\r\n",
            "Content-Type: text/xmlx\r\n",
            "Content-Type: text/plain\r\nContent-Type: text/xml\r\n",
        ] {
            assert_eq!(ask("POST", path, kind), 415, "{path} {kind}");
        }
        for kind in
            ["text/xml", "Text/XML; charset=utf-8", "application/soap+xml; charset=utf-8; action=\"x\""]
        {
            assert_ne!(ask("POST", path, &format!("Content-Type: {kind}\r\n")), 415, "{path} {kind}");
        }
    }
}

#[test]
fn with_names_no_other_name_is_answered() {
    let server = Server::started("");
    let mut named = Server::configured("");
    let config = std::fs::read_to_string(named.config()).unwrap();
    let config = config.replace("[server]\n", "[server]\nhosts = [\"updates.example\"]\n");
    std::fs::write(named.config(), config).unwrap();
    named.start();
    let path = "/Content/anonymousCheckFile.txt";
    let status = |server: &Server, target: &str, host: &str| {
        server.ask_agents("GET", target, &format!("Host: {host}\r\n")).status
    };
    for (host, wanted) in [
        ("updates.example", 200),
        ("Updates.Example:8530", 200),
        ("127.0.0.1", 200),
        ("localhost", 200),
        ("evil.example", 421),
        ("updates.example.evil", 421),
    ] {
        assert_eq!(status(&named, path, host), wanted, "{host}");
        assert_eq!(status(&server, path, host), 200, "{host}: any name without a list");
    }
    // an absolute target comes before Host, here and on the administrators' listener
    assert_eq!(status(&named, &format!("http://evil.example{path}"), "updates.example"), 421);
    assert_eq!(status(&named, &format!("http://updates.example{path}"), "evil.example"), 200);
    assert_eq!(server.ask("GET", "http://evil.example/healthz", "Host: localhost\r\n", b"").status, 421);
    assert_eq!(server.ask("GET", "http://localhost/healthz", "Host: evil.example\r\n", b"").status, 200);
}
