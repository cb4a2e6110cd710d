//! A server from its first socket to its last byte.
//!
//! **Invariant:** agents are answered within 2 seconds of the start whether or not the upstream answers. A
//! server that could not have all of its listeners has none.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::build::{App, close};
use super::error::AppError;
use super::lock::DataDir;
use super::reload::Reloader;
use super::{descriptors, glue, secrets, workers};
use tailwater_config::{ConfigError, Loaded, Settings};
use tailwater_domain::{Limit, limits};
use tailwater_runtime::{Clock, Tasks};
use tailwater_serve::{
    Accounted, ConnectionLimits, Connections, Hosts, Intake, Listener, ListenerConfig, Site, admin, client,
    downstream, files, peer,
};
use tailwater_transfer as transfer;

/// How long running answers and workers may take to end.
const DRAIN: Duration = Duration::from_secs(15);

/// Administrators' connections at once.
const ADMIN_CONNECTIONS: usize = 256;

pub(super) const LIMITS: &[Limit] = limits![
    ADMIN_CONNECTIONS in "connections": "Connections of administrators" => "idle ones give way, else 503",
];

/// A server that runs.
pub struct Running {
    app: App,
    /// Where agents are answered: plain, then TLS where configured.
    pub agents: Vec<SocketAddr>,
    /// Where administrators are answered.
    pub admin: SocketAddr,
    /// The file with the admin token.
    pub token_file: PathBuf,
}

struct Sockets {
    agents: Vec<Listener>,
    admin: Listener,
}

/// Binds, opens, answers.
pub async fn start(loaded: &Loaded, clock: Clock, tasks: Tasks) -> Result<Running, AppError> {
    let settings = &loaded.settings;
    let files_allowed = descriptors::raise_file_limit();
    // what is made below the data directory is nobody else's
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let dir = DataDir::lock(&settings.server.data_dir)?;
    dir.keep_temporary_files()?;
    let sockets = bind(loaded)?;
    let token = admin::Token::open(dir.path(), dir.disk())?;
    let token_file = dir.path().join(admin::TOKEN_FILE);
    dir.announce(sockets.admin.address())?;
    let admin_address = sockets.admin.address();
    let agents: Vec<SocketAddr> = sockets.agents.iter().map(Listener::address).collect();
    let own: Vec<SocketAddr> = agents.iter().copied().chain([admin_address]).collect();
    let app = App::open(loaded, dir, &own, clock.clone(), tasks.clone()).await?;
    app.services.set_listen(agents.iter().map(ToString::to_string).collect());

    let gate = gate(&app);
    let intake = Intake::new(settings.server.request_memory, &clock);
    let downstream = downstream_service(&app, &clock, gate.clone(), intake.clone())?;
    let files = files_service(&app, gate.clone());
    let hosts = agents_hosts(settings);
    let site = Site {
        hosts,
        client: client_service(&app, &clock, intake.clone())?,
        peer: peer_service(&app, &clock, downstream.clone(), files.clone(), intake.clone())?,
        downstream,
        files,
        intake: intake.clone(),
    };
    let site =
        Arc::new(Accounted::new(site, Arc::clone(&app.signals.served), gate, app.stores.ledger.clone()));
    let connections = connections(settings, files_allowed, &clock);
    let _ = app.services.connections.set(connections.clone());
    for listener in sockets.agents {
        let listener = listener.with_connections(connections.clone());
        let run = listener.with_egress(app.downstream.egress.clone()).run(
            Arc::clone(&site),
            clock.clone(),
            tasks.clone(),
        );
        tasks.spawn("agents' listener", run);
    }
    let console = admin::Site::new(app.services.clone(), Some(token), own_names(loaded), Some(intake));
    tasks.spawn("admin listener", sockets.admin.run(Arc::new(console), clock.clone(), tasks.clone()));
    if !admin_address.ip().is_loopback() {
        tracing::warn!(%admin_address, "administrators' tokens cross the network unprotected; put TLS in front");
    }
    take_reloads(loaded, &app)?;
    app.signals.ready.store(true, Ordering::Release);
    tracing::info!(?agents, console = %format!("http://{admin_address}/"), upstream = %app.services.about.upstream, "ready");

    app.upstream.start_schedule();
    app.upstream.start_rollups();
    workers::bring_due(&tasks, app.stores.catalog.clone(), clock.clone(), Arc::clone(&app.signals.decisions));
    workers::replace_keys(&tasks, app.stores.catalog.clone(), clock.clone(), settings.agents.key_rotation);
    workers::write_server_counts(&tasks, app.stores.catalog.clone(), clock.clone());
    workers::give_memory_back(&tasks, clock.clone());
    app.upstream.start_following();
    workers::prefetch(
        &tasks,
        workers::Prefetch {
            catalog: app.stores.catalog.clone(),
            transfers: app.transfers.clone(),
            needs: app.needs.clone(),
            fetch: app.settings.content.fetch,
            decisions: Arc::clone(&app.signals.decisions),
            clock,
        },
    );
    Ok(Running { app, agents, admin: admin_address, token_file })
}

