//! The client for upstreams keeps connections, follows redirects, uses proxies and TLS, gives up in time, and
//! never reads what nobody wants.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tailwater::bandwidth::{Blame, Limiter, LinkClient, LinkConfig, LinkError, Meter, ProxySetting};
use tailwater::domain::{Class, Rate};
use tailwater::runtime::{Clock, Tasks};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a scripted server saw: connection number and head of each request.
type Seen = Arc<Mutex<Vec<(usize, String)>>>;

fn client(config: LinkConfig, rate: Rate, tasks: &Tasks) -> LinkClient {
    let clock = Clock::system();
    let limiter = Limiter::new(rate, &clock, tasks);
    LinkClient::new(config, &limiter, &Meter::new(&clock), &clock, tasks).unwrap()
}

fn get(url: &str) -> Request<Full<Bytes>> {
    Request::get(url).body(Full::new(Bytes::new())).unwrap()
}

async fn read_head<S: AsyncRead + Unpin>(socket: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Answers each request with what `reply` says; an empty reply leaves it waiting.
async fn converse<S>(
    mut socket: S,
    number: usize,
    seen: Seen,
    reply: Arc<dyn Fn(&str) -> String + Send + Sync>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(head) = read_head(&mut socket).await {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().unwrap().push((number, head));
        let text = reply(&path);
        if text.is_empty() {
            std::future::pending::<()>().await;
        }
        if socket.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        if text.contains("X-Then: stall") {
            std::future::pending::<()>().await;
        }
    }
}

/// A server for each connection of which `serve` is run.
async fn listen<F, W>(tasks: &Tasks, serve: F) -> String
where
    F: Fn(TcpStream, usize) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let spawner = tasks.clone();
    tasks.spawn("server", async move {
        let mut number = 0;
        while let Ok((socket, _)) = listener.accept().await {
            spawner.spawn("server-connection", serve(socket, number));
            number += 1;
        }
    });
    address
}

