//! `content`: what is held, and what is to be done with it.
//!
//! **Invariant:** `verify` and `fetch` wait until it is done and end with 3 when something is missing or was
//! damaged. Nothing that an agent can still ask for is collected.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;

use crate::arguments::ContentCommand;
use crate::connection::Connection;
use crate::output::{self, Outcome, bytes, time};
use crate::progress::Bar;
use crate::{status, transfers};
use tailwater_api::{
    self as api, ChangeTransfer, Content, Fetch, Fetched, HeldFile, HeldState, LearnedClass, LearnedContent,
    Nothing, Planned, Transfer, TransferState, Verification,
};

/// How often running work is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Looks without a running transfer after which nothing more is expected: between the queue and the first
/// request a file is in neither list.
const SETTLED: u32 = 6;

/// Files that a screen has room for.
const FILES: u32 = 40;

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
    let pause = |paused: bool| Some(ChangeTransfer { paused: Some(paused), class: None });
    match command {
        ContentCommand::Status => show(connection, json).await,
        ContentCommand::Pause(names) => transfers::order(connection, &names, pause(true), json).await,
        ContentCommand::Resume(names) => transfers::order(connection, &names, pause(false), json).await,
        ContentCommand::Raise { files, class } => {
            let change = ChangeTransfer { paused: None, class: Some(class) };
            transfers::order(connection, &files, Some(change), json).await
        }
        ContentCommand::Cancel(names) => transfers::order(connection, &names, None, json).await,
        ContentCommand::Verify => verify(connection, json).await,
        ContentCommand::Fetch { updates, approved, no_wait } => {
            let answer = connection.send(api::FetchContent, "", &Fetch { updates, approved }).await?;
            fetch(connection, &answer, no_wait, json).await
        }
        ContentCommand::Collect => {
            let answer = connection.send(api::CollectContent, "", &Nothing {}).await?;
            if json {
                output::json(&answer)?;
            } else {
                output::text(&format!("Dropped {} files, {}.", answer.files, bytes(answer.bytes)));
            }
            Ok(Outcome::Done)
        }
    }
}

/// Everything of payloads: what `content status --json` prints.
#[derive(Serialize)]
struct Everything {
    #[serde(flatten)]
    content: Content,
    transfers: Vec<Transfer>,
    learned: Vec<LearnedClass>,
    ahead: Planned,
    quiet: bool,
    missed: u64,
}

async fn show(connection: &Connection, json: bool) -> anyhow::Result<Outcome> {
    let most = if json { None } else { Some(FILES) };
    let content = connection.pages(api::ReadContent, |paging| paging, 0, most).await?;
    let learned = connection.ask(api::ReadLearned).await?;
    let transfers = transfers::all(connection).await?;
    if json {
        let LearnedContent { learned, ahead, quiet, missed, fetch: _ } = learned;
        output::json(&Everything { content, transfers, learned, ahead, quiet, missed })?;
    } else {
        print_status(&content, &learned);
        transfers::print(&transfers);
    }
    Ok(Outcome::Done)
}

fn print_status(content: &Content, learned: &LearnedContent) {
    let usage = &content.usage;
    output::text(&format!(
        "Cached    {} in {} files: {} verified, {} partial\nWanted    {}\nAt most   {}\nServed    {} to agents and downstream servers{}\n",
        bytes(usage.held),
        usage.files,
        usage.verified,
        usage.partial,
        bytes(content.wanted),
        content.max_size,
        bytes(content.served),
        status::since(content.served_since),
    ));
    if usage.full {
        output::text(
            "There is no room for more: free disk space, raise content.max_size or lower content.min_free.\n",
        );
    }
    print_learned(learned);
    let row = |file: &HeldFile| {
        vec![
            file.state.as_str().to_owned(),
            bytes(file.held),
            bytes(file.size),
            file.last_use.to_string(),
            file.sha1.clone(),
            file.names.join(", "),
        ]
    };
    let rows: Vec<_> = content.files.iter().map(row).collect();
    output::table(&["STATE", "HELD", "SIZE", "LAST USED", "SHA-1", "NAMES"], &rows);
}

/// What each class of computers used, and what would be fetched ahead for it.
fn print_learned(answer: &LearnedContent) {
    for class in &answer.learned {
        let lately = if class.living { "" } else { " (not seen lately)" };
        output::text(&format!("{}{lately}", class.class));
        for lineage in class.lineages.iter().take(LINEAGES) {
            output::text(&format!(
                "  {}\n    {} files in {} releases; of the next: {}",
                lineage.title,
                lineage.files.len(),
                lineage.releases,
                bytes(lineage.bytes),
            ));
        }
        if class.lineages.len() > LINEAGES {
            output::text(&format!("  and {} more; --json shows all", class.lineages.len() - LINEAGES));
        }
    }
    let ahead = &answer.ahead;
    if ahead.files > 0 {
        let when = ahead.quiet_at.map_or_else(|| "now".to_owned(), |at| format!("from {}", time(at)));
        let what = if answer.fetch == "learned" { "To fetch ahead" } else { "With fetch = \"learned\"" };
        output::text(&format!("{what}: {} files, {}, {when}", ahead.files, bytes(ahead.bytes)));
    }
    output::text("");
}

