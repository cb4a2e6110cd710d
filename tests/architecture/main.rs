//! The floors hold: a room uses only rooms of a lower floor, and only what their `lib.rs` shows.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod imports;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use imports::Imports;

/// Rooms by floor, as ARCHITECTURE.md draws them.
const FLOORS: [&[&str]; 7] = [
    &["domain", "runtime", "telemetry", "durable", "kv"],
    &["api", "wire", "catalog", "content", "bandwidth", "ledger"],
    &["transfer", "upstream", "needs"],
    &["serve", "simulate"],
    &["config"],
    &["app"],
    &["cli"],
];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates")
}

/// Every use of a room's names: the room and the file where it stands, and the path from the crate's root.
fn each_use(mut seen: impl FnMut(&str, &Path, &[String])) {
    let imports = Imports::read(&top());
    for (file, path) in imports.each_path() {
        seen(file.iter().next().unwrap().to_str().unwrap(), file, path);
    }
}

#[test]
fn every_room_stands_on_a_floor() {
    for entry in std::fs::read_dir(top()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        assert!(FLOORS.iter().any(|rooms| rooms.contains(&name.as_str())), "crates/{name} has no floor");
    }
}

#[test]
fn a_room_uses_only_lower_floors() {
    let floor: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, rooms)| rooms.iter().map(move |room| (*room, floor)))
        .collect();
    let mut wrong = Vec::new();
    each_use(|room, file, used| {
        let Some(other) = used.first().map(String::as_str).filter(|other| *other != room) else { return };
        if let (Some(mine), Some(theirs)) = (floor.get(room), floor.get(other))
            && theirs >= mine
            // the ground floor is one: its rooms may lean on each other's values
            && *mine > 0
        {
            wrong.push(format!("crates/{}: uses {other}", file.display()));
        }
    });
    assert!(wrong.is_empty(), "rooms that use their neighbours or the floors above:\n{}", wrong.join("\n"));
}

#[test]
fn a_room_is_entered_by_its_door() {
    // `wire` and `serve` are corridors: their rooms are one level down, or two
    let depth = |path: &[String]| match path[0].as_str() {
        "wire" if path.get(1).is_some_and(|room| room == "server_sync") => 3,
        "wire" | "serve" | "simulate" => 2,
        _ => 1,
    };
    let mut wrong = Vec::new();
    each_use(|room, file, used| {
        if used.first().is_none_or(|other| other == room) {
            return;
        }
        let below = used.get(depth(used)..).unwrap_or_default();
        // a module (lower case) followed by something is a room behind the door
        if below.len() > 1 && below[0].chars().next().is_some_and(char::is_lowercase) {
            wrong.push(format!("crates/{}: {}", file.display(), used.join("::")));
        }
    });
    assert!(wrong.is_empty(), "uses that go past a mod.rs:\n{}", wrong.join("\n"));
}

#[test]
fn work_of_the_admin_api_ends_when_its_client_goes() {
    // `api::blocking` tells the work; a verification is a task of its own that others ask about
    let mut wrong = Vec::new();
    for path in imports::sources(&top().join("serve/src/admin")) {
        let found = std::fs::read_to_string(&path).unwrap().matches("spawn_blocking").count();
        let allowed = usize::from(path.ends_with("content.rs"));
        if found > allowed {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "work that nobody can end:\n{}", wrong.join("\n"));
}

/// Rooms whose circles are still to be opened. Empty is the goal: rooms leave this list, none comes to it.
const CIRCULAR: &[&str] = &["config", "content", "ledger", "needs", "transfer"];

#[test]
fn no_circle_has_more_than_three_files() {
    let circles = Imports::read(&top()).circles(3);
    let mut told = String::new();
    for circle in circles
        .iter()
        .filter(|circle| !CIRCULAR.iter().any(|room| circle.keys().all(|file| file.starts_with(room))))
    {
        writeln!(told, "a circle of {}:", circle.len()).unwrap();
        for (file, others) in circle {
            let others: Vec<_> = others.iter().map(|other| other.display().to_string()).collect();
            writeln!(told, "  {} -> {}", file.display(), others.join(", ")).unwrap();
        }
    }
    assert!(told.is_empty(), "files that import each other in circles:\n{told}");
}
