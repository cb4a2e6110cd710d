//! One attempt to synchronise: from its begin to its report in history and log.
//!
//! **Invariant:** every attempt has a report, however it ends, but for a notice of the upstream that concerned nothing
//! here; an activation that has begun is not interrupted. It never decides when to synchronise.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::capabilities::UpstreamCapabilities;
use super::error::SyncError;
use super::handle::UpstreamState;
use super::ingest::chain;
use super::names::Choice;
use super::peer::PeerClient;
use super::reason::Reason;
use super::report::{Outcome, Phase, SyncOptions, SyncProgress, SyncReport, Trigger};
use super::rollup::RollupRequest;
use super::run::{Run, RunContext, Tally};
use super::session::Session;
use super::state::{self, SyncState};
use tailwater_catalog as catalog;
use tailwater_domain::Class;

impl UpstreamState {
    /// One synchronisation with its report in history and log.
    pub(super) async fn synchronise(
        &self,
        options: SyncOptions,
        trigger: Trigger,
        cancel: CancellationToken,
    ) -> Result<SyncReport, SyncError> {
        let started_at = self.clock.now();
        let received_before = self.link.meter().received_in(Class::Metadata);
        self.activity.progress.send_replace(SyncProgress {
            phase: Phase::Connecting,
            started_at: Some(started_at),
            ..SyncProgress::default()
        });
        let (mut tally, mut choice) = (Tally::default(), None);
        let ended = tokio::select! {
            ended = self.attempt(options, &cancel, &mut tally, &mut choice) => ended,
            () = self.count_received(received_before) => Err(SyncError::Cancelled),
        };
        let mut report = SyncReport {
            trigger,
            started_at,
            ended_at: self.clock.now(),
            outcome: outcome(&ended, &tally),
            listed: tally.listed,
            held: tally.held,
            fetched: self.activity.progress.borrow().fetched,
            received: self.link.meter().received_in(Class::Metadata) - received_before,
            missing_total: tally.missing.len(),
            missing: tally.missing,
            absent_prerequisites: tally.absent_prerequisites,
            decided: tally.decided,
            activated: None,
            warnings: choice.as_ref().map(Choice::warnings).unwrap_or_default(),
            notes: choice.as_ref().map(Choice::notes).unwrap_or_default(),
            error: ended.as_ref().err().map(|error| chain(error)),
            reason: ended.as_ref().err().and_then(Reason::of),
        };
        if let Ok(Some(catalog::Activated::Done(summary))) = &ended {
            report.activated = Some((*summary).into());
        }
        // one that ends a row of failures is worth an entry
        if report.is_idle_notice() && !self.is_failing() {
            tracing::debug!("the upstream's change does not concern this server");
            return ended.map(|_| report);
        }
        log(&report);
        let request = RollupRequest::of(trigger, report.outcome);
        let (catalog, kept) = (self.catalog.clone(), report.clone());
        let remembered = tokio::task::spawn_blocking(move || state::remember(&catalog, &kept)).await;
        if let Ok(Err(error)) = remembered {
            tracing::error!(%error, "the history of synchronisations could not be written");
        }
        // after the history is written: the roll-up tells when this server last synchronised
        self.activity.rollup_requests.send_replace(request);
        ended.map(|_| report)
    }

    /// Keeps the progress's byte count fresh; never ends.
    async fn count_received(&self, before: u64) {
        loop {
            self.clock.sleep(std::time::Duration::from_millis(500)).await;
            let received = self.link.meter().received_in(Class::Metadata) - before;
            self.activity
                .progress
                .send_if_modified(|progress| std::mem::replace(&mut progress.received, received) != received);
        }
    }

    /// What a synchronisation works with; nothing is asked for yet.
    pub(super) async fn begin_run(
        &self,
        session: Arc<Session>,
        peer: Option<Arc<PeerClient>>,
        options: SyncOptions,
        cancel: &CancellationToken,
    ) -> Result<Run, SyncError> {
        let catalog = self.catalog.clone();
        let url = self.config.url.clone();
        let opened = tokio::task::spawn_blocking(move || {
            Ok::<_, SyncError>((catalog.staging()?, SyncState::load(&catalog, &url)?))
        });
        let (staging, state) = opened.await.map_err(|_e| SyncError::Worker)??;
        let context = RunContext {
            config: Arc::new(self.config.with(&self.chosen.plan.borrow())),
            catalog: self.catalog.clone(),
            session,
            peer,
            progress: Arc::clone(&self.activity.progress),
            cancel: cancel.clone(),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            options,
            renewals: self.addresses.shared_renewals(),
        };
        Ok(Run::new(context, staging, state))
    }

    async fn attempt(
        &self,
        options: SyncOptions,
        cancel: &CancellationToken,
        tally: &mut Tally,
        choice: &mut Option<Choice>,
    ) -> Result<Option<catalog::Activated>, SyncError> {
        let session = tokio::select! {
            session = self.session() => session?,
            () = cancel.cancelled() => return Err(SyncError::Cancelled),
        };
        let peer = tokio::select! {
            peer = self.peer_client(&session) => peer?,
            () = cancel.cancelled() => return Err(SyncError::Cancelled),
        };
        let mut run = self.begin_run(session, peer.clone(), options, cancel).await?;
        let prepared = tokio::select! {
            prepared = run.prepare() => prepared,
            () = cancel.cancelled() => Err(SyncError::Cancelled),
        };
        run.finish_workers().await;
        self.addresses.set_capabilities(UpstreamCapabilities::of(run.state()));
        // an activation that has begun is not interrupted
        let ended = match prepared {
            Ok(()) => run.activate().await,
            Err(error) => Err(error),
        };
        if let Some(peer) = peer {
            self.learn(&peer, ended.is_ok()).await?;
        }
        if ended.is_ok() {
            run.count_chosen().await?;
            if let Some(chosen) = run.choice() {
                self.choose(chosen).await?;
            }
            *choice = run.choice().cloned();
            self.peer.mark.send_replace(run.state().mark().cloned());
        }
        *tally = run.into_tally();
        ended
    }
}

fn outcome(ended: &Result<Option<catalog::Activated>, SyncError>, tally: &Tally) -> Outcome {
    match ended {
        Ok(Some(catalog::Activated::Held(_))) => Outcome::Held,
        Ok(_) if tally.missing.is_empty() => Outcome::Complete,
        Ok(_) => Outcome::Partial,
        Err(SyncError::Cancelled) => Outcome::Cancelled,
        Err(_) => Outcome::Failed,
    }
}

/// One line of the log for each synchronisation.
fn log(report: &SyncReport) {
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    for note in &report.notes {
        tracing::info!("{note}");
    }
    let (fetched, listed, received) = (report.fetched, report.listed, report.received);
    match report.outcome {
        Outcome::Complete => tracing::info!(fetched, listed, received, "synchronised"),
        Outcome::Held => tracing::warn!(
            fetched,
            "synchronised, but it would remove too much: an administrator must release it"
        ),
        Outcome::Partial => {
            let missing = report.missing_total;
            let first =
                report.missing.first().map(|missing| format!("{}: {}", missing.identity, missing.reason));
            tracing::warn!(fetched, missing, first, "synchronised in part; the rest is requested next time");
        }
        Outcome::Cancelled => tracing::info!(fetched, "the synchronisation was cancelled"),
        Outcome::Failed => tracing::error!(fetched, error = report.error, "the synchronisation failed"),
    }
}
