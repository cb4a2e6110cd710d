//! A disk that takes nothing costs what changes meanwhile and nothing else: the server starts and serves, says so, calls
//! nothing durable that is not, and writes again by itself. A limit of file sizes stands for the full disk here: it is
//! met at any byte of any file, and can be lifted while the server runs.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit};

use crate::restored_copies_are_known::{Site, copy, handshake, scan};
use crate::server::{Server, said};

/// How long a change of the disk may take to be noticed on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Blocks of 512 bytes: nothing at all, up to more than the first half megabyte of an index.
const LIMITS: [u64; 7] = [0, 1, 8, 100, 800, 1_024, 1_100];

/// The names of a held file on the wire.
fn held_file(server: &Server) -> String {
    let revisions = server.api("GET", "/revisions", None).json();
    let rows = revisions["revisions"].as_array().unwrap();
    let sha1 = rows.iter().find_map(|row| row["files"].get(0)?.as_str().map(str::to_uppercase)).unwrap();
    format!("/Content/{}/{sha1}.cab", &sha1[38..])
}

fn groups(server: &Server) -> String {
    server.api("GET", "/groups", None).text()
}

#[test]
fn a_disk_that_is_full_at_any_byte_is_started_on_served_on_and_outlived() {
    let mut site = Site::new();
    let file = held_file(&site.server);
    assert_eq!(site.server.ask_agents("GET", &file, "Host: localhost\r\n").status, 200);
    let mut before = handshake(&site.server, "before", "").unwrap();
    scan(&site.server, &mut before).unwrap();
    assert!(site.server.stop());
    site.server.fix_admin_port();
    let base = site.server.dir.path().join("base");
    copy(&site.server.data(), &base);
    for limit in LIMITS {
        std::fs::remove_dir_all(site.server.data()).unwrap();
        copy(&base, &site.server.data());
        site.server.start_limited(limit);
        let log = site.server.log();
        // agents notice nothing
        let mut old = before.clone();
        assert_eq!(scan(&site.server, &mut old), Ok(()), "{limit}: {log}");
        let mut new = handshake(&site.server, "new", "").unwrap();
        assert_eq!(scan(&site.server, &mut new), Ok(()), "{limit}: {log}");
        let held = site.server.ask_agents("GET", &file, "Host: localhost\r\n");
        assert_eq!(held.status, 200, "{limit}: {log}");
        // what an administrator decides is durable, or refused with the reason
        let name = format!("group-{limit}");
        let made = site.server.run(&["groups", "create", &name]);
        let refused = said(&made);
        let readiness = site.server.readiness();
        if made.status.success() {
            assert!(groups(&site.server).contains(&name), "{limit}");
        } else {
            assert!(refused.contains("cannot be written"), "{limit}: {refused}");
            assert!(!groups(&site.server).contains(&name), "{limit}: what was refused did not happen");
            assert!(readiness.starts_with("read only: "), "{limit}: {readiness}");
            let status = site.server.api("GET", "/status", None).json();
            assert_eq!(status["disk"]["writable"], false, "{limit}");
            let metrics = site.server.ask("GET", "/metrics", "Host: localhost\r\n", b"").text();
            assert!(metrics.contains("data_directory_writable 0"), "{limit}");
        }
        site.server.kill();
        // with room again everything is as it was, and as was said
        site.server.start();
        let log = site.server.log();
        assert_eq!(site.server.readiness(), "ready\n", "{limit}: {log}");
        assert_eq!(groups(&site.server).contains(&name), made.status.success(), "{limit}: {log}");
        assert_eq!(scan(&site.server, &mut before.clone()), Ok(()), "{limit}: {log}");
        let held = site.server.ask_agents("GET", &file, "Host: localhost\r\n");
        assert_eq!(held.status, 200, "{limit}: {log}");
        assert!(site.server.stop(), "{limit}");
    }
    assert!(site.runtime.block_on(site.tasks.shut_down(Duration::from_secs(10))));
}