/// A scripted server.
async fn scripted(tasks: &Tasks, reply: impl Fn(&str) -> String + Send + Sync + 'static) -> (String, Seen) {
    let (seen, reply) = (Seen::default(), Arc::new(reply) as Arc<dyn Fn(&str) -> String + Send + Sync>);
    let record = Arc::clone(&seen);
    let serve = move |socket, number| converse(socket, number, Arc::clone(&record), Arc::clone(&reply));
    (listen(tasks, serve).await, seen)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn text(client: &LinkClient, url: &str) -> Result<String, LinkError> {
    let answer = client.send(get(url), Class::Metadata).await?;
    assert_eq!(answer.status(), StatusCode::OK);
    Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn a_connection_serves_again_and_a_stale_one_is_replaced() {
    let tasks = Tasks::new();
    let (address, seen) = scripted(&tasks, |path| match path {
        "/last" => "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n.".to_owned(),
        other => ok(other),
    })
    .await;
    let client = client(LinkConfig::default(), Rate::Unlimited, &tasks);
    for path in ["/a", "/b", "/c"] {
        assert_eq!(text(&client, &format!("http://{address}{path}")).await.unwrap(), path);
    }
    text(&client, &format!("http://{address}/last")).await.unwrap();
    text(&client, &format!("http://{address}/d")).await.unwrap();
    let connections: Vec<usize> = seen.lock().unwrap().iter().map(|(number, _)| *number).collect();
    assert_eq!(connections, [0, 0, 0, 0, 1]);
}

#[tokio::test]
async fn redirects_are_followed_three_times_and_never_out_of_the_web() {
    let tasks = Tasks::new();
    let (address, _) = scripted(&tasks, |path| {
        let to = |location: &str| {
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
        };
        match path {
            "/1" => to("/2"),
            "/2" => to("3"),
            "/3" => to("/end"),
            "/loop" => to("/loop"),
            "/out" => to("file:///etc/passwd"),
            other => ok(other),
        }
    })
    .await;
    let client = client(LinkConfig::default(), Rate::Unlimited, &tasks);
    assert_eq!(text(&client, &format!("http://{address}/1")).await.unwrap(), "/end");
    for path in ["/loop", "/out"] {
        let error = text(&client, &format!("http://{address}{path}")).await.unwrap_err();
        assert!(matches!(error, LinkError::Redirect { .. }), "{error}");
        assert!(!error.retry_may_help());
    }
    let post = Request::post(format!("http://{address}/1")).body(Full::new(Bytes::from("x"))).unwrap();
    assert_eq!(client.send(post, Class::Metadata).await.unwrap().status(), StatusCode::FOUND);
}

#[tokio::test]
async fn silence_ends_in_an_error_that_says_so() {
    let tasks = Tasks::new();
    let (address, _) = scripted(&tasks, |path| match path {
        "/half" => "HTTP/1.1 200 OK\r\nX-Then: stall\r\nContent-Length: 10\r\n\r\nabc".to_owned(),
        _ => String::new(),
    })
    .await;
    let limit = Duration::from_millis(150);
    let config = LinkConfig { answer_timeout: limit, idle_timeout: limit, ..LinkConfig::default() };
    let client = client(config, Rate::Unlimited, &tasks);
    for (path, expected) in [("/never", "answer"), ("/half", "more of its answer")] {
        let error = text(&client, &format!("http://{address}{path}")).await.unwrap_err();
        assert!(matches!(&error, LinkError::Timeout { stage, .. } if *stage == expected), "{path}: {error}");
        assert!(error.retry_may_help());
        assert_eq!(error.blame(), Blame::Upstream);
    }
}

#[tokio::test]
async fn waiting_for_the_limiter_is_no_silence() {
    let tasks = Tasks::new();
    let (address, _) = scripted(&tasks, |_| ok(&"x".repeat(20_000))).await;
    let limit = Duration::from_millis(100);
    let config = LinkConfig { answer_timeout: limit, idle_timeout: limit, ..LinkConfig::default() };
    // 8 kB/s: a turn of 1 KiB lasts longer than the limit
    let client = client(config, "64 kbit/s".parse().unwrap(), &tasks);
    assert_eq!(text(&client, &format!("http://{address}/")).await.unwrap().len(), 20_000);
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_not_read_on() {
    let tasks = Tasks::new();
    let (sender, mut gone) = tokio::sync::mpsc::channel(1);
    let serve = move |mut socket: TcpStream, _| {
        let sender = sender.clone();
        async move {
            read_head(&mut socket).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            let _sent = socket.write_all(head.as_bytes()).await;
            let mut sent = 0_u64;
            while socket.write_all(&[0; 1024]).await.is_ok() {
                sent += 1024;
            }
            let _gone = sender.send(sent).await;
        }
    };
    let address = listen(&tasks, serve).await;
    let client = client(LinkConfig::default(), "8 Mbit/s".parse().unwrap(), &tasks);
    let mut body = client.send(get(&format!("http://{address}/")), Class::Normal).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let sent = tokio::time::timeout(Duration::from_secs(5), gone.recv()).await.unwrap().unwrap();
    assert!(sent < 16 << 20, "{sent} bytes went on");
}

fn certificate(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/link_certificates").join(name)
}

/// Says its path over TLS.
async fn secure(tasks: &Tasks) -> String {
    secure_with(tasks, "server").await
}

/// The same with the certificate and key of this name.
async fn secure_with(tasks: &Tasks, name: &str) -> String {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(certificate(&format!("{name}.pem")))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(certificate(&format!("{name}.key"))).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    listen(tasks, move |socket, number| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(socket).await {
                converse(stream, number, Seen::default(), Arc::new(ok)).await;
            }
        }
    })
    .await
}

/// An HTTP proxy: tunnels, and answers whole addresses itself.
async fn proxy(tasks: &Tasks) -> (String, Seen) {
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    let serve = move |mut socket: TcpStream, number| {
        let seen = Arc::clone(&record);
        async move {
            let Some(head) = read_head(&mut socket).await else { return };
            let (method, target) = (head.split(' ').next().unwrap_or_default(), head.split(' ').nth(1));
            let (tunnel, target) = (method == "CONNECT", target.unwrap_or_default().to_owned());
            seen.lock().unwrap().push((number, head));
            if !tunnel {
                let _sent = socket.write_all(ok("through the proxy").as_bytes()).await;
                return;
            }
            let mut far = TcpStream::connect(&target).await.unwrap();
            let _sent = socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
            let _ended = tokio::io::copy_bidirectional(&mut socket, &mut far).await;
        }
    };
    (listen(tasks, serve).await, seen)
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named() {
    let tasks = Tasks::new();
    let address = secure(&tasks).await;
    let config = || LinkConfig { proxy: ProxySetting::Direct, ..LinkConfig::default() };
    let distrusting = client(config(), Rate::Unlimited, &tasks);
    let error = text(&distrusting, &format!("https://{address}/x")).await.unwrap_err();
    assert!(matches!(error, LinkError::Tls { .. }), "{error}");
    let config = LinkConfig { ca_file: Some(certificate("authority.pem")), ..config() };
    let trusting = client(config, "8 Mbit/s".parse().unwrap(), &tasks);
    assert_eq!(text(&trusting, &format!("https://{address}/x")).await.unwrap(), "/x");
    assert!(trusting.meter().received() > 500, "TLS counts too");
}

#[tokio::test]
async fn a_certificate_that_is_named_is_trusted_and_mistakes_name_what_helps() {
    let tasks = Tasks::new();
    // the server's certificate, which one is named, and what is said where it is refused
    let table = [
        ("self-signed-authority", Some("self-signed-authority"), None),
        ("self-signed-server", Some("self-signed-server"), None),
        ("server", Some("server"), None),
        ("self-signed-authority", None, Some("upstream.ca_file")),
        ("self-signed-server", None, Some("upstream.ca_file")),
        ("server", None, Some("upstream.ca_file")),
        ("self-signed-authority", Some("self-signed-server"), Some("upstream.ca_file")),
        ("elsewhere", Some("elsewhere"), Some("other.example")),
        ("expired", Some("expired"), Some("expired on 2020-02-01")),
    ];
    for (server, named, refused) in table {
        let address = secure_with(&tasks, server).await;
        let ca_file = named.map(|name| certificate(&format!("{name}.pem")));
        let config = LinkConfig { proxy: ProxySetting::Direct, ca_file, ..LinkConfig::default() };
        let client = client(config, Rate::Unlimited, &tasks);
        match (text(&client, &format!("https://{address}/x")).await, refused) {
            (Ok(said), None) => assert_eq!(said, "/x", "{server}, {named:?} named"),
            (Err(error @ LinkError::Tls { .. }), Some(expected)) => {
                assert!(error.to_string().contains(expected), "{server}, {named:?} named: {error}");
            }
            (other, _) => panic!("{server}, {named:?} named: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_other_scheme_is_recognised_and_said() {
    let tasks = Tasks::new();
    let plain =
        scripted(&tasks, |_| "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned()).await.0;
    let curt = listen(&tasks, |mut socket, _| async move {
        let _sent = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let secure = secure(&tasks).await;
    let config = LinkConfig { proxy: ProxySetting::Direct, ..LinkConfig::default() };
    let client = client(config, Rate::Unlimited, &tasks);
    let said = |error: LinkError| match error {
        LinkError::OtherScheme { instead, .. } => instead,
        other => other.to_string(),
    };
    let error = text(&client, &format!("https://{curt}/x")).await.unwrap_err();
    assert_eq!(said(error), format!("http://{curt}"));
    let error = text(&client, &format!("http://{secure}/x")).await.unwrap_err();
    assert_eq!(said(error), format!("https://{secure}"));
    let answer = client.send(get(&format!("http://{plain}/x")), Class::Metadata).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "what a plain server refuses is its own answer");
}

#[tokio::test]
async fn a_proxy_carries_plain_and_secure_requests() {
    let tasks = Tasks::new();
    let address = secure(&tasks).await;
    let (proxy, seen) = proxy(&tasks).await;
    let config = LinkConfig {
        proxy: ProxySetting::Url(format!("http://me:secret@{proxy}")),
        ca_file: Some(certificate("authority.pem")),
        ..LinkConfig::default()
    };
    let client = client(config, Rate::Unlimited, &tasks);
    assert_eq!(text(&client, &format!("https://{address}/x")).await.unwrap(), "/x");
    assert_eq!(text(&client, "http://wsus.invalid:8530/y").await.unwrap(), "through the proxy");
    let seen = seen.lock().unwrap();
    assert!(seen[0].1.starts_with(&format!("CONNECT {address} HTTP/1.1\r\n")), "{}", seen[0].1);
    assert!(seen[1].1.starts_with("GET http://wsus.invalid:8530/y HTTP/1.1\r\n"), "{}", seen[1].1);
    for (_, head) in seen.iter() {
        assert!(
            head.to_ascii_lowercase().contains("\r\nproxy-authorization: basic bwu6c2vjcmv0\r\n"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn configuration_that_cannot_work_is_refused_with_the_file_named() {
    let tasks = Tasks::new();
    let clock = Clock::system();
    let limiter = Limiter::new(Rate::Unlimited, &clock, &tasks);
    let config = LinkConfig { ca_file: Some(PathBuf::from("/nowhere/ca.pem")), ..LinkConfig::default() };
    let error = LinkClient::new(config, &limiter, &Meter::new(&clock), &clock, &tasks).err().unwrap();
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    assert_eq!(error.blame(), Blame::Configuration);
}

#[tokio::test]
async fn nobody_waits_for_a_link_that_shuts_down() {
    let tasks = Tasks::new();
    let (address, _) = scripted(&tasks, |_| ok(&"x".repeat(1_000_000))).await;
    let client = client(LinkConfig::default(), "64 kbit/s".parse().unwrap(), &tasks);
    let answer = client.send(get(&format!("http://{address}/")), Class::Normal).await.unwrap();
    let (whole, _) = tokio::join!(answer.into_body().collect(), tasks.shut_down(Duration::from_millis(200)));
    assert!(whole.is_err());
    assert!(matches!(client.send(get("http://127.0.0.1:9/"), Class::Normal).await, Err(LinkError::Stopping)));
}
