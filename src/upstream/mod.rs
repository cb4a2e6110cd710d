//! Synchronisation: what a downstream server does towards its upstream ([MS-WSUSSS] 3.2.4).
//!
//! A session authorizes and renews its cookie; a run lists what is new, fetches documents in bounded
//! batches, has them cut and stored, and makes everything visible with one activation.
//!
//! **Invariant:** agents see the world before a synchronisation or the world after it, never half of it;
//! revisions asked for and not yet durable never exceed one batch of the upstream; what was stored is not
//! fetched again, whatever stopped the process. It never touches payloads: it only knows where they are.

mod client;
mod config;
mod deployments;
mod error;
mod examine;
mod fetch;
mod ingest;
mod keys;
mod languages;
mod names;
mod peer;
mod recovery;
mod related;
mod renewal;
mod report;
mod rollup;
mod root;
mod schedule;
mod select;
mod session;
mod sources;
mod standing;
mod state;
mod sync;

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use jiff::Timestamp;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{Config, ContentFrom, Mode, Place, Plan, PricedSource, Schedule, USUAL_COST};
pub use error::SyncError;
pub use examine::Examined;
pub use languages::LANGUAGES_KEY;
pub use names::{Choice, ChosenName, NameKey};
pub use report::{Activated, Missing, Outcome, Phase, SyncOptions, SyncProgress, SyncReport, Trigger};
pub use rollup::RollupReport;
pub use sources::Address;
pub use standing::{Failing, Reason, Standing};

use crate::bandwidth::{Class, LinkClient, LinkConfig};
use crate::catalog::{self, Catalog};
use crate::domain::{Limit, ServerId, joined_limits};
use crate::durable::Trouble;
use crate::runtime::{Clock, Tasks};
use client::SoapClient;
use peer::{Acquaintance, Line, Mark};
use session::{Session, SessionError};
use state::State;
use sync::{Run, Tally};

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    client::LIMITS,
    fetch::LIMITS,
    keys::LIMITS,
    languages::LIMITS,
    names::LIMITS,
    peer::LIMITS,
    related::LIMITS,
    renewal::LIMITS,
    rollup::LIMITS,
    root::LIMITS,
    schedule::LIMITS,
    session::LIMITS,
    sources::LIMITS,
    state::LIMITS,
    sync::LIMITS,
];

/// The upstream. Cheap to clone; clones share one session and one synchronisation at a time.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    /// What of the configuration is in force instead of what it began with.
    plan: watch::Sender<Arc<Plan>>,
    catalog: Catalog,
    link: LinkClient,
    clock: Clock,
    tasks: Tasks,
    session: OnceCell<Arc<Session>>,
    /// Present while a synchronisation runs.
    running: Mutex<Option<CancellationToken>>,
    progress: Arc<watch::Sender<SyncProgress>>,
    next_run: watch::Sender<Option<Timestamp>>,
    manner: Mutex<Manner>,
    questions: Mutex<sources::Questions>,
    renewals: Arc<Mutex<renewal::Renewals>>,
    /// Whether the upstream is a tailwater.
    acquaintance: Mutex<Acquaintance>,
    /// How far its lists were read.
    mark: watch::Sender<Option<Mark>>,
    /// Held while a roll-up runs.
    rolling: tokio::sync::Mutex<()>,
    /// Tells the worker that rolls up.
    wishes: watch::Sender<rollup::Wish>,
    /// What names in the configuration chose last.
    choice: Mutex<Option<Choice>>,
}

/// How the upstream deals with payloads.
#[derive(Debug, Clone, Copy, Default)]
struct Manner {
    /// It hands out only its catalog.
    catalog_only: bool,
    /// It fetches payloads when they are approved or asked for.
    lazy: bool,
    /// It has express payloads.
    hosts_psf: bool,
}

impl Manner {
    fn of(state: &State) -> Self {
        state.config.as_ref().map_or_else(Self::default, |config| Self {
            catalog_only: config.catalog_only_sync,
            lazy: config.lazy_sync,
            hosts_psf: config.server_hosts_psf_files,
        })
    }
}

