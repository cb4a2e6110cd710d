//! The acts of the demo, in order, and the figures at its end.
//!
//! **Invariant:** an act that did not do what it says ends the demo with an error. It never sums what was not
//! measured.

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::Stage;
use super::watch::Peak;
use crate::bandwidth;
use crate::output::bytes;
use tailwater_api::{
    self as api, Approve, Class, Computer, NewGroup, Paging, StartSync, SyncOutcome, SyncReport,
    UpdateStateFilter, UpdateType, UpdatesQuery,
};
use tailwater_domain::{ByteCount, Rate};
use tailwater_runtime::{Clock, Tasks};
use tailwater_simulate::clients;

/// The group that the demo's computers ask for.
const GROUP: &str = "Branch";

/// What the demo measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    link_rate: Rate,
    highest_second_bits: u64,
    metadata_received: u64,
    second_sync_received: u64,
    clients: u32,
    files_downloaded: u64,
    payload_served: u64,
    payload_received: u64,
    approved_payload: u64,
    seconds: f64,
}

/// Counters at a moment.
struct Counters {
    received: u64,
    metadata: u64,
    served: u64,
}

impl Counters {
    fn payload(&self) -> u64 {
        self.received - self.metadata
    }
}

async fn counters(stage: &Stage) -> anyhow::Result<Counters> {
    let status = stage.desk.ask(api::ReadStatus).await?;
    let metadata = status.link.by_class.iter().find(|one| one.class == Class::Metadata);
    Ok(Counters {
        received: status.link.received,
        metadata: metadata.map_or(0, |one| one.received),
        served: status.served.bytes,
    })
}

/// Plays all acts.
pub(super) async fn tell(stage: &Stage, clock: &Clock, tasks: &Tasks) -> anyhow::Result<Figures> {
    let began = clock.instant();
    let (revisions, payloads) = stage.office.offers();
    stage.say(&format!(
        "A head office offers {revisions} revisions of updates, with {} of payloads.\n\
         A branch takes from it over a link of {}, and {} computers take from the branch.\n",
        ByteCount(payloads),
        stage.rate,
        stage.clients
    ));
    let peak = Peak::default();
    let watching = tasks.spawn("demo watch", peak.clone().watch(stage.desk.clone()));
    let result = acts(stage, clock, tasks).await;
    watching.abort();
    let mut figures = result?;
    figures.highest_second_bits = peak.bits_per_second();
    figures.seconds = clock.instant().duration_since(began).as_secs_f64();
    sum_up(stage, &figures);
    Ok(figures)
}

async fn acts(stage: &Stage, clock: &Clock, tasks: &Tasks) -> anyhow::Result<Figures> {
    stage.say("1. The branch synchronises what is known of updates.");
    let first = synchronise(stage).await?;
    stage.say(&format!("   {} revisions, {} over the link.", first.stored, bytes(first.received)));
    let second = synchronise(stage).await?;
    stage.say(&format!("   Again, with nothing new: {}.", bytes(second.received)));

    stage.say(&format!("\n2. The administrator approves for the group {GROUP:?}."));
    let approved_payload = approve(stage).await?;

    stage.say(&format!("\n3. {} computers scan, download what is approved, and report.", stage.clients));
    let before = counters(stage).await?;
    let report = visit(stage, clock, tasks).await?;
    let after = counters(stage).await?;
    stage.say(&format!(
        "   {} scans, {} files with the right digests, {} served in {:.1} s.",
        report.scans,
        report.files,
        ByteCount(after.served - before.served),
        report.seconds
    ));

    stage.say("\n4. What the computers reported:");
    reported(stage).await?;
    Ok(Figures {
        link_rate: stage.rate,
        highest_second_bits: 0,
        metadata_received: after.metadata,
        second_sync_received: second.received,
        clients: stage.clients,
        files_downloaded: report.files,
        payload_served: after.served - before.served,
        payload_received: after.payload() - before.payload(),
        approved_payload,
        seconds: 0.0,
    })
}

/// Synchronises and waits.
async fn synchronise(stage: &Stage) -> anyhow::Result<SyncReport> {
    let last = crate::sync::to_its_end(&stage.desk, StartSync::default(), !stage.quiet).await?;
    let last = last.context("the synchronisation left no report")?;
    ensure!(
        last.outcome == SyncOutcome::Complete,
        "the synchronisation ended {}: {}",
        last.outcome.as_str(),
        last.message
    );
    Ok(last)
}