impl Running {
    /// Whether nothing was ever synchronised into it.
    pub fn is_empty(&self) -> bool {
        self.app.stores.catalog.snapshot().revisions_after(0) == 0
    }

    /// The admin site for the process itself.
    pub fn local_site(&self) -> admin::Site {
        self.app.local_site()
    }

    /// Ends it in order.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.app.signals.ready.store(false, Ordering::Release);
        close(self.app, DRAIN).await;
        tracing::info!("stopped");
    }
}

/// From here on the API and SIGHUP read the configuration again.
fn take_reloads(loaded: &Loaded, app: &App) -> Result<(), AppError> {
    secrets::warn(loaded);
    for doubt in loaded.doubts() {
        tracing::warn!(key = doubt.key, "{} {}", doubt.key, doubt.text);
    }
    let reloader = Arc::new(Reloader::new(loaded, app));
    let by_api = Arc::clone(&reloader);
    let each = |error: ConfigError| error.each().iter().map(ToString::to_string).collect();
    let _ = app.services.reload.set(Box::new(move || by_api.reload().map_err(each)));
    let mut hang_up = signal(SignalKind::hangup()).map_err(AppError::Signals)?;
    let stopping = app.tasks.stopping();
    app.tasks.spawn("reload on SIGHUP", async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                came = hang_up.recv() => if came.is_none() { return },
            }
            let reloader = Arc::clone(&reloader);
            match tokio::task::spawn_blocking(move || reloader.reload()).await {
                Ok(Ok(_told_in_the_log)) => {}
                Ok(Err(error)) => {
                    for mistake in error.each() {
                        tracing::error!(%mistake, "the configuration was not taken over; nothing was changed");
                    }
                }
                Err(error) => tracing::error!(%error, "the configuration could not be read again"),
            }
        }
    });
    Ok(())
}

/// A limit of file sizes is an error of the write that meets it, and not the end of the process. For its whole life; call
/// it within a runtime.
pub fn outlive_file_limits() {
    // the handler stays when what it wakes is dropped
    if let Err(error) = signal(SignalKind::from_raw(libc::SIGXFSZ)) {
        tracing::debug!(%error, "a limit of file sizes ends the process");
    }
}

fn bind(loaded: &Loaded) -> Result<Sockets, AppError> {
    let server = &loaded.settings.server;
    let bind = |key: &'static str, config: ListenerConfig| {
        Listener::bind(config).map_err(|source| AppError::Listen { key, source })
    };
    let stalled_after = server.stalled_after;
    let plain = ListenerConfig { stalled_after, ..ListenerConfig::new(server.listen) };
    let mut agents = vec![bind("server.listen", plain)?];
    if let Some(tls) = &server.tls {
        let config =
            ListenerConfig { stalled_after, tls: Some(tls.files.clone()), ..ListenerConfig::new(tls.listen) };
        agents.push(bind("server.tls.listen", config)?);
    }
    let config = ListenerConfig {
        max_connections: ADMIN_CONNECTIONS,
        stalled_after,
        ..ListenerConfig::new(loaded.settings.admin.listen)
    };
    Ok(Sockets { agents, admin: bind("admin.listen", config)? })
}

