//! What a decision will do is shown before, what must not happen unasked is refused, and what remains is said.

use serde_json::{Value, json};
use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream;

use crate::server::{Server, said};

/// A server that has synchronised 60 updates; of those with numbers 7 and 47 there are license terms.
fn synchronised() -> (tokio::runtime::Runtime, Server) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = upstream::Config {
        updates: 60,
        drivers: 0,
        definitions: 0,
        mean_size: ByteCount(2_000),
        ..upstream::Config::default()
    };
    let office = runtime.block_on(upstream::start(config, &Clock::system(), &Tasks::new())).unwrap();
    let server = Server::started(&format!(
        "[upstream]\nurl = \"{}\"\nproducts = []\nclassifications = []\nschedule = []\nproxy = \"none\"\n",
        office.url()
    ));
    let synced = server.run(&["sync"]);
    assert!(synced.status.success(), "{}", said(&synced));
    (runtime, server)
}

fn ended(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let output = server.run(arguments);
    (output.status.code(), said(&output))
}

fn read(server: &Server, arguments: &[&str]) -> Value {
    let output = server.run(&[arguments, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
}

fn count(server: &Server, state: &str, text: &str) -> u64 {
    read(server, &["updates", "list", "--state", state, "--text", text])["total"].as_u64().unwrap()
}

fn codes(answer: &Value) -> Vec<&str> {
    answer["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

#[test]
fn all_matches_are_shown_and_confirmed_whatever_is_decided() {
    let (_runtime, server) = synchronised();
    let text = "for Windows 11";
    let listed = read(&server, &["updates", "list", "--text", text, "--limit", "1000"]);
    let total = listed["total"].as_u64().unwrap();
    assert!(total > 3, "{listed}");
    let titles = listed["updates"].as_array().unwrap().iter().map(|row| row["title"].as_str().unwrap());
    assert!(titles.clone().all(|title| title.contains("for Windows 11")), "{:?}", titles.collect::<Vec<_>>());
    // the command, and the state in which it leaves what it changes, if that has a name
    let table: [(&[&str], Option<&str>); 6] = [
        (&["approve", "--group", "All Computers"], Some("approved")),
        (&["unapprove", "--group", "All Computers"], Some("unapproved")),
        (&["hold", "--reason", "test"], Some("held")),
        (&["release"], None),
        (&["decline"], Some("declined")),
        (&["undecline"], Some("unapproved")),
    ];
    for (command, state) in table {
        let before = state.map(|state| count(&server, state, text));
        let command = [&["updates"], command, &[text, "--all-matches"]].concat();
        let (status, told) = ended(&server, &command);
        assert_eq!(status, Some(1), "{command:?}: {told}");
        assert!(
            told.contains("--yes") && told.contains("Windows 11 (") | told.contains("Windows 11"),
            "{told}"
        );
        let refused = read(&server, &command)["error"].clone();
        assert_eq!(refused["count"], total, "{command:?}: {refused}");
        assert_eq!(refused["candidates"].as_array().unwrap().len() as u64, total);
        assert_eq!(state.map(|state| count(&server, state, text)), before, "nothing was changed");
        let done = read(&server, &[&command[..], &["--yes"]].concat());
        assert_eq!((&done["count"], done["done"].as_array().unwrap().len() as u64), (&json!(total), total));
        if let Some(state) = state {
            assert_eq!(count(&server, state, text), total, "{command:?}");
        }
    }
    let others = read(&server, &["updates", "list", "--state", "approved"]);
    assert_eq!(others["total"], 0, "nothing else was touched: {others}");
    let again = read(&server, &["updates", "undecline", text, "--all-matches"]);
    assert_eq!(again["count"], 0, "what changes nothing needs no word: {again}");
}

#[test]
fn license_terms_are_accepted_once_or_the_approval_is_refused() {
    let (_runtime, server) = synchronised();
    let approve = ["updates", "approve", "--group", "All Computers"];
    let shown = read(&server, &["updates", "show", "KB5030007"]);
    assert_eq!((&shown["license"]["required"], &shown["license"]["accepted"]), (&json!(true), &json!(false)));
    let (status, told) = ended(&server, &[&approve[..], &["KB5030007"]].concat());
    assert!(status == Some(1) && told.contains("--accept-license"), "{status:?} {told}");
    // with others that are named: all of them or none
    let (status, told) = ended(&server, &[&approve[..], &["KB5030007", "KB5030008"]].concat());
    assert!(status == Some(1) && told.contains("--accept-license"), "{status:?} {told}");
    assert!(told.contains("nothing was changed"), "{told}");
    assert_eq!(read(&server, &["updates", "show", "KB5030008"])["state"], "unapproved");
    assert_eq!(read(&server, &["updates", "show", "KB5030007"])["state"], "unapproved");
    let body = json!({ "updates": ["KB5030007"], "group": "All Computers" });
    assert_eq!(server.api("POST", "/updates/approve", Some(&body)).status, 409);
    let dry = read(&server, &[&approve[..], &["KB5030007", "--dry-run"]].concat());
    assert!(codes(&dry).contains(&"license") && dry["licenses"][0]["terms"].is_array(), "{dry}");
    assert_eq!(read(&server, &["updates", "show", "KB5030007"])["license"]["accepted"], false, "it was dry");
    let done = read(&server, &[&approve[..], &["KB5030007", "--accept-license"]].concat());
    assert_eq!((&done["count"], codes(&done).contains(&"license")), (&json!(1), false), "{done}");
    let shown = read(&server, &["updates", "show", "KB5030047"]);
    assert_eq!(shown["license"]["accepted"], true, "the same terms: {shown}");
    assert!(shown["license"]["terms"][0]["accepted_by"].is_string());
    let (status, told) = ended(&server, &[&approve[..], &["KB5030047"]].concat());
    assert_eq!(status, Some(0), "{told}");
}

#[test]
fn warnings_come_before_the_harm_and_with_it() {
    let (_runtime, server) = synchronised();
    for arguments in [&["Office"][..], &["Desk", "--parent", "Office"], &["Empty"]] {
        read(&server, &[&["groups", "create"], arguments].concat());
    }
    let superseded = read(&server, &["updates", "list", "--state", "superseded"])["updates"][0].clone();
    let id = superseded["update_id"].as_str().unwrap();
    let approve = |more: &[&str]| {
        read(&server, &[&["updates", "approve", id, "--accept-license", "--group"], more].concat())
    };
    let past = ["Office", "--deadline", "2020-01-01T00:00:00Z"];
    let dry = approve(&[&past[..], &["--dry-run"]].concat());
    for code in ["superseded", "deadline_past", "no_computers"] {
        assert!(codes(&dry).contains(&code), "{code}: {dry}");
    }
    assert_eq!(read(&server, &["updates", "show", id])["state"], "unapproved");
    let (status, told) =
        ended(&server, &[&["updates", "approve", id, "--accept-license", "--group"], &past[..]].concat());
    assert!(status == Some(0) && told.contains("warning: ") && told.contains("is past"), "{told}");
    // a wrong name is answered with the right one
    let (status, told) = ended(&server, &["updates", "approve", id, "--group", "Ofice"]);
    assert!(status == Some(1) && told.contains("\"Office\""), "{told}");
    let (_, told) = ended(&server, &["updates", "list", "--product", "Windows 11x"]);
    assert!(told.contains("\"Windows 11\""), "{told}");
    // what is approved above stays
    approve(&["Desk"]);
    let left = read(&server, &["updates", "unapprove", id, "--group", "Desk"]);
    let inherited =
        left["warnings"].as_array().unwrap().iter().find(|one| one["code"] == "inherited").unwrap();
    assert_eq!((&left["count"], &inherited["group"]), (&json!(1), &json!("Office")), "{left}");
    assert!(inherited["message"].as_str().unwrap().contains("--action not-approved"));
    let none = read(&server, &["updates", "unapprove", id, "--group", "Desk"]);
    assert!(none["count"] == 0 && codes(&none).contains(&"inherited"), "{none}");
    // not approved is a decision of its own
    approve(&["Desk", "--action", "not-approved"]);
    let shown = read(&server, &["updates", "show", id]);
    let decided = |group: &str| {
        let approvals = shown["approvals"].as_array().unwrap().iter();
        approvals.filter(|one| one["group"] == group).map(|one| one["action"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((decided("Office"), decided("Desk")), (vec![json!("install")], vec![json!("not_approved")]));
    assert!(codes(&approve(&["Office", "--dry-run"])).contains(&"overridden"));
    assert!(codes(&approve(&["Empty", "--action", "not-approved", "--dry-run"])).contains(&"no_effect"));
    let body = json!({ "updates": [id], "dry_run": true });
    let decline = server.api("POST", "/updates/decline", Some(&body)).json();
    assert!(codes(&decline).contains(&"approved") && decline["count"] == 1, "{decline}");
    read(&server, &["updates", "decline", id, "--yes"]);
    assert!(codes(&approve(&["Office", "--dry-run"])).contains(&"declined"));
    // what its publisher expired cannot be approved, and says so before
    let expired = read(&server, &["updates", "list", "--state", "expired"])["updates"][0].clone();
    let expired = expired["update_id"].as_str().unwrap();
    let dry = read(&server, &["updates", "approve", expired, "--group", "Office", "--dry-run"]);
    assert!(dry["count"] == 0 && dry["failed"][0]["error"].as_str().unwrap().contains("expired"), "{dry}");
}

#[test]
fn groups_are_a_tree_that_is_changed_knowingly() {
    let (_runtime, server) = synchronised();
    for arguments in
        [&["Office"][..], &["Desk", "--parent", "Office"], &["Corner", "--parent", "Desk"], &["Shop"]]
    {
        read(&server, &[&["groups", "create"], arguments].concat());
    }
    let drawn = || {
        let told = said(&server.run(&["groups", "list"]));
        let lines = told.lines().skip(1).map(|line| {
            line.split("  ").fold((0, String::new()), |(depth, name), part| {
                if !name.is_empty() {
                    (depth, name)
                } else if part.is_empty() {
                    (depth + 1, name)
                } else {
                    (depth, part.to_owned())
                }
            })
        });
        lines
            .filter(|(_, name)| ["Office", "Desk", "Corner", "Shop"].contains(&name.as_str()))
            .collect::<Vec<_>>()
    };
    let tree = |rows: &[(usize, &str)]| {
        rows.iter().map(|(depth, name)| (*depth, (*name).to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(drawn(), tree(&[(1, "Office"), (2, "Desk"), (3, "Corner"), (1, "Shop")]));
    let (status, told) = ended(&server, &["groups", "move", "Desk", "Corner"]);
    assert!(status == Some(1) && told.contains("Corner"), "{told}");
    read(&server, &["groups", "move", "Desk", "Shop"]);
    read(&server, &["groups", "rename", "Desk", "Counter"]);
    let body = json!({ "name": "Desk", "parent": "Shop" });
    assert_eq!(server.api("PATCH", "/groups/Counter", Some(&body)).json()["parent"], "Shop");
    assert_eq!(drawn(), tree(&[(1, "Office"), (1, "Shop"), (2, "Desk"), (3, "Corner")]));
    assert_eq!(server.api("PATCH", "/groups/Desk", Some(&json!({ "name": "OFFICE" }))).status, 400);
    assert_eq!(server.api("PATCH", "/groups/Desk", Some(&json!({}))).status, 400);
    let (status, told) = ended(&server, &["groups", "remove", "Shop"]);
    assert!(
        status == Some(1) && told.contains("Desk") && told.contains("Corner") && told.contains("--yes"),
        "{told}"
    );
    let dry = server.api("DELETE", "/groups/Shop?dry_run=true", None).json();
    assert_eq!((dry["groups"].as_array().unwrap().len(), &dry["takes_more"]), (3, &json!(true)), "{dry}");
    assert_eq!(drawn().len(), 4, "nothing went");
    read(&server, &["groups", "remove", "Shop", "--yes"]);
    assert_eq!(drawn(), tree(&[(1, "Office")]));
    assert_eq!(
        ended(&server, &["groups", "remove", "Office"]).0,
        Some(0),
        "an empty group takes nothing with it"
    );
}
