//! A command means the same whether a server runs or not, and its status says how it ended.

use serde_json::Value;
use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream;

use crate::server::{Server, said};

async fn office(tasks: &Tasks) -> upstream::Running {
    let config = upstream::Config {
        updates: 30,
        mean_size: ByteCount(20_000),
        definitions: 1,
        definition_files: 6,
        ..upstream::Config::default()
    };
    upstream::start(config, &Clock::system(), tasks).await.unwrap()
}

fn configuration(office: &upstream::Running) -> String {
    format!("[upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n", office.url())
}

fn json(server: &Server, arguments: &[&str]) -> Value {
    let output = server.run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Synchronises, decides, fetches; what is seen afterwards must not depend on who did it.
fn use_it(server: &Server) {
    let synced = json(server, &["sync"]);
    assert_eq!(synced["outcome"], "complete", "{synced}");
    assert_eq!(json(server, &["sync"])["stored"], 0, "nothing twice");
    let listed = json(server, &["updates", "list", "--limit", "1000"]);
    let updates: Vec<&Value> =
        listed["updates"].as_array().unwrap().iter().filter(|u| u["approvable"] == true).collect();
    let first = updates[0]["update_id"].as_str().unwrap();
    json(server, &["groups", "create", "Pilot"]);
    json(server, &["updates", "approve", first, "--group", "pilot", "--deadline", "2030-01-01T18:00:00Z"]);
    let shown = json(server, &["updates", "show", first]);
    assert_eq!(shown["approvals"][0]["group"], "Pilot");
    assert_eq!(shown["approvals"][0]["deadline"], "2030-01-01T18:00:00Z");
    json(server, &["content", "fetch", first]);
    let shown = json(server, &["updates", "show", first]);
    assert!(shown["files"].as_array().unwrap().iter().all(|file| file["state"] == "verified"), "{shown}");
    assert_eq!(json(server, &["content", "verify"])["report"]["damaged"], Value::Array(Vec::new()));
    let second = updates[1]["update_id"].as_str().unwrap();
    json(server, &["updates", "decline", second]);
    assert_eq!(json(server, &["updates", "list", "--state", "declined"])["total"], 1);
    let part = server.run(&["updates", "undecline", second, "KB99999999"]);
    assert_eq!(part.status.code(), Some(1), "{}", said(&part));
    assert!(
        said(&part).contains("nothing was changed") && said(&part).contains("KB99999999"),
        "{}",
        said(&part)
    );
    assert_eq!(json(server, &["updates", "list", "--state", "declined"])["total"], 1, "all or nothing");
    json(server, &["updates", "undecline", second]);
    let none = server.run(&["updates", "approve", "KB99999999", "--group", "Pilot"]);
    assert_eq!(none.status.code(), Some(1), "{}", said(&none));
    let nobody = server.run(&["updates", "approve", first, "--group", "Nobody"]);
    assert!(!nobody.status.success() && said(&nobody).contains("groups list"), "{}", said(&nobody));
    let when = server.run(&["updates", "approve", first, "--group", "Pilot", "--deadline", "soon"]);
    assert_eq!(when.status.code(), Some(2), "{}", said(&when));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_mean_the_same_with_and_without_a_server() {
    let tasks = Tasks::new();
    let office = office(&tasks).await;
    let with = Server::started(&configuration(&office));
    let without = Server::configured(&configuration(&office));
    tokio::task::block_in_place(|| {
        use_it(&with);
        use_it(&without);
        for arguments in
            [&["status"][..], &["categories", "list"], &["computers", "list"], &["sync", "history"]]
        {
            json(&with, arguments);
            json(&without, arguments);
        }
        let of = |server: &Server| json(server, &["status"])["catalog"].clone();
        for count in ["revisions", "updates", "approved", "declined"] {
            assert_eq!(of(&with)[count], of(&without)[count], "{count}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_approved_is_fetched_ahead_when_the_policy_says_so() {
    let tasks = Tasks::new();
    let office = office(&tasks).await;
    let server = Server::started(&format!("{}[content]\nfetch = \"approved\"\n", configuration(&office)));
    tokio::task::block_in_place(|| {
        json(&server, &["sync"]);
        let listed = json(&server, &["updates", "list", "--limit", "1000"]);
        let row = listed["updates"].as_array().unwrap().iter().find(|u| u["approvable"] == true).unwrap();
        let id = row["update_id"].as_str().unwrap();
        json(&server, &["updates", "approve", id, "--group", "All Computers"]);
        let held = || {
            let shown = json(&server, &["updates", "show", id]);
            // what agents only ever read ranges of comes with demand
            let whole = |file: &&Value| !file["name"].as_str().unwrap().contains(".psf");
            shown["files"].as_array().unwrap().iter().filter(whole).all(|file| file["state"] == "verified")
        };
        let began = std::time::Instant::now();
        while !held() {
            assert!(
                began.elapsed() < std::time::Duration::from_mins(1),
                "not fetched ahead: {}",
                server.log()
            );
        }
    });
}
