//! From an address to a connection that speaks HTTP/1.1: TCP with a bounded receive buffer, a tunnel through
//! a proxy, TLS. Every step within one time limit.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{Empty, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::account::Account;
use super::arrival_monitor::ArrivalMonitor;
use super::dial::Dial;
use super::origin::Origin;
use super::proxy::Proxy;
use super::reachable::Reachable;
use super::receive_window::ReceiveWindow;
use super::resolver::Resolver;
use super::socket::LinkSocket;
use super::{receive_window, trust};
use crate::LinkError;
use crate::schedule::{ExchangeSlots, Limiter, Meter, Shape};
use tailwater_domain::{Limit, Purpose, limits};
use tailwater_runtime::Tasks;

/// Origins whose RTT is remembered; far more than a site has upstreams and mirrors.
const MAX_ROUND_TRIPS: usize = 64;

/// A connection, ready for a request.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    pub(super) account: Arc<Account>,
    /// What its receive buffer was bounded to.
    pub(super) window: Option<u32>,
    /// How long connecting took, without resolving names: about one RTT to the server, or to the proxy.
    pub(crate) took: Duration,
    /// Ends the task that drives it, and with it the socket.
    pub(crate) task: AbortHandle,
}

/// What every connection is made with.
pub(super) struct Connector {
    pub(super) limiter: Limiter,
    pub(super) meter: Meter,
    pub(super) tasks: Tasks,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) limit: Duration,
    /// Which servers may be connected to.
    pub(super) reachable: Reachable,
    /// What names stand for.
    pub(super) resolver: Resolver,
    /// The RTT to an origin: how long connecting took lately.
    pub(super) round_trips: Mutex<HashMap<Origin, Duration>>,
    /// The exchanges that share the link.
    pub(super) slots: ExchangeSlots,
    /// Samples open connections.
    pub(super) monitor: ArrivalMonitor,
    /// Which addresses answer.
    pub(super) dial: Dial,
}

/// How long a port is asked whether it speaks TLS: three round trips by satellite.
const TLS_ANSWERS_IN: Duration = Duration::from_secs(2);