fn client_service(app: &App, clock: &Clock, intake: Intake) -> Result<client::Service, AppError> {
    let locations = match app.settings.content.fetch {
        transfer::Policy::None => client::Locations::Origin,
        transfer::Policy::Demand
        | transfer::Policy::Approved
        | transfer::Policy::Learned
        | transfer::Policy::All => client::Locations::Here,
    };
    let public_url = app.settings.server.public_url.clone();
    let config = client::Config { public_url, locations, ..client::Config::default() };
    let callers = Arc::new(glue::Learner(app.needs.clone()));
    client::Service::new(config, app.stores.catalog.clone(), clock.clone(), callers, intake)
        .map_err(AppError::Catalog)
}

fn downstream_service(
    app: &App,
    clock: &Clock,
    gate: downstream::Gate,
    intake: Intake,
) -> Result<downstream::Service, AppError> {
    let files = glue::ForDownstream { transfers: app.transfers.clone(), upstream: app.upstream.clone() };
    let config = downstream::Config {
        public_url: app.settings.server.public_url.clone(),
        catalog_only: app.settings.content.fetch == transfer::Policy::None,
        languages: app.settings.upstream.languages.clone(),
    };
    let parts = downstream::Parts {
        config,
        server: app.upstream.identity().map_err(AppError::Upstream)?,
        catalog: app.stores.catalog.clone(),
        clock: clock.clone(),
        gate,
        files: Arc::new(files),
        intake,
    };
    downstream::Service::new(parts).map_err(AppError::Catalog)
}

fn peer_service(
    app: &App,
    clock: &Clock,
    downstream: downstream::Service,
    files: files::Service,
    intake: Intake,
) -> Result<peer::Service, AppError> {
    Ok(peer::Service::new(peer::Parts {
        server: app.upstream.identity().map_err(AppError::Upstream)?,
        catalog: app.stores.catalog.clone(),
        content: app.stores.content.clone(),
        files,
        downstream,
        slots: app.downstream.slots.clone(),
        long_polls: app.settings.downstream.max_long_polls as u64,
        clock: clock.clone(),
        tasks: app.tasks.clone(),
        intake,
    }))
}

/// Who may synchronise from here.
fn gate(app: &App) -> downstream::Gate {
    downstream::Gate::new(app.settings.downstream.policy, app.stores.catalog.clone())
}

fn files_service(app: &App, gate: downstream::Gate) -> files::Service {
    let config = files::Config { selfupdate: app.settings.server.selfupdate_dir.clone() };
    let known = Arc::new(glue::Known {
        catalog: app.stores.catalog.clone(),
        gate,
        transfers: app.transfers.clone(),
        demand: app.settings.content.demand,
    });
    files::Service::new(
        &config,
        app.stores.content.clone(),
        app.transfers.clone(),
        known,
        Arc::new(glue::Learner(app.needs.clone())),
    )
}

/// What the admin listener may be called: what is configured, and the machine's own name.
fn own_names(loaded: &Loaded) -> Hosts {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let names = loaded.settings.admin.names.iter().cloned().chain([name]);
    Hosts(names.collect())
}

/// The names of `server.hosts`, and that of `server.public_url` with them; none when none are named.
fn agents_hosts(settings: &Settings) -> Hosts {
    let mut names = settings.server.hosts.clone();
    if !names.is_empty()
        && let Some(url) = settings.server.public_url.as_deref().and_then(|url| url.parse::<http::Uri>().ok())
    {
        names.extend(url.host().map(str::to_owned));
    }
    Hosts(names)
}

/// The connections of agents and downstream servers: as many as are wanted, or as the system has files for.
fn connections(settings: &Settings, files: u64, clock: &Clock) -> Connections {
    let server = &settings.server;
    let wanted = server.max_connections;
    let total = descriptors::connections_within(files, wanted, ADMIN_CONNECTIONS);
    if total < wanted {
        tracing::warn!(
            max_connections = wanted,
            connections = total,
            files,
            "the system allows fewer open files than server.max_connections needs; raise its limit (ulimit -n, LimitNOFILE)"
        );
    }
    let limits = ConnectionLimits {
        total,
        wanted,
        per_address: server.max_connections_per_address,
        per_subnet: server.max_connections_per_subnet,
    };
    Connections::new(limits, clock.clone())
}

/// SIGTERM or SIGINT, from now on; call it within a runtime.
///
/// # Errors
/// When the system takes no handler.
pub fn stop_signals() -> Result<impl Future<Output = ()>, AppError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When the system takes no handler.
pub async fn stop_signal() -> Result<(), AppError> {
    stop_signals()?.await;
    Ok(())
}