impl Upstream {
    /// Takes up what is remembered of the upstream; nothing is sent. Blocks on the catalog for a moment.
    ///
    /// # Errors
    /// When the catalog cannot be read, or the folder for temporary files cannot be made.
    pub fn new(
        mut config: Config,
        catalog: Catalog,
        link: LinkClient,
        clock: Clock,
        tasks: Tasks,
    ) -> Result<Self, SyncError> {
        config.url.truncate(config.url.trim_end_matches('/').len());
        match std::fs::create_dir_all(&config.dir) {
            // a synchronisation that needs it says so
            Err(source) if Trouble::of(&source).is_none() => {
                return Err(SyncError::File { path: config.dir.clone(), source });
            }
            _ => {}
        }
        let mut state = State::load(&catalog, &config.url)?;
        if config.mode == Mode::Autonomous {
            match deployments::forget(&catalog, &mut state) {
                // forgotten with the next start
                Err(SyncError::Catalog(error)) if error.is_read_only() => {}
                other => other?,
            }
        }
        let acquaintance = Acquaintance::load(&catalog, &config.url)?;
        let choice = Choice::load(&catalog, &config.products, &config.classifications);
        Ok(Self(Arc::new(Inner {
            plan: watch::Sender::new(Arc::new(config.plan())),
            config: Arc::new(config),
            catalog,
            link,
            clock,
            tasks,
            session: OnceCell::new(),
            running: Mutex::new(None),
            progress: Arc::new(watch::Sender::new(SyncProgress::default())),
            next_run: watch::Sender::new(None),
            manner: Mutex::new(Manner::of(&state)),
            questions: Mutex::default(),
            renewals: Arc::default(),
            acquaintance: Mutex::new(acquaintance),
            mark: watch::Sender::new(state.peer),
            rolling: tokio::sync::Mutex::default(),
            wishes: watch::Sender::default(),
            choice: Mutex::new(choice),
        })))
    }

    /// What the names in the configuration chose when the upstream was last asked; none before, and none when other
    /// names are configured since.
    pub fn choice(&self) -> Option<Choice> {
        let plan = self.0.plan.borrow().clone();
        let choice = self.0.choice.lock().unwrap_or_else(PoisonError::into_inner).clone();
        choice.filter(|choice| choice.is_of(&plan.products, &plan.classifications))
    }

    /// Who this server is to other servers: what it authorizes with upstream, and what downstream servers know it
    /// by. Made once for the life of the store. Blocks on the catalog for a moment.
    ///
    /// # Errors
    /// When the catalog cannot be read or written.
    pub fn identity(&self) -> Result<ServerId, SyncError> {
        session::account_id(&self.0.catalog).map(ServerId)
    }

    /// Whether the upstream said that express payloads can be had from it.
    pub fn hosts_psf(&self) -> bool {
        self.0.manner().hosts_psf
    }

    /// What the last synchronisation could not have, and why; every further one asks for it again. Reads the catalog.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn missing(&self) -> Result<Vec<Missing>, SyncError> {
        Ok(State::load(&self.0.catalog, &self.0.config.url)?.missing)
    }

    /// Synchronises now and waits for the end. It goes on when the caller stops waiting. A report with
    /// [`Outcome::Partial`] or [`Outcome::Held`] is no error.
    ///
    /// # Errors
    /// When one runs already, or this one failed or was cancelled; the history has its report all the same.
    pub async fn sync(&self, options: SyncOptions) -> Result<SyncReport, SyncError> {
        self.run(options, Trigger::Demand).await
    }

    async fn run(&self, options: SyncOptions, trigger: Trigger) -> Result<SyncReport, SyncError> {
        self.begin(options, trigger)?.await.map_err(|_e| SyncError::Worker)?
    }

    /// Starts a synchronisation without waiting for it.
    ///
    /// # Errors
    /// When one runs already.
    pub fn begin(
        &self,
        options: SyncOptions,
        trigger: Trigger,
    ) -> Result<JoinHandle<Result<SyncReport, SyncError>>, SyncError> {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_some() {
            return Err(SyncError::AlreadyRunning);
        }
        let cancel = self.0.tasks.stopping().child_token();
        *running = Some(cancel.clone());
        drop(running);
        let guard = Running(Arc::clone(&self.0));
        let inner = Arc::clone(&self.0);
        Ok(self.0.tasks.spawn("synchronisation", async move {
            let result = inner.synchronise(options, trigger, cancel).await;
            drop(guard);
            result
        }))
    }

    /// Stops the synchronisation that runs; what it stored is kept. False when none runs.
    pub fn cancel(&self) -> bool {
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().inspect(|cancel| cancel.cancel()).is_some()
    }

    /// Whether a synchronisation runs.
    pub fn is_running(&self) -> bool {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Where the synchronisation stands, as it goes on.
    pub fn progress(&self) -> watch::Receiver<SyncProgress> {
        self.0.progress.subscribe()
    }

    /// When the schedule starts the next one.
    pub fn next_run(&self) -> watch::Receiver<Option<Timestamp>> {
        self.0.next_run.subscribe()
    }

    /// What is selected and when, from now on: for the next synchronisation, and at once for the schedule.
    pub fn set_plan(&self, plan: Plan) {
        self.0.plan.send_replace(Arc::new(plan));
    }

    /// The last 50 synchronisations, newest first. Reads the catalog.
    pub fn history(&self) -> Vec<SyncReport> {
        state::history(&self.0.catalog)
    }

    /// The upstream's address, fit to be shown.
    pub fn url(&self) -> &str {
        &self.0.config.url
    }
}

