//! The HTTP/1.1 client for upstreams: one request in, one answer out, everything over the limited link.
//!
//! **Invariant:** no socket towards an upstream exists that is not made here. It retries nothing but a
//! request that a stale pooled connection never took.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};

use super::arrival_monitor::ArrivalMonitor;
use super::body::{Lease, LinkBody};
use super::config::LinkConfig;
use super::connect::{Connection, Connector};
use super::dial::Dial;
use super::origin::Origin;
use super::pool::Pool;
use super::proxy::{Proxies, Proxy};
use super::redirect::{keep_secrets, redirect};
use super::resolver::Resolver;
use super::tls;
use crate::LinkError;
use crate::schedule::{DepositQueue, ExchangeSlot, ExchangeSlots, Limiter, Meter};
use tailwater_domain::{Class, Limit, Purpose, limits};
use tailwater_runtime::{Clock, Tasks};

/// Redirects followed for one GET.
const MAX_REDIRECTS: usize = 3;

/// What is paid in advance for an answer without a body, in bytes: few response headers are longer.
const MOST_HEAD: u32 = 1024;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_REDIRECTS in "redirects": "Redirects followed for one request" => "the request fails",
];

// not a limit: MOST_HEAD: what is paid in advance

/// The client. Cheap to clone; clones share connections, limiter and meter.
#[derive(Clone)]
pub struct LinkClient(Arc<SharedClient>);

struct SharedClient {
    config: LinkConfig,
    connector: Connector,
    proxies: Proxies,
    deposits: DepositQueue,
    pool: Arc<Pool>,
    clock: Clock,
    /// Where a payload was asked for last, and under which path.
    last_source: Mutex<Option<(Origin, PathAndQuery)>>,
}

impl LinkClient {
    /// A client on this link.
    ///
    /// # Errors
    /// When the proxy setting or a certificate file cannot be used.
    pub fn new(
        config: LinkConfig,
        limiter: &Limiter,
        meter: &Meter,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Self, LinkError> {
        Self::resolving(config, Resolver::default(), limiter, meter, clock, tasks)
    }

    /// A client that asks this for what names stand for.
    pub(super) fn resolving(
        config: LinkConfig,
        resolver: Resolver,
        limiter: &Limiter,
        meter: &Meter,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Self, LinkError> {
        let connector = Connector {
            limiter: limiter.clone(),
            meter: meter.clone(),
            tasks: tasks.clone(),
            tls: tls::client_config(&config)?,
            limit: config.connect_timeout,
            reachable: config.reachable.clone(),
            resolver,
            round_trips: Mutex::default(),
            slots: ExchangeSlots::default(),
            dial: Dial::default(),
            monitor: ArrivalMonitor::new(config.counted, limiter, meter, clock, tasks),
        };
        let proxies = Proxies::new(&config.proxy, |name| std::env::var(name).ok())?;
        let pool = Arc::new(Pool::new(clock, config.keep_alive, config.max_idle_per_origin));
        Ok(Self(Arc::new(SharedClient {
            config,
            connector,
            proxies,
            deposits: DepositQueue::new(limiter),
            pool,
            clock: clock.clone(),
            last_source: Mutex::default(),
        })))
    }

    /// The limiter of this link.
    pub fn limiter(&self) -> &Limiter {
        &self.0.connector.limiter
    }

    /// The meter of this link.
    pub fn meter(&self) -> &Meter {
        &self.0.connector.meter
    }

    /// How many transfers may be open at once at the rate in force, over the path to the last source. More wait in
    /// [`LinkClient::slot`] until one ends, so nobody who holds an answer may wait for another request to be answered.
    pub fn max_transfers(&self) -> usize {
        self.limiter().shape().transfers_over(self.round_trip())
    }

    /// The RTT to the last source.
    fn round_trip(&self) -> Duration {
        let last = self.0.last_source.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|(origin, _)| self.0.connector.round_trip(origin)).unwrap_or_default()
    }

    /// Waits for an exchange slot.
    ///
    /// # Errors
    /// [`LinkError::Stopping`] at shutdown.
    pub async fn slot(&self, purpose: impl Into<Purpose>) -> Result<ExchangeSlot, LinkError> {
        let stopping = self.0.connector.tasks.stopping();
        tokio::select! {
            biased;
            () = stopping.cancelled() => Err(LinkError::Stopping),
            slot = self.0.connector.slots.take(purpose.into(), self.max_transfers()) => slot,
        }
    }

    /// Waits for a slot, sends a request to an absolute `http` or `https` address and waits for the head of the
    /// answer. GET and HEAD follow up to 3 redirects, never from https to http, and only to where
    /// [`LinkConfig::reachable`] lets them; nothing else follows any. Statuses are not errors.
    ///
    /// # Errors
    /// [`LinkError`] tells whose fault it is and whether a retry may help.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        purpose: impl Into<Purpose>,
    ) -> Result<Response<LinkBody>, LinkError> {
        let purpose = purpose.into();
        let slot = self.slot(purpose).await?;
        self.send_in_slot(slot, request, purpose).await
    }

