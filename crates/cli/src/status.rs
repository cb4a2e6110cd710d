//! `status`: one screen.
//!
//! **Invariant:** it fits a screen of 80 columns. It changes nothing.

use jiff::civil::Date;

use crate::bandwidth;
use crate::connection::Connection;
use crate::output::{self, Outcome, bytes, time};
use tailwater_api::{self as api, Mode, Source, SourceState, Status, SyncOutcome};

/// Prints the state of everything in brief.
pub(super) async fn run(connection: &Connection, json: bool) -> anyhow::Result<Outcome> {
    let status = connection.ask(api::ReadStatus).await?;
    if json {
        output::json(&status)?;
    } else {
        print(&status);
    }
    Ok(Outcome::Done)
}

fn print(status: &Status) {
    let line = |name: &str, text: String| output::text(&format!("{name:<12}{text}"));
    for warning in &status.warnings {
        line("Warning", warning.clone());
    }
    line("Server", server(status));
    let replica = if status.mode == Mode::Replica { ", which decides (replica)" } else { "" };
    line("Upstream", format!("{}{replica}", status.upstream));
    line("Last sync", last_sync(status));
    if let Some(at) = status.sync.next {
        line("Next sync", time(at));
    }
    if let Some(progress) = &status.sync_progress {
        line("Now", progress.text.clone());
    }
    let catalog = &status.catalog;
    line(
        "Catalog",
        format!(
            "{} updates, {} revisions, {} approved, {} declined",
            catalog.updates, catalog.revisions, catalog.approved, catalog.declined
        ),
    );
    let content = &status.content;
    line(
        "Content",
        format!(
            "{} cached in {} files ({} verified), {} wanted, at most {}",
            bytes(content.held),
            content.files,
            content.verified,
            bytes(content.wanted),
            content.max_size
        ),
    );
    let reading = &status.link;
    line(
        "Link",
        format!(
            "{} now, at most {}; {} received today, {} this month",
            bandwidth::rate(reading.bits_per_second),
            reading.rate,
            bytes(reading.received_today),
            bytes(reading.received_month)
        ),
    );
    for (name, text) in bandwidth::budgets(reading) {
        line(name, text);
    }
    line("Saved", saved(status));
    if let Some(adaptive) = &reading.adaptive {
        line("", bandwidth::yielding(adaptive));
    }
    for source in shown_sources(&status.sources) {
        line("Source", source);
    }
    let (below, servers) = (status.computers_below, status.servers_below);
    let through =
        if servers > 0 { format!(", and {below} through {servers} servers below") } else { String::new() };
    line("Computers", format!("{}{through}", status.computers));
}

fn server(status: &Status) -> String {
    let listens = if status.listen.is_empty() {
        "not running (read from the store)".to_owned()
    } else {
        format!("listens on {}", status.listen.join(", "))
    };
    format!("tailwater {}, {listens}", status.version)
}

/// Since which day figures of the ledger hold.
pub(super) fn since(day: Option<Date>) -> String {
    day.map(|day| format!(" since {day}")).unwrap_or_default()
}

/// What did not cross the link again.
fn saved(status: &Status) -> String {
    let ledger = &status.ledger;
    format!(
        "{} of {} served did not cross the link again{}; this month {} of {}",
        bytes(ledger.counts.avoided),
        bytes(ledger.counts.served),
        since(ledger.since),
        bytes(ledger.month.avoided),
        bytes(ledger.month.served),
    )
}

/// The servers that payloads come from, when there is a choice between several, or one of them is down.
fn shown_sources(sources: &[Source]) -> Vec<String> {
    let is_down = |source: &Source| source.state == SourceState::Down;
    if sources.len() < 2 && !sources.iter().any(is_down) {
        return Vec::new();
    }
    let text = |source: &Source| {
        let cost = source.cost.map(|cost| format!(", cost {cost}")).unwrap_or_default();
        let seconds = |count: Option<u64>| count.unwrap_or_default();
        let state = if is_down(source) {
            let (down, retry) = (seconds(source.down_seconds), seconds(source.retry_seconds));
            format!("down for {down} s, asked again in {retry} s")
        } else {
            source.state.as_str().to_owned()
        };
        format!("{}{cost}: {state}; {} received", source.source, bytes(source.received))
    };
    sources.iter().map(text).collect()
}

fn last_sync(status: &Status) -> String {
    let Some(last) = &status.last_sync else { return "never; run `tailwater sync`".to_owned() };
    let why = if last.message.is_empty() { String::new() } else { format!(": {}", last.message) };
    let success = match (last.outcome, status.sync.last_success) {
        (SyncOutcome::Failed | SyncOutcome::Cancelled, Some(at)) => {
            format!("; the last success was at {}", time(at))
        }
        (SyncOutcome::Failed | SyncOutcome::Cancelled, None) => "; none has succeeded yet".to_owned(),
        _ => String::new(),
    };
    format!("{} at {}{why}{success}", last.outcome.as_str(), time(last.ended_at))
}
