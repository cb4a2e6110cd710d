//! What one synchronisation works with and finds out: the only place where that changes.
//!
//! Its steps lie in files of their own (`sync`, `deployments`, `languages`, `older`, `keys`, `related`, `recovery`,
//! `peer`); they read through the accessors below and change what was found through the methods that say what happened.
//!
//! **Invariant:** what was found belongs to this synchronisation alone until its activation; what it began with never
//! changes. It never asks the upstream.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addresses::Renewals;
use super::config::Config;
use super::fetch::{FetchContext, Fetcher};
use super::names::Choice;
use super::peer::PeerClient;
use super::report::{Missing, Phase, SyncOptions, SyncProgress};
use super::session::Session;
use super::state::SyncState;
use tailwater_catalog::{Catalog, Staging, Unnamed};
use tailwater_domain::{Limit, UpdateIdentity, limits};
use tailwater_runtime::{Clock, Tasks};
use tailwater_wire::server_sync::ConfigData;
use tailwater_wire::update_metadata::Languages;

/// What real servers take, for an upstream that does not say.
const USUAL_BATCH: usize = 100;
/// No more, whatever an upstream says: they are in flight together.
const LARGEST_BATCH: usize = 500;

pub(super) const LIMITS: &[Limit] = limits![
    USUAL_BATCH in "revisions": "Revisions in flight where the upstream does not say" => "they are asked for in the next batch",
    LARGEST_BATCH in "revisions": "Revisions in flight, whatever the upstream says" => "they are asked for in the next batch",
];

/// What a synchronisation works with. It does not change while it runs.
pub(super) struct RunContext {
    pub(super) config: Arc<Config>,
    pub(super) catalog: Catalog,
    pub(super) session: Arc<Session>,
    /// Where the upstream is a tailwater.
    pub(super) peer: Option<Arc<PeerClient>>,
    pub(super) progress: Arc<watch::Sender<SyncProgress>>,
    pub(super) cancel: CancellationToken,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) options: SyncOptions,
    pub(super) renewals: Arc<Mutex<Renewals>>,
}

/// One synchronisation.
pub(super) struct Run {
    context: RunContext,
    staging: Staging,
    workers: TaskTracker,
    state: SyncState,
    tally: Tally,
    findings: Findings,
}

/// What a synchronisation found out beside documents.
#[derive(Default)]
struct Findings {
    /// Ask for all decisions instead of what changed.
    all_decisions: bool,
    /// Held revisions that the upstream says are gone.
    withdraw: Vec<UpdateIdentity>,
    /// Keys of encrypted payloads came: servers below hear of it with the activation.
    keys_came: bool,
    /// What the configuration chooses, once it was looked up.
    choice: Option<Choice>,
    /// What is missing here because of damage, and has no name any more.
    unnamed: Option<Unnamed>,
    /// All that the upstream lists was compared.
    compared: bool,
}

/// What there is to report.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) listed: usize,
    pub(super) held: usize,
    pub(super) fetched: usize,
    pub(super) missing: Vec<Missing>,
    pub(super) absent_prerequisites: usize,
    pub(super) decided: Option<usize>,
}

impl Run {
    /// One that has found nothing yet, over what earlier ones staged and remembered.
    pub(super) fn new(context: RunContext, staging: Staging, state: SyncState) -> Self {
        let findings = Findings { all_decisions: context.options.full, ..Findings::default() };
        let (workers, tally) = (TaskTracker::new(), Tally::default());
        Self { context, staging, workers, state, tally, findings }
    }

    pub(super) fn config(&self) -> &Arc<Config> {
        &self.context.config
    }

    pub(super) fn options(&self) -> SyncOptions {
        self.context.options
    }

    pub(super) fn catalog(&self) -> Catalog {
        self.context.catalog.clone()
    }

    pub(super) fn staging(&self) -> Staging {
        self.staging.clone()
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.context.session
    }

    /// The upstream's client where it is a tailwater, good or not.
    pub(super) fn peer(&self) -> Option<&Arc<PeerClient>> {
        self.context.peer.as_ref()
    }

