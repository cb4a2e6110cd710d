//! The upstream as the rest of the program has it: started once, asked and told from everywhere.
//!
//! **Invariant:** one synchronisation runs at a time, whoever asked for it. It never does what a synchronisation does.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::addresses::KnownAddresses;
use super::capabilities::UpstreamCapabilities;
use super::config::{Config, Mode, Plan};
use super::error::SyncError;
use super::mark::Mark;
use super::names::Choice;
use super::peer::PeerState;
use super::report::{Missing, Phase, SyncOptions, SyncProgress, SyncReport, Trigger};
use super::rollup::RollupRequest;
use super::session::Session;
use super::state::SyncState;
use tailwater_bandwidth::LinkClient;
use tailwater_catalog::Catalog;
use tailwater_domain::ServerId;
use tailwater_durable::Trouble;
use tailwater_runtime::{Clock, Tasks};

/// The upstream. Cheap to clone; clones share one session and one synchronisation at a time.
#[derive(Clone)]
pub struct Upstream(pub(super) Arc<UpstreamState>);

/// What its parts share. Each part changes through its own methods.
pub(super) struct UpstreamState {
    pub(super) config: Arc<Config>,
    pub(super) catalog: Catalog,
    pub(super) link: LinkClient,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) session: OnceCell<Arc<Session>>,
    pub(super) chosen: Chosen,
    pub(super) activity: Activity,
    pub(super) addresses: KnownAddresses,
    pub(super) peer: PeerKnowledge,
}

/// What is selected, as configured and as looked up.
pub(super) struct Chosen {
    /// What of the configuration is in force instead of what it began with.
    pub(super) plan: watch::Sender<Arc<Plan>>,
    /// What names in the configuration chose last.
    pub(super) choice: Mutex<Option<Choice>>,
}

/// What runs, and what is to run.
pub(super) struct Activity {
    /// Present while a synchronisation runs.
    running: Mutex<Option<CancellationToken>>,
    pub(super) progress: Arc<watch::Sender<SyncProgress>>,
    pub(super) next_run: watch::Sender<Option<Timestamp>>,
    /// Held while a roll-up runs.
    pub(super) rolling: tokio::sync::Mutex<()>,
    /// Tells the worker that rolls up.
    pub(super) rollup_requests: watch::Sender<RollupRequest>,
}

/// What is known of an upstream that is a tailwater.
pub(super) struct PeerKnowledge {
    /// Whether it is one.
    pub(super) state: Mutex<PeerState>,
    /// How far its lists were read.
    pub(super) mark: watch::Sender<Option<Mark>>,
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
        let mut state = SyncState::load(&catalog, &config.url)?;
        if config.mode == Mode::Autonomous {
            match super::deployments::forget(&catalog, &mut state) {
                // forgotten with the next start
                Err(SyncError::Catalog(error)) if error.is_read_only() => {}
                other => other?,
            }
        }
        let peer_state = PeerState::load(&catalog, &config.url)?;
        let choice = Choice::load(&catalog, &config.products, &config.classifications);
        Ok(Self(Arc::new(UpstreamState {
            chosen: Chosen { plan: watch::Sender::new(Arc::new(config.plan())), choice: Mutex::new(choice) },
            config: Arc::new(config),
            catalog,
            link,
            clock,
            tasks,
            session: OnceCell::new(),
            activity: Activity {
                running: Mutex::new(None),
                progress: Arc::new(watch::Sender::new(SyncProgress::default())),
                next_run: watch::Sender::new(None),
                rolling: tokio::sync::Mutex::default(),
                rollup_requests: watch::Sender::default(),
            },
            addresses: KnownAddresses::new(UpstreamCapabilities::of(&state)),
            peer: PeerKnowledge {
                state: Mutex::new(peer_state),
                mark: watch::Sender::new(state.mark().cloned()),
            },
        })))
    }

    /// What the names in the configuration chose when the upstream was last asked; none before, and none when other
    /// names are configured since.
    pub fn choice(&self) -> Option<Choice> {
        let plan = self.0.chosen.plan.borrow().clone();
        let choice = self.0.chosen.choice.lock().unwrap_or_else(PoisonError::into_inner).clone();
        choice.filter(|choice| choice.is_of(&plan.products, &plan.classifications))
    }

    /// Who this server is to other servers: what it authorizes with upstream, and what downstream servers know it
    /// by. Made once for the life of the store. Blocks on the catalog for a moment.
    ///
    /// # Errors
    /// When the catalog cannot be read or written.
    pub fn identity(&self) -> Result<ServerId, SyncError> {
        super::session::account_id(&self.0.catalog).map(ServerId)
    }

    /// Whether the upstream said that express payloads are available from it.
    pub fn hosts_psf(&self) -> bool {
        self.0.addresses.capabilities().hosts_psf
    }

    /// What the last synchronisation left missing, and why; every further one asks for it again. Reads the catalog.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn missing(&self) -> Result<Vec<Missing>, SyncError> {
        Ok(SyncState::load(&self.0.catalog, &self.0.config.url)?.missing().to_vec())
    }

    /// Synchronises now and waits for the end. It goes on when the caller stops waiting. A report with
    /// [`Outcome::Partial`] or [`Outcome::Held`] is no error.
    ///
    /// # Errors
    /// When one runs already, or this one failed or was cancelled; the history has its report all the same.
    pub async fn sync(&self, options: SyncOptions) -> Result<SyncReport, SyncError> {
        self.run(options, Trigger::Demand).await
    }

    pub(super) async fn run(&self, options: SyncOptions, trigger: Trigger) -> Result<SyncReport, SyncError> {
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
        let mut running = self.0.activity.running.lock().unwrap_or_else(PoisonError::into_inner);
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
        let running = self.0.activity.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().inspect(|cancel| cancel.cancel()).is_some()
    }

    /// Whether a synchronisation runs.
    pub fn is_running(&self) -> bool {
        self.0.activity.running.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Where the synchronisation stands, as it goes on.
    pub fn progress(&self) -> watch::Receiver<SyncProgress> {
        self.0.activity.progress.subscribe()
    }

    /// When the schedule starts the next one.
    pub fn next_run(&self) -> watch::Receiver<Option<Timestamp>> {
        self.0.activity.next_run.subscribe()
    }

    /// What is selected and when, from now on: for the next synchronisation, and at once for the schedule.
    pub fn set_plan(&self, plan: Plan) {
        self.0.chosen.plan.send_replace(Arc::new(plan));
    }

    /// The last 50 synchronisations, newest first. Reads the catalog.
    pub fn history(&self) -> Vec<SyncReport> {
        super::state::history(&self.0.catalog)
    }

    /// The upstream's address, fit to be shown.
    pub fn url(&self) -> &str {
        &self.0.config.url
    }
}

/// Ends the synchronisation for everybody, however it ends.
struct Running(Arc<UpstreamState>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.activity.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.activity.progress.send_modify(|progress| progress.phase = Phase::Idle);
    }
}