    /// As [`LinkClient::send`], in a slot that was taken before; the answer occupies it until its end.
    ///
    /// # Errors
    /// As [`LinkClient::send`].
    pub async fn send_in_slot(
        &self,
        slot: ExchangeSlot,
        request: Request<Full<Bytes>>,
        purpose: Purpose,
    ) -> Result<Response<LinkBody>, LinkError> {
        self.may_spend(purpose.class)?;
        let (parts, body) = request.into_parts();
        let follows = parts.method == Method::GET || parts.method == Method::HEAD;
        let mut parts = parts;
        let mut slot = Some(slot);
        for _ in 0..=MAX_REDIRECTS {
            let origin = Origin::of(&parts.uri)?;
            let request = Request::from_parts(parts.clone(), body.clone());
            let exchanged = self.exchange(&origin, request, purpose).await;
            // whatever the error says, a spent budget is the reason
            let (response, connection) =
                exchanged.or_else(|error| self.may_spend(purpose.class).and(Err(error)))?;
            let target = if follows { redirect(&parts.uri, &response)? } else { None };
            if let Some(target) = &target {
                let to = Origin::of(target)?;
                if !self.0.connector.reachable.may_redirect(&origin, &to) {
                    let (origin, target) = (origin.to_string(), to.to_string());
                    return Err(LinkError::RedirectHost { origin, target });
                }
            }
            let lease = Lease { connection, origin, pool: Arc::clone(&self.0.pool), slot: slot.take() };
            let Some(target) = target else {
                if purpose.file.is_some() {
                    self.note_source(&lease.origin, &parts.uri);
                }
                let idle_limit = self.0.config.idle_timeout;
                return Ok(response.map(|incoming| LinkBody::new(incoming, lease, idle_limit)));
            };
            slot = lease.abandon();
            keep_secrets(&parts.uri, &target, &mut parts.headers);
            parts.uri = target;
            parts.headers.remove(HOST);
        }
        Err(LinkError::Redirect { origin: Origin::of(&parts.uri)?.to_string(), why: "more than 3 times" })
    }

    /// Whether the budget lets this class send anything.
    fn may_spend(&self, class: Class) -> Result<(), LinkError> {
        match self.limiter().spent_until(class) {
            Some(until) => Err(LinkError::Spent { until: Some(until) }),
            None => Ok(()),
        }
    }

    fn note_source(&self, origin: &Origin, uri: &Uri) {
        let path = PathAndQuery::try_from(uri.path()).unwrap_or_else(|_e| PathAndQuery::from_static("/"));
        let mut last = self.0.last_source.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((origin.clone(), path));
    }

