//! What one server decides holds on the replicas below it and reaches the agents of the last, and what those ask for
//! crosses each hop once ([MS-WSUSSS] 3.1.4.10, 3.2.4.3).

use std::time::Duration;

use serde_json::{Value, json};
use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::{clients, upstream};
use tokio::runtime::Runtime;

use crate::server::{Server, said};

/// An office with generated updates, and three servers in a row below it: the first decides.
struct Chain {
    runtime: Runtime,
    tasks: Tasks,
    office: upstream::Running,
    levels: [Server; 3],
}

/// `tailwater` says whether servers of one kind speak their own way.
fn below(url: &str, mode: &str, tailwater: &str) -> String {
    format!(
        "[upstream]\nurl = \"{url}\"\nmode = \"{mode}\"\ntailwater = \"{tailwater}\"\nschedule = []\n\
         classifications = []\nproxy = \"none\"\n"
    )
}

fn json(server: &Server, arguments: &[&str]) -> Value {
    let output = server.run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Chain {
    fn new(tailwater: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let tasks = Tasks::new();
        let config = upstream::Config {
            updates: 30,
            definitions: 1,
            definition_files: 6,
            mean_size: ByteCount(100_000),
            ..upstream::Config::default()
        };
        let office = runtime.block_on(upstream::start(config, &Clock::system(), &tasks)).unwrap();
        let first = Server::started(&below(&office.url(), "autonomous", tailwater));
        let second = Server::started(&below(&format!("http://{}", first.agents()), "replica", tailwater));
        let third = Server::started(&below(&format!("http://{}", second.agents()), "replica", tailwater));
        let chain = Self { runtime, tasks, office, levels: [first, second, third] };
        json(&chain.levels[0], &["sync"]);
        chain.travel();
        chain
    }

    /// The replicas synchronise, one after the other.
    fn travel(&self) -> [Value; 2] {
        [json(&self.levels[1], &["sync"]), json(&self.levels[2], &["sync"])]
    }

    /// Agents of the last server scan, and download what is approved for them.
    fn agents(&self) -> clients::Report {
        let fleet = clients::Config {
            server: format!("http://{}", self.levels[2].agents()),
            count: 3,
            parallel: 3,
            download: true,
            ..clients::Config::default()
        };
        let report = self.runtime.block_on(clients::run(fleet, &Clock::system(), &self.tasks));
        assert_eq!((report.agents_done, report.files_wrong), (3, 0), "{:?}", report.failures);
        report
    }

    fn end(self) {
        assert!(self.runtime.block_on(self.tasks.shut_down(Duration::from_secs(10))));
    }
}

fn updates(server: &Server) -> Vec<Value> {
    json(server, &["updates", "list", "--limit", "1000"])["updates"].as_array().unwrap().clone()
}

/// Approvals with their identities, and what is declined: what must be equal everywhere.
fn decided(server: &Server) -> Value {
    let rows = updates(server).into_iter().map(|update| {
        let approvals = update["approvals"].as_array().unwrap().iter().map(|approval| {
            let fields = ["approval_id", "group_id", "group", "action", "deadline", "made_by"];
            json!(fields.map(|field| approval[field].clone()))
        });
        let approvals: Vec<Value> = approvals.collect();
        json!([update["update_id"], approvals, update["declined"].is_null()])
    });
    let mut rows: Vec<Value> = rows.collect();
    rows.sort_by_key(ToString::to_string);
    Value::Array(rows)
}

/// Every revision with the hash of its document.
fn revisions(server: &Server) -> Vec<String> {
    let listed = server.api("GET", "/revisions?documents=true", None).json();
    let mut rows: Vec<String> =
        listed["revisions"].as_array().unwrap().iter().map(ToString::to_string).collect();
    assert!(rows.iter().all(|row| row.contains("document_sha256")));
    rows.sort_unstable();
    rows
}

fn usable(server: &Server, count: usize) -> Vec<String> {
    let usable = updates(server).into_iter().filter(|update| {
        update["approvable"] == true && update["state"] == "unapproved" && update["superseded"] == false
    });
    usable.take(count).map(|update| update["update_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_approval_at_the_top_reaches_agents_at_the_end_and_content_crosses_each_hop_once() {
    reaches_the_end(Chain::new("off"));
}

#[test]
fn the_same_between_tailwaters_in_their_own_way() {
    reaches_the_end(Chain::new("sync"));
}

fn reaches_the_end(chain: Chain) {
    let all = revisions(&chain.levels[0]);
    assert!(
        chain.levels[1..].iter().all(|level| revisions(level) == all),
        "not the same documents everywhere"
    );
    assert_eq!(chain.agents().files, 0, "nothing is approved");

    let [first, second, third] = &chain.levels;
    let some = usable(first, 9);
    json(first, &["groups", "create", "Pilot"]);
    let approve = ["updates", "approve", "--accept-license", "--group"];
    let names = |range: std::ops::Range<usize>| some[range].iter().map(String::as_str).collect::<Vec<_>>();
    json(first, &[&approve[..], &["All Computers"], &names(0..8)].concat());
    json(first, &[&approve[..], &["Pilot", "--deadline", "2031-01-01T00:00:00Z"], &names(0..2)].concat());
    json(first, &["updates", "decline", &some[8]]);
    let synced = chain.travel();
    assert!(synced.iter().all(|report| report["stored"] == 0), "decisions bring no metadata: {synced:?}");
    assert!(decided(second) == decided(first) && decided(third) == decided(first), "{}", decided(third));

    let served =
        |server: &Server| server.api("GET", "/status", None).json()["served"]["bytes"].as_u64().unwrap();
    let before = [served(first), served(second)];
    let report = chain.agents();
    assert!(report.files > 0, "{report:?}");
    let crossed = [served(first) - before[0], served(second) - before[1]];
    assert_eq!(crossed[0], crossed[1], "what the last server lacked");
    assert_eq!(chain.office.counters().content_bytes, crossed[0], "and no more of it from the top");
    chain.agents();
    assert_eq!([served(first) - before[0], served(second) - before[1]], crossed, "it is held now");

    json(first, &["updates", "undecline", &some[8]]);
    json(first, &[&["updates", "unapprove"][..], &names(0..8)].concat());
    chain.travel();
    assert!(decided(third) == decided(first), "{}", decided(third));
    assert_eq!(chain.agents().files, 0, "nothing is approved any more");
    chain.end();
}

#[test]
fn a_replica_refuses_to_decide_and_holds_back_for_its_own_site() {
    let chain = Chain::new("off");
    let [first, second, third] = &chain.levels;
    let one = usable(first, 1).remove(0);
    json(first, &["updates", "approve", &one, "--group", "All Computers"]);
    chain.travel();
    let before = decided(second);
    let url = second.api("GET", "/status", None).json()["upstream"].as_str().unwrap().to_owned();
    for (method, path, body) in [
        ("POST", "/updates/approve", json!({ "updates": [one], "group": "All Computers" })),
        ("POST", "/updates/unapprove", json!({ "updates": [one] })),
        ("POST", "/updates/decline", json!({ "updates": [one] })),
        ("POST", "/updates/undecline", json!({ "updates": [one] })),
        ("POST", "/groups", json!({ "name": "Mine" })),
    ] {
        let refused = second.api(method, path, Some(&body));
        assert_eq!(refused.status, 409, "{path}");
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(&url) && message.contains("updates hold"), "{message}");
    }
    let refused = second.run(&["updates", "decline", &one]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains(&url), "{}", said(&refused));
    assert!(decided(second) == before, "nothing changed");

    let offered = |server: &Server| json(server, &["updates", "show", &one])["state"].clone();
    json(second, &["updates", "hold", &one, "--reason", "not during the fair"]);
    assert_eq!(offered(second), "held");
    assert_eq!(json(second, &["updates", "list", "--state", "held"])["total"], 1);
    chain.travel();
    assert_eq!((offered(first), offered(third)), (json!("approved"), json!("unapproved")));
    let below = json(third, &["updates", "show", &one])["approvals"][0]["action"].clone();
    assert_eq!(below, "detect", "what is held above is not installed below");
    json(second, &["updates", "release", &one]);
    chain.travel();
    assert!(decided(third) == decided(first), "{}", decided(third));
    chain.end();
}

#[test]
fn changing_the_mode_keeps_what_is_held() {
    let mut chain = Chain::new("sync");
    let one = usable(&chain.levels[0], 1).remove(0);
    json(&chain.levels[0], &["updates", "approve", &one, "--group", "All Computers"]);
    chain.travel();
    let change = |server: &mut Server, from: &str, to: &str| {
        let text = std::fs::read_to_string(server.config()).unwrap();
        assert!(server.stop());
        std::fs::write(server.config(), text.replace(from, to)).unwrap();
        server.start();
    };
    change(&mut chain.levels[2], "\"replica\"", "\"autonomous\"");
    let [first, _, third] = &chain.levels;
    assert!(decided(third) == decided(first), "what was taken over stays");
    json(third, &["groups", "create", "Mine"]);
    json(third, &["updates", "decline", &one]);
    assert_eq!(json(third, &["sync"])["stored"], 0);
    assert!(decided(third) != decided(first), "and is its own to change");
    change(&mut chain.levels[2], "\"autonomous\"", "\"replica\"");
    let [first, _, third] = &chain.levels;
    assert_eq!(json(third, &["sync"])["stored"], 0);
    assert!(decided(third) == decided(first), "{}", decided(third));
    assert_eq!(json(third, &["groups", "list"])["groups"].as_array().unwrap().len(), 2);

    // decided here, and never synchronised while it might
    change(&mut chain.levels[2], "\"replica\"", "\"autonomous\"");
    json(&chain.levels[2], &["updates", "decline", &one]);
    change(&mut chain.levels[2], "\"autonomous\"", "\"replica\"");
    let [first, _, third] = &chain.levels;
    assert_eq!(json(third, &["sync"])["stored"], 0);
    assert!(decided(third) == decided(first), "{}", decided(third));
    chain.end();
}
