//! Promises of what may be reached.

mod tables;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::config::{LinkConfig, ProxySetting};
use super::super::link_client::LinkClient;
use super::super::resolver::{Resolver, Stub};
use super::*;
use crate::schedule::{Limiter, Meter};
use tables::{HOSTS, NAMES};
use tailwater_domain::{Class, Rate};
use tailwater_runtime::{Clock, Tasks};

/// A server on the loopback that answers 302 to `/go` with the location it was given last, sends `/far` on to `/go`, and says
/// "secret" to everything else.
struct Server {
    port: u16,
    location: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (location, asked) = (Arc::<Mutex<String>>::default(), Arc::<AtomicUsize>::default());
        let (to, count) = (Arc::clone(&location), Arc::clone(&asked));
        tasks.spawn("server", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                let line = String::from_utf8_lossy(&head);
                let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                let answer = if path.ends_with("/go") || path.ends_with("/far") {
                    let to = if path.ends_with("/far") {
                        "/go".to_owned()
                    } else {
                        to.lock().unwrap_or_else(PoisonError::into_inner).clone()
                    };
                    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                } else {
                    "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret".to_owned()
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { port, location, asked }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn client(reachable: Reachable, proxy: ProxySetting, names: Stub, tasks: &Tasks) -> LinkClient {
    let clock = Clock::system();
    let limiter = Limiter::new(Rate::Unlimited, &clock, tasks);
    let config = LinkConfig { proxy, reachable, max_idle_per_origin: 0, ..LinkConfig::default() };
    LinkClient::resolving(config, Resolver::Stub(names), &limiter, &Meter::new(&clock), &clock, tasks)
        .unwrap()
}

async fn get(client: &LinkClient, url: &str) -> Result<u16, LinkError> {
    let request = Request::get(url).body(Full::<Bytes>::default()).unwrap();
    client.send(request, Class::Interactive).await.map(|answer| answer.status().as_u16())
}

#[tokio::test]
async fn what_nobody_configured_is_reached_by_no_way_of_writing_it() {
    let tasks = Tasks::new();
    let (upstream, trap) = (Server::start(&tasks).await, Server::start(&tasks).await);
    let names: Stub = Arc::new(|host| {
        let found = NAMES.iter().find(|(name, _)| *name == host)?;
        Some(found.1.iter().map(|address| address.parse().unwrap()).collect())
    });
    let reachable = || Reachable::configured([&*upstream.url()]);
    let anywhere = reachable().with_redirects(HostList::parse(["*"]).unwrap());
    let listed = client(anywhere, ProxySetting::Direct, Arc::clone(&names), &tasks);
    let unlisted = client(reachable(), ProxySetting::Direct, names, &tasks);
    let hosts: Vec<&str> = HOSTS.into_iter().chain(NAMES.map(|(name, _)| name)).collect();
    assert!(hosts.len() >= 80);
    for host in hosts {
        let target = format!("http://{host}:{}/secret", trap.port);
        *upstream.location.lock().unwrap() = target.clone();
        let (once, twice) = (format!("{}/go", upstream.url()), format!("{}/far", upstream.url()));
        for url in [&target, &once, &twice] {
            let error = get(&listed, url).await.expect_err(host);
            assert!(matches!(error, LinkError::NotPublic { .. }), "{host} by {url}: {error}");
            assert!(error.to_string().contains("content.allowed_private"), "{error}");
            assert!(!error.retry_may_help());
            let error = get(&unlisted, url).await.expect_err(host);
            let key = if *url == target { "content.allowed_private" } else { "content." };
            assert!(error.to_string().contains(key), "{host} by {url}: {error}");
        }
    }
    assert_eq!(trap.asked(), 0, "something connected");
    assert!(upstream.asked() > 0, "the configured one is reached though it is on the loopback");
    tasks.shut_down(std::time::Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_is_listed_is_reached_and_a_name_that_turns_is_not() {
    let tasks = Tasks::new();
    let server = Server::start(&tasks).await;
    let turned = Arc::new(AtomicUsize::new(0));
    let turns = Arc::clone(&turned);
    let names: Stub = Arc::new(move |host| match host {
        "cdn.example" => Some(vec!["127.0.0.1".parse().unwrap()]),
        // one that may be reached among others
        "mixed.example" => {
            ["10.0.0.1", "169.254.169.254", "127.0.0.1"].map(|a| a.parse().unwrap()).to_vec().into()
        }
        "turns.example" if turns.fetch_add(1, Ordering::SeqCst) == 0 => {
            Some(vec!["127.0.0.1".parse().unwrap()])
        }
        "turns.example" => Some(vec!["127.0.0.2".parse().unwrap()]),
        _ => None,
    });
    let at = |host: &str| format!("http://{host}:{}/x", server.port);
    let by = |entry: &str| {
        let reachable = Reachable::public().with_private(HostList::parse([entry]).unwrap());
        client(reachable, ProxySetting::Direct, Arc::clone(&names), &tasks)
    };
    for (entry, host, is_reached) in [
        ("cdn.example", "cdn.example", true),
        (&*format!("cdn.example:{}", server.port), "cdn.example", true),
        ("cdn.example:1", "cdn.example", false),
        ("*.example", "cdn.example", true),
        ("127.0.0.0/8", "cdn.example", true),
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.1", "2130706433", true),
        ("10.0.0.0/8", "cdn.example", false),
        ("other.example", "cdn.example", false),
        ("127.0.0.1", "mixed.example", true),
    ] {
        assert_eq!(get(&by(entry), &at(host)).await.is_ok(), is_reached, "{entry} {host}");
    }
    let turning = by("127.0.0.1");
    assert_eq!(get(&turning, &at("turns.example")).await.unwrap(), 200);
    let error = get(&turning, &at("turns.example")).await.unwrap_err();
    assert!(matches!(error, LinkError::NotPublic { .. }), "{error}");
    // configured is a scheme, a host and a port
    let url = server.url();
    let configured = client(Reachable::configured([&*url]), ProxySetting::Direct, names, &tasks);
    assert_eq!(get(&configured, &format!("{url}/x")).await.unwrap(), 200);
    for other in
        [format!("http://127.0.0.1:{}/", server.port - 1), url.replace("http:", "https:"), at("localhost")]
    {
        let error = get(&configured, &other).await.unwrap_err();
        assert!(matches!(error, LinkError::NotPublic { .. }), "{other}: {error}");
    }
    tasks.shut_down(std::time::Duration::from_secs(5)).await;
}

#[tokio::test]
async fn own_listeners_are_never_reached() {
    let tasks = Tasks::new();
    let server = Server::start(&tasks).await;
    let names: Stub = Arc::new(|host| (host == "me.example").then(|| vec!["127.0.0.1".parse().unwrap()]));
    let listed = HostList::parse(["*", "0.0.0.0/0", "::/0"]).unwrap();
    for own in [
        format!("127.0.0.1:{}", server.port),
        format!("0.0.0.0:{}", server.port),
        format!("[::]:{}", server.port),
    ] {
        let url = server.url();
        let reachable = Reachable::configured([&*url])
            .with_private(listed.clone())
            .with_redirects(listed.clone())
            .without_own([own.parse().unwrap()]);
        let client = client(reachable, ProxySetting::Direct, Arc::clone(&names), &tasks);
        for host in [
            "127.0.0.1",
            "0.0.0.0",
            "localhost",
            "2130706433",
            "me.example",
            "[::ffff:127.0.0.1]",
            "[::ffff:0:0]",
        ] {
            let error = get(&client, &format!("http://{host}:{}/x", server.port)).await.unwrap_err();
            assert!(matches!(error, LinkError::OwnListener { .. }), "{own} {host}: {error}");
        }
    }
    assert_eq!(server.asked(), 0);
    let lan: IpAddr = "203.0.113.77".parse().unwrap();
    let reachable = Reachable::anywhere().without_own(["0.0.0.0:8530".parse().unwrap()]);
    let origin = |port| Origin { https: false, host: "branch.example".to_owned(), port };
    let judge = |port| reachable.admits_where(&origin(port), SocketAddr::new(lan, port), |ip| ip == lan);
    assert_eq!(judge(8530), Err(Forbidden::OwnListener));
    assert_eq!(judge(8531), Ok(()));
    // a public address of this machine is this machine
    let own: IpAddr = "8.8.4.4".parse().unwrap();
    let judged = Reachable::public().admits_where(&origin(22), SocketAddr::new(own, 22), |ip| ip == own);
    assert_eq!(judged, Err(Forbidden::Kind(AddressKind::Own)));
    assert!(is_of_this_machine("127.0.0.1".parse().unwrap()));
    assert!(!is_of_this_machine("192.0.2.1".parse().unwrap()));
    tasks.shut_down(std::time::Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_proxy_is_asked_for_nothing_inside() {
    let tasks = Tasks::new();
    // it answers for whatever it is asked
    let proxy = Server::start(&tasks).await;
    let setting = ProxySetting::Url(proxy.url());
    let names: Stub = Arc::new(|_| None);
    let reachable = Reachable::configured(["http://wsus:8530", "http://10.0.0.9:8530"])
        .with_private(HostList::parse(["mirror.corp"]).unwrap());
    let client = client(reachable, setting, names, &tasks);
    let inside = [
        "wsus",
        "intranet",
        "nas.local",
        "a.b.internal",
        "files.corp",
        "router.home.arpa",
        "db.lan",
        "localhost",
        "x.localhost",
        "wsus.",
        "0177.0.0.1.",
    ];
    for host in HOSTS.into_iter().chain(inside) {
        let error = get(&client, &format!("http://{host}:8531/x")).await.expect_err(host);
        assert!(matches!(error, LinkError::NotPublic { .. }), "{host}: {error}");
    }
    assert_eq!(proxy.asked(), 0);
    for url in [
        "http://wsus:8530/x",
        "http://10.0.0.9:8530/x",
        "http://mirror.corp/x",
        "http://cdn.example/x",
        "http://8.8.8.8/x",
    ] {
        assert_eq!(get(&client, url).await.unwrap(), 200, "{url}");
    }
    assert_eq!(proxy.asked(), 5);
    tasks.shut_down(std::time::Duration::from_secs(5)).await;
}

#[test]
fn redirects_stay_with_the_site() {
    let origin = |url: &str| Origin::of(&url.parse().unwrap()).unwrap();
    let reachable = Reachable::configured(["http://wsus:8530", "https://mirror.example"])
        .with_redirects(HostList::parse(["*.cdn.example", "one.example:8080"]).unwrap());
    let table = [
        ("http://wsus:8530", "http://wsus:8530", true),
        ("http://wsus:8530", "https://wsus:8531", true),
        ("http://a.example", "http://A.example.:81", true),
        ("http://a.example", "http://b.a.example", true),
        ("http://b.a.example", "http://a.example", false),
        ("http://a.example", "http://xa.example", false),
        ("http://a.example", "http://a.example.evil.example", false),
        ("http://wsus", "http://evil.wsus", false),
        ("http://10.0.0.1", "http://x.10.0.0.1", false),
        ("http://wsus:8530", "https://mirror.example", true),
        ("http://wsus:8530", "http://mirror.example", false),
        ("http://wsus:8530", "http://e.cdn.example", true),
        ("http://wsus:8530", "http://cdn.example", false),
        ("http://wsus:8530", "http://one.example:8080", true),
        ("http://wsus:8530", "http://one.example", false),
        ("http://wsus:8530", "http://download.windowsupdate.com", true),
        ("http://wsus:8530", "https://11.tlu.dl.delivery.mp.microsoft.com", true),
        ("http://wsus:8530", "http://windowsupdate.com.evil.example", false),
        ("http://wsus:8530", "http://evilwindowsupdate.com", false),
        ("http://wsus:8530", "http://127.0.0.1:8532", false),
    ];
    for (from, to, followed) in table {
        assert_eq!(reachable.may_redirect(&origin(from), &origin(to)), followed, "{from} to {to}");
    }
    assert!(Reachable::anywhere().may_redirect(&origin("http://a.example"), &origin("http://b.example")));
}

#[test]
fn numbers_are_addresses_however_they_are_written() {
    let table = [
        ("127.0.0.1", Some("127.0.0.1")),
        ("2130706433", Some("127.0.0.1")),
        ("0x7f000001", Some("127.0.0.1")),
        ("017700000001", Some("127.0.0.1")),
        ("127.1", Some("127.0.0.1")),
        ("0x7f.1", Some("127.0.0.1")),
        ("10.0x10203", Some("10.1.2.3")),
        ("10.1.515", Some("10.1.2.3")),
        ("0", Some("0.0.0.0")),
        ("0x", Some("0.0.0.0")),
        ("::1", Some("::1")),
        ("fe80::1%eth0", Some("fe80::1")),
        ("1.2.3.4.", Some("1.2.3.4")),
        ("4294967296", None),
        ("256.1", None),
        ("1.2.3.256", None),
        ("1.2.3.4.5", None),
        ("09.1", None),
        ("a.example", None),
        ("1e3", None),
        ("", None),
    ];
    for (host, address) in table {
        assert_eq!(literal(host), address.map(|address| address.parse().unwrap()), "{host}");
    }
}
