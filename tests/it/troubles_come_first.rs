//! What went wrong is the first thing that is shown, and figures hold over restarts and kills.

use serde_json::Value;
use tailwater::domain::ByteCount;
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream;

use crate::server::{Server, dead_port, said};

fn status(server: &Server) -> Value {
    server.api("GET", "/status", None).json()
}

fn metrics(server: &Server) -> String {
    server.ask("GET", "/metrics", &token(server), b"").text()
}

fn token(server: &Server) -> String {
    format!("Authorization: Bearer {}\r\nHost: localhost\r\n", server.token())
}

/// The whole part of a sample's value.
fn metric(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .rsplit([' '])
        .next()
        .unwrap()
        .split('.')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_synchronisation_is_the_first_line_until_one_succeeds() {
    let tasks = Tasks::new();
    let config = upstream::Config { updates: 5, ..upstream::Config::default() };
    let office = upstream::start(config, &Clock::system(), &tasks).await.unwrap();
    let configuration = |url: &str| {
        format!("[upstream]\nurl = \"{url}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n")
    };
    tokio::task::block_in_place(|| {
        let mut server = Server::started(&configuration(&format!("http://127.0.0.1:{}", dead_port())));
        let before = status(&server);
        assert!(before["sync"]["failing"].is_null() && before["sync"]["last_success"].is_null(), "{before}");
        for times in 1..=2 {
            assert_eq!(server.run(&["sync"]).status.code(), Some(1));
            let failing = status(&server)["sync"]["failing"].clone();
            assert_eq!(
                (failing["times"].as_u64(), failing["reason"].as_str()),
                (Some(times), Some("unreachable"))
            );
            let error = failing["error"].as_str().unwrap();
            assert!(error.contains("127.0.0.1"), "{error}");
            // with a server, and without one
            for running in [true, false] {
                let shown = said(&server.run(&["status"]));
                let first = shown.lines().next().unwrap();
                assert!(first.starts_with("Warning") && first.contains("failed"), "{shown}");
                assert!(first.contains("Next step") && first.contains("upstream.url"), "{shown}");
                if running {
                    let text = metrics(&server);
                    assert_eq!(metric(&text, "tailwater_sync_failing{reason=\"unreachable\"}"), 1);
                    assert_eq!(metric(&text, "tailwater_sync_failing{reason=\"storage\"}"), 0);
                    assert_eq!(metric(&text, "tailwater_sync_last_success_timestamp_seconds"), 0);
                    assert!(server.stop());
                }
            }
            server.start();
        }
        server.stop();
        let text = std::fs::read_to_string(server.config()).unwrap();
        let url = text.lines().find(|line| line.starts_with("url")).unwrap().to_owned();
        std::fs::write(server.config(), text.replace(&url, &format!("url = \"{}\"", office.url()))).unwrap();
        server.start();
        assert!(server.run(&["sync"]).status.success());
        let after = status(&server);
        assert!(after["sync"]["failing"].is_null() && after["sync"]["last_success"].is_string(), "{after}");
        let first = said(&server.run(&["status"])).lines().next().unwrap().to_owned();
        assert!(first.starts_with("Server"), "{first}");
        let text = metrics(&server);
        assert_eq!(metric(&text, "tailwater_sync_failing{reason=\"unreachable\"}"), 0);
        assert!(metric(&text, "tailwater_sync_last_success_timestamp_seconds") > 1_700_000_000);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_and_savings_hold_over_a_restart_and_a_kill() {
    let tasks = Tasks::new();
    let config =
        upstream::Config { updates: 10, mean_size: ByteCount(200_000), ..upstream::Config::default() };
    let office = upstream::start(config, &Clock::system(), &tasks).await.unwrap();
    let head = Server::started(&format!(
        "[upstream]\nurl = \"{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n",
        office.url()
    ));
    tokio::task::block_in_place(|| {
        assert!(head.run(&["sync"]).status.success());
        let mut branch = Server::started(&format!(
            "[upstream]\nurl = \"http://{}\"\nclassifications = []\nschedule = []\nproxy = \"none\"\n",
            head.agents()
        ));
        assert!(branch.run(&["sync"]).status.success());
        let listed = branch.api("GET", "/updates?limit=1000", None).json();
        let rows = listed["updates"].as_array().unwrap();
        let id = rows.iter().find(|row| row["approvable"] == true).unwrap()["update_id"].as_str().unwrap();
        assert!(branch.run(&["content", "fetch", id]).status.success());
        let file = branch.api("GET", &format!("/updates/{id}"), None).json()["files"][0].clone();
        let (sha1, name) = (file["sha1"].as_str().unwrap().to_uppercase(), file["name"].as_str().unwrap());
        let extension = name.rsplit('.').next().unwrap();
        let path = format!("/Content/{}/{sha1}.{extension}", &sha1[38..]);
        for _ in 0..3 {
            assert_eq!(branch.ask_agents("GET", &path, "Host: branch\r\n").status, 200);
        }
        // the ledger is written every two seconds, what servers below took as well
        let settled = |server: &Server, wanted: &dyn Fn(&Value) -> bool| {
            let began = std::time::Instant::now();
            loop {
                let now = status(server);
                if wanted(&now) {
                    return now;
                }
                assert!(began.elapsed() < std::time::Duration::from_mins(1), "{now}");
                std::thread::yield_now();
            }
        };
        let size = file["size"].as_u64().unwrap();
        let before = settled(&branch, &|now| now["ledger"]["served"].as_u64() >= Some(3 * size));
        let told = |status: &Value| {
            let ledger = &status["ledger"];
            ["served", "fetched", "avoided", "payload"].map(|name| ledger[name].as_u64().unwrap())
        };
        assert_eq!(told(&before)[0], told(&before)[1] + told(&before)[2]);
        for kill in [false, true] {
            if kill {
                branch.kill();
            } else {
                assert!(branch.stop());
            }
            branch.start();
            let after = status(&branch);
            assert_eq!(told(&after), told(&before), "after {}", if kill { "a kill" } else { "a stop" });
            let shown = said(&branch.run(&["status"]));
            assert!(!shown.contains("since start") && !shown.contains("Saved       0 B"), "{shown}");
            let text = metrics(&branch);
            assert!(metric(&text, "tailwater_ledger_avoided_bytes_total") > 0);
            assert!(metric(&text, "tailwater_link_received_bytes_total") > 0);
        }
    });
}
