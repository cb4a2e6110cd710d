//! The composition root: builds every room from the configuration, starts them in order, and stops them in
//! order.
//!
//! **Invariant:** sockets are bound before anything else is done and answer only when the rooms behind them
//! are open; shutdown is one drain, and the data directory is let go last. Nothing below knows this room.

mod descriptors;
mod error;
mod glue;
mod limits;
mod lock;
mod rebuild;
mod reload;
mod run;
mod secrets;
mod workers;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;

pub use error::AppError;
pub use limits::{doubtful_limits, limits, limits_table};
pub use lock::{DataDir, Holder};
pub use rebuild::{Rebuilt, rebuild_store};
pub use run::{Running, outlive_file_limits, start, stop_signal, stop_signals};

use crate::bandwidth::{
    Budget, Calendar, ClientCertificate, Exception, Legs, Limiter, LinkClient, LinkConfig, Meter, Politeness,
    ProxySetting, Reachable, Timetable,
};
use crate::catalog::{self, Catalog};
use crate::config::{
    ContentFrom, DownstreamPolicy, Fetch, Loaded, Mode, OfferPolicy, Proxy, Settings, SourceSettings,
    Tailwater,
};
use crate::content::{self, Store};
use crate::domain::{Limit, Sha1Digest, joined_limits};
use crate::ledger::{self, Ledger};
use crate::needs;
use crate::runtime::{Clock, Tasks};
use crate::serve::{admin, peer};
use crate::telemetry;
use crate::transfer;
use crate::upstream::{self, Upstream};

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![lock::LIMITS, descriptors::LIMITS, run::LIMITS, workers::LIMITS,];

/// Every room, open and joined, without a listener.
pub struct App {
    catalog: Catalog,
    content: Store,
    transfers: transfer::Handle,
    needs: needs::Handle,
    upstream: Upstream,
    services: admin::Services,
    settings: Settings,
    decisions: Arc<Notify>,
    ready: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    slots: peer::Slots,
    legs: Option<Legs>,
    ledger: Ledger,
    tasks: Tasks,
    /// Last, so that it is let go last.
    _dir: DataDir,
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
        let limiter = Limiter::with_budget(settings.rate, budget, &clock, &tasks);
        let timetable = timetable(&settings, &catalog, &limiter, &clock, &tasks);
        let meter = Meter::new(&clock);
        let link_config = link_config(&settings, own);
        let link = LinkClient::new(link_config.clone(), &limiter, &meter, &clock, &tasks);
        let link = link.map_err(AppError::Link)?;
        let politeness = politeness(&settings, &link, &clock, &tasks);
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
        let (slots, legs) = slots_and_legs(&settings, &clock, &tasks);
        let services = admin::Services::new(admin::Parts {
            disk: dir.disk().clone(),
            catalog: catalog.clone(),
            content: content.clone(),
            transfers: transfers.clone(),
            needs: needs.clone(),
            limiter,
            timetable,
            politeness,
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
            legs: legs.clone(),
            ready: Arc::clone(&ready),
            verification: Mutex::default(),
            reload: std::sync::OnceLock::new(),
        });
        Ok(Self {
            catalog,
            content,
            transfers,
            needs,
            upstream,
            services,
            settings,
            decisions,
            ready,
            served,
            slots,
            legs,
            ledger,
            tasks,
            _dir: dir,
        })
    }

    /// The admin site for the process itself: nobody else can reach it, so it asks for no token.
    pub fn local_site(&self) -> admin::Site {
        admin::Site::new(self.services.clone(), None, crate::serve::Hosts::default(), None)
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
    let limiter = Limiter::with_budget(settings.rate, None, &clock, tasks);
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
    let ledger = app.ledger.clone();
    if let Err(error) = tokio::task::spawn_blocking(move || ledger.close()).await {
        tracing::error!(%error, "the ledger could not be closed cleanly");
    }
    let catalog = app.catalog.clone();
    match tokio::task::spawn_blocking(move || catalog.write_server_counts()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "what downstream servers took could not be written"),
        Err(error) => tracing::error!(%error, "what downstream servers took could not be written"),
    }
    let content = app.content.clone();
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
    let (folder, zone, clock) = (dir.path().join("ledger"), settings.time_zone.clone(), clock.clone());
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
    let Some(config) = settings.budget.clone() else { return Ok(None) };
    let (path, clock) = (dir.path().join("budget"), clock.clone());
    let opened = tokio::task::spawn_blocking(move || Budget::open(config, &path, &clock)).await;
    let budget = opened.map_err(AppError::Worker)?.map_err(AppError::Link)?;
    budget.report_to(dir.disk());
    Ok(Some(budget))
}

