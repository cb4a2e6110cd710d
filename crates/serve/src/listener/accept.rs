//! A bound socket and its accept loop: each connection gets a slot, or is refused, and a task.
//!
//! **Invariant:** what waits here waits for a bounded time, and the system's queue holds who comes meanwhile. It never
//! reads a byte of a connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::config::{ListenerConfig, ListenerError};
use super::connection::Connection;
use super::connections::{ConnectionLimits, ConnectionSlot, Connections};
use super::paced::Paced;
use super::tls::acceptor;
use crate::http::{Answer, Peer};
use tailwater_bandwidth::EgressLimiter;
use tailwater_domain::{Limit, limits};
use tailwater_runtime::{Clock, Refused, Tasks};

/// How long a newcomer waits for a slot while all are in use and nobody gives way, and how often it looks.
const SLOT_WAIT: Duration = Duration::from_secs(5);
const SLOT_LOOK: Duration = Duration::from_millis(50);

/// Connections that wait to be accepted, where the system allows as many (`net.core.somaxconn`).
const MAX_QUEUE: u32 = 4_096;

/// A refusal, where the client can read it.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// How often the log says that the system refuses to accept.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// How long to wait after the system refused to accept (usually: too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) const LIMITS: &[Limit] = limits![
    MAX_QUEUE in "connections": "Connections that wait to be accepted" => "the client tries again a second later",
    SLOT_WAIT: "The wait of a new connection while all are in use and none gives way" => "503",
];

/// A bound socket that does not answer yet: bind first, start later.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    config: ListenerConfig,
    address: SocketAddr,
    egress: Option<EgressLimiter>,
    connections: Option<Connections>,
}

impl Listener {
    /// Binds the socket and reads the certificate.
    ///
    /// # Errors
    /// See [`ListenerError`].
    pub fn bind(config: ListenerConfig) -> Result<Self, ListenerError> {
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenerError::InUse { address: config.address },
            _ => ListenerError::Refused { address: config.address, source },
        };
        let socket = listen(config.address).map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        Ok(Self { socket, tls, config, address, egress: None, connections: None })
    }

    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same, sending no faster than egress is limited to.
    #[must_use]
    pub fn with_egress(mut self, egress: Option<EgressLimiter>) -> Self {
        self.egress = egress;
        self
    }

    /// The same, with connections that it shares with other listeners.
    #[must_use]
    pub fn with_connections(mut self, connections: Connections) -> Self {
        self.connections = Some(connections);
        self
    }

    /// Accepts and answers until shutdown begins, then lets running answers end within the drain limit.
    pub async fn run<A: Answer>(self, answer: Arc<A>, clock: Clock, tasks: Tasks) {
        let stopping = tasks.stopping();
        let connections = self.connections.clone().unwrap_or_else(|| {
            let total = self.config.max_connections;
            let limits = ConnectionLimits { total, wanted: total, per_address: 0, per_subnet: 0 };
            Connections::new(limits, clock.clone())
        });
        let (open, mut logged_at) = (TaskTracker::new(), None);
        loop {
            let accepted = tokio::select! {
                () = stopping.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    cannot_accept(&error, &connections, &mut logged_at, &clock).await;
                    continue;
                }
            };
            let slot = tokio::select! {
                () = stopping.cancelled() => break,
                slot = slot(&connections, address.ip(), &clock) => slot,
            };
            let slot = match slot {
                Ok(slot) => slot,
                Err(why) => {
                    connections.refuse(address.ip(), why);
                    if self.tls.is_none() {
                        // whether it can still be read does not matter
                        let _ = stream.try_write(BUSY);
                    }
                    continue;
                }
            };
            // a peer that is gone already shows at the first read
            let _ = stream.set_nodelay(true);
            let local = stream.local_addr().unwrap_or(self.address);
            let peer = Peer { address, local, tls: self.tls.is_some(), certificate: None };
            let connection = Connection {
                answer: Arc::clone(&answer),
                peer,
                idle: self.config.idle,
                slot,
                clock: clock.clone(),
                stopping: stopping.clone(),
            };
            let lane = self.egress.as_ref().map(|egress| egress.lane(address.ip()));
            let stream = Paced::new(stream, lane, clock.clone(), self.config.stalled_after);
            let running = open.token();
            // two futures, so that a plain connection has no room for a handshake
            match self.tls.clone() {
                None => tasks.spawn("http connection", async move {
                    let _running = running;
                    connection.serve(stream).await;
                }),
                Some(tls) => {
                    let Ok(handshake) = connections.handshake(address.ip()) else {
                        connections.refuse(address.ip(), Refused::Address);
                        continue;
                    };
                    tasks.spawn("http connection", async move {
                        let _running = running;
                        Box::pin(connection.secure(stream, tls, handshake)).await;
                    })
                }
            };
        }
        drop(self.socket);
        open.close();
        drained(&open, self.config.drain, self.address).await;
    }
}

/// Running answers end, or are cut off at the limit.
async fn drained(open: &TaskTracker, limit: Duration, address: SocketAddr) {
    if tokio::time::timeout(limit, open.wait()).await.is_err() {
        tracing::warn!(%address, "some answers did not end in time and are cut off");
    }
}

/// The system gives no more descriptors, or a client left early: what is idle gives way, and it is said once in a while.
async fn cannot_accept(
    error: &io::Error,
    connections: &Connections,
    logged_at: &mut Option<tokio::time::Instant>,
    clock: &Clock,
) {
    let now = clock.instant();
    if logged_at.is_none_or(|at| now >= at + LOG_EVERY) {
        *logged_at = Some(now);
        tracing::warn!(%error, "cannot accept connections; those that are idle are closed");
    }
    connections.shed();
    clock.sleep(ACCEPT_PAUSE).await;
}

/// A socket with a queue that outlasts a burst of newcomers.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // connections of the last run that linger do not keep a new one from starting
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(MAX_QUEUE)
}

/// A slot for a connection. While all are in use it waits for a moment, and those behind it in the system's queue.
async fn slot(connections: &Connections, address: IpAddr, clock: &Clock) -> Result<ConnectionSlot, Refused> {
    let until = clock.instant() + SLOT_WAIT;
    loop {
        match connections.admit(address) {
            Err(Refused::Total) if clock.instant() < until => clock.sleep(SLOT_LOOK).await,
            admitted => return admitted,
        }
    }
}