/// Approves the definitions bundle and a few ordinary updates; returns how many bytes of payloads that is.
async fn approve(stage: &Stage) -> anyhow::Result<u64> {
    let group = NewGroup { name: GROUP.to_owned(), parent: None };
    stage.desk.send(api::CreateGroup, "", &group).await?;
    let unapproved = Some(UpdateStateFilter::Unapproved);
    let query = UpdatesQuery { limit: Some(1_000), state: unapproved, ..UpdatesQuery::default() };
    let rows = stage.desk.read(api::ListUpdates, "", &query).await?.updates;
    let bundle = rows
        .iter()
        .filter(|row| row.approvable && row.bundle)
        .find(|row| row.classification.contains("Definition"))
        .or_else(|| rows.iter().find(|row| row.bundle))
        .context("the head office offers no bundle")?;
    let mut ids = vec![bundle.update_id.to_string()];
    let others = rows.iter().filter(|row| {
        row.approvable && !row.superseded && row.update_type == UpdateType::Software && *row != bundle
    });
    ids.extend(others.take(10).map(|row| row.update_id.to_string()));
    let approve = Approve {
        updates: ids.clone(),
        group: Some(GROUP.to_owned()),
        deadline: Some("2030-01-01T18:00:00Z".to_owned()),
        accept_license: true,
        by: Some("demo".to_owned()),
        ..Approve::default()
    };
    let answer = stage.desk.send(api::ApproveUpdates, "", &approve).await?;
    ensure!(answer.failed.is_empty(), "an approval failed: {:?}", answer.failed);
    let mut total = 0;
    for id in &ids {
        let update = stage.desk.read(api::ReadUpdate, id, &Paging::default()).await?;
        total += update.files.iter().map(|file| file.size).sum::<u64>();
    }
    stage.say(&format!(
        "   {:?} and {} others: {} of payloads, none of it fetched yet.",
        bundle.title,
        ids.len() - 1,
        ByteCount(total)
    ));
    Ok(total)
}

async fn visit(stage: &Stage, clock: &Clock, tasks: &Tasks) -> anyhow::Result<clients::Report> {
    let config = clients::Config {
        server: stage.agents(),
        count: stage.clients,
        download: true,
        group: Some(GROUP.to_owned()),
        kinds: 2,
        // the second visit reports what the first installed
        rounds: 2,
        ..clients::Config::default()
    };
    let report = clients::run(config, clock, tasks).await;
    ensure!(
        report.agents_failed == 0 && report.files_wrong == 0 && report.files > 0,
        "{} computers gave up, {} files came, {} of them wrong: {}",
        report.agents_failed,
        report.files,
        report.files_wrong,
        report.failures.join("; ")
    );
    Ok(report)
}

async fn reported(stage: &Stage) -> anyhow::Result<()> {
    let query = api::ComputersQuery::default();
    let computers = stage.desk.read(api::ListComputers, "", &query).await?.computers;
    let sum = |of: fn(&Computer) -> u32| computers.iter().map(of).sum::<u32>();
    stage.say(&format!(
        "   {} computers in {GROUP:?}: {} updates installed, {} still needed, {} failed.",
        computers.len(),
        sum(|one| one.installed),
        sum(|one| one.needed),
        sum(|one| one.failed)
    ));
    Ok(())
}

fn sum_up(stage: &Stage, figures: &Figures) {
    let percent = |part: u64, whole: u64| (part * 100).checked_div(whole).unwrap_or(0);
    let cap = match stage.rate.bytes_per_second() {
        Some(cap) => {
            format!(", {} % of the cap of {}", percent(figures.highest_second_bits, cap * 8), stage.rate)
        }
        None => String::new(),
    };
    let saved = figures.payload_served.saturating_sub(figures.payload_received);
    stage.say(&format!(
        "\nWhat crossed the link\n\
         \x20 metadata                      {:>10}\n\
         \x20 payloads                      {:>10}\n\
         \x20 payloads served to computers  {:>10}\n\
         \x20 kept off the link             {:>10}   {} % of what was served\n\
         \x20 a server that copies what is approved would have fetched {} for it\n\
         \x20 highest second                {:>10}{cap}\n\
         \x20 told in                       {:>8.1} s",
        ByteCount(figures.metadata_received).to_string(),
        ByteCount(figures.payload_received).to_string(),
        ByteCount(figures.payload_served).to_string(),
        ByteCount(saved).to_string(),
        percent(saved, figures.payload_served),
        ByteCount(figures.approved_payload),
        bandwidth::rate(figures.highest_second_bits),
        figures.seconds,
    ));
}
