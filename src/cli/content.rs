//! `content`: what is held, and what is to be done with it.
//!
//! **Invariant:** `verify` and `fetch` wait until it is done and end with 3 when something is missing or was
//! damaged. Nothing that an agent can still ask for is collected.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::arguments::ContentCommand;
use crate::cli::connection::Connection;
use crate::cli::output::{self, Outcome, bytes, field, list, number};
use crate::cli::sync::Bar;
use crate::cli::transfers;

/// How often running work is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Looks without a running transfer after which nothing more is expected: between the queue and the first
/// request a file is in neither list.
const SETTLED: u32 = 6;

/// Lineages shown of one class.
const LINEAGES: usize = 5;

/// How long nothing may come before the waiting ends.
const PATIENCE: Duration = Duration::from_mins(1);

/// Shows or works.
pub(super) async fn run(
    connection: &Connection,
    command: ContentCommand,
    json: bool,
) -> anyhow::Result<Outcome> {
    match command {
        ContentCommand::Status => {
            let answer =
                connection.get(if json { "/content?limit=1000000" } else { "/content?limit=40" }).await?;
            let mut learned = connection.get("/content/learned").await?;
            if json {
                let mut answer = answer;
                if let Value::Object(fields) = &mut answer {
                    let transfers = connection.get("/transfers").await?;
                    fields.insert("transfers".to_owned(), transfers["transfers"].clone());
                    for name in ["learned", "ahead", "quiet", "missed"] {
                        fields.insert(name.to_owned(), learned[name].take());
                    }
                }
                output::json(&answer)?;
            } else {
                print_status(&answer, &learned);
                transfers::print(&connection.get("/transfers").await?);
            }
            Ok(Outcome::Done)
        }
        ContentCommand::Pause(names) => {
            transfers::order(connection, &names, Some(json!({ "paused": true })), json).await
        }
        ContentCommand::Resume(names) => {
            transfers::order(connection, &names, Some(json!({ "paused": false })), json).await
        }
        ContentCommand::Raise { files, class } => {
            transfers::order(connection, &files, Some(json!({ "class": class })), json).await
        }
        ContentCommand::Cancel(names) => transfers::order(connection, &names, None, json).await,
        ContentCommand::Verify => verify(connection, json).await,
        ContentCommand::Fetch { updates, approved, no_wait } => {
            let body = json!({ "updates": updates, "approved": approved });
            let answer = connection.send("POST", "/content/fetch", Some(body)).await?;
            fetch(connection, &answer, no_wait, json).await
        }
        ContentCommand::Collect => {
            let answer = connection.send("POST", "/content/collect", Some(json!({}))).await?;
            if json {
                output::json(&answer)?;
            } else {
                output::text(&format!(
                    "Dropped {} files, {}.",
                    number(&answer, "files"),
                    bytes(&answer, "bytes")
                ));
            }
            Ok(Outcome::Done)
        }
    }
}

fn print_status(answer: &Value, learned: &Value) {
    output::text(&format!(
        "Held      {} in {} files: {} verified, {} partial\nWanted    {}\nAt most   {}\nServed    {} to agents and downstream servers{}\n",
        bytes(answer, "usage/held"),
        number(answer, "usage/files"),
        number(answer, "usage/verified"),
        number(answer, "usage/partial"),
        bytes(answer, "wanted"),
        field(answer, "max_size"),
        bytes(answer, "served"),
        crate::cli::status::since(answer, "served_since"),
    ));
    if answer["usage"]["full"] == true {
        output::text(
            "There is no room for more: free disk space, raise content.max_size or lower content.min_free.\n",
        );
    }
    print_learned(learned);
    let rows: Vec<Vec<String>> = list(answer, "files")
        .iter()
        .map(|file| {
            vec![
                field(file, "state"),
                bytes(file, "held"),
                bytes(file, "size"),
                field(file, "last_use"),
                field(file, "sha1"),
                field(file, "names"),
            ]
        })
        .collect();
    output::table(&["STATE", "HELD", "SIZE", "LAST USED", "SHA-1", "NAMES"], &rows);
}

/// What each class of computers used, and what would be fetched ahead for it.
fn print_learned(answer: &Value) {
    for class in list(answer, "learned") {
        let lineages = list(class, "lineages");
        output::text(&format!(
            "{}{}",
            field(class, "class"),
            if class["living"] == true { "" } else { " (not seen lately)" }
        ));
        for lineage in lineages.iter().take(LINEAGES) {
            output::text(&format!(
                "  {}\n    {} files in {} releases; of the next: {}",
                field(lineage, "title"),
                list(lineage, "files").len(),
                number(lineage, "releases"),
                bytes(lineage, "bytes"),
            ));
        }
        if lineages.len() > LINEAGES {
            output::text(&format!("  and {} more; --json shows all", lineages.len() - LINEAGES));
        }
    }
    if number(answer, "ahead/files") > 0 {
        let when = match field(answer, "ahead/quiet_at") {
            at if at.is_empty() => "now".to_owned(),
            _ => format!("from {}", output::time(answer, "ahead/quiet_at")),
        };
        let what =
            if field(answer, "fetch") == "learned" { "To fetch ahead" } else { "With fetch = \"learned\"" };
        output::text(&format!(
            "{what}: {} files, {}, {when}",
            number(answer, "ahead/files"),
            bytes(answer, "ahead/bytes")
        ));
    }
    output::text("");
}

