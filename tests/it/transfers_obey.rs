//! An administrator can pause, hurry and give up any transfer, running or queued, and what has come is kept.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream;

use crate::server::{Server, said};

fn transfers(server: &Server) -> Vec<Value> {
    server.api("GET", "/transfers", None).json()["transfers"].as_array().unwrap().clone()
}

fn one(server: &Server, sha1: &str) -> Option<Value> {
    transfers(server).into_iter().find(|transfer| transfer["sha1"] == sha1)
}

/// Looks until it is so.
fn becomes(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::yield_now();
    }
}

fn held(server: &Server, sha1: &str) -> u64 {
    one(server, sha1).map_or(0, |transfer| transfer["held"].as_u64().unwrap())
}

fn obeys(server: &Server, arguments: &[&str]) {
    let output = server.run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
}

/// A server behind a slow link to an upstream with a dozen files.
fn site(runtime: &tokio::runtime::Runtime, tasks: &Tasks) -> (Server, upstream::Running) {
    let config = upstream::Config {
        updates: 12,
        definitions: 0,
        drivers: 0,
        mean_size: ByteCount(4_000_000),
        ..upstream::Config::default()
    };
    let office = runtime.block_on(upstream::start(config, &Clock::system(), tasks)).unwrap();
    let server = Server::started(&format!(
        "[upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n[bandwidth]\nrate = \"2 Mbit/s\"\n",
        office.url()
    ));
    (server, office)
}

#[test]
fn transfers_are_paused_hurried_and_given_up() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tasks = Tasks::new();
    let (server, _office) = site(&runtime, &tasks);
    obeys(&server, &["sync"]);
    let listed = server.api("GET", "/updates?limit=100", None).json();
    let updates: Vec<&str> = listed["updates"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|update| update["approvable"] == true)
        .map(|update| update["update_id"].as_str().unwrap())
        .collect();
    obeys(&server, &[&["content", "fetch", "--no-wait"][..], &updates[..8]].concat());
    let large =
        |one: &Value| one["state"] == "running" && one["held"] != 0 && one["size"].as_u64() > Some(2_000_000);
    becomes("a large one runs and others wait", || {
        let all = transfers(&server);
        all.iter().any(large) && all.iter().any(|one| one["state"] == "queued")
    });
    let all = transfers(&server);
    let sha1 = |found: Option<&Value>| found.unwrap()["sha1"].as_str().unwrap().to_owned();
    let running = sha1(all.iter().find(|one| large(one)));
    let queued = sha1(all.iter().rfind(|one| one["state"] == "queued"));

    // paused: nothing more comes, running or queued; the rest goes on
    obeys(&server, &["content", "pause", &running, &queued]);
    becomes("both are paused", || {
        [&running, &queued].iter().all(|sha1| one(&server, sha1).is_some_and(|one| one["state"] == "paused"))
    });
    becomes("its last request ends", || one(&server, &running).is_some_and(|one| one["flights"] == 0));
    let before = held(&server, &running);
    let others = |server: &Server| -> u64 {
        let rows = transfers(server);
        rows.iter().filter(|one| one["sha1"] != running).map(|one| one["held"].as_u64().unwrap()).sum()
    };
    let came = others(&server);
    becomes("another file goes on", || others(&server) > came);
    assert_eq!(held(&server, &running), before);

    // who asks for it is told, and when to come again
    let path = format!("/Content/{}/{queued}.cab", &queued[38..]);
    let answer = server.ask_agents("GET", &path, "Host: here\r\n");
    assert_eq!(answer.status, 503, "{}", answer.headers);

    // resumed and hurried, it comes to its end
    obeys(&server, &["content", "resume", &running[..12]]);
    obeys(&server, &["content", "raise", &running, "--class", "deadline"]);
    assert_eq!(one(&server, &running).unwrap()["class"], "deadline");
    becomes("it goes on", || held(&server, &running) != before);

    // given up, it is gone from the list, and what came is kept
    let kept = held(&server, &running);
    obeys(&server, &["content", "cancel", &running, &queued]);
    becomes("both have ended", || {
        [&running, &queued].iter().all(|sha1| one(&server, sha1).is_none_or(|one| one["state"] == "failed"))
    });
    let files = server.api("GET", "/content", None).json();
    let file =
        files["files"].as_array().unwrap().iter().find(|file| file["sha1"] == *running).unwrap().clone();
    assert!(file["held"].as_u64().unwrap() >= kept, "{file}");

    // nothing and nonsense are refused, and change nothing
    let none = server.run(&["content", "pause", "nothing.cab"]);
    assert!(none.status.code() == Some(1) && said(&none).contains("content status"), "{}", said(&none));
    let wrong = server.run(&["content", "raise", &running, "--class", "soon"]);
    assert!(wrong.status.code() == Some(2) && said(&wrong).contains("interactive"), "{}", said(&wrong));
    assert_eq!(server.api("PUT", &format!("/transfers/{running}"), Some(&json!({}))).status, 400);
    drop(server);
    assert!(runtime.block_on(tasks.shut_down(Duration::from_secs(10))));
}

#[test]
fn what_an_administrator_asked_for_goes_on_after_a_kill_and_what_was_given_up_does_not() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tasks = Tasks::new();
    let (mut server, _office) = site(&runtime, &tasks);
    obeys(&server, &["sync"]);
    let listed = server.api("GET", "/updates?limit=100", None).json();
    let updates: Vec<&str> = listed["updates"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|update| update["approvable"] == true)
        .map(|update| update["update_id"].as_str().unwrap())
        .collect();
    // on a closed link none of them ends before the list is read
    obeys(&server, &["bandwidth", "set", "--rate", "closed"]);
    obeys(&server, &[&["content", "fetch", "--no-wait"][..], &updates[..8]].concat());
    let names = |server: &Server| -> Vec<String> {
        let mut names: Vec<_> =
            transfers(server).iter().map(|one| one["sha1"].as_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    };
    let mut wanted = names(&server);
    assert!(wanted.len() > 3, "{wanted:?}");
    let given_up = wanted.pop().unwrap();
    obeys(&server, &["content", "cancel", &given_up]);
    assert!(server.stop());
    server.start();
    let are_back = |server: &Server, when: &str| {
        becomes(&format!("{wanted:?} {when}, but {:?}", names(server)), || names(server) == wanted);
    };
    are_back(&server, "after a stop");
    server.kill();
    server.start();
    are_back(&server, "after a kill");
    obeys(&server, &["bandwidth", "set", "--rate", "unlimited"]);
    becomes("all of them come", || names(&server).is_empty());
    let files = server.api("GET", "/content", None).json();
    let verified = files["files"].as_array().unwrap().iter().filter(|file| file["state"] == "verified");
    assert!(verified.count() >= wanted.len());
    drop(server);
    assert!(runtime.block_on(tasks.shut_down(Duration::from_secs(10))));
}