/// The token as a header that nothing prints.
fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Ends the synchronisation for everybody, however it ends.
struct Running(Arc<Inner>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.progress.send_modify(|progress| progress.phase = Phase::Idle);
    }
}

impl Inner {
    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, made with the first use: Microsoft's service needs its trust root first.
    async fn session(&self) -> Result<Arc<Session>, SyncError> {
        let session = self.session.get_or_try_init(|| async {
            let client = SoapClient {
                link: self.client().await?,
                clock: self.clock.clone(),
                dir: self.config.dir.clone(),
                class: Class::Metadata,
                token: self.config.token.as_deref().and_then(bearer),
                packing: client::Packing::default(),
            };
            let (catalog, config) = (self.catalog.clone(), Arc::clone(&self.config));
            let made = tokio::task::spawn_blocking(move || {
                Session::new(client, catalog, &config.url, config.account_name.as_deref())
            });
            made.await.map_err(|_e| SyncError::Worker)?.map(Arc::new)
        });
        session.await.cloned()
    }

    async fn client(&self) -> Result<LinkClient, SyncError> {
        if self.config.link.ca_file.is_some() || !root::is_needed(&self.config.url) {
            return Ok(self.link.clone());
        }
        let mut config: LinkConfig = self.config.link.clone();
        config.extra_roots.push(root::certificate(&self.link, &self.config.dir).await?);
        let (limiter, meter) = (self.link.limiter(), self.link.meter());
        LinkClient::new(config, limiter, meter, &self.clock, &self.tasks)
            .map_err(|source| SyncError::Link { operation: "preparing the link", source })
    }

    fn acquaintance(&self) -> std::sync::MutexGuard<'_, Acquaintance> {
        self.acquaintance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the upstream is a tailwater that may be asked as one.
    fn is_peer(&self) -> bool {
        self.config.peer && self.acquaintance().known().is_some()
    }

    /// The line to an upstream that is a tailwater; asks whether it is one when that is due.
    async fn line(&self, session: &Arc<Session>) -> Result<Option<Arc<Line>>, SyncError> {
        // Microsoft's service is known to be none
        if !self.config.peer || root::is_needed(&self.config.url) {
            return Ok(None);
        }
        let now = self.clock.now().as_second();
        let mut known = self.acquaintance().clone();
        if known.is_due(now) {
            // nothing but an upstream that lets us in is asked anything else
            session.cookie().await.map_err(SessionError::into_sync_error)?;
            known.ask(&session.client().link, now).await;
            if known.known().is_some() {
                tracing::info!("the upstream is a tailwater: lists and documents come the short way");
            }
            self.acquainted(known.clone()).await?;
        }
        Ok(known.known().map(|hello| {
            let (catalog, languages) = (self.catalog.clone(), self.config.languages.clone());
            let session = Arc::clone(session);
            Arc::new(Line::new(session, hello.clone(), catalog, languages))
        }))
    }

    async fn acquainted(&self, known: Acquaintance) -> Result<(), SyncError> {
        *self.acquaintance() = known.clone();
        let catalog = self.catalog.clone();
        sync::blocking(move || known.save(&catalog)).await?.map_err(SyncError::Catalog)
    }

    /// What a synchronisation taught about the upstream.
    async fn learn(&self, line: &Line, went_well: bool) -> Result<(), SyncError> {
        let mut known = self.acquaintance().clone();
        if !line.is_good() {
            known.was_strange(self.clock.now().as_second());
        } else if !went_well || !known.went_well() {
            return Ok(());
        }
        self.acquainted(known).await
    }

    /// Keeps what is chosen, to be shown at any time.
    async fn choose(&self, chosen: &Choice) -> Result<(), SyncError> {
        let before = self.choice.lock().unwrap_or_else(PoisonError::into_inner).replace(chosen.clone());
        if before.as_ref() == Some(chosen) {
            return Ok(());
        }
        let (catalog, chosen) = (self.catalog.clone(), chosen.clone());
        sync::blocking(move || chosen.save(&catalog)).await?.map_err(SyncError::Catalog)
    }

