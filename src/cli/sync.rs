//! `sync`: synchronise and wait, or look at synchronisations.
//!
//! **Invariant:** Ctrl-C ends the waiting, not the server's synchronisation, and says so. Progress goes to
//! standard error: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::arguments::{SyncArguments, SyncCommand};
use crate::cli::connection::Connection;
use crate::cli::output::{self, Outcome, bytes, field, list, number};

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Progress of long work on standard error.
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    /// The last plain line, so that nothing is said twice.
    said: Mutex<String>,
}

impl Bar {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, said: Mutex::new(String::new()) }
    }

    pub(super) fn show(&self, done: u64, total: u64, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(text.to_owned());
            return;
        }
        // plain lines: one for each phase and tenth
        let tenth = (done * 10).checked_div(total).unwrap_or(0);
        let phase = text.split(':').next().unwrap_or_default();
        let line = format!("{phase} {tenth}");
        let mut said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *said != line {
            *said = line;
            output::note(text);
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Starts or looks.
pub(super) async fn run(
    connection: &Connection,
    arguments: &SyncArguments,
    json: bool,
) -> anyhow::Result<Outcome> {
    match &arguments.command {
        None => start(connection, arguments, json).await,
        Some(SyncCommand::Status) => {
            let state = connection.get("/sync").await?;
            if json {
                output::json(&state)?;
            } else if state["running"] == true {
                output::text(&format!("Running: {}", field(&state, "progress/text")));
            } else {
                output::text("No synchronisation runs.");
                if let Some(last) = state.get("last").filter(|last| !last.is_null()) {
                    print_report(last);
                }
            }
            Ok(Outcome::Done)
        }
        Some(SyncCommand::History) => {
            let history = connection.get("/sync/history").await?;
            if json {
                output::json(&history)?;
                return Ok(Outcome::Done);
            }
            let rows: Vec<Vec<String>> = list(&history, "syncs")
                .iter()
                .map(|sync| {
                    vec![
                        field(sync, "started_at"),
                        field(sync, "ended_at"),
                        field(sync, "outcome"),
                        field(sync, "stored"),
                        field(sync, "withdrawn"),
                        bytes(sync, "received"),
                        field(sync, "message"),
                    ]
                })
                .collect();
            output::table(&["STARTED", "ENDED", "OUTCOME", "NEW", "WITHDRAWN", "RECEIVED", ""], &rows);
            Ok(Outcome::Done)
        }
        Some(SyncCommand::Cancel) => {
            let answer = connection.send("DELETE", "/sync", None).await?;
            if json {
                output::json(&answer)?;
            } else {
                output::text("The synchronisation stops; what was stored is kept and not fetched again.");
            }
            Ok(Outcome::Done)
        }
    }
}

async fn start(connection: &Connection, arguments: &SyncArguments, json: bool) -> anyhow::Result<Outcome> {
    let body =
        json!({ "metadata_only": arguments.metadata_only, "accept_removals": arguments.accept_removals });
    let last = to_its_end(connection, body, true).await?;
    let outcome = field(&last, "outcome");
    if json {
        output::json(&last)?;
    } else if ["complete", "partial", "held"].contains(&outcome.as_str()) {
        print_report(&last);
    }
    match outcome.as_str() {
        "complete" => Ok(Outcome::Done),
        "partial" | "held" => Ok(Outcome::InPart),
        "cancelled" => {
            anyhow::bail!("the synchronisation was cancelled; what was stored is not fetched again")
        }
        _ => anyhow::bail!("the synchronisation failed: {}", field(&last, "message")),
    }
}

/// Starts or joins a synchronisation and waits for its report; shows progress where `show` says so.
pub(super) async fn to_its_end(connection: &Connection, body: Value, show: bool) -> anyhow::Result<Value> {
    let started = connection.send("POST", "/sync", Some(body)).await?;
    let number_of_run = number(&started, "run");
    if started["joined"] == true {
        output::note("A synchronisation runs already; waiting for that one.");
    }
    let bar = Bar::new();
    loop {
        let state = connection.get("/sync").await?;
        if number(&state, "finished_run") >= number_of_run {
            bar.end();
            return Ok(state["last"].clone());
        }
        if let Some(progress) = state.get("progress").filter(|progress| show && !progress.is_null()) {
            bar.show(number(progress, "done"), number(progress, "total"), &field(progress, "text"));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            stop = tokio::signal::ctrl_c(), if !stopped(&state) => {
                stop?;
                bar.end();
                if connection.is_server() {
                    anyhow::bail!("no longer waiting; the server goes on. `tailwater sync cancel` stops it");
                }
                connection.send("DELETE", "/sync", None).await?;
                output::note("Stopping; what was stored is kept.");
            }
        }
    }
}

fn stopped(state: &Value) -> bool {
    state["cancelling"] == true
}

fn print_report(report: &Value) {
    output::text(&format!(
        "Synchronisation {}: {} new revisions, {} withdrawn, {} received, {} s.",
        field(report, "outcome"),
        number(report, "stored"),
        number(report, "withdrawn"),
        bytes(report, "received"),
        report["seconds"].as_f64().map(|seconds| format!("{seconds:.1}")).unwrap_or_default(),
    ));
    let message = field(report, "message");
    if !message.is_empty() {
        output::text(&message);
    }
    for note in list(report, "notes") {
        output::text(&format!("Note: {}", note.as_str().unwrap_or_default()));
    }
}
