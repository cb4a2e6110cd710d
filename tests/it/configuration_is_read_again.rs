//! A configuration is checked as a whole, and taken over while the server runs, or not at all.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream;

use crate::server::{Server, dead_port, said};

fn rate(server: &Server) -> String {
    server.api("GET", "/bandwidth", None).json()["rate"].as_str().unwrap().to_owned()
}

fn change(server: &Server, from: &str, to: &str) {
    let text = std::fs::read_to_string(server.config()).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(server.config(), text.replace(from, to)).unwrap();
}

/// One request on a connection that stays open.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while !answer.ends_with(b"ok\n") {
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_reload_takes_over_what_it_can_and_names_the_rest() {
    let server = Server::started("[bandwidth]\nrate = \"8 Mbit/s\"\n[content]\nmax_size = \"200 GB\"\n");
    let mut kept = TcpStream::connect(server.admin().unwrap()).unwrap();
    assert!(ask(&mut kept).starts_with("HTTP/1.1 200"));
    let nothing = server.run(&["reload"]);
    assert!(nothing.status.success() && said(&nothing).contains("Nothing"), "{}", said(&nothing));

    change(&server, "8 Mbit/s", "2 Mbit/s");
    change(&server, "200 GB", "100 GB");
    let done = server.run(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(
        said(&done).contains("bandwidth.rate") && said(&done).contains("content.max_size"),
        "{}",
        said(&done)
    );
    assert_eq!(rate(&server), "2 Mbit/s");
    let status = server.api("GET", "/status", None).json();
    assert_eq!(status["content"]["max_size"], "100 GB");
    let shown = server.api("GET", "/configuration", None).json();
    let value = |key: &str| {
        let keys = shown["keys"].as_array().unwrap();
        keys.iter().find(|row| row["key"] == key).unwrap()["value"].clone()
    };
    assert_eq!(value("bandwidth.rate"), "2 Mbit/s");

    // a part that needs a restart is named, and named again until then; the rest is in force
    change(&server, "2 Mbit/s", "3 Mbit/s");
    change(&server, "[server]\n", "[server]\nmax_connections = 77\n");
    for round in 0..2 {
        let part = server.run(&["reload", "--json"]);
        assert_eq!(part.status.code(), Some(3), "{}", said(&part));
        let answer: Value = serde_json::from_slice(&part.stdout).unwrap();
        assert_eq!(answer["restart"][0]["key"], "server.max_connections", "{answer}");
        assert_eq!(answer["restart"].as_array().unwrap().len(), 1);
        assert_eq!(answer["changed"].as_array().unwrap().len(), 1 - round, "{answer}");
    }
    assert_eq!(rate(&server), "3 Mbit/s");
    assert!(ask(&mut kept).starts_with("HTTP/1.1 200"), "no connection was dropped");
}

#[test]
fn a_wrong_configuration_changes_nothing_and_every_mistake_is_named() {
    let server = Server::started("[bandwidth]\nrate = \"8 Mbit/s\"\n");
    change(&server, "8 Mbit/s\"", "2 Mbit/s\"\nrat = 1\n[content]\nfetch = \"sometimes\"");
    let refused = server.run(&["reload"]);
    // the command itself reads the configuration first
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    let answer = server.api("POST", "/reload", Some(&serde_json::json!({})));
    assert_eq!(answer.status, 400, "{}", answer.text());
    for wrong in ["bandwidth.rat", "content.fetch"] {
        assert!(said(&refused).contains(wrong), "{}", said(&refused));
        assert!(answer.text().contains(wrong), "{}", answer.text());
    }
    assert_eq!(rate(&server), "8 Mbit/s");
    change(&server, "\nrat = 1\n[content]\nfetch = \"sometimes\"", "");
    let pid = rustix::process::Pid::from_raw(server.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let began = std::time::Instant::now();
    while rate(&server) != "2 Mbit/s" {
        assert!(began.elapsed() < std::time::Duration::from_mins(1), "SIGHUP did nothing: {}", server.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_will_not_work_before_it_is_tried() {
    let tasks = Tasks::new();
    let office = upstream::start(upstream::Config::default(), &Clock::system(), &tasks).await.unwrap();
    tokio::task::block_in_place(|| {
        let check = |more: &str, arguments: &[&str]| {
            let server = Server::configured(more);
            let output = server.run(&[&["check-config"], arguments].concat());
            (output.status.code(), said(&output), server.data().exists())
        };
        let upstream = |url: &str, more: &str| {
            format!(
                "[upstream]\nurl = \"{url}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n{more}\n"
            )
        };
        let good = upstream(&office.url(), "");
        let (code, text, made) = check(&good, &["--connect"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("The upstream answers") && text.contains("can be used"), "{text}");
        assert!(text.contains("Time zone in force"), "{text}");
        assert!(!made, "a check makes no folder");
        let unknown = upstream(&office.url(), "products = [\"Windows 3.11\"]\nlanguages = [\"en\", \"tlh\"]");
        let (code, text, _) = check(&unknown, &["--connect"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("\"Windows 3.11\"") && text.contains("tlh"), "{text}");
        let (code, text, _) =
            check(&upstream(&format!("http://127.0.0.1:{}", dead_port()), ""), &["--connect"]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("127.0.0.1") && !text.contains("can be used."), "{text}");
        let (code, text, _) = check(&format!("{good}[content]\nmin_free = \"900 PB\"\n"), &[]);
        assert!(code == Some(2) && text.contains("content.min_free"), "{text}");
        let server = Server::configured(&good);
        std::fs::write(server.data(), b"a file").unwrap();
        let output = server.run(&["check-config", "--json"]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["usable"], false);
        assert!(answer["mistakes"][0].as_str().unwrap().contains("server.data_dir"), "{answer}");
        // a log filter for a part that does not exist would be silent for ever
        let (_, text, _) = check(&format!("{good}[log]\nfilter = \"info,tailwater::upsteam=debug\"\n"), &[]);
        assert!(text.contains("tailwater::upsteam"), "{text}");
    });
}
