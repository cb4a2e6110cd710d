//! A client's miss fetches what is approved; downstream servers, which have approvals of their own, get every declared file.

use serde_json::{Value, json};
use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream::{self, Config};

use crate::server::{Server, said};

const ALL: &str = "a0a08746-4dbe-4a37-9adf-9e7652c0b421";

fn office() -> (tokio::runtime::Runtime, upstream::Running) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config {
        updates: 12,
        definitions: 1,
        drivers: 0,
        mean_size: ByteCount(300_000),
        ..Config::default()
    };
    let office = runtime.block_on(upstream::start(config, &Clock::system(), &Tasks::new())).unwrap();
    (runtime, office)
}

fn below(url: &str, more: &str) -> Server {
    let server = Server::started(&format!(
        "[upstream]\nurl = \"{url}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n{more}"
    ));
    synchronise(&server);
    server
}

fn synchronise(server: &Server) {
    let synchronised = server.run(&["sync"]);
    assert!(synchronised.status.success(), "{}", said(&synchronised));
}

/// Updates that can be approved, each with the paths of all its payloads, those of its members too.
fn updates(server: &Server) -> Vec<(String, Vec<String>)> {
    let listed = server.api("GET", "/updates?limit=100", None).json();
    let approvable =
        listed["updates"].as_array().unwrap().iter().filter(|update| update["approvable"] == true);
    let found = approvable.map(|update| {
        let id = update["update_id"].as_str().unwrap().to_owned();
        let detail = server.api("GET", &format!("/updates/{id}"), None).json();
        let files = detail["files"].as_array().unwrap().iter().map(path_of).collect::<Vec<_>>();
        (id, files)
    });
    found.filter(|(_, files)| !files.is_empty()).collect()
}

fn path_of(file: &Value) -> String {
    let (sha1, name) = (file["sha1"].as_str().unwrap(), file["name"].as_str().unwrap());
    format!("/Content/{}/{sha1}.{}", &sha1[38..], name.rsplit('.').next().unwrap())
}

fn get(server: &Server, path: &str, more: &str) -> u16 {
    server.ask_agents("GET", path, &format!("Host: here\r\n{more}")).status
}

fn decide(server: &Server, verb: &str, body: &Value) {
    let answer = server.api("POST", &format!("/updates/{verb}"), Some(body));
    assert!(answer.status < 300, "{verb}: {}", answer.text());
}

#[test]
fn what_is_not_approved_is_not_fetched_and_what_is_held_is_served() {
    let (_runtime, office) = office();
    let server = below(&office.url(), "");
    let all = updates(&server);
    let (first, files) = &all[0];
    let part = "Range: bytes=0-9\r\n";
    for path in all.iter().flat_map(|(_, files)| files) {
        assert_eq!(get(&server, path, ""), 404, "{path}");
        assert_eq!(get(&server, path, part), 404);
        assert_eq!(server.ask_agents("HEAD", path, "Host: here\r\n").status, 404);
    }
    assert_eq!(office.counters().content_requests, 0, "nothing was asked for");
    decide(&server, "approve", &json!({ "updates": [first], "group": ALL, "accept_license": true }));
    for path in files {
        assert_eq!(get(&server, path, part), 206, "{path}");
        assert_eq!(get(&server, path, ""), 200);
    }
    // the others are as before
    let (second, others) =
        all.iter().find(|(_, others)| others.iter().all(|path| !files.contains(path))).unwrap();
    assert_eq!(get(&server, &others[0], ""), 404);
    // taken back, what is held is served all the same
    decide(&server, "unapprove", &json!({ "updates": [first], "group": ALL }));
    assert_eq!(get(&server, &files[0], ""), 200);
    // held back on this site, an approval fetches nothing
    decide(&server, "hold", &json!({ "updates": [second] }));
    decide(&server, "approve", &json!({ "updates": [second], "group": ALL, "accept_license": true }));
    assert_eq!(get(&server, &others[0], ""), 404);
    decide(&server, "release", &json!({ "updates": [second] }));
    assert_eq!(get(&server, &others[0], ""), 200);
}

#[test]
fn anything_is_fetched_where_the_configuration_says_so() {
    let (_runtime, office) = office();
    let server = below(&office.url(), "[content]\ndemand = \"anything\"\n");
    let all = updates(&server);
    assert_eq!(get(&server, &all[0].1[0], ""), 200);
}

#[test]
fn a_chain_gets_what_its_ends_approve() {
    let (_runtime, office) = office();
    for tailwater in ["follow", "off"] {
        let head = below(&office.url(), "");
        let url = format!("http://{}", head.agents());
        let branch = below(&url, &format!("tailwater = \"{tailwater}\"\n"));
        let all = updates(&branch);
        let (first, files) = &all[0];
        assert_eq!(get(&branch, &files[0], ""), 404, "the branch has no approval");
        decide(&branch, "approve", &json!({ "updates": [first], "group": ALL, "accept_license": true }));
        for path in files {
            assert_eq!(
                get(&branch, path, ""),
                200,
                "the head office has no approval, and a server asks: {tailwater}"
            );
        }
    }
}
