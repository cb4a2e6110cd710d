//! What metadata or a redirect names is reached only where the configuration lets it: not the loopback, not this server's own
//! listeners, not the inner network, however it is written.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream::{self, Config};

use crate::server::{Server, said};

fn office(config: Config) -> (tokio::runtime::Runtime, upstream::Running) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let office = runtime.block_on(upstream::start(config, &Clock::system(), &Tasks::new())).unwrap();
    (runtime, office)
}

fn small() -> Config {
    Config { updates: 4, definitions: 0, drivers: 0, mean_size: ByteCount(40_000), ..Config::default() }
}

/// Answers "secret" to whoever connects, and counts them.
fn trap() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, count) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
    let seen = Arc::clone(&count);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            seen.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret");
        }
    });
    (port, count)
}

fn started(office: &upstream::Running, more: &str) -> Server {
    let server = Server::started(&format!(
        "[upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\ncontent_from = \"microsoft\"\n\
         [content]\ndemand = \"anything\"\n{more}",
        office.url()
    ));
    let synchronised = server.run(&["sync"]);
    assert!(synchronised.status.success(), "{}", said(&synchronised));
    server
}

/// The path and the size of some payload.
fn payload(server: &Server) -> (String, u64) {
    let listed = server.api("GET", "/updates?limit=100", None).json();
    let updates = listed["updates"].as_array().unwrap().clone();
    let files = updates.iter().find_map(|update| {
        let id = update["update_id"].as_str().unwrap();
        let detail = server.api("GET", &format!("/updates/{id}"), None).json();
        detail["files"].as_array().and_then(|files| files.first().cloned())
    });
    let file: Value = files.unwrap();
    let sha1 = file["sha1"].as_str().unwrap();
    let extension = file["name"].as_str().unwrap().rsplit('.').next().unwrap();
    (format!("/Content/{}/{sha1}.{extension}", &sha1[38..]), file["size"].as_u64().unwrap())
}

#[test]
fn metadata_and_redirects_lead_to_nothing_inside() {
    let (port, trapped) = trap();
    for host in [
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "localhost",
        "2130706433",
        "127.1",
        "169.254.169.254",
        "10.0.0.1",
    ] {
        let named = format!("http://{host}:{port}");
        let config =
            Config { payload_url: Some(named.clone()), payload_redirect: Some(named.clone()), ..small() };
        let (_runtime, office) = office(config);
        let server = started(&office, "redirect_hosts = [\"*\"]\n");
        let (path, _) = payload(&server);
        let answer = server.ask_agents("GET", &path, "Host: here\r\n");
        assert!(answer.status >= 400, "{host}: {}", answer.status);
        assert!(!answer.text().contains("secret"), "{host}");
        assert!(answer.text().contains("content.allowed_private"), "{host}: {}", answer.text());
    }
    assert_eq!(trapped.load(Ordering::SeqCst), 0, "something connected");
}

#[test]
fn own_listeners_are_no_sources_whatever_is_configured() {
    // the port is known after the start: the upstream is told where to send people to by a second one
    let port = crate::server::dead_port();
    let named = format!("http://127.0.0.1:{port}");
    let config = Config { payload_url: Some(named.clone()), payload_redirect: Some(named), ..small() };
    let (_runtime, office) = office(config);
    let mut server = Server::configured(&format!(
        "[upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\ncontent_from = \"microsoft\"\n\
         [content]\ndemand = \"anything\"\nredirect_hosts = [\"*\"]\nallowed_private = [\"*\", \"127.0.0.0/8\"]\n",
        office.url()
    ));
    let text = std::fs::read_to_string(server.config()).unwrap();
    let text =
        text.replace("[admin]\nlisten = \"127.0.0.1:0\"", &format!("[admin]\nlisten = \"127.0.0.1:{port}\""));
    std::fs::write(server.config(), text).unwrap();
    server.start();
    assert!(server.run(&["sync"]).status.success());
    let (path, _) = payload(&server);
    let answer = server.ask_agents("GET", &path, "Host: here\r\n");
    assert!(answer.status >= 400 && answer.text().contains("itself listens"), "{}", answer.text());
}

#[test]
fn what_is_listed_is_followed_and_nothing_else() {
    let (_mirror_runtime, mirror) = office(small());
    let config = Config { payload_redirect: Some(mirror.url().replace("127.0.0.1", "localhost")), ..small() };
    let (_runtime, office) = office(config);
    let host = "redirect_hosts = [\"localhost\"]\n";
    let network = "allowed_private = [\"127.0.0.0/8\", \"::1\"]\n";
    for (more, key) in [
        ("", Some("content.redirect_hosts")),
        (network, Some("content.redirect_hosts")),
        (host, Some("content.allowed_private")),
        (&*format!("{host}{network}"), None),
        ("redirect_hosts = [\"localhost\"]\nallowed_private = [\"localhost\"]\n", None),
    ] {
        let server = started(&office, more);
        let (path, size) = payload(&server);
        let answer = server.ask_agents("GET", &path, "Host: here\r\n");
        match key {
            Some(key) => {
                assert!(answer.status >= 400 && answer.text().contains(key), "{more}: {}", answer.text());
            }
            None => assert_eq!((answer.status, answer.body.len() as u64), (200, size), "{more}"),
        }
    }
}