async fn verify(connection: &Connection, json: bool) -> anyhow::Result<Outcome> {
    connection.send(api::VerifyContent, "", &Nothing {}).await?;
    let bar = Bar::new();
    let verification = loop {
        let one = api::Paging::new(0, Some(1));
        let state = connection.read(api::ReadContent, "", &one).await?.verification.unwrap_or_default();
        if !state.running {
            break state;
        }
        bar.show(state.done.unwrap_or_default(), state.total.unwrap_or_default(), "verifying");
        tokio::time::sleep(LOOK).await;
    };
    bar.end();
    if json {
        output::json(&verification)?;
    }
    verified(&verification, json)
}

fn verified(verification: &Verification, json: bool) -> anyhow::Result<Outcome> {
    if let Some(error) = &verification.error {
        anyhow::bail!("the verification ended early: {error}");
    }
    let Some(report) = &verification.report else {
        anyhow::bail!("the server knows of no verification any more; was it restarted?");
    };
    if !json {
        output::text(&format!("Hashed {} files, {}.", report.files, bytes(report.bytes)));
        for damage in &report.damaged {
            output::text(&format!(
                "Damaged: {} {}, {} dropped; fetched again when asked for",
                damage.sha1,
                damage.names.join(", "),
                bytes(damage.dropped)
            ));
        }
    }
    Ok(if report.damaged.is_empty() { Outcome::Done } else { Outcome::InPart })
}

/// Waits until these files are here, or nothing more comes; says how much is cached and what is missing.
async fn wait_for(
    connection: &Connection,
    wanted: &HashSet<String>,
    total: u64,
) -> anyhow::Result<(u64, usize)> {
    let bar = Bar::new();
    let (mut idle, mut last_left, mut progressed) = (0, u64::MAX, tokio::time::Instant::now());
    loop {
        let mut running = transfers::all(connection).await?;
        running.retain(|row| row.state != TransferState::Failed && wanted.contains(&row.sha1));
        let left: u64 = running.iter().map(|row| row.size.saturating_sub(row.held)).sum();
        bar.show(total.saturating_sub(left), total, "fetching");
        idle = if running.is_empty() { idle + 1 } else { 0 };
        if left != last_left {
            (last_left, progressed) = (left, tokio::time::Instant::now());
        } else if progressed.elapsed() > PATIENCE {
            bar.end();
            let trouble =
                running.iter().find_map(|row| row.trouble.as_deref()).unwrap_or("see the server's log");
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

/// Bytes cached of these files, and how many are not verified.
async fn holdings(connection: &Connection, wanted: &HashSet<String>) -> anyhow::Result<(u64, usize)> {
    let content = connection.pages(api::ReadContent, |paging| paging, 0, None).await?;
    let files = content.files.iter().filter(|file| wanted.contains(&file.sha1));
    let (held, verified) = files.fold((0, 0), |(held, verified), file| {
        (held + file.held, verified + usize::from(file.state == HeldState::Verified))
    });
    Ok((held, wanted.len().saturating_sub(verified)))
}

/// What `content fetch --json` prints.
#[derive(Serialize)]
struct Arrived {
    /// Files that were wanted.
    files: usize,
    /// Their bytes.
    bytes: u64,
    /// Bytes that are cached.
    held: u64,
    /// Files that are not whole.
    missing: usize,
}

async fn fetch(
    connection: &Connection,
    answer: &Fetched,
    no_wait: bool,
    json: bool,
) -> anyhow::Result<Outcome> {
    for failure in &answer.failed {
        output::note(&format!("error: {}: {}", failure.name, failure.error));
    }
    let wanted: HashSet<String> = answer.files.iter().map(|file| file.sha1.clone()).collect();
    let total: u64 = answer.files.iter().map(|file| file.size).sum();
    if no_wait && connection.is_server() {
        if json {
            output::json(answer)?;
        } else {
            output::text(&format!("{} files are queued.", wanted.len()));
        }
        return Ok(Outcome::Done);
    }
    let (held, missing) = wait_for(connection, &wanted, total).await?;
    if json {
        output::json(&Arrived { files: wanted.len(), bytes: total, held, missing })?;
    } else {
        output::text(&format!(
            "{} of {} files are here, {} of {}.",
            wanted.len() - missing,
            wanted.len(),
            bytes(held),
            bytes(total)
        ));
    }
    if missing == 0 { Ok(Outcome::Done) } else { Ok(Outcome::InPart) }
}
