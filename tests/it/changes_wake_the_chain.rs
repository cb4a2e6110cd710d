//! What happens at the top is known at the last of a row of tailwaters within seconds, whatever their schedules say.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream;

use crate::server::{Server, said};

/// The acceptance of the whole is a minute at depth four; this machine may be busy.
const PATIENCE: Duration = Duration::from_mins(1);

fn json(server: &Server, arguments: &[&str]) -> Value {
    let output = server.run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn below(url: &str, mode: &str) -> String {
    format!(
        "[upstream]\nurl = \"{url}\"\nmode = \"{mode}\"\nschedule = []\nclassifications = []\nproxy = \"none\"\n"
    )
}

fn revisions(server: &Server) -> u64 {
    server.api("GET", "/status", None).json()["catalog"]["revisions"].as_u64().unwrap_or_default()
}

fn approved(server: &Server) -> u64 {
    server.api("GET", "/status", None).json()["catalog"]["approved"].as_u64().unwrap_or_default()
}

fn within(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what} took longer than {PATIENCE:?}");
        std::thread::yield_now();
    }
    began.elapsed()
}

#[test]
fn an_approval_and_new_updates_reach_the_last_of_four() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tasks = Tasks::new();
    let config = upstream::Config {
        updates: 10,
        definitions: 0,
        drivers: 0,
        mean_size: ByteCount(2_000),
        ..upstream::Config::default()
    };
    let office = runtime.block_on(upstream::start(config, &Clock::system(), &tasks)).unwrap();
    let mut levels = vec![Server::started(&below(&office.url(), "autonomous"))];
    json(&levels[0], &["sync"]);
    for _ in 0..3 {
        let url = format!("http://{}", levels.last().unwrap().agents());
        let next = Server::started(&below(&url, "replica"));
        json(&next, &["sync"]);
        levels.push(next);
    }
    let [first, .., last] = &levels[..] else { panic!() };
    let listed = json(first, &["updates", "list", "--limit", "1000"]);
    let update =
        listed["updates"].as_array().unwrap().iter().find(|update| update["approvable"] == true).unwrap();
    let id = update["update_id"].as_str().unwrap();
    let body = json!({ "updates": [id], "group": "All Computers", "action": "install" });
    let answer = first.api("POST", "/updates/approve", Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let took = within("an approval", || approved(last) == 1);
    println!("an approval reached the fourth level in {took:?}");

    let before = revisions(last);
    office.publish(3);
    json(first, &["sync"]);
    let expected = revisions(first);
    assert!(expected > before);
    let took = within("new updates", || revisions(last) == expected);
    println!("new updates reached the fourth level in {took:?}");
    drop(levels);
    assert!(runtime.block_on(tasks.shut_down(Duration::from_secs(10))));
}
