//! Listeners: plain and TLS, an address that is taken, an end that lets answers finish.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tailwater::runtime::{Clock, Tasks};
use tailwater::serve::TlsFiles;
use tailwater::serve::{Answer, Listener, ListenerConfig, ListenerError, Peer, Request, Response, full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::client::Client;

/// Says over what it was asked; under `/slow` only when told.
struct Echo(Arc<Notify>);

impl Answer for Echo {
    async fn answer(&self, request: Request, from: Peer) -> Response {
        if request.uri().path() == "/slow" {
            self.0.notified().await;
        }
        if request.uri().path().starts_with("/fault") {
            // after a pause or at once
            if request.uri().path().ends_with("late") {
                tokio::task::yield_now().await;
            }
            std::panic::panic_any("a handler slipped");
        }
        let over = if from.tls { "tls" } else { "plain" };
        Response::new(full(if from.certificate.is_some() { "certificate" } else { over }))
    }
}

fn certificate(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/link_certificates").join(name)
}

fn anywhere() -> ListenerConfig {
    ListenerConfig::new("127.0.0.1:0".parse().unwrap())
}

async fn start(config: ListenerConfig, tasks: &Tasks) -> (std::net::SocketAddr, Arc<Notify>) {
    let listener = Listener::bind(config).unwrap();
    let (address, go) = (listener.address(), Arc::new(Notify::new()));
    let echo = Arc::new(Echo(Arc::clone(&go)));
    tasks.spawn("listener", listener.run(echo, Clock::system(), tasks.clone()));
    (address, go)
}

#[tokio::test]
async fn a_tls_listener_answers_over_tls() {
    let tasks = Tasks::new();
    let files = TlsFiles {
        certificate: certificate("server.pem"),
        key: certificate("server.key"),
        client_roots: None,
        client_required: false,
    };
    let (address, _) = start(ListenerConfig { tls: Some(files), ..anywhere() }, &tasks).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate("authority.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("tls"), "{answer}");
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_where_roots_are_given_and_nobody_needs_one() {
    let tasks = Tasks::new();
    let files = TlsFiles {
        certificate: certificate("server.pem"),
        key: certificate("server.key"),
        client_roots: Some(certificate("servers.pem")),
        client_required: false,
    };
    let (address, _) = start(ListenerConfig { tls: Some(files), ..anywhere() }, &tasks).await;
    let chain = || vec![CertificateDer::from_pem_file(certificate("branch.pem")).unwrap()];
    let key = || PrivateKeyDer::from_pem_file(certificate("branch.key")).unwrap();
    let builder = || {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate("authority.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots)
    };
    let shown = builder().with_client_auth_cert(chain(), key()).unwrap();
    for (config, said) in [(builder().with_no_client_auth(), "tls"), (shown, "certificate")] {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream =
            tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.ends_with(said), "{answer}");
    }
}

#[tokio::test]
async fn a_taken_address_and_useless_certificates_are_said_with_the_next_step() {
    let first = Listener::bind(anywhere()).unwrap();
    let error = Listener::bind(ListenerConfig::new(first.address())).map(drop).unwrap_err();
    assert!(matches!(error, ListenerError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("set another listen address"), "{error}");
    for (chain, key) in [("server.key", "server.key"), ("server.pem", "server.pem"), ("none", "server.key")] {
        let files = TlsFiles {
            certificate: certificate(chain),
            key: certificate(key),
            client_roots: None,
            client_required: false,
        };
        let error = Listener::bind(ListenerConfig { tls: Some(files), ..anywhere() }).map(drop).unwrap_err();
        assert!(matches!(error, ListenerError::Pem { .. } | ListenerError::Tls { .. }), "{chain}: {error:?}");
    }
}

#[tokio::test]
async fn shutdown_lets_a_running_answer_end() {
    let tasks = Tasks::new();
    let (address, go) = start(anywhere(), &tasks).await;
    let mut client = Client::connect(address).await;
    let ending = tasks.clone();
    let (answer, ended) = tokio::join!(
        async { client.begin(Method::GET, "/slow", &[]).await.unwrap().into_body().collect().await.unwrap() },
        async {
            // the request is on its way before the end begins
            tokio::time::sleep(Duration::from_millis(50)).await;
            let ended = ending.shut_down(Duration::from_secs(5));
            go.notify_one();
            ended.await
        }
    );
    assert_eq!(&answer.to_bytes()[..], b"plain");
    assert!(ended, "{:?}", tasks.status());
    assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn a_fault_in_a_handler_costs_its_request_and_nothing_else() {
    let tasks = Tasks::new();
    let (address, _) = start(ListenerConfig { max_connections: 2, ..anywhere() }, &tasks).await;
    let mut client = Client::connect(address).await;
    for round in 0..5 {
        for path in ["/fault", "/fault-late"] {
            let answer = client.begin(Method::GET, path, &[]).await.unwrap();
            assert_eq!(answer.status(), 500, "{path}, round {round}");
            answer.into_body().collect().await.unwrap();
        }
        // the same connection goes on
        assert_eq!(client.begin(Method::GET, "/", &[]).await.unwrap().status(), 200);
        client = Client::connect(address).await;
    }
    assert!(tasks.shut_down(Duration::from_secs(5)).await, "{:?}", tasks.status());
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let tasks = Tasks::new();
    let config = ListenerConfig { idle: Duration::from_millis(200), ..anywhere() };
    let (address, _) = start(config, &tasks).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}

#[tokio::test]
async fn more_connections_than_allowed_wait_while_all_are_answered() {
    let tasks = Tasks::new();
    let (address, go) = start(ListenerConfig { max_connections: 1, ..anywhere() }, &tasks).await;
    let soon = Duration::from_millis(200);
    let mut first = Client::connect(address).await;
    let slow = async { first.begin(Method::GET, "/slow", &[]).await.unwrap().status() };
    tokio::pin!(slow);
    assert!(tokio::time::timeout(soon, &mut slow).await.is_err());
    let mut second = Client::connect(address).await;
    let waiting = async { second.begin(Method::GET, "/", &[]).await.unwrap().status() };
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(soon, &mut waiting).await.is_err(), "the second must wait for the first");
    go.notify_one();
    assert_eq!(slow.await, 200);
    assert_eq!(waiting.await, 200, "the first is idle and gives way");
}

#[tokio::test]
async fn idle_connections_give_way_to_new_ones() {
    let tasks = Tasks::new();
    let (address, _) = start(ListenerConfig { max_connections: 8, ..anywhere() }, &tasks).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..20 {
        let mut client = Client::connect(address).await;
        assert_eq!(client.begin(Method::GET, "/", &[]).await.unwrap().status(), 200);
    }
    let mut rest = Vec::new();
    silent.remove(0).read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "the longest idle was closed");
}

#[tokio::test(start_paused = true)]
async fn a_header_has_fifteen_seconds_and_an_answer_as_long_as_it_takes() {
    let tasks = Tasks::new();
    let (address, _) = start(ListenerConfig { idle: Duration::from_secs(75), ..anywhere() }, &tasks).await;
    let whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (sent, seconds) in [
        (String::new(), 15),
        ("GET / HTTP/1.1\r\nHo".to_owned(), 15),
        (format!("{whole}GET / HT"), 15),
        (whole.to_owned(), 75),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let began = tokio::time::Instant::now();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        let answered = String::from_utf8_lossy(&rest).matches("200 OK").count();
        assert_eq!(answered, usize::from(sent.starts_with(whole)), "{sent:?}");
        let took = began.elapsed().as_secs();
        assert!((seconds..seconds + 5).contains(&took), "{sent:?}: {took} s");
    }
}
