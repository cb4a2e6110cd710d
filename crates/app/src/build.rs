//! Builds every room from the configuration, joins them, and closes them in order.
//!
//! **Invariant:** rooms get the handles that they need and no bag of everything; the data directory is released last.
//! Nothing answers here: listeners are for [`super::run`].

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::error::AppError;
use super::glue;
use super::lock::DataDir;
use super::settings::{about, catalog_config, content_config, link_config, transfer_config, upstream_config};
use tailwater_bandwidth::{
    Budget, Calendar, CongestionYield, EgressLimiter, Exception, Limiter, LinkClient, Meter, Timetable,
};
use tailwater_catalog::Catalog;
use tailwater_config::{Loaded, Settings};
use tailwater_content::Store;
use tailwater_domain::Sha1Digest;
use tailwater_ledger::{self as ledger, Ledger};
use tailwater_needs as needs;
use tailwater_runtime::{Clock, Tasks};
use tailwater_serve::{admin, peer};
use tailwater_transfer as transfer;
use tailwater_upstream::{self as upstream, Upstream};

/// Every room, open and joined, without a listener.
pub struct App {
    pub(super) stores: Stores,
    pub(super) transfers: transfer::Handle,
    pub(super) needs: needs::Handle,
    pub(super) upstream: Upstream,
    pub(super) services: admin::Services,
    pub(super) settings: Settings,
    pub(super) signals: Signals,
    pub(super) downstream: DownstreamShares,
    pub(super) tasks: Tasks,
    /// Last, so that it is released last.
    _dir: DataDir,
}

/// What is on the disk.
pub(super) struct Stores {
    pub(super) catalog: Catalog,
    pub(super) content: Store,
    pub(super) ledger: Ledger,
}

/// What rooms that do not know each other tell through here.
pub(super) struct Signals {
    /// Something was decided: what is to be prefetched may be another.
    pub(super) decisions: Arc<Notify>,
    /// Whether agents can be served.
    pub(super) ready: Arc<AtomicBool>,
    /// Bytes of payloads served since the start.
    pub(super) served: Arc<AtomicU64>,
}

/// What downstream servers and agents share.
pub(super) struct DownstreamShares {
    /// Slots for transfers of tailwaters.
    pub(super) slots: peer::Slots,
    /// Rates towards clients, where there are any.
    pub(super) egress: Option<EgressLimiter>,
}

