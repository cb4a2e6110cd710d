//! The accept loop: connections in, requests to an [`Answer`], graceful end.
//!
//! **Invariant:** every connection has a place among [`Connections`]; one that sends nothing for
//! [`ListenerConfig::idle`] is closed, and what it sends passes [`Strict`]. It never knows what is answered.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::PeerCertificate;
use super::body::{self, Body};
use super::connections::{Answered, ConnectionLimits, Connections, Place};
use super::paced::Paced;
use super::site::{Answer, Peer};
use super::strict::Strict;
use crate::bandwidth::Legs;
use crate::domain::{Limit, limits};
use crate::runtime::{Clock, Refused, Share, Tasks, guarded_future};

/// How long a TLS handshake may take; a client that needs longer is not one.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// How long a newcomer waits for a place while all are in use and nobody gives way, and how often it looks.
const PLACE_WAIT: Duration = Duration::from_secs(5);
const PLACE_LOOK: Duration = Duration::from_millis(50);

/// Connections that wait to be accepted, where the system allows as many (`net.core.somaxconn`).
const MAX_QUEUE: u32 = 4_096;

/// A refusal, where the client can read it.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// How often the log tells that the system refuses to accept.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// How long to wait after the system refused to accept (usually: too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Requests whose headers are longer are refused with 431.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// How long a client may take no byte, where nothing else is configured.
const STALLED_AFTER: Duration = Duration::from_mins(1);

/// What a connection buffers of what it reads, and of small parts of what it writes: many that send large bodies hold
/// little beside the memory that is set apart for requests.
const MAX_BUFFER: usize = 128 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    HANDSHAKE: "The time for a TLS handshake" => "the connection is closed",
    MAX_QUEUE in "connections": "Connections that wait to be accepted" => "the client tries again a second later",
    PLACE_WAIT: "The wait of a new connection while all are in use and none gives way" => "503",
    MAX_HEADER_BYTES in "bytes": "The header of a request" => "431",
    STALLED_AFTER key "server.stalled_after": "Time in which a client takes no byte of its answer" => "the connection is closed",
    MAX_BUFFER in "bytes": "What a connection buffers" => "it is not read, or written, further",
];

/// How a listener treats its connections.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Where to listen; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Certificate chain and key (PEM); plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// Connections open at once, where the listener has them to itself ([`Listener::with_connections`]).
    pub max_connections: usize,
    /// A connection on which no request begins or completes its headers for so long is closed. Agents keep
    /// connections for 27-30 s themselves; at least 60 s here, so that they are the ones who close.
    pub idle: Duration,
    /// How long a client may take no byte of its answer (`server.stalled_after`).
    pub stalled_after: Duration,
    /// How long running answers may take to end at shutdown.
    pub drain: Duration,
}

impl ListenerConfig {
    /// Defaults for an address.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            max_connections: 16_384,
            idle: Duration::from_secs(75),
            stalled_after: STALLED_AFTER,
            drain: Duration::from_secs(10),
        }
    }
}

/// Where the certificate and its key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM, the server's certificate first.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// PEM roots of client certificates. Clients are then asked for one.
    pub client_roots: Option<PathBuf>,
    /// Whether who has none is turned away in the handshake; else it is answered all the same.
    pub client_required: bool,
}

