//! Limits are listed: the table in `docs/limits.md` is what the code says, and no limit of the code is missing in it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Parts of names that say that a constant is a limit.
const NAMES: [&str; 14] = [
    "MAX",
    "MOST",
    "LIMIT",
    "LONGEST",
    "LARGEST",
    "DEEPEST",
    "DEPTH",
    "PATIENCE",
    "TIMEOUT",
    "DEADLINE",
    "QUOTA",
    "CAPACITY",
    "AT_ONCE",
    "BODY_TIME",
];

/// Types that limits have.
const TYPES: [&str; 13] = [
    "usize",
    "u64",
    "u32",
    "u16",
    "u8",
    "i64",
    "i32",
    "f64",
    "ByteCount",
    "Duration",
    "SignedDuration",
    "std::time::Duration",
    "jiff::SignedDuration",
];

/// Rooms that nobody else reaches: what an administrator types at a terminal, and stand-ins for tests and demos.
const TOOLS: [&str; 2] = ["crates/cli/", "crates/simulate/"];

/// What stands before a constant that something is compared with or cut to.
const BOUNDS: [&str; 12] = [
    "> ",
    ">= ",
    "< ",
    "<= ",
    ".min(",
    ".take(",
    ".truncate(",
    "Semaphore::new(",
    "channel(",
    "with_capacity(",
    "timeout(",
    "Limited::new(",
];

/// What marks a constant that looks like a limit and is none, with its name and the reason behind it.
const MARK: &str = "// not a limit: ";

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

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
    found.sort();
    found
}

/// The part of a source that runs outside of tests.
fn code(text: &str) -> &str {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    &text[..end]
}

/// The constants of a source that look like limits: those that are named so, and those that bound something.
fn suspects(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim_start) {
        let Some((_, rest)) =
            line.split_once("const ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"))
        else {
            continue;
        };
        let Some((name, rest)) = rest.split_once(": ") else { continue };
        let kind = rest.split(" =").next().unwrap_or_default();
        if !TYPES.contains(&kind)
            || !name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        {
            continue;
        }
        let named = NAMES.iter().any(|part| name.contains(part));
        let bounds = BOUNDS.iter().any(|before| follows(text, before, name));
        if named || bounds {
            found.insert(name.to_owned());
        }
    }
    found
}

/// Whether `name` as a whole word follows `before` somewhere in a line that is no comment.
fn follows(text: &str, before: &str, name: &str) -> bool {
    let wanted = format!("{before}{name}");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(&wanted).any(|(at, _)| {
            !line[at + wanted.len()..]
                .starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        })
    })
}

/// The names behind [`MARK`] in a source: `// not a limit: FIRST_PAUSE, STEP: how fast it grows`.
fn marked(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let Some((_, rest)) = line.split_once(MARK) else { continue };
        let Some((names, why)) = rest.split_once(": ") else { continue };
        assert!(!why.trim().is_empty(), "a mark without a reason: {line}");
        found.extend(names.split(", ").map(str::to_owned));
    }
    found
}

#[test]
fn the_table_is_what_the_code_says() {
    let path = top().join("docs/limits.md");
    let made = tailwater::app::limits_table();
    if std::env::var_os("TAILWATER_WRITE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let held = std::fs::read_to_string(&path).unwrap_or_default();
    if held != made {
        let first = held.lines().zip(made.lines()).find(|(held, made)| held != made);
        panic!(
            "docs/limits.md is not what the code says (first: {first:?}); write it anew:\n    TAILWATER_WRITE=1 cargo test --test limits"
        );
    }
}

#[test]
fn keys_of_limits_exist_with_the_same_default() {
    let wrong = tailwater::app::doubtful_limits();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_limit_says_what_the_one_beyond_gets() {
    let mut seen = BTreeSet::new();
    for limit in tailwater::app::limits() {
        assert!(!limit.what.is_empty() && !limit.beyond.is_empty(), "{}: {}", limit.file, limit.name);
        assert!(
            !format!("{}{}", limit.what, limit.beyond).contains('|'),
            "{}: a bar would end the cell",
            limit.name
        );
        assert!(seen.insert((limit.file, limit.name)), "{}: {} is listed twice", limit.file, limit.name);
    }
}

#[test]
fn no_limit_of_the_code_is_unlisted() {
    let mut listed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for limit in tailwater::app::limits() {
        listed.entry(limit.file).or_default().insert(limit.name);
    }
    let mut missing = Vec::new();
    for path in sources(&top().join("crates")) {
        let file = path.strip_prefix(top()).unwrap().to_str().unwrap().replace('\\', "/");
        if file.ends_with("tests.rs")
            || file.contains("/tests/")
            || TOOLS.iter().any(|room| file.starts_with(room))
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text = code(&text);
        let marked = marked(text);
        for name in suspects(text) {
            let known = listed.get(file.as_str()).is_some_and(|names| names.contains(name.as_str()));
            if !known && !marked.contains(&name) {
                missing.push(format!("{file}: {name}"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "list these in the `LIMITS` of their file, or mark them `{MARK}NAME: why`:\n{}",
        missing.join("\n")
    );
}

#[test]
fn what_looks_like_a_limit_is_found() {
    let text = "const MAX_A: usize = 1;\n    pub(super) const WAIT: Duration = X;\nconst STEP: u64 = 2;\n// > STEP\n\
                fn f() { a.min(WAIT); b > STEPS }\n// not a limit: STEP, OTHER: a gain\n";
    assert_eq!(suspects(text), ["MAX_A", "WAIT"].map(str::to_owned).into());
    assert_eq!(marked(text), ["STEP", "OTHER"].map(str::to_owned).into());
}