pub(super) const LIMITS: &[Limit] = limits![
    MAX_ROUND_TRIPS in "servers": "Servers whose round-trip time is remembered" => "it is measured again",
    TLS_ANSWERS_IN: "The time a port is asked whether it speaks TLS" => "it counts as not speaking it",
];

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connector {
    /// Connects, through the proxy where there is one.
    pub(super) async fn connect(
        &self,
        origin: &Origin,
        proxy: Option<&Proxy>,
        purpose: Purpose,
    ) -> Result<Connection, LinkError> {
        // a server of plain HTTP may wait for the end of what it takes for a line
        let stage = if origin.https {
            "connection with TLS (one of plain HTTP is written http://)"
        } else {
            "connection"
        };
        let timed_out = || LinkError::Timeout { origin: origin.to_string(), stage, limit: self.limit };
        tokio::time::timeout(self.limit, self.steps(origin, origin, proxy, purpose))
            .await
            .map_err(|_late| timed_out())?
    }

    /// Whether an origin that is addressed as plain HTTP, and did not answer as that, speaks TLS at its port. Asked once for
    /// each exchange that failed; whether its certificate can be trusted does not matter.
    pub(super) async fn speaks_tls(&self, origin: &Origin, proxy: Option<&Proxy>, purpose: Purpose) -> bool {
        if origin.https || proxy.is_some() {
            return false;
        }
        // a server of plain HTTP may wait for the end of what it takes for a line: whoever waits for the exchange waits for
        // this too
        let other = origin.other_scheme();
        let asking = self.steps(&other, origin, None, purpose);
        match tokio::time::timeout(TLS_ANSWERS_IN.min(self.limit), asking).await {
            Ok(Ok(connection)) => {
                connection.task.abort();
                true
            }
            Ok(Err(LinkError::Tls { source, .. })) => trust::is_tls(&source),
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// The RTT to an origin; 0 while it is unknown.
    pub(super) fn round_trip(&self, origin: &Origin) -> Duration {
        let round_trips = self.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
        round_trips.get(origin).copied().unwrap_or_default()
    }

    /// What connections are made for now.
    pub(super) fn shape(&self) -> Shape {
        self.limiter.shape().shared_by(self.slots.transfers())
    }

    fn remember(&self, origin: &Origin, took: Duration) {
        let mut round_trips = self.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
        if round_trips.len() >= MAX_ROUND_TRIPS && !round_trips.contains_key(origin) {
            round_trips.clear();
        }
        // the minimum counts, and slowly rises: resolving names takes time
        let known = round_trips.entry(origin.clone()).or_insert(took);
        *known = took.min(*known + *known / 8);
    }

    /// Connects to an origin where `named`, which is the same server, may be reached.
    async fn steps(
        &self,
        origin: &Origin,
        named: &Origin,
        proxy: Option<&Proxy>,
        purpose: Purpose,
    ) -> Result<Connection, LinkError> {
        let round_trip = self.round_trip(origin);
        let window = self.shape().window(round_trip);
        let account = Arc::new(Account::new(purpose));
        let (host, port) = proxy.map_or((&origin.host, origin.port), |proxy| (&proxy.host, proxy.port));
        let addresses = if proxy.is_none() {
            self.admitted(named, self.resolve(host, port).await?)?
        } else {
            let judged = self.reachable.admits_by_name(named);
            judged.map_err(|(forbidden, address)| forbidden.error(named, address))?;
            self.resolve(host, port).await?
        };
        let refuse = |source| LinkError::Connect { origin: origin.to_string(), source };
        let bounds = window.map(|window| (window, round_trip));
        let connected = self.dial.connect(addresses, |address| open(address, bounds)).await;
        let (tcp, took) = connected.map_err(refuse)?;
        self.remember(origin, took);
        let receive_window = ReceiveWindow::new(window, self.round_trip(origin), &self.limiter, &self.slots);
        let socket = LinkSocket::new(
            tcp,
            &self.limiter,
            &self.meter,
            Arc::clone(&account),
            receive_window,
            &self.monitor,
        );
        let stream: Box<dyn Stream> = match (origin.https, proxy) {
            (false, _) => Box::new(socket),
            (true, None) => Box::new(self.secure(origin, socket).await?),
            (true, Some(proxy)) => {
                let tunnel = self.tunnel(origin, proxy, socket).await?;
                Box::new(self.secure(origin, tunnel).await?)
            }
        };
        let broken = |source| LinkError::Broken { origin: origin.to_string(), source };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let task = self.drive(connection);
        Ok(Connection { sender, account, window, took, task })
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, LinkError> {
        let resolved = self.resolver.resolve(host, port).await;
        resolved.map_err(|source| LinkError::Resolve { host: host.to_owned(), source })
    }

    /// Those of an origin's addresses that may be connected to; an error when there are some, and none may.
    fn admitted(&self, origin: &Origin, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, LinkError> {
        let mut refused = None;
        let judged = addresses.into_iter().filter(|address| match self.reachable.admits(origin, *address) {
            Ok(()) => true,
            Err(forbidden) => {
                refused.get_or_insert((forbidden, address.ip()));
                false
            }
        });
        let admitted: Vec<SocketAddr> = judged.collect();
        match refused {
            Some((forbidden, address)) if admitted.is_empty() => Err(forbidden.error(origin, Some(address))),
            _ => Ok(admitted),
        }
    }

    /// Drives a connection until it closes or the server stops.
    fn drive<F, E>(&self, connection: F) -> AbortHandle
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let stopping = self.tasks.stopping();
        let task = self.tasks.spawn("link-connection", async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    // the exchange on it reports the error to its caller
                    tracing::trace!(%error, "upstream connection ended");
                },
                () = stopping.cancelled() => {}
            }
        });
        task.abort_handle()
    }

    async fn secure<S>(
        &self,
        origin: &Origin,
        stream: S,
    ) -> Result<tokio_rustls::client::TlsStream<S>, LinkError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|_e| LinkError::Address { address: origin.to_string() })?;
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.map_err(|source| {
            if trust::is_plain(&source) {
                return origin.speaks_other_scheme();
            }
            LinkError::Tls { origin: origin.to_string(), cure: trust::cure(&source, origin), source }
        })
    }

    /// Asks the proxy for a tunnel (CONNECT).
    async fn tunnel(
        &self,
        origin: &Origin,
        proxy: &Proxy,
        socket: LinkSocket,
    ) -> Result<TokioIo<hyper::upgrade::Upgraded>, LinkError> {
        let broken = |source| LinkError::Broken { origin: origin.to_string(), source };
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(broken)?;
        // its task ends with the tunnel: hyper hands the socket over
        let _task = self.drive(connection.with_upgrades());
        let authority = origin.authority();
        let mut request =
            Request::builder().method(Method::CONNECT).uri(&authority).header("host", &authority);
        if let Some(authorization) = &proxy.authorization {
            request = request.header("proxy-authorization", authorization);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|_e| LinkError::Address { address: origin.to_string() })?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        if !answer.status().is_success() {
            let status = answer.status().as_u16();
            return Err(LinkError::ProxyRefused { proxy: proxy.name(), origin: origin.to_string(), status });
        }
        Ok(TokioIo::new(hyper::upgrade::on(answer).await.map_err(broken)?))
    }
}

/// The receive buffer is bounded by [`receive_window`] before connecting.
async fn open(address: SocketAddr, window: Option<(u32, Duration)>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some((window, round_trip)) = window {
        socket.set_recv_buffer_size(receive_window::first_buffer(window, round_trip))?;
    }
    let stream = socket.connect(address).await?;
    if let Some((window, round_trip)) = window {
        receive_window::clamp(&stream, window, round_trip)?;
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}