    pub(super) fn cancel(&self) -> CancellationToken {
        self.context.cancel.clone()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What is remembered of the upstream from now on. It is stored with the activation.
    pub(super) fn state(&self) -> &SyncState {
        &self.state
    }

    /// The same, to be changed through its own methods.
    pub(super) fn state_mut(&mut self) -> &mut SyncState {
        &mut self.state
    }

    pub(super) fn choice(&self) -> Option<&Choice> {
        self.findings.choice.as_ref()
    }

    pub(super) fn set_choice(&mut self, choice: Choice) {
        self.findings.choice = Some(choice);
    }

    pub(super) fn phase(&self, phase: Phase) {
        self.context.progress.send_modify(|progress| progress.phase = phase);
    }

    /// What is staged waits for nothing any more: work under way ends first.
    pub(super) async fn finish_workers(&self) {
        self.workers.close();
        self.workers.wait().await;
    }

    /// Whether a replica asks for all decisions instead of what changed.
    pub(super) fn reads_all_decisions(&self) -> bool {
        self.findings.all_decisions
    }

    pub(super) fn read_all_decisions(&mut self) {
        self.findings.all_decisions = true;
    }

    /// Updates and groups of which something else is decided than before.
    pub(super) fn note_decided(&mut self, decided: usize) {
        self.tally.decided = Some(decided);
    }

    /// Revisions that a list named, and how many of these were held already.
    pub(super) fn note_listed(&mut self, listed: usize, held: usize) {
        self.tally.listed += listed;
        self.tally.held += held;
        self.context.progress.send_modify(|progress| progress.held += held);
    }

    pub(super) fn note_fetched(&mut self, stored: usize) {
        self.tally.fetched += stored;
    }

    pub(super) fn note_missing(&mut self, missing: impl IntoIterator<Item = Missing>) {
        self.tally.missing.extend(missing);
    }

    pub(super) fn note_absent_prerequisites(&mut self, count: usize) {
        self.tally.absent_prerequisites = count;
    }

    /// So many keys of encrypted payloads are new.
    pub(super) fn note_keys(&mut self, news: usize) {
        self.findings.keys_came |= news > 0;
    }

    /// Everything is listed anew: only what was fetched stays counted.
    pub(super) fn count_anew(&mut self) {
        self.tally = Tally { fetched: self.tally.fetched, ..Tally::default() };
    }

    /// Remembers what is missing, to be asked for by name next time; as [`SyncState::keep_missing`].
    pub(super) fn keep_missing(&mut self) -> bool {
        self.state.keep_missing(&self.tally.missing)
    }

    /// The upstream says that these are gone; those that are held go with the activation.
    pub(super) fn withdraw(&mut self, gone: Vec<UpdateIdentity>) {
        self.findings.withdraw.extend(gone.into_iter().filter(|identity| self.staging.holds(identity)));
    }

    pub(super) fn withdraw_nothing(&mut self) {
        self.findings.withdraw.clear();
    }

    /// What the activation withdraws, and whether there is news beside documents.
    pub(super) fn take_withdrawn(&mut self) -> (Vec<UpdateIdentity>, bool) {
        let withdraw = std::mem::take(&mut self.findings.withdraw);
        let is_news = !withdraw.is_empty() || self.findings.keys_came;
        (withdraw, is_news)
    }

    /// Notes what is missing because of damage and has no name; whether there is such.
    pub(super) fn note_damage(&mut self) -> bool {
        self.findings.unnamed = self.staging.unnamed();
        self.findings.unnamed.is_some()
    }

    pub(super) fn has_unnamed_damage(&self) -> bool {
        self.findings.unnamed.is_some()
    }

    /// The lists were read in full, and what they name is held or known as missing.
    pub(super) fn has_compared(&mut self) {
        self.findings.compared = true;
    }

    /// The damage that is mended, when all that the upstream lists was compared.
    pub(super) fn take_mended_damage(&mut self) -> Option<Unnamed> {
        self.findings.unnamed.take_if(|_| self.findings.compared)
    }

    /// The end: what there is to report.
    pub(super) fn into_tally(self) -> Tally {
        self.tally
    }

    /// Fetches documents for this synchronisation, at most `batch` in a request.
    pub(super) fn fetcher(
        &self,
        batch: usize,
        peer: Option<Arc<PeerClient>>,
        kept: Option<Vec<String>>,
    ) -> Fetcher {
        Fetcher {
            context: FetchContext {
                session: Arc::clone(self.session()),
                progress: Arc::clone(&self.context.progress),
                cancel: self.cancel(),
                clock: self.context.clock.clone(),
                tasks: self.context.tasks.clone(),
                workers: self.workers.clone(),
                renewals: Arc::clone(&self.context.renewals),
            },
            peer,
            staging: self.staging(),
            languages: Arc::new(self.languages()),
            batch,
            kept: Arc::new(kept),
            again: false,
        }
    }

    fn languages(&self) -> Languages {
        match &self.context.config.languages[..] {
            [] => Languages::all(),
            some => Languages::of(some.iter().cloned()),
        }
    }
}

/// How many documents the upstream hands out at once.
pub(super) fn batch(config: &ConfigData) -> usize {
    match usize::try_from(config.max_updates_per_request) {
        Ok(0) | Err(_) => USUAL_BATCH,
        Ok(most) => most.min(LARGEST_BATCH),
    }
}
