//! The floors hold: a room uses only rooms of a lower floor, and only what their `mod.rs` shows.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rooms by floor, as ARCHITECTURE.md draws them.
const FLOORS: [&[&str]; 7] = [
    &["domain", "runtime", "telemetry", "durable", "kv"],
    &["wire", "catalog", "content", "bandwidth", "ledger"],
    &["transfer", "upstream", "needs"],
    &["serve", "simulate"],
    &["config"],
    &["app"],
    &["cli"],
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The paths that follow `crate::` in a source text, comments left out: `crate::wire::xml::X` gives
/// `["wire", "xml", "X"]`; of a group only what stands before the brace.
fn uses(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let path: String = line[at + 7..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
                .collect();
            found.push(path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect());
        }
    }
    found
}

fn each_use(mut seen: impl FnMut(&str, &Path, &[String])) {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&top) {
        let inside = path.strip_prefix(&top).unwrap().to_owned();
        let Some(room) = inside.components().next().filter(|_| inside.components().count() > 1) else {
            continue;
        };
        let room = room.as_os_str().to_str().unwrap().to_owned();
        for used in uses(&std::fs::read_to_string(&path).unwrap()) {
            seen(&room, &inside, &used);
        }
    }
}

#[test]
fn every_room_stands_on_a_floor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(root).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        assert!(FLOORS.iter().any(|rooms| rooms.contains(&name.as_str())), "src/{name} has no floor");
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
            wrong.push(format!("src/{}: uses {other}", file.display()));
        }
    });
    assert!(wrong.is_empty(), "rooms that use their neighbours or the floors above:\n{}", wrong.join("\n"));
}

#[test]
fn a_room_is_entered_by_its_door() {
    // `wire` and `serve` are corridors: their rooms are one level down
    let depth = |room: &str| if matches!(room, "wire" | "serve" | "simulate") { 2 } else { 1 };
    let mut wrong = Vec::new();
    each_use(|room, file, used| {
        let Some(other) = used.first().filter(|other| *other != room) else { return };
        let below = used.get(depth(other)..).unwrap_or_default();
        // a module (lower case) followed by something is a room behind the door
        if below.len() > 1 && below[0].chars().next().is_some_and(char::is_lowercase) {
            wrong.push(format!("src/{}: crate::{}", file.display(), used.join("::")));
        }
    });
    assert!(wrong.is_empty(), "uses that go past a mod.rs:\n{}", wrong.join("\n"));
}

#[test]
fn work_of_the_admin_api_ends_when_its_client_goes() {
    // `api::blocking` tells the work; a verification is a task of its own that others ask about
    let mut wrong = Vec::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/admin")) {
        let found = std::fs::read_to_string(&path).unwrap().matches("spawn_blocking").count();
        let allowed = usize::from(path.ends_with("content.rs"));
        if found > allowed {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "work that nobody can end:\n{}", wrong.join("\n"));
}
