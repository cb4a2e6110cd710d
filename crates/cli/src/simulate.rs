//! `simulate`: stand-ins for the two ends of a server.
//!
//! **Invariant:** what is printed of clients is what they saw, not what the server says. It needs no
//! configuration and no store.

use anyhow::Context as _;
use tailwater_app as app;

use crate::arguments::{
    SimulateBranchesArguments, SimulateClientsArguments, SimulateCommand, SimulateUpstreamArguments,
};
use crate::output::{self, Outcome};
use tailwater_domain::ByteCount;
use tailwater_runtime::{Clock, Tasks};
use tailwater_simulate::{branches, clients, upstream};

/// How long a stand-in may take to end.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Plays one end.
pub(super) async fn run(command: &SimulateCommand, json: bool) -> anyhow::Result<Outcome> {
    match command {
        SimulateCommand::Upstream(arguments) => play_upstream(arguments, json).await,
        SimulateCommand::Clients(arguments) => play_clients(arguments, json).await,
        SimulateCommand::Branches(arguments) => play_branches(arguments, json).await,
    }
}

/// What `simulate upstream --json` prints.
#[derive(serde::Serialize)]
struct Offers {
    /// For `upstream.url`.
    url: String,
    /// Revisions that are offered.
    revisions: usize,
    /// Bytes of their payloads.
    payload_bytes: u64,
}

async fn play_upstream(arguments: &SimulateUpstreamArguments, json: bool) -> anyhow::Result<Outcome> {
    let tasks = Tasks::new();
    let config = upstream::Config {
        listen: arguments.listen,
        updates: arguments.updates,
        definitions: arguments.definitions,
        definition_files: arguments.definition_files,
        definition_size: arguments.definition_size,
        mean_size: arguments.mean_size,
        encrypted: arguments.encrypted,
        rate: arguments.rate,
        seed: arguments.seed,
        payload_url: arguments.payload_url.clone(),
        payload_redirect: arguments.payload_redirect.clone(),
        ..upstream::Config::default()
    };
    let running = upstream::start(config, &Clock::system(), &tasks).await?;
    let (revisions, payloads) = running.offers();
    if json {
        output::json(&Offers { url: running.url(), revisions, payload_bytes: payloads })?;
    } else {
        output::text(&format!(
            "upstream.url = \"{}\"\n{revisions} revisions, {} of payloads, until Ctrl-C",
            running.url(),
            ByteCount(payloads)
        ));
    }
    app::stop_signal().await?;
    let counters = running.counters();
    tasks.shut_down(DRAIN).await;
    if json {
        // the document was printed when it began
        output::note(&serde_json::to_string(&counters)?);
    } else {
        output::text(&format!(
            "Sent {} documents and {} of payloads in {} requests.",
            counters.documents,
            ByteCount(counters.content_bytes),
            counters.content_requests
        ));
    }
    Ok(Outcome::Done)
}

async fn play_clients(arguments: &SimulateClientsArguments, json: bool) -> anyhow::Result<Outcome> {
    let cookies = arguments.keep_cookies.as_deref().map(|path| {
        let advice =
            || format!("{} cannot be used for cookies; name another file, or remove it", path.display());
        clients::KeptCookies::open(path).with_context(advice)
    });
    let cookies = cookies.transpose()?;
    let config = clients::Config {
        server: arguments.server.trim_end_matches('/').to_owned(),
        count: arguments.count,
        parallel: arguments.parallel,
        rounds: arguments.rounds,
        kinds: arguments.kinds,
        seed: arguments.seed,
        download: arguments.download,
        group: arguments.group.clone(),
        arrival: arguments.arrive / arguments.count.max(1),
        think: (arguments.think.least, arguments.think.most),
        cookies: cookies.clone(),
        ..clients::Config::default()
    };
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let report = tokio::select! {
        report = clients::run(config, &clock, &tasks) => report,
        stop = app::stop_signal() => {
            stop?;
            tasks.shut_down(DRAIN).await;
            anyhow::bail!("stopped before the clients were done");
        }
    };
    tasks.shut_down(DRAIN).await;
    if let Some(cookies) = cookies {
        cookies.save().context("the cookies cannot be written; the file is as it was")?;
    }
    if json {
        output::json(&report)?;
    } else {
        print(&report);
    }
    for failure in &report.failures {
        output::note(&format!("error: {failure}"));
    }
    match (report.agents_done, report.agents_failed + report.files_wrong) {
        (_, 0) => Ok(Outcome::Done),
        (0, _) => {
            anyhow::bail!("no client could do what it meant to; is {} the right server?", arguments.server)
        }
        _ => Ok(Outcome::InPart),
    }
}

fn print(report: &clients::Report) {
    output::text(&format!(
        "{} clients done, {} gave up, in {:.1} s: {} scans, {} updates told, {} files of {}, {} of answers\n\n",
        report.agents_done,
        report.agents_failed,
        report.seconds,
        report.scans,
        report.updates,
        report.files,
        ByteCount(report.file_bytes),
        ByteCount(report.soap_bytes)
    ));
    print_operations(&report.operations);
}

async fn play_branches(arguments: &SimulateBranchesArguments, json: bool) -> anyhow::Result<Outcome> {
    let config = branches::Config {
        server: arguments.server.trim_end_matches('/').to_owned(),
        count: arguments.count,
        parallel: arguments.parallel,
        rounds: arguments.rounds,
        computers: arguments.computers,
        files: arguments.files,
        arrival: arguments.arrive / arguments.count.max(1),
        think: (arguments.think.least, arguments.think.most),
        token: arguments.token.clone(),
        seed: arguments.seed,
    };
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let report = tokio::select! {
        report = branches::run(config, &clock, &tasks) => report,
        stop = app::stop_signal() => {
            stop?;
            tasks.shut_down(DRAIN).await;
            anyhow::bail!("stopped before the branches were done");
        }
    };
    tasks.shut_down(DRAIN).await;
    if json {
        output::json(&report)?;
    } else {
        output::text(&format!(
            "{} branches done, {} gave up, in {:.1} s: {} synchronisations, {} revisions listed, {} documents, {} \
             computers rolled up, {} files of {}, {} of answers\n\n",
            report.branches_done,
            report.branches_failed,
            report.seconds,
            report.synchronisations,
            report.revisions,
            report.documents,
            report.computers,
            report.files,
            ByteCount(report.file_bytes),
            ByteCount(report.soap_bytes)
        ));
        print_operations(&report.operations);
    }
    for failure in &report.failures {
        output::note(&format!("error: {failure}"));
    }
    match (report.branches_done, report.branches_failed + report.files_wrong) {
        (_, 0) => Ok(Outcome::Done),
        (0, _) => {
            anyhow::bail!("no branch could do what it meant to; is {} the right server?", arguments.server)
        }
        _ => Ok(Outcome::InPart),
    }
}

fn print_operations(operations: &[clients::OperationReport]) {
    let rows: Vec<Vec<String>> = operations
        .iter()
        .map(|operation| {
            vec![
                operation.operation.clone(),
                operation.count.to_string(),
                operation.failed.to_string(),
                format!("{:.1}", operation.per_second),
                format!("{:.1}", operation.p50_ms),
                format!("{:.1}", operation.p99_ms),
                format!("{:.1}", operation.max_ms),
            ]
        })
        .collect();
    output::table(&["OPERATION", "DONE", "FAILED", "A SECOND", "P50 MS", "P99 MS", "SLOWEST"], &rows);
}