/// What lets transfers yield to other traffic, where the configuration says so.
fn politeness(settings: &Settings, link: &LinkClient, clock: &Clock, tasks: &Tasks) -> Option<Politeness> {
    let exempt = settings.adaptive.clone()?;
    Some(Politeness::start(exempt, link, clock, tasks))
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
        && let Some(text) = exception.and_then(|exception| serde_json::to_vec(&exception).ok())
        && let Err(error) = catalog.set_setting(admin::EXCEPTION_KEY, Some(&text))
    {
        tracing::warn!(%error, "when the exception from the calendar ends cannot be written down");
    }
    let calendar = Calendar::new(settings.rate, settings.windows.clone());
    Timetable::start(
        calendar,
        exception.filter(|exception| exception.holds(clock.now())),
        limiter,
        clock,
        tasks,
    )
}

fn catalog_config(settings: &Settings, dir: &DataDir) -> catalog::Config {
    catalog::Config {
        offer: match settings.agents.offer {
            OfferPolicy::All => catalog::OfferPolicy::AllNotDeclined,
            OfferPolicy::Approved => catalog::OfferPolicy::ApprovedOnly,
        },
        hold_above_share: settings.upstream.hold_removals_above,
        client_side_targeting: settings.agents.client_side_targeting,
        replace_silent_after: settings.agents.replace_silent_after,
        max_computers: settings.agents.max_computers,
        max_state: settings.agents.max_state,
        max_servers: settings.downstream.max_servers,
        max_descendants: settings.downstream.max_descendants,
        max_downstream_state: settings.downstream.max_state,
        replica_of: (settings.upstream.mode == Mode::Replica)
            .then(|| telemetry::safe_url(&settings.upstream.url)),
        read_drivers: Some(crate::wire::update_metadata::drivers_of),
        disk: dir.disk().clone(),
        keys: Some(dir.path().join("keys")),
        ..catalog::Config::new(dir.path().join("catalog"))
    }
}