/// Why a listener could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// Another program has the port.
    #[error(
        "port {} of {} is in use; stop the program that has it or set another listen address",
        address.port(), address.ip()
    )]
    InUse {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The system refused.
    #[error(
        "cannot listen on {address}; check that the address belongs to this machine and the port is allowed"
    )]
    Refused {
        /// What was asked for.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A certificate or key file cannot be used.
    #[error("cannot read {path} as PEM; give a certificate chain and its private key")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The roots of client certificates cannot be used.
    #[error("{path} holds no certificates that client certificates could be checked against")]
    ClientRoots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
    /// Certificate and key do not fit each other, or are of an unknown kind.
    #[error("the certificate {certificate} and its key do not work together")]
    Tls {
        /// The certificate's file.
        certificate: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

/// A bound socket that does not answer yet: bind first, start later.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    config: ListenerConfig,
    address: SocketAddr,
    legs: Option<Legs>,
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
        Ok(Self { socket, tls, config, address, legs: None, connections: None })
    }

    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same, sending no faster than these legs allow.
    #[must_use]
    pub fn with_legs(mut self, legs: Option<Legs>) -> Self {
        self.legs = legs;
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
        let (open, mut told) = (TaskTracker::new(), None);
        loop {
            let accepted = tokio::select! {
                () = stopping.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    cannot_accept(&error, &connections, &mut told, &clock).await;
                    continue;
                }
            };
            let place = tokio::select! {
                () = stopping.cancelled() => break,
                place = place(&connections, address.ip(), &clock) => place,
            };
            let place = match place {
                Ok(place) => place,
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
                place,
                clock: clock.clone(),
                stopping: stopping.clone(),
            };
            let leg = self.legs.as_ref().map(|legs| legs.leg(address.ip()));
            let stream = Paced::new(stream, leg, clock.clone(), self.config.stalled_after);
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
    told: &mut Option<tokio::time::Instant>,
    clock: &Clock,
) {
    let now = clock.instant();
    if told.is_none_or(|told| now >= told + TELL_EVERY) {
        *told = Some(now);
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

/// A place for a connection. While all are in use it waits for a moment, and those behind it in the system's queue.
async fn place(connections: &Connections, address: IpAddr, clock: &Clock) -> Result<Place, Refused> {
    let until = clock.instant() + PLACE_WAIT;
    loop {
        match connections.admit(address) {
            Err(Refused::Total) if clock.instant() < until => clock.sleep(PLACE_LOOK).await,
            admitted => return admitted,
        }
    }
}

struct Connection<A> {
    answer: Arc<A>,
    peer: Peer,
    idle: Duration,
    place: Place,
    clock: Clock,
    stopping: CancellationToken,
}

impl<A: Answer> Connection<A> {
    async fn secure(mut self, stream: Paced, tls: TlsAcceptor, handshake: Share) {
        let activity = self.place.activity();
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(HANDSHAKE, tls.accept(stream)) => accepted,
            () = activity.must_leave() => return,
        };
        drop(handshake);
        if let Ok(Ok(stream)) = accepted {
            // the handshake fails over a certificate that does not hold
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            self.peer.certificate = shown.map(PeerCertificate::of);
            self.serve(stream).await;
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let Self { answer, peer, idle, place, clock, stopping } = self;
        let activity = place.activity();
        let stream = Strict::new(stream, Arc::clone(&activity), clock);
        let answers = Arc::clone(&activity);
        let service = service_fn(move |request| {
            let (answer, answering) = (Arc::clone(&answer), answers.answers());
            async move {
                let answer = answered(&*answer, request, peer).await;
                Ok::<_, Infallible>(answer.map(|body| Answered::new(body, answering)))
            }
        });
        // pipeline_flush stays off: it would flatten whole bodies into memory
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_header_size(MAX_HEADER_BYTES)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection: Pin<Box<_>> = Box::pin(connection);
        let mut drains = false;
        let ended = loop {
            tokio::select! {
                ended = &mut connection => break ended,
                // whoever is told to give way holds no place any more
                () = activity.must_leave() => return,
                () = stopping.cancelled(), if !drains => {
                    drains = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, peer = %peer.address, "connection ended early");
        }
    }
}

/// The answer; a fault of the program costs the request that led to it.
async fn answered<A: Answer>(answer: &A, request: Request<Incoming>, peer: Peer) -> Response<Body> {
    let path = request.uri().path().to_owned();
    // boxed in there, so that a connection without a request, or whose answer is on its way, holds none of it
    match guarded_future(answer.answer(request, peer)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, path, peer = %peer.address, "a request could not be answered");
            let next = "the server hit a fault while it answered; its log says more\n";
            body::text(StatusCode::INTERNAL_SERVER_ERROR, next)
        }
    }
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, ListenerError> {
    let pem = |path: &PathBuf| {
        let path = path.clone();
        move |source| ListenerError::Pem { path, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .map_err(pem(&files.certificate))?
        .collect::<Result<_, _>>()
        .map_err(pem(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&files.key))?;
    let unfit = |source| ListenerError::Tls { certificate: files.certificate.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match &files.client_roots {
        Some(path) => client_verifier(path, files.client_required, Arc::clone(&provider))?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Checks client certificates against the roots of a file. Agents have none as a rule and are let in without, unless it is
/// `required`.
fn client_verifier(
    path: &PathBuf,
    required: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, ListenerError> {
    let pem = |source| ListenerError::Pem { path: path.clone(), source };
    let mut roots = rustls::RootCertStore::empty();
    let found =
        CertificateDer::pem_file_iter(path).map_err(pem)?.collect::<Result<Vec<_>, _>>().map_err(pem)?;
    roots.add_parsable_certificates(found);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|source| ListenerError::ClientRoots { path: path.clone(), source })
}