    /// One synchronisation with its report in history and log.
    async fn synchronise(
        &self,
        options: SyncOptions,
        trigger: Trigger,
        cancel: CancellationToken,
    ) -> Result<SyncReport, SyncError> {
        let started_at = self.clock.now();
        let received_before = self.link.meter().received_in(Class::Metadata);
        self.progress.send_replace(SyncProgress {
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
            fetched: self.progress.borrow().fetched,
            received: self.link.meter().received_in(Class::Metadata) - received_before,
            missing_total: tally.missing.len(),
            missing: tally.missing,
            absent_prerequisites: tally.absent_prerequisites,
            decided: tally.decided,
            activated: None,
            warnings: choice.as_ref().map(Choice::warnings).unwrap_or_default(),
            notes: choice.as_ref().map(Choice::notes).unwrap_or_default(),
            error: ended.as_ref().err().map(|error| ingest::chain(error)),
            reason: ended.as_ref().err().and_then(Reason::of),
        };
        if let Ok(Some(catalog::Activated::Done(summary))) = &ended {
            report.activated = Some((*summary).into());
        }
        // one that ends a row of failures is worth an entry
        if report.is_idle_notice() && !self.is_failing() {
            tracing::debug!("the upstream's change was none for this server");
            return ended.map(|_| report);
        }
        tell(&report);
        let wish = rollup::Wish::of(trigger, report.outcome);
        let (catalog, kept) = (self.catalog.clone(), report.clone());
        let remembered = tokio::task::spawn_blocking(move || state::remember(&catalog, &kept)).await;
        if let Ok(Err(error)) = remembered {
            tracing::error!(%error, "the history of synchronisations could not be written");
        }
        // after the history is written: the roll-up tells when this server last synchronised
        self.wishes.send_replace(wish);
        ended.map(|_| report)
    }

    /// Keeps the progress's byte count fresh; never ends.
    async fn count_received(&self, before: u64) {
        loop {
            self.clock.sleep(std::time::Duration::from_millis(500)).await;
            let received = self.link.meter().received_in(Class::Metadata) - before;
            self.progress
                .send_if_modified(|progress| std::mem::replace(&mut progress.received, received) != received);
        }
    }

    /// What a synchronisation works with; nothing is asked for yet.
    async fn begin_run(
        &self,
        session: Arc<Session>,
        line: Option<Arc<Line>>,
        options: SyncOptions,
        cancel: &CancellationToken,
    ) -> Result<Run, SyncError> {
        let catalog = self.catalog.clone();
        let url = self.config.url.clone();
        let opened = tokio::task::spawn_blocking(move || {
            Ok::<_, SyncError>((catalog.staging()?, State::load(&catalog, &url)?))
        });
        let (staging, state) = opened.await.map_err(|_e| SyncError::Worker)??;
        Ok(Run {
            config: Arc::new(self.config.with(&self.plan.borrow())),
            catalog: self.catalog.clone(),
            session,
            line,
            staging,
            progress: Arc::clone(&self.progress),
            cancel: cancel.clone(),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            decisions_afresh: options.full,
            options,
            state,
            withdraw: Vec::new(),
            keys_came: false,
            tally: Tally::default(),
            choice: None,
            unnamed: None,
            compared: false,
            workers: TaskTracker::new(),
            renewals: Arc::clone(&self.renewals),
        })
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
        let line = tokio::select! {
            line = self.line(&session) => line?,
            () = cancel.cancelled() => return Err(SyncError::Cancelled),
        };
        let mut run = self.begin_run(session, line.clone(), options, cancel).await?;
        let prepared = tokio::select! {
            prepared = run.prepare() => prepared,
            () = cancel.cancelled() => Err(SyncError::Cancelled),
        };
        run.workers.close();
        run.workers.wait().await;
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = Manner::of(&run.state);
        // an activation that has begun is not interrupted
        let ended = match prepared {
            Ok(()) => run.activate().await,
            Err(error) => Err(error),
        };
        if let Some(line) = line {
            self.learn(&line, ended.is_ok()).await?;
        }
        if ended.is_ok() {
            run.count_chosen().await?;
            if let Some(chosen) = &run.choice {
                self.choose(chosen).await?;
            }
            choice.clone_from(&run.choice);
            self.mark.send_replace(run.state.peer.clone());
        }
        *tally = run.tally;
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
fn tell(report: &SyncReport) {
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
            tracing::warn!(fetched, missing, first, "synchronised in part; the rest is asked for next time");
        }
        Outcome::Cancelled => tracing::info!(fetched, "the synchronisation was cancelled"),
        Outcome::Failed => tracing::error!(fetched, error = report.error, "the synchronisation failed"),
    }
}
