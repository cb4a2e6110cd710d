//! Of a bundle for all machines there are, only what the computers here ask for crosses the link; of the next release that
//! much is foreseen, said before it is approved, and fetched ahead.

use std::time::{Duration, Instant};

use serde_json::Value;
use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::{clients, upstream};

use crate::server::{Server, said};

fn json(server: &Server, arguments: &[&str]) -> Value {
    let output = server.run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn eventually(what: &str, server: &Server, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_mins(1), "{what}: {}", server.log());
    }
}

/// The newest release of definitions.
fn newest(server: &Server) -> String {
    json(server, &["sync"]);
    let listed = json(server, &["updates", "list", "--text", "KB2267602"]);
    let rows = listed["updates"].as_array().unwrap();
    let row = rows.iter().max_by_key(|row| row["title"].as_str().unwrap().to_owned()).unwrap();
    row["update_id"].as_str().unwrap().to_owned()
}

fn dry_run(server: &Server, update: &str) -> Value {
    json(server, &["updates", "approve", update, "--group", "All Computers", "--dry-run"])["cost"].clone()
}

async fn computers(server: &Server, tasks: &Tasks) {
    let config = clients::Config {
        server: format!("http://{}", tokio::task::block_in_place(|| server.agents())),
        count: 2,
        kinds: 1,
        download: true,
        drivers: false,
        ..clients::Config::default()
    };
    let report = clients::run(config, &Clock::system(), tasks).await;
    assert_eq!((report.agents_failed, report.files_wrong), (0, 0), "{:?}", report.failures);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_release_comes_ahead_as_far_as_it_is_needed_and_its_cost_is_known_before() {
    let tasks = Tasks::new();
    let config = upstream::Config {
        updates: 6,
        definitions: 1,
        definition_files: 60,
        definition_size: Some(ByteCount(6_000_000)),
        drivers: 0,
        ..upstream::Config::default()
    };
    let office = upstream::start(config, &Clock::system(), &tasks).await.unwrap();
    let server = Server::started(&format!(
        "[upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n[content]\nfetch = \"learned\"\n",
        office.url()
    ));
    let first = tokio::task::block_in_place(|| {
        let first = newest(&server);
        let cost = dry_run(&server, &first);
        assert_eq!((&cost["is_upper_bound"], &cost["left"]), (&Value::Bool(true), &cost["whole"]), "{cost}");
        json(&server, &["updates", "approve", &first, "--group", "All Computers"]);
        first
    });
    computers(&server, &tasks).await;
    let crossed = office.counters().content_bytes;
    assert!(crossed > 0 && crossed < 6_000_000 / 3, "{crossed} bytes of one architecture of three");
    tokio::task::block_in_place(|| {
        eventually("what crossed is told", &server, || {
            json(&server, &["updates", "show", &first])["traffic"]["crossed"] == crossed
        });
        let learned = || json(&server, &["content", "status"])["learned"].clone();
        eventually("what was used is learned", &server, || {
            learned()[0]["lineages"][0]["files"].as_array().is_some_and(|files| files.len() == 4)
        });
        assert_eq!(learned()[0]["class"], "Windows 10.0.26100 AMD64");
    });
    office.publish_definitions(1);
    let (second, foreseen) = tokio::task::block_in_place(|| {
        let second = newest(&server);
        assert_ne!(second, first);
        let cost = dry_run(&server, &second);
        assert_eq!(cost["is_upper_bound"], false, "{cost}");
        assert_eq!(office.counters().content_bytes, crossed, "a dry run moves nothing");
        json(&server, &["updates", "approve", &second, "--group", "All Computers"]);
        (second, cost["left"].as_u64().unwrap())
    });
    tokio::task::block_in_place(|| {
        eventually("what is foreseen comes ahead", &server, || {
            json(&server, &["updates", "show", &second])["traffic"]["crossed"] == foreseen
        });
    });
    assert_eq!(office.counters().content_bytes, crossed + foreseen);
    computers(&server, &tasks).await;
    assert_eq!(office.counters().content_bytes, crossed + foreseen, "nothing was missing");
}
