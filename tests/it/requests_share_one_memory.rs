//! What clients send takes one bounded memory: a request has the limit of its operation, what is refused is not read, and
//! whoever floods the server with bodies leaves it to others.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::server::Server;

const CLIENT: &str = "/ClientWebService/client.asmx";
const REPORTING: &str = "/ReportingWebService/ReportingWebService.asmx";
const SYNC: &str = "/ServerSyncWebService/ServerSyncWebService.asmx";
const SHARED: &str = "http://www.microsoft.com/SoftwareDistribution";
const AGENTS: &str = "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService";

/// The beginning of a request.
fn head(path: &str, action: &str, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x:8530\r\nContent-Type: text/xml; charset=utf-8\r\nSOAPAction: \"{action}\"\r\n{more}\r\n"
    )
}

/// Sends bytes as far as they are taken; gives what was answered until the connection was closed.
fn answered(address: SocketAddr, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).to_lowercase()
}

/// Megabytes of the process that are in memory, at most so far.
fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

#[test]
fn a_request_has_the_limit_of_its_operation_and_is_not_read_beyond_it() {
    let server = Server::started("");
    let agents = server.agents();
    let table: [(&str, &str, &str, usize); 8] = [
        (CLIENT, AGENTS, "GetConfig", 4 << 10),
        (CLIENT, AGENTS, "GetCookie", 64 << 10),
        (CLIENT, AGENTS, "SyncUpdates", 4 << 20),
        (CLIENT, AGENTS, "GetExtendedUpdateInfo", 64 << 10),
        (REPORTING, SHARED, "ReportEventBatch", 6 << 20),
        (SYNC, SHARED, "GetUpdateData", 128 << 10),
        (SYNC, SHARED, "GetAuthConfig", 4 << 10),
        // who never synchronised from here has little to tell
        (REPORTING, SHARED, "RollupComputerStatus", 1 << 20),
    ];
    for (path, namespace, operation, limit) in table {
        let action = format!("{namespace}/{operation}");
        // refused by its length alone: nothing of it is sent
        let head = head(path, &action, &format!("Content-Length: {}\r\n", limit + 1));
        let answer = answered(agents, &head, b"");
        assert!(answer.starts_with("http/1.1 413"), "{operation}: {answer}");
        assert!(answer.contains("connection: close") && answer.contains("fault"), "{operation}: {answer}");
        // without a length when it gets too long
        let chunked = self::head(path, &action, "Transfer-Encoding: chunked\r\n");
        let mut body = format!("{:x}\r\n", limit + 1).into_bytes();
        body.resize(body.len() + limit + 1, b' ');
        body.extend_from_slice(b"\r\n0\r\n\r\n");
        let answer = answered(agents, &chunked, &body);
        assert!(answer.starts_with("http/1.1 413"), "{operation}: {answer}");
        // and what fits is read, here as something that is no message
        let fits = self::head(path, &action, &format!("Content-Length: {limit}\r\nConnection: close\r\n"));
        let answer = answered(agents, &fits, &vec![b' '; limit]);
        assert!(answer.starts_with("http/1.1 500"), "{operation}: {answer}");
    }
    let unknown = head(CLIENT, &format!("{AGENTS}/NoSuchThing"), "Content-Length: 1000000\r\n");
    let answer = answered(agents, &unknown, b"");
    assert!(answer.starts_with("http/1.1 500") && answer.contains("connection: close"), "{answer}");
    // the API: the token comes first, then the limit of the operation
    let admin = server.admin().unwrap();
    let post = |path: &str, token: &str, length: usize| {
        let head = format!(
            "POST /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        answered(admin, &head, b"")
    };
    assert!(post("/updates/approve", "wrong", 10 << 20).starts_with("http/1.1 401"));
    assert!(post("/updates/approve", &server.token(), 10 << 20).starts_with("http/1.1 413"));
    assert!(post("/groups", &server.token(), 100 << 10).starts_with("http/1.1 413"));
}

#[test]
fn a_report_of_thousands_of_events_is_taken() {
    let server = Server::started("");
    let event = |number: u128| {
        let mut event = format!(
            "<ReportingEvent><BasicData><TargetID><Sid>{}</Sid></TargetID><SequenceNumber>0</SequenceNumber>\
             <TimeAtTarget>2026-10-04T15:03:36Z</TimeAtTarget><EventInstanceID>{}</EventInstanceID>\
             <NamespaceID>2</NamespaceID><EventID>190</EventID><SourceID>101</SourceID><UpdateID><UpdateID>{}</UpdateID>\
             <RevisionNumber>200</RevisionNumber></UpdateID><Win32HResult>0</Win32HResult><AppName>AutomaticUpdates</AppName>\
             </BasicData><ExtendedData><ReplacementStrings>",
            uuid::Uuid::from_u128(1),
            uuid::Uuid::from_u128(number + 1),
            uuid::Uuid::from_u128(number + 90_000),
        );
        for part in 0..6 {
            let _ = write!(
                event,
                "<string>Security Update for Windows (KB50{number:05}) part {part}, installed at restart</string>"
            );
        }
        event
            + "</ReplacementStrings><MiscData><string>C=Q</string><string>D=Some Computer Make and Model</string></MiscData></ExtendedData>\
                 <PrivateData><ComputerDnsName>computer.branch.example</ComputerDnsName></PrivateData></ReportingEvent>"
    };
    let events: String = (0..4_000).map(event).collect();
    let body = format!(
        "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body><ReportEventBatch xmlns=\"{SHARED}\">\
         <clientTime>2026-10-04T15:03:36Z</clientTime><eventBatch>{events}</eventBatch></ReportEventBatch></e:Body></e:Envelope>"
    );
    assert!(body.len() > 4 << 20, "{} bytes", body.len());
    let more = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
    let head = head(REPORTING, &format!("{SHARED}/ReportEventBatch"), &more);
    let answer = answered(server.agents(), &head, body.as_bytes());
    // it was read to its end: what it lacks is a cookie
    assert!(answer.contains("invalidcookie"), "{answer}");
}

/// Whoever floods the server with bodies, all from the address of the honest agent: bodies that stop just before their
/// end, single bytes in chunks, small bodies that blow up.
#[test]
fn a_flood_of_bodies_takes_bounded_memory_and_agents_are_answered() {
    let mut bomb = b"<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body>".to_vec();
    bomb.resize(48 << 20, b' ');
    let bomb = zstd::encode_all(&bomb[..], 3).unwrap();
    let held = vec![b' '; (4 << 20) - 100];
    let tiny = b"1\r\n \r\n".repeat(400_000);
    let scan = format!("{AGENTS}/SyncUpdates");
    let rollup = format!("{SHARED}/RollupComputerStatus");
    let packed = format!("Content-Encoding: zstd\r\nContent-Length: {}\r\n", bomb.len());
    let shapes: [(&str, String, &[u8]); 3] = [
        ("held", head(CLIENT, &scan, &format!("Content-Length: {}\r\n", 4 << 20)), &held),
        ("in single bytes", head(CLIENT, &scan, "Transfer-Encoding: chunked\r\n"), &tiny),
        ("blown up", head(REPORTING, &rollup, &packed), &bomb),
    ];
    for (what, head, body) in &shapes {
        let server = Server::started("");
        let (agents, before) = (server.agents(), peak(&server));
        let flood: Vec<TcpStream> = std::thread::scope(|scope| {
            let one = || {
                let mut stream = TcpStream::connect(agents).unwrap();
                stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
                stream
            };
            let all: Vec<_> = (0..60).map(|_| scope.spawn(one)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let ask = "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body><GetConfig \
                   xmlns=\"http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService\">\
                   <protocolVersion>1.8</protocolVersion></GetConfig></e:Body></e:Envelope>";
        let more = format!("Content-Length: {}\r\nConnection: close\r\n", ask.len());
        let honest = self::head(CLIENT, &format!("{AGENTS}/GetConfig"), &more);
        let begun = Instant::now();
        let answer = answered(agents, &honest, ask.as_bytes());
        assert!(answer.starts_with("http/1.1 200"), "{what}, after {:?}: {answer}", begun.elapsed());
        // the budget, and what connections and the allocator have beside it; without it, 240 MB and more
        let grown = peak(&server) - before;
        assert!(grown < 150, "{what}: {grown} MB");
        drop(flood);
    }
}
