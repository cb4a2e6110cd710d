//! A head office sees every computer below it, what it has, and through which servers it came; what changed travels,
//! nothing else, and what a server forgot is told again ([MS-WSUSSS] 3.2.4.5).

use std::time::Duration;

use serde_json::Value;
use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::{clients, upstream};
use tokio::runtime::Runtime;

use crate::server::{Server, said};

/// Agents of the last server.
const AGENTS: u32 = 12;
/// How long a roll-up may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn json(server: &Server, arguments: &[&str]) -> Value {
    let output = server.run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn below(url: &str, name: &str) -> String {
    format!(
        "[upstream]\nurl = \"{url}\"\nschedule = []\nclassifications = []\nproxy = \"none\"\naccount_name = \"{name}\"\n"
    )
}

/// Synchronises, and waits until the upstream was told after it.
fn travel(runtime: &Runtime, server: &Server) -> Value {
    let before = json(server, &["status"])["last_rollup"]["at"].clone();
    json(server, &["sync"]);
    let told = async {
        loop {
            let told = json(server, &["status"])["last_rollup"].clone();
            if told["at"] != before && !told.is_null() {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = runtime.block_on(async { tokio::time::timeout(PATIENCE, told).await });
    told.unwrap_or_else(|_| panic!("nothing was told: {}", server.log()))
}

fn computers(server: &Server) -> Vec<Value> {
    json(server, &["computers", "list"])["computers"].as_array().unwrap().clone()
}

#[test]
fn the_head_office_sees_each_computer_of_the_last_branch() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tasks = Tasks::new();
    let config =
        upstream::Config { updates: 30, mean_size: ByteCount(20_000), ..upstream::Config::default() };
    let office = runtime.block_on(upstream::start(config, &Clock::system(), &tasks)).unwrap();
    let head = Server::started(&below(&office.url(), "head.example"));
    let region = Server::started(&below(&format!("http://{}", head.agents()), "region.example"));
    let mut branch = Server::started(&below(&format!("http://{}", region.agents()), "branch.example"));
    json(&head, &["sync"]);
    for server in [&region, &branch] {
        assert_eq!(travel(&runtime, server)["computers"], 0);
    }

    let fleet = clients::Config {
        server: format!("http://{}", branch.agents()),
        count: AGENTS,
        ..clients::Config::default()
    };
    assert_eq!(
        runtime.block_on(clients::run(fleet, &Clock::system(), &tasks)).agents_done,
        u64::from(AGENTS)
    );
    let told = travel(&runtime, &branch);
    assert_eq!((&told["computers"], &told["statuses"]), (&AGENTS.into(), &AGENTS.into()), "{told}");
    let told = travel(&runtime, &region);
    assert_eq!((&told["servers"], &told["computers"]), (&2.into(), &AGENTS.into()), "{told}");

    let (seen, known) = (computers(&head), computers(&branch));
    assert_eq!(seen.len(), usize::try_from(AGENTS).unwrap());
    for (seen, known) in seen.iter().zip(&known) {
        let via: Vec<&str> =
            seen["via"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
        assert_eq!(via, ["region.example", "branch.example"], "{seen}");
        for field in ["computer_id", "name", "os", "needed", "installed", "failed", "groups"] {
            assert_eq!(seen[field], known[field], "{field}");
        }
        assert!(
            known["needed"].as_u64().unwrap() > 0,
            "a computer that needs nothing proves little: {known}"
        );
    }
    let states = |server: &Server, id: &str| {
        let shown = json(server, &["computers", "show", id]);
        let updates = shown["updates"].as_array().unwrap();
        let mut states: Vec<String> =
            updates.iter().map(|update| format!("{} {}", update["update_id"], update["state"])).collect();
        states.sort();
        states
    };
    let first = seen[0]["computer_id"].as_str().unwrap();
    assert_eq!(states(&head, first), states(&branch, first));

    // they are seen, but no agents of the head office
    assert_eq!(json(&head, &["computers", "list", "--ours"])["total"], 0);
    let through = json(&head, &["computers", "list", "--through", "branch.example"]);
    assert_eq!(through["total"], AGENTS);
    let whole = json(&head, &["status"]);
    assert_eq!((&whole["computers"], &whole["computers_below"]), (&0.into(), &AGENTS.into()), "{whole}");
    let last = json(&head, &["downstreams", "show", "branch.example"]);
    assert_eq!(
        (&last["direct"], &last["via"][0]["name"]),
        (&false.into(), &"region.example".into()),
        "{last}"
    );
    assert_eq!(last["summary"]["computers"], AGENTS);
    assert_eq!(json(&head, &["downstreams", "show", "region.example"])["lacks"]["revisions"], 0);

    // nothing changed: nothing is told
    let before = json(&region, &["status"])["last_rollup"].clone();
    json(&region, &["sync"]);
    assert_eq!(json(&region, &["status"])["last_rollup"], before);

    // what the region forgets is told again, and nothing of it is lost above
    json(&region, &["downstreams", "revoke", "--forget", "branch.example"]);
    assert!(computers(&region).is_empty());
    branch.stop();
    branch.start();
    assert_eq!(computers(&head).len(), usize::try_from(AGENTS).unwrap());
}
