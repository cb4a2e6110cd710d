//! `sync`: synchronise and wait, or look at synchronisations.
//!
//! **Invariant:** Ctrl-C ends the waiting, not the server's synchronisation, and says so. Progress goes to
//! standard error: a bar on a terminal, plain lines elsewhere.

use std::time::Duration;

use crate::arguments::{SyncArguments, SyncCommand};
use crate::connection::Connection;
use crate::output::{self, Outcome, bytes};
use crate::progress::Bar;
use tailwater_api::{self as api, Nothing, Paging, StartSync, SyncOutcome, SyncReport};

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Starts or looks.
pub(super) async fn run(
    connection: &Connection,
    arguments: &SyncArguments,
    json: bool,
) -> anyhow::Result<Outcome> {
    match &arguments.command {
        None => return start(connection, arguments, json).await,
        Some(SyncCommand::Status) => {
            let state = connection.ask(api::ReadSync).await?;
            if json {
                output::json(&state)?;
            } else {
                print_state(&state);
            }
        }
        Some(SyncCommand::History) => {
            let history = connection.read(api::ListSyncs, "", &Paging::default()).await?;
            if json {
                output::json(&history)?;
            } else {
                print_history(&history);
            }
        }
        Some(SyncCommand::Cancel) => {
            let answer = connection.send(api::CancelSync, "", &Nothing {}).await?;
            if json {
                output::json(&answer)?;
            } else {
                output::text("The synchronisation stops; what was stored is kept and not fetched again.");
            }
        }
    }
    Ok(Outcome::Done)
}

fn print_state(state: &api::Sync) {
    if state.running {
        let text = state.progress.as_ref().map(|progress| progress.text.as_str()).unwrap_or_default();
        output::text(&format!("Running: {text}"));
        return;
    }
    output::text("No synchronisation runs.");
    if let Some(last) = &state.last {
        print_report(last);
    }
}

fn print_history(history: &api::SyncHistory) {
    let row = |sync: &SyncReport| {
        vec![
            sync.started_at.to_string(),
            sync.ended_at.to_string(),
            sync.outcome.as_str().to_owned(),
            sync.stored.to_string(),
            sync.withdrawn.to_string(),
            bytes(sync.received),
            sync.message.clone(),
        ]
    };
    let rows: Vec<_> = history.syncs.iter().map(row).collect();
    output::table(&["STARTED", "ENDED", "OUTCOME", "NEW", "WITHDRAWN", "RECEIVED", ""], &rows);
}

async fn start(connection: &Connection, arguments: &SyncArguments, json: bool) -> anyhow::Result<Outcome> {
    let asked = StartSync {
        metadata_only: arguments.metadata_only,
        accept_removals: arguments.accept_removals,
        full: false,
    };
    let Some(last) = to_its_end(connection, asked, true).await? else {
        if json {
            output::json(&())?;
        }
        anyhow::bail!("the synchronisation failed: the server kept no report of it; see its log");
    };
    let is_visible = matches!(last.outcome, SyncOutcome::Complete | SyncOutcome::Partial | SyncOutcome::Held);
    if json {
        output::json(&last)?;
    } else if is_visible {
        print_report(&last);
    }
    match last.outcome {
        SyncOutcome::Complete => Ok(Outcome::Done),
        SyncOutcome::Partial | SyncOutcome::Held => Ok(Outcome::InPart),
        SyncOutcome::Cancelled => {
            anyhow::bail!("the synchronisation was cancelled; what was stored is not fetched again")
        }
        SyncOutcome::Failed => anyhow::bail!("the synchronisation failed: {}", last.message),
    }
}

/// Starts or joins a synchronisation and waits for its report; shows progress where `show` says so.
pub(super) async fn to_its_end(
    connection: &Connection,
    asked: StartSync,
    show: bool,
) -> anyhow::Result<Option<SyncReport>> {
    let started = connection.send(api::Synchronise, "", &asked).await?;
    if started.joined {
        output::note("A synchronisation runs already; waiting for that one.");
    }
    let bar = Bar::new();
    loop {
        let state = connection.ask(api::ReadSync).await?;
        if state.finished_run >= started.run {
            bar.end();
            return Ok(state.last);
        }
        if let Some(progress) = state.progress.as_ref().filter(|_| show) {
            let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
            bar.show(number(progress.done), number(progress.total), &progress.text);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            stop = tokio::signal::ctrl_c(), if !state.cancelling => {
                stop?;
                bar.end();
                connection.send(api::CancelSync, "", &Nothing {}).await?;
                output::note("Stopping; what was stored is kept.");
            }
        }
    }
}

fn print_report(report: &SyncReport) {
    output::text(&format!(
        "Synchronisation {}: {} new revisions, {} withdrawn, {} received, {:.1} s.",
        report.outcome.as_str(),
        report.stored,
        report.withdrawn,
        bytes(report.received),
        report.seconds,
    ));
    if !report.message.is_empty() {
        output::text(&report.message);
    }
    for note in &report.notes {
        output::text(&format!("Note: {note}"));
    }
}