fn content_config(settings: &Settings, dir: &DataDir) -> content::Config {
    content::Config {
        dir: dir.path().join("content"),
        max_size: Some(settings.content.max_size),
        min_free: settings.content.min_free,
    }
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
            Fetch::Demand | Fetch::Learned => needs::Fetching::Asked,
            Fetch::Approved | Fetch::All => needs::Fetching::Approved,
            Fetch::None => needs::Fetching::None,
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

fn link_config(settings: &Settings, own: &[SocketAddr]) -> LinkConfig {
    let upstream = &settings.upstream;
    let proxy = match &upstream.proxy {
        Proxy::System => ProxySetting::System,
        Proxy::None => ProxySetting::Direct,
        Proxy::Url(url) => ProxySetting::Url(url.clone()),
    };
    let client_certificate = upstream.client_certificate.as_ref().map(|certificate| ClientCertificate {
        certificate: certificate.clone(),
        key: upstream.client_key.clone().unwrap_or_else(|| certificate.clone()),
    });
    LinkConfig {
        proxy,
        ca_file: upstream.ca_file.clone(),
        client_certificate,
        reachable: reachable(settings, own),
        counted: settings.counted,
        ..LinkConfig::default()
    }
}

/// Configured servers are reached wherever they are, others on the public internet and where the configuration says so.
fn reachable(settings: &Settings, own: &[SocketAddr]) -> Reachable {
    let upstream = &settings.upstream;
    let sources = upstream.sources.iter().filter_map(|source| source.url.as_deref());
    Reachable::configured(sources.chain([&*upstream.url]))
        .with_private(settings.content.allowed_private.clone())
        .with_redirects(settings.content.redirect_hosts.clone())
        .without_own(own.iter().copied())
}

fn upstream_config(settings: &Settings, dir: &DataDir, link: LinkConfig) -> upstream::Config {
    let wanted = &settings.upstream;
    upstream::Config {
        url: wanted.url.clone(),
        products: wanted.products.clone(),
        classifications: wanted.classifications.clone(),
        languages: wanted.languages.clone(),
        schedule: schedule(settings),
        account_name: wanted.account_name.clone(),
        token: wanted.token.clone(),
        mode: match wanted.mode {
            Mode::Autonomous => upstream::Mode::Autonomous,
            Mode::Replica => upstream::Mode::Replica,
        },
        content_from: match wanted.content_from {
            ContentFrom::Upstream => upstream::ContentFrom::Upstream,
            ContentFrom::Microsoft => upstream::ContentFrom::Microsoft,
        },
        cost: wanted.cost,
        sources: wanted.sources.iter().map(priced).collect(),
        peer: wanted.tailwater != Tailwater::Off,
        follow: wanted.tailwater == Tailwater::Follow,
        dir: dir.path().join("upstream"),
        link,
    }
}

fn schedule(settings: &Settings) -> upstream::Schedule {
    let wanted = &settings.upstream;
    upstream::Schedule {
        times: wanted.times.clone(),
        every: wanted.every,
        jitter: wanted.jitter,
        time_zone: jiff::tz::TimeZone::system(),
    }
}

/// What of the synchronisation a reload may change.
fn plan(settings: &Settings) -> upstream::Plan {
    upstream::Plan {
        products: settings.upstream.products.clone(),
        classifications: settings.upstream.classifications.clone(),
        schedule: schedule(settings),
    }
}

fn priced(source: &SourceSettings) -> upstream::PricedSource {
    let kind = source.url.clone().map_or(upstream::SourceKind::Microsoft, upstream::SourceKind::Server);
    upstream::PricedSource { kind, cost: source.cost }
}

fn slots_and_legs(settings: &Settings, clock: &Clock, tasks: &Tasks) -> (peer::Slots, Option<Legs>) {
    let slots = peer::Slots::new(settings.downstream.transfers, clock.clone());
    (slots, Legs::new(settings.legs, clock, tasks))
}

fn transfer_config(settings: &Settings) -> transfer::Config {
    transfer::Config {
        servers: servers(settings),
        policy: policy(settings.content.fetch),
        ..transfer::Config::default()
    }
}

/// The servers that the configuration names, with what payloads cost there.
fn servers(settings: &Settings) -> Vec<(String, u32)> {
    let wanted = &settings.upstream;
    let others = wanted.sources.iter().filter_map(|source| Some((source.url.clone()?, source.cost)));
    std::iter::once((wanted.url.clone(), wanted.cost)).chain(others).collect()
}

fn policy(fetch: Fetch) -> transfer::Policy {
    match fetch {
        Fetch::Demand => transfer::Policy::Demand,
        Fetch::Approved => transfer::Policy::Approved,
        Fetch::Learned => transfer::Policy::Learned,
        Fetch::All => transfer::Policy::All,
        Fetch::None => transfer::Policy::None,
    }
}

fn about(loaded: &Loaded, clock: &Clock) -> admin::About {
    let settings = &loaded.settings;
    let fetch = match settings.content.fetch {
        Fetch::Demand => "demand",
        Fetch::Approved => "approved",
        Fetch::Learned => "learned",
        Fetch::All => "all",
        Fetch::None => "none",
    };
    admin::About {
        started_at: clock.now(),
        upstream: telemetry::safe_url(&settings.upstream.url),
        replica: settings.upstream.mode == Mode::Replica,
        listen: Mutex::new(Vec::new()),
        fetch: fetch.to_owned(),
        downstream_policy: match settings.downstream.policy {
            DownstreamPolicy::Open => "open".to_owned(),
            DownstreamPolicy::Enrolled => "enrolled".to_owned(),
        },
        in_force: Mutex::new(Arc::new(in_force(loaded))),
    }
}

/// What of a configuration is shown and a reload may change.
fn in_force(loaded: &Loaded) -> admin::InForce {
    let settings = &loaded.settings;
    admin::InForce {
        max_size: settings.content.max_size.to_string(),
        products: settings.upstream.products.clone(),
        classifications: settings.upstream.classifications.clone(),
        configuration: json!({ "file": loaded.file, "keys": loaded.shown() }),
    }
}

/// The variables that may override keys.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
