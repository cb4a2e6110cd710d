//! The commands, one file each.
//!
//! **Invariant:** status 0 is done, 1 failed, 2 wrong usage or configuration, 3 done in part; an error names
//! its cause and the next step. Commands never hold a store that a server holds: they ask it.

mod arguments;
mod bandwidth;
mod categories;
mod check_config;
mod client_policy;
mod computers;
mod confirm;
mod connection;
mod content;
mod cost;
mod decide;
mod demo;
mod downstreams;
mod groups;
mod output;
mod progress;
mod reload;
mod serve;
mod simulate;
mod status;
mod store;
mod sync;
mod table;
mod transfers;
mod updates;
mod usage;

use std::process::ExitCode;

use arguments::{Arguments, Command, StoreCommand};
use connection::{Connection, Refused};
use output::Outcome;
use tailwater_api::{Candidate, Failure};
use tailwater_app as app;
use tailwater_config::{self as config, ConfigError, Loaded};
use tailwater_runtime::executor;
use tailwater_telemetry as telemetry;
use usage::Usage;

/// The document of `--json` of a command that failed.
#[derive(serde::Serialize)]
struct Failed<'a> {
    error: Told<'a>,
}

#[derive(serde::Serialize)]
struct Told<'a> {
    message: &'a str,
    candidates: &'a [Candidate],
    failed: &'a [Failure],
    count: Option<usize>,
}

impl<'a> Failed<'a> {
    fn new(
        message: &'a str,
        candidates: &'a [Candidate],
        failed: &'a [Failure],
        count: Option<usize>,
    ) -> Self {
        Self { error: Told { message, candidates, failed, count } }
    }
}

/// Runs the program with the process's own arguments.
pub fn run() -> ExitCode {
    let arguments = match arguments::parse() {
        Ok(arguments) => arguments,
        Err(error) => return mistyped(&error),
    };
    output::set_wide(arguments.wide);
    let (as_json, result) = (arguments.json, start(arguments));
    said_all(ended(as_json, result))
}

/// The status, unless some of the answer is lost.
fn said_all(code: ExitCode) -> ExitCode {
    let Some(reason) = output::unwritten() else { return code };
    output::note(&format!("error: the answer could not be written to standard output: {reason}"));
    if code == ExitCode::SUCCESS { ExitCode::FAILURE } else { code }
}

/// The status that a command ends with; what failed is said.
fn ended(as_json: bool, result: anyhow::Result<Outcome>) -> ExitCode {
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::InPart) => ExitCode::from(3),
        Ok(Outcome::Unusable) => ExitCode::from(2),
        Err(error) => {
            let (code, refused) = (code_of(&error), error.downcast_ref::<Refused>());
            let candidates = refused.map(|refused| refused.candidates.as_slice()).unwrap_or_default();
            let failed = refused.map(|refused| refused.failed.as_slice()).unwrap_or_default();
            if as_json && !output::has_printed() {
                let count = refused.and_then(|refused| refused.count);
                let _ = output::json(&Failed::new(&format!("{error:#}"), candidates, failed, count));
            }
            output::note(&format!("error: {error:#}"));
            confirm::show(candidates);
            for failed in failed {
                output::note(&format!("  {}: {}", failed.update, failed.error));
                for candidate in &failed.candidates {
                    output::note(&format!("    {}  {}", candidate.update_id, candidate.title));
                }
            }
            ExitCode::from(code)
        }
    }
}

/// What cannot be read ends with 2, and with a document where one was asked for; help and version end with 0.
fn mistyped(error: &clap::Error) -> ExitCode {
    let is_wrong = error.use_stderr();
    if is_wrong && std::env::args_os().any(|argument| argument == "--json") {
        let message = error.render().to_string();
        let message = message.trim().trim_start_matches("error: ");
        let _ = output::json(&Failed::new(message, &[], &[], None));
    }
    let printed = error.print();
    if is_wrong {
        // standard error is best effort
        return ExitCode::from(2);
    }
    output::note_unwritten(printed);
    said_all(ExitCode::SUCCESS)
}

fn code_of(error: &anyhow::Error) -> u8 {
    let wrong_request = error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == 400);
    if wrong_request || error.is::<ConfigError>() || error.is::<Usage>() { 2 } else { 1 }
}

fn start(arguments: Arguments) -> anyhow::Result<Outcome> {
    let loaded = config::load(arguments.config.as_deref(), app::environment())?;
    // what commands have to say they print; the log is for what goes wrong underneath
    let quiet = telemetry::Config { filter: "error".to_owned(), ..loaded.settings.log.clone() };
    let log = if matches!(arguments.command, Command::Serve) { &loaded.settings.log } else { &quiet };
    telemetry::start(log, matches!(arguments.command, Command::Serve))?;
    let runtime = executor()?;
    let outcome = runtime.block_on(dispatch(&loaded, arguments));
    // blocking work that still runs (a re-hash, say) must not hold the process back
    runtime.shutdown_background();
    telemetry::flush();
    outcome
}

async fn dispatch(loaded: &Loaded, arguments: Arguments) -> anyhow::Result<Outcome> {
    let json = arguments.json;
    app::outlive_file_limits();
    match arguments.command {
        Command::Serve => serve::run(loaded).await,
        Command::Demo(demo) => demo::run(&demo, json).await,
        Command::CheckConfig(check) => check_config::run(loaded, &check, json).await,
        Command::ClientPolicy(policy) => client_policy::run(&loaded.settings, &policy, json),
        Command::Simulate(command) => simulate::run(&command, json).await,
        Command::Store(StoreCommand::Rebuild) => store::rebuild(loaded, json).await,
        other => {
            let create = matches!(&other, Command::Sync(sync) if sync.command.is_none());
            let connection = Connection::open(loaded, create).await?;
            let outcome = ask(&connection, other, json).await;
            connection.close().await;
            outcome
        }
    }
}

async fn ask(connection: &Connection, command: Command, json: bool) -> anyhow::Result<Outcome> {
    match command {
        Command::Sync(arguments) => sync::run(connection, &arguments, json).await,
        Command::Status => status::run(connection, json).await,
        Command::Reload => reload::run(connection, json).await,
        Command::Store(_) => store::rotate_keys(connection, json).await,
        Command::Updates(command) => updates::run(connection, command, json).await,
        Command::Categories(command) => categories::run(connection, &command, json).await,
        Command::Groups(command) => groups::run(connection, command, json).await,
        Command::Computers(command) => computers::run(connection, command, json).await,
        Command::Downstreams(command) => downstreams::run(connection, command, json).await,
        Command::Content(command) => content::run(connection, command, json).await,
        Command::Bandwidth(command) => bandwidth::run(connection, &command, json).await,
        // these need no store and were dispatched before
        Command::Serve
        | Command::Demo(_)
        | Command::CheckConfig(_)
        | Command::ClientPolicy(_)
        | Command::Simulate(_) => Ok(Outcome::Done),
    }
}
