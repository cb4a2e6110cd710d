//! `status`: one screen.
//!
//! **Invariant:** it fits a screen of 80 columns. It changes nothing.

use serde_json::{Value, json};

use crate::cli::connection::Connection;
use crate::cli::output::{self, Outcome, bytes, field, list, number, time};

/// Prints the state of everything in brief.
pub(super) async fn run(connection: &Connection, json: bool) -> anyhow::Result<Outcome> {
    let status = connection.get("/status").await?;
    if json {
        output::json(&status)?;
        return Ok(Outcome::Done);
    }
    let line = |name: &str, text: String| output::text(&format!("{name:<12}{text}"));
    for warning in list(&status, "warnings") {
        line("Warning", warning.as_str().unwrap_or_default().to_owned());
    }
    line("Server", server(&status));
    let replica = if field(&status, "mode") == "replica" { ", which decides (replica)" } else { "" };
    line("Upstream", format!("{}{replica}", field(&status, "upstream")));
    line("Last sync", last_sync(&status));
    if let Some(at) = status.pointer("/sync/next").filter(|at| !at.is_null()) {
        line("Next sync", time(&json!({ "at": at }), "at"));
    }
    if let Some(progress) = status.pointer("/sync_progress").filter(|progress| !progress.is_null()) {
        line("Now", field(progress, "text"));
    }
    line(
        "Catalog",
        format!(
            "{} updates, {} revisions, {} approved, {} declined",
            number(&status, "catalog/updates"),
            number(&status, "catalog/revisions"),
            number(&status, "catalog/approved"),
            number(&status, "catalog/declined")
        ),
    );
    line(
        "Content",
        format!(
            "{} held in {} files ({} verified), {} wanted, at most {}",
            bytes(&status, "content/held"),
            number(&status, "content/files"),
            number(&status, "content/verified"),
            bytes(&status, "content/wanted"),
            field(&status, "content/max_size")
        ),
    );
    line(
        "Link",
        format!(
            "{} now, at most {}; {} received today, {} this month",
            crate::cli::bandwidth::rate(number(&status, "link/bits_per_second")),
            field(&status, "link/rate"),
            bytes(&status, "link/received_today"),
            bytes(&status, "link/received_month")
        ),
    );
    for (name, text) in link(&status) {
        line(name, text);
    }

    if let Some(adaptive) = status.pointer("/link/adaptive").filter(|adaptive| !adaptive.is_null()) {
        line("", crate::cli::bandwidth::yielding(adaptive));
    }
    for source in shown_sources(&status) {
        line("Source", source);
    }
    let (below, servers) = (number(&status, "computers_below"), number(&status, "servers_below"));
    let through =
        if servers > 0 { format!(", and {below} through {servers} servers below") } else { String::new() };
    line("Computers", format!("{}{through}", number(&status, "computers")));
    Ok(Outcome::Done)
}

fn server(status: &Value) -> String {
    let listen = field(status, "listen");
    let listens = if listen.is_empty() {
        "not running (read from the store)".to_owned()
    } else {
        format!("listens on {listen}")
    };
    format!("tailwater {}, {listens}", field(status, "version"))
}

/// Since which day figures of the ledger hold.
pub(super) fn since(value: &Value, name: &str) -> String {
    let since = field(value, name);
    if since.is_empty() { String::new() } else { format!(" since {since}") }
}

/// What is left of budgets, and what was saved.
fn link(status: &Value) -> Vec<(&'static str, String)> {
    let mut lines = status.get("link").map(crate::cli::bandwidth::budgets).unwrap_or_default();
    let saved = format!(
        "{} of {} served did not cross the link again{}; this month {} of {}",
        bytes(status, "ledger/avoided"),
        bytes(status, "ledger/served"),
        since(status, "ledger/since"),
        bytes(status, "ledger/month/avoided"),
        bytes(status, "ledger/month/served"),
    );
    lines.push(("Saved", saved));
    lines
}

/// The servers that payloads come from, when there is a choice between several, or one of them is down.
fn shown_sources(status: &Value) -> Vec<String> {
    let sources: Vec<&Value> = list(status, "sources").iter().collect();
    let down = |source: &&Value| field(source, "state") == "down";
    if sources.len() < 2 && !sources.iter().any(down) {
        return Vec::new();
    }
    let text = |source: &Value| {
        let cost = source["cost"].as_u64().map_or(String::new(), |cost| format!(", cost {cost}"));
        let state = if down(&source) {
            format!("down for {} s, asked again in {} s", source["down_seconds"], source["retry_seconds"])
        } else {
            field(source, "state")
        };
        format!("{}{cost}: {state}; {} received", field(source, "source"), bytes(source, "received"))
    };
    sources.into_iter().map(text).collect()
}

fn last_sync(status: &Value) -> String {
    match status.pointer("/last_sync") {
        Some(last) if !last.is_null() => {
            let message = field(last, "message");
            let why = if message.is_empty() { String::new() } else { format!(": {message}") };
            let success = match field(last, "outcome").as_str() {
                "failed" | "cancelled" => match status.pointer("/sync/last_success") {
                    Some(at) if !at.is_null() => {
                        format!("; the last success was at {}", time(&json!({ "at": at }), "at"))
                    }
                    _ => "; none has succeeded yet".to_owned(),
                },
                _ => String::new(),
            };
            format!("{} at {}{why}{success}", field(last, "outcome"), time(last, "ended_at"))
        }
        _ => "never; run `tailwater sync`".to_owned(),
    }
}