async fn verify(connection: &Connection, json: bool) -> anyhow::Result<Outcome> {
    connection.send("POST", "/content/verify", Some(json!({}))).await?;
    let bar = Bar::new();
    let verification = loop {
        let state = connection.get("/content?limit=1").await?["verification"].clone();
        if state["running"] != true {
            break state;
        }
        bar.show(number(&state, "done"), number(&state, "total"), "verifying");
        tokio::time::sleep(LOOK).await;
    };
    bar.end();
    if json {
        output::json(&verification)?;
    }
    if let Some(error) = verification["error"].as_str() {
        anyhow::bail!("the verification ended early: {error}");
    }
    let damaged = list(&verification, "report/damaged");
    if !json {
        output::text(&format!(
            "Hashed {} files, {}.",
            number(&verification, "report/files"),
            bytes(&verification, "report/bytes")
        ));
        for damage in damaged {
            let (name, sha1) = (field(damage, "names"), field(damage, "sha1"));
            output::text(&format!(
                "Damaged: {sha1} {name}, {} dropped; fetched again when asked for",
                bytes(damage, "dropped")
            ));
        }
    }
    Ok(if damaged.is_empty() { Outcome::Done } else { Outcome::InPart })
}

/// Waits until these files are here, or nothing more comes; says how much is held and what is missing.
async fn wait_for(
    connection: &Connection,
    wanted: &HashSet<String>,
    total: u64,
) -> anyhow::Result<(u64, usize)> {
    let bar = Bar::new();
    let (mut idle, mut last_left, mut progressed) = (0, u64::MAX, tokio::time::Instant::now());
    loop {
        let transfers = connection.get("/transfers").await?;
        let running: Vec<&Value> = list(&transfers, "transfers")
            .iter()
            .filter(|row| row["state"] != "failed" && wanted.contains(&field(row, "sha1")))
            .collect();
        let left: u64 =
            running.iter().map(|row| number(row, "size").saturating_sub(number(row, "held"))).sum();
        bar.show(total.saturating_sub(left), total, "fetching");
        idle = if running.is_empty() { idle + 1 } else { 0 };
        if left != last_left {
            (last_left, progressed) = (left, tokio::time::Instant::now());
        } else if progressed.elapsed() > PATIENCE {
            bar.end();
            let trouble =
                running.iter().find_map(|row| row["trouble"].as_str()).unwrap_or("see the server's log");
            output::note(&format!("nothing came for a minute ({trouble}); a running server goes on trying"));
            return holdings(connection, wanted).await;
        }
        if running.is_empty() {
            let (held, missing) = holdings(connection, wanted).await?;
            if missing == 0 || idle > SETTLED {
                bar.end();
                return Ok((held, missing));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Bytes held of these files, and how many are not verified.
async fn holdings(connection: &Connection, wanted: &HashSet<String>) -> anyhow::Result<(u64, usize)> {
    let content = connection.get("/content?limit=1000000").await?;
    let files = list(&content, "files").iter().filter(|file| wanted.contains(&field(file, "sha1")));
    let (held, verified) = files.fold((0, 0), |(held, verified), file| {
        (held + number(file, "held"), verified + usize::from(file["state"] == "verified"))
    });
    Ok((held, wanted.len().saturating_sub(verified)))
}

async fn fetch(
    connection: &Connection,
    answer: &Value,
    no_wait: bool,
    json: bool,
) -> anyhow::Result<Outcome> {
    for failure in list(answer, "failed") {
        output::note(&format!("error: {}: {}", field(failure, "name"), field(failure, "error")));
    }
    let wanted: HashSet<String> = list(answer, "files").iter().map(|file| field(file, "sha1")).collect();
    let total: u64 = list(answer, "files").iter().map(|file| number(file, "size")).sum();
    if no_wait && connection.is_server() {
        output::text(&format!("{} files are queued.", wanted.len()));
        return Ok(Outcome::Done);
    }
    let (held, missing) = wait_for(connection, &wanted, total).await?;
    if json {
        output::json(&json!({ "files": wanted.len(), "bytes": total, "held": held, "missing": missing }))?;
    } else {
        output::text(&format!(
            "{} of {} files are here, {} of {}.",
            wanted.len() - missing,
            wanted.len(),
            crate::domain::ByteCount(held),
            crate::domain::ByteCount(total)
        ));
    }
    if missing == 0 { Ok(Outcome::Done) } else { Ok(Outcome::InPart) }
}