fn limit(server: &Server, bytes: Option<u64>) {
    let pid = Pid::from_raw(server.pid());
    let limits = Rlimit { current: bytes, maximum: None };
    rustix::process::prlimit(pid, Resource::Fsize, limits).unwrap();
}

fn wait_for(server: &Server, start: &str) {
    let began = Instant::now();
    while !server.readiness().starts_with(start) {
        assert!(began.elapsed() < PATIENCE, "not {start:?}: {} {}", server.readiness(), server.log());
        std::thread::yield_now();
    }
}

#[test]
fn writing_is_taken_up_by_itself_when_there_is_room_again() {
    let mut site = Site::new();
    site.server.fix_admin_port();
    assert!(site.server.stop());
    site.server.start();
    for round in 0..2 {
        limit(&site.server, Some(0));
        let refused = site.server.run(&["groups", "create", &format!("refused-{round}")]);
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        wait_for(&site.server, "read only: ");
        let name = format!("meanwhile-{round}");
        let mut agent = handshake(&site.server, &name, "").unwrap();
        scan(&site.server, &mut agent).unwrap();
        limit(&site.server, None);
        wait_for(&site.server, "ready");
        let made = site.server.run(&["groups", "create", &format!("made-{round}")]);
        assert!(made.status.success(), "{}", said(&made));
        let said_once = site.server.log().matches("the data directory cannot be written").count();
        assert!(said_once <= 2 * (round + 1), "{said_once}: {}", site.server.log());
    }
    site.server.kill();
    site.server.start();
    let computers = site.server.api("GET", "/computers", None).text();
    for round in 0..2 {
        assert!(computers.contains(&format!("meanwhile-{round}")), "{computers}");
        assert!(groups(&site.server).contains(&format!("made-{round}")));
        assert!(!groups(&site.server).contains(&format!("refused-{round}")));
    }
    assert!(site.runtime.block_on(site.tasks.shut_down(Duration::from_secs(10))));
}

#[test]
fn a_damaged_index_is_made_again_at_start_and_on_command() {
    let mut site = Site::new();
    let made = site.server.run(&["groups", "create", "Pilot"]);
    assert!(made.status.success(), "{}", said(&made));
    let updates = site.server.api("GET", "/updates?limit=1", None).json()["total"].clone();
    // not while a server has it
    let refused = site.server.run(&["store", "rebuild"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("stop it first"), "{}", said(&refused));
    // half a snapshot, as a start on a full disk leaves it, and a whole one that is damaged
    for name in ["snap.7FFFFFFFFFFFFFFE.generating", "snap.7FFFFFFFFFFFFFFF"] {
        assert!(site.server.stop());
        std::fs::write(site.server.data().join("catalog/index").join(name), b"half").unwrap();
        site.server.start();
        assert!(groups(&site.server).contains("Pilot"), "{name}");
        assert_eq!(site.server.api("GET", "/updates?limit=1", None).json()["total"], updates, "{name}");
    }
    assert!(site.server.stop());
    assert!(site.server.data().join("catalog/damaged-index-1").exists());
    let rebuilt = site.server.run(&["store", "rebuild", "--json"]);
    assert!(rebuilt.status.success(), "{}", said(&rebuilt));
    let document: serde_json::Value = serde_json::from_slice(&rebuilt.stdout).unwrap();
    assert!(document["revisions"].as_u64().unwrap() > 0, "{document}");
    assert_eq!(document["set_aside"][0], "catalog/damaged-index-2", "{document}");
    site.server.start();
    assert!(groups(&site.server).contains("Pilot"));
    assert_eq!(site.server.api("GET", "/updates?limit=1", None).json()["total"], updates);
    let rotated = site.server.run(&["store", "rotate-keys", "--json"]);
    assert!(rotated.status.success(), "{}", said(&rotated));
    assert!(site.runtime.block_on(site.tasks.shut_down(Duration::from_secs(10))));
}
