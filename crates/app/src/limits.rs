//! Every limit of every room, and the table of them that `docs/limits.md` is.
//!
//! **Invariant:** the table is made from the constants and the defaults themselves. It never names a value that
//! nothing obeys.

use std::fmt::Write as _;

use tailwater_config as config;
use tailwater_domain::{Limit, LimitValue};
use {
    tailwater_api as api, tailwater_bandwidth as bandwidth, tailwater_catalog as catalog,
    tailwater_content as content, tailwater_domain as domain, tailwater_durable as durable,
    tailwater_kv as kv, tailwater_ledger as ledger, tailwater_needs as needs, tailwater_runtime as runtime,
    tailwater_serve as serve, tailwater_transfer as transfer, tailwater_upstream as upstream,
    tailwater_wire as wire,
};

/// The rooms that have limits, by floor.
const ROOMS: &[(&str, &[Limit])] = &[
    ("domain", domain::LIMITS),
    ("runtime", runtime::LIMITS),
    ("durable", durable::LIMITS),
    ("kv", kv::LIMITS),
    ("api", api::LIMITS),
    ("wire", wire::LIMITS),
    ("catalog", catalog::LIMITS),
    ("content", content::LIMITS),
    ("bandwidth", bandwidth::LIMITS),
    ("ledger", ledger::LIMITS),
    ("transfer", transfer::LIMITS),
    ("needs", needs::LIMITS),
    ("upstream", upstream::LIMITS),
    ("serve", serve::LIMITS),
    ("config", config::LIMITS),
    ("app", super::LIMITS),
];

/// Before the tables.
const HEAD: &str = "# Limits

Everything that others can make this server keep, wait for or work on has a limit. This page is made from the
constants in the code and the defaults of the configuration; `cargo test --test limits` compares them, and

    TAILWATER_WRITE=1 cargo test --test limits

writes it anew. Where a key is named, the limit is its default, and the key changes it.
";

/// Every limit.
pub fn limits() -> impl Iterator<Item = &'static Limit> {
    ROOMS.iter().flat_map(|(_, limits)| limits.iter())
}

/// What is wrong with the limits as they are listed: keys that do not exist, or whose default is another number.
pub fn doubtful_limits() -> Vec<String> {
    let mut wrong = Vec::new();
    for limit in limits() {
        let Some(key) = limit.key else { continue };
        match (config::default_of(key), limit.value.map(|value| value())) {
            (None, _) => wrong.push(format!("{}: there is no key {key}", limit.file)),
            (Some(Some(default)), Some(LimitValue::Count(number)))
                if default.parse::<u64>().is_ok_and(|default| default != number) =>
            {
                wrong.push(format!(
                    "{}: {} is {number}, but {key} is {default} by default",
                    limit.file, limit.name
                ));
            }
            (Some(None), None) => wrong.push(format!("{}: {key} has no default to show", limit.file)),
            _ => {}
        }
    }
    wrong
}

/// `docs/limits.md`.
pub fn limits_table() -> String {
    let mut text = HEAD.to_owned();
    for (room, limits) in ROOMS {
        let _ = write!(
            text,
            "\n## {room}\n\n| What is limited | How much | Key | The one beyond | Constant |\n|---|---|---|---|---|\n"
        );
        for limit in *limits {
            let key = limit.key.map(|key| format!("`{key}`")).unwrap_or_default();
            let constant = limit.value.map(|_| constant(limit)).unwrap_or_default();
            let how_much = amount(limit);
            let _ = writeln!(text, "| {} | {how_much} | {key} | {} | {constant} |", limit.what, limit.beyond);
        }
    }
    text
}

fn amount(limit: &Limit) -> String {
    if let Some(value) = limit.value {
        return value().shown(limit.unit);
    }
    let default = limit.key.and_then(config::default_of).flatten().unwrap_or_default();
    match default.parse::<u64>() {
        Ok(number) => LimitValue::Count(number).shown(limit.unit),
        Err(_text) => default.trim_matches('"').to_owned(),
    }
}

/// `catalog::approvals::MAX_GROUPS`.
fn constant(limit: &Limit) -> String {
    let path = limit.file.trim_start_matches("crates/").replacen("/src", "", 1);
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/lib");
    format!("`{}::{}`", path.replace('/', "::"), limit.name)
}