    /// Where a payload was asked for last, and under which path, without its query.
    pub(crate) fn last_source(&self) -> Option<(Origin, PathAndQuery)> {
        self.0.last_source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A connection of its own, for probes. How long it took is the RTT to the server, unless a proxy stands
    /// between.
    pub(crate) async fn connect_apart(&self, origin: &Origin) -> Result<(Connection, bool), LinkError> {
        let proxy = self.0.proxies.of(origin);
        let connection = self.0.connector.connect(origin, proxy, Class::Interactive.into()).await?;
        Ok((connection, proxy.is_none()))
    }

    /// Asks for the head of an address on a connection of one's own, and says how long its first byte took.
    pub(crate) async fn time_answer(
        &self,
        origin: &Origin,
        path: &PathAndQuery,
        connection: &mut Connection,
    ) -> Result<Option<Duration>, LinkError> {
        let broken = |source| LinkError::Broken { origin: origin.to_string(), source };
        connection.sender.ready().await.map_err(broken)?;
        let address = || LinkError::Address { address: origin.to_string() };
        let scheme = if origin.https { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(origin.authority()).path_and_query(path.clone());
        let uri = uri.build().map_err(|_e| address())?;
        let request = Request::head(uri).body(Full::default()).map_err(|_e| address())?;
        let mut request = request;
        self.prepare(&mut request, origin, self.0.proxies.of(origin))?;
        let answer = self.converse(origin, connection, request, Class::Interactive.into()).await;
        let took = connection.account.answer_took();
        connection.account.end();
        answer.map(|_answer| took).map_err(|failure| failure.error)
    }

    /// One request and the head of its answer, on a pooled connection or a new one.
    async fn exchange(
        &self,
        origin: &Origin,
        mut request: Request<Full<Bytes>>,
        purpose: Purpose,
    ) -> Result<(Response<Incoming>, Connection), LinkError> {
        let proxy = self.0.proxies.of(origin);
        self.prepare(&mut request, origin, proxy)?;
        let (shape, round_trip) = (self.0.connector.shape(), self.0.connector.round_trip(origin));
        while let Some(mut connection) = self.0.pool.take(origin, |window| shape.suits(window, round_trip)) {
            // a connection that the other end has closed says so here
            if connection.sender.ready().await.is_err() {
                continue;
            }
            match self.converse(origin, &mut connection, request, purpose).await {
                Ok(response) => return Ok((response, connection)),
                Err(Failure { error, unsent: Some(back) }) => {
                    tracing::debug!(%error, "a pooled connection was stale");
                    connection.task.abort();
                    request = *back;
                }
                Err(Failure { error, unsent: None }) => {
                    connection.task.abort();
                    // the others are no younger: the server, or the path to it, may be another one by now
                    self.0.pool.forget(origin);
                    return Err(error);
                }
            }
        }
        let mut connection = self.0.connector.connect(origin, proxy, purpose).await?;
        match self.converse(origin, &mut connection, request, purpose).await {
            // servers that see plain HTTP at their port of TLS may answer like this
            Ok(response)
                if response.status() == StatusCode::BAD_REQUEST
                    && self.0.connector.speaks_tls(origin, proxy, purpose).await =>
            {
                connection.task.abort();
                Err(origin.speaks_other_scheme())
            }
            Ok(response) => Ok((response, connection)),
            Err(Failure { error, .. }) => {
                connection.task.abort();
                let is_tls = matches!(error, LinkError::Broken { .. })
                    && self.0.connector.speaks_tls(origin, proxy, purpose).await;
                Err(if is_tls { origin.speaks_other_scheme() } else { error })
            }
        }
    }

    /// Gives the request the form that the other end expects: `Host`, and the whole address for a proxy.
    fn prepare(
        &self,
        request: &mut Request<Full<Bytes>>,
        origin: &Origin,
        proxy: Option<&Proxy>,
    ) -> Result<(), LinkError> {
        let address = || LinkError::Address { address: origin.to_string() };
        let host = HeaderValue::from_str(&origin.host_header()).map_err(|_e| address())?;
        let agent = HeaderValue::from_str(&self.0.config.user_agent).map_err(|_e| address())?;
        let through_proxy = proxy.filter(|_| !origin.https);
        let headers = request.headers_mut();
        headers.entry(HOST).or_insert(host);
        headers.entry(USER_AGENT).or_insert(agent);
        if let Some(authorization) = through_proxy.and_then(|proxy| proxy.authorization.clone()) {
            headers.insert(PROXY_AUTHORIZATION, authorization);
        }
        if through_proxy.is_none() {
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        }
        Ok(())
    }

    /// Pays the deposit, sends, and waits for the head of the answer.
    async fn converse(
        &self,
        origin: &Origin,
        connection: &mut Connection,
        request: Request<Full<Bytes>>,
        purpose: Purpose,
    ) -> Result<Response<Incoming>, Failure> {
        let head_only = request.method() == Method::HEAD;
        let answer = if head_only { MOST_HEAD } else { u32::MAX };
        let deposit = self.0.deposits.pay(purpose, u64::from(connection.window.unwrap_or(0).min(answer)));
        connection.account.begin(purpose, deposit.await.map_err(|error| Failure { error, unsent: None })?);
        let answer = connection.sender.try_send_request(request);
        tokio::pin!(answer);
        let limit = match purpose.class {
            Class::Metadata => self.0.config.answer_timeout,
            // a payload needs no computing
            _ => self.0.config.answer_timeout.min(self.0.config.idle_timeout),
        };
        let response = loop {
            let before = connection.account.progress();
            tokio::select! {
                answer = &mut answer => break answer,
                () = self.0.clock.sleep(limit) => {
                    if before.is_some() && connection.account.progress() == before {
                        let error = LinkError::Timeout { origin: origin.to_string(), stage: "answer", limit };
                        return Err(Failure { error, unsent: None });
                    }
                }
            }
        };
        match response {
            Ok(response) => {
                connection.account.answered(whole_length(&response, head_only));
                Ok(response)
            }
            Err(mut refused) => {
                let unsent = refused.take_message().map(Box::new);
                let broken = LinkError::Broken { origin: origin.to_string(), source: refused.into_error() };
                let error =
                    if connection.account.is_spent() { LinkError::Spent { until: None } } else { broken };
                Err(Failure { error, unsent })
            }
        }
    }
}

/// An exchange that failed, with the request when it never left.
struct Failure {
    error: LinkError,
    unsent: Option<Box<Request<Full<Bytes>>>>,
}

/// How many bytes an answer has, head included, where it says how long its body is.
fn whole_length(response: &Response<Incoming>, head_only: bool) -> Option<u64> {
    let body = if head_only { 0 } else { response.body().size_hint().exact()? };
    let line =
        "HTTP/1.1 200 ".len() + response.status().canonical_reason().unwrap_or("").len() + "\r\n\r\n".len();
    let fields =
        response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    Some(body + (line + fields.sum::<usize>()) as u64)
}