impl App {
    /// Opens every room below a data directory that is ours.
    ///
    /// `own` is where this server listens: nothing is fetched from there.
    pub async fn open(
        loaded: &Loaded,
        dir: DataDir,
        own: &[SocketAddr],
        clock: Clock,
        tasks: Tasks,
    ) -> Result<Self, AppError> {
        let settings = loaded.settings.clone();
        let (catalog, content) = start_stores(&settings, &dir, &clock, &tasks).await?;
        let budget = budget(&settings, &dir, &clock).await?;
        let limiter = Limiter::with_budget(settings.bandwidth.rate, budget, &clock, &tasks);
        let timetable = timetable(&settings, &catalog, &limiter, &clock, &tasks);
        let meter = Meter::new(&clock);
        let link_config = link_config(&settings, own);
        let link = LinkClient::new(link_config.clone(), &limiter, &meter, &clock, &tasks);
        let link = link.map_err(AppError::Link)?;
        let congestion = congestion(&settings, &link, &clock, &tasks);
        let upstream = Upstream::new(
            upstream_config(&settings, &dir, link_config),
            catalog.clone(),
            link.clone(),
            clock.clone(),
            tasks.clone(),
        )
        .map_err(AppError::Upstream)?;
        let ledger = open_ledger(&settings, &dir, &clock, witnesses(&meter, &content), &tasks).await?;
        let sources = Arc::new(glue::FromUpstream(upstream.clone(), ledger.clone()));
        let (wanted, store) = (transfer_config(&settings), content.clone());
        let transfers = transfer::Handle::new(wanted, store, link, sources, clock.clone(), tasks.clone());
        let needs = open_needs(&settings, &dir, &catalog, &content, &timetable, &clock, &tasks).await?;
        let decisions = Arc::new(Notify::new());
        let (ready, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let sync = admin::Control::new(upstream.clone(), clock.clone(), tasks.clone(), decisions.clone());
        let (slots, egress) = slots_and_egress(&settings, &clock, &tasks);
        let services = admin::Services::new(admin::Parts {
            disk: dir.disk().clone(),
            catalog: catalog.clone(),
            content: content.clone(),
            transfers: transfers.clone(),
            needs: needs.clone(),
            limiter,
            timetable,
            congestion,
            meter,
            ledger: ledger.clone(),
            sync,
            clock: clock.clone(),
            tasks: tasks.clone(),
            about: about(loaded, &clock),
            decisions: Arc::clone(&decisions),
            served: Arc::clone(&served),
            slots: slots.clone(),
            connections: std::sync::OnceLock::new(),
            egress: egress.clone(),
            ready: Arc::clone(&ready),
            verification: Mutex::default(),
            reload: std::sync::OnceLock::new(),
        });
        Ok(Self {
            stores: Stores { catalog, content, ledger },
            transfers,
            needs,
            upstream,
            services,
            settings,
            signals: Signals { decisions, ready, served },
            downstream: DownstreamShares { slots, egress },
            tasks,
            _dir: dir,
        })
    }

    /// The admin site for the process itself: nobody else can reach it, so it asks for no token.
    pub fn local_site(&self) -> admin::Site {
        admin::Site::new(self.services.clone(), None, tailwater_serve::Hosts::default(), None)
    }
}

/// Asks the upstream of a configuration whether that can work, with a store of its own in a temporary folder.
///
/// # Errors
/// When the folder or a store in it cannot be made; what the upstream says is inside.
pub async fn examine(
    loaded: &Loaded,
    clock: Clock,
    tasks: &Tasks,
) -> Result<Result<upstream::Examined, upstream::SyncError>, AppError> {
    let settings = loaded.settings.clone();
    let temporary = |source| AppError::DataDir { path: std::env::temp_dir(), action: "written to", source };
    let folder = tempfile::tempdir().map_err(temporary)?;
    let dir = DataDir::lock(folder.path())?;
    let (catalog, _content) = open_stores(&settings, &dir, &clock).await?;
    let limiter = Limiter::with_budget(settings.bandwidth.rate, None, &clock, tasks);
    let link_config = link_config(&settings, &[]);
    let link = LinkClient::new(link_config.clone(), &limiter, &Meter::new(&clock), &clock, tasks)
        .map_err(AppError::Link)?;
    let config = upstream_config(&settings, &dir, link_config);
    let upstream = Upstream::new(config, catalog, link, clock, tasks.clone()).map_err(AppError::Upstream)?;
    Ok(upstream.examine().await)
}

/// Ends all work and closes the stores; what was reported as stored is durable already.
pub async fn close(app: App, drain: Duration) {
    if !app.tasks.shut_down(drain).await {
        let running: Vec<_> = app.tasks.status().into_iter().filter(|task| task.running > 0).collect();
        tracing::warn!(?running, "some work did not end in time and is cut off");
    }
    let ledger = app.stores.ledger.clone();
    if let Err(error) = tokio::task::spawn_blocking(move || ledger.close()).await {
        tracing::error!(%error, "the ledger could not be closed cleanly");
    }
    let catalog = app.stores.catalog.clone();
    match tokio::task::spawn_blocking(move || catalog.write_server_counts()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the counts of downstream servers could not be written"),
        Err(error) => tracing::error!(%error, "the counts of downstream servers could not be written"),
    }
    let content = app.stores.content.clone();
    match tokio::task::spawn_blocking(move || content.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the store of payloads could not be closed cleanly"),
        Err(error) => tracing::error!(%error, "the store of payloads could not be closed cleanly"),
    }
}

/// The ledger, whose days are those of the budgets.
async fn open_ledger(
    settings: &Settings,
    dir: &DataDir,
    clock: &Clock,
    witnesses: ledger::Witnesses,
    tasks: &Tasks,
) -> Result<Ledger, AppError> {
    let (folder, zone, clock) =
        (dir.path().join("ledger"), settings.bandwidth.time_zone.clone(), clock.clone());
    let opened = tokio::task::spawn_blocking(move || Ledger::open(&folder, zone, &clock)).await;
    let ledger = opened.map_err(AppError::Worker)?.map_err(AppError::Ledger)?;
    ledger.report_to(dir.disk());
    ledger.start(witnesses, tasks);
    Ok(ledger)
}

/// What the ledger asks the link and the store.
fn witnesses(meter: &Meter, content: &Store) -> ledger::Witnesses {
    let (meter, content) = (meter.clone(), content.clone());
    let sockets = move || {
        let by_class = meter.reading().by_class.into_iter();
        by_class.map(|(class, received, sent)| (class.as_str(), received, sent)).collect()
    };
    let holds = move |sha1: &Sha1Digest| content.status(sha1).is_some_and(|status| status.held > 0);
    ledger::Witnesses { sockets: Box::new(sockets), holds: Box::new(holds) }
}

/// The link's budget, with what was spent of it before a restart.
async fn budget(settings: &Settings, dir: &DataDir, clock: &Clock) -> Result<Option<Budget>, AppError> {
    let Some(config) = settings.bandwidth.budget.clone() else { return Ok(None) };
    let (path, clock) = (dir.path().join("budget"), clock.clone());
    let opened = tokio::task::spawn_blocking(move || Budget::open(config, &path, &clock)).await;
    let budget = opened.map_err(AppError::Worker)?.map_err(AppError::Link)?;
    budget.report_to(dir.disk());
    Ok(Some(budget))
}

/// What lets transfers yield to other traffic, where the configuration says so.
fn congestion(
    settings: &Settings,
    link: &LinkClient,
    clock: &Clock,
    tasks: &Tasks,
) -> Option<CongestionYield> {
    let exempt = settings.bandwidth.adaptive.clone()?;
    Some(CongestionYield::start(exempt, link, clock, tasks))
}

/// The calendar over the limiter, with the exception that an administrator made before a restart.
fn timetable(
    settings: &Settings,
    catalog: &Catalog,
    limiter: &Limiter,
    clock: &Clock,
    tasks: &Tasks,
) -> Timetable {
    let kept = catalog.setting(admin::EXCEPTION_KEY).ok().flatten();
    let kept: Option<Exception> = kept.and_then(|kept| serde_json::from_slice(&kept).ok());
    let exception = kept.map(|kept| kept.begun_by(clock.now()));
    if exception != kept
        && let Some(exception) = exception
        && let Err(error) = catalog.set_json(admin::EXCEPTION_KEY, &exception)
    {
        tracing::warn!(%error, "the end of the exception from the calendar cannot be written");
    }
    let calendar = Calendar::new(settings.bandwidth.rate, settings.bandwidth.windows.clone());
    Timetable::start(
        calendar,
        exception.filter(|exception| exception.holds(clock.now())),
        limiter,
        clock,
        tasks,
    )
}

/// Opens the stores, and has them and their disk looked after.
async fn start_stores(
    settings: &Settings,
    dir: &DataDir,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<(Catalog, Store), AppError> {
    let (catalog, content) = open_stores(settings, dir, clock).await?;
    content.start(tasks);
    dir.disk().start(tasks, clock);
    Ok((catalog, content))
}

async fn open_stores(
    settings: &Settings,
    dir: &DataDir,
    clock: &Clock,
) -> Result<(Catalog, Store), AppError> {
    let (catalog_config, content_config) = (catalog_config(settings, dir), content_config(settings, dir));
    let (for_catalog, for_content, disk) = (clock.clone(), clock.clone(), dir.disk().clone());
    let catalog = tokio::task::spawn_blocking(move || Catalog::open(catalog_config, for_catalog));
    let content = tokio::task::spawn_blocking(move || Store::open_on(content_config, for_content, &disk));
    let catalog = catalog.await.map_err(AppError::Worker)?.map_err(AppError::Catalog)?;
    let content = content.await.map_err(AppError::Worker)?.map_err(AppError::Content)?;
    Ok((catalog, content))
}

/// What was learned of needs, joined to what it is learned from.
async fn open_needs(
    settings: &Settings,
    dir: &DataDir,
    catalog: &Catalog,
    content: &Store,
    timetable: &Timetable,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<needs::Handle, AppError> {
    let parts = needs::Parts {
        dir: dir.path().join("needs"),
        disk: dir.disk().clone(),
        fetching: match settings.content.fetch {
            transfer::Policy::Demand | transfer::Policy::Learned => needs::Fetching::Asked,
            transfer::Policy::Approved | transfer::Policy::All => needs::Fetching::Approved,
            transfer::Policy::None => needs::Fetching::None,
        },
        quiet: settings.content.quiet.clone(),
        catalog: catalog.clone(),
        store: content.clone(),
        timetable: timetable.clone(),
        clock: clock.clone(),
        tasks: tasks.clone(),
    };
    let opened = tokio::task::spawn_blocking(move || needs::Handle::open(parts)).await;
    opened.map_err(AppError::Worker)?.map_err(AppError::Needs)
}

fn slots_and_egress(
    settings: &Settings,
    clock: &Clock,
    tasks: &Tasks,
) -> (peer::Slots, Option<EgressLimiter>) {
    let slots = peer::Slots::new(settings.downstream.transfers, clock.clone());
    (slots, EgressLimiter::new(settings.bandwidth.downstream, clock, tasks))
}
