//! One keep-alive connection to the server under load.
//!
//! **Invariant:** a connection that the server closed is made anew once a request; every wait for an answer is bounded by
//! [`ANSWER_TIME`]. It never reads a body.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::error::AgentError;
use tailwater_runtime::Tasks;

/// How long an agent waits for the head of an answer.
pub(crate) const ANSWER_TIME: Duration = Duration::from_mins(2);

/// Where a server is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// `host:port`, for connecting and for `Host`.
    pub(crate) authority: String,
}

impl Server {
    pub(crate) fn of(address: &str) -> Result<Self, AgentError> {
        let refuse = || AgentError::Address { address: address.to_owned() };
        let uri: Uri = address.trim_end_matches('/').parse().map_err(|_no_address| refuse())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(refuse)?;
        Ok(Self { authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)) })
    }
}

/// A connection that is made when it is first needed, and again when the server closed it.
pub(crate) struct Connection {
    server: Arc<Server>,
    tasks: Tasks,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub(crate) fn new(server: Arc<Server>, tasks: &Tasks) -> Self {
        Self { server, tasks: tasks.clone(), sender: None }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Sends a request with a path for an address. A connection that the server closed meanwhile is made
    /// anew once.
    pub(crate) async fn send(
        &mut self,
        operation: &'static str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, AgentError> {
        let exchange = self.exchange(operation, request);
        let late = |_late| Err(AgentError::Timeout { operation, limit: ANSWER_TIME });
        tokio::time::timeout(ANSWER_TIME, exchange).await.unwrap_or_else(late)
    }

    async fn exchange(
        &mut self,
        operation: &'static str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, AgentError> {
        let broken = |source| AgentError::Broken { operation, source };
        let mut again = self.sender.is_some().then(|| request.clone());
        let mut next = Some(request);
        loop {
            let Some(request) = next.take() else { break };
            let sender = self.ready().await?;
            match sender.send_request(request).await {
                Ok(response) => return Ok(response),
                Err(error) => {
                    self.sender = None;
                    match again.take() {
                        Some(request) => next = Some(request),
                        None => return Err(broken(error)),
                    }
                }
            }
        }
        Err(AgentError::Timeout { operation, limit: ANSWER_TIME })
    }

    async fn ready(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, AgentError> {
        let usable = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            self.sender = Some(self.connect().await?);
        }
        let refused = || AgentError::Connect {
            server: self.server.authority.clone(),
            source: std::io::ErrorKind::NotConnected.into(),
        };
        self.sender.as_mut().ok_or_else(refused)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, AgentError> {
        let server = &self.server.authority;
        let refuse = |source| AgentError::Connect { server: server.clone(), source };
        let socket = TcpStream::connect(server).await.map_err(refuse)?;
        socket.set_nodelay(true).map_err(refuse)?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|source| AgentError::Broken { operation: "connection", source })?;
        let stopping = self.tasks.stopping();
        self.tasks.spawn("simulated-agent-connection", async move {
            tokio::select! {
                // the exchange on it reports what went wrong
                _ended = connection => {}
                () = stopping.cancelled() => {}
            }
        });
        Ok(sender)
    }
}
