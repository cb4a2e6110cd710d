//! Which service answers which path of the agents' listener.
//!
//! **Invariant:** letter case of the path does not matter (IIS does not care either, observed behaviour of
//! clients). It never looks into a request beyond its first path segment, reports excepted: see [`Site::report`].

use std::future::Future;
use std::net::SocketAddr;

use http::request::Parts;
use http::{StatusCode, header};
use hyper::body::Incoming;

use super::body::{self, Body};
use super::{client, downstream, files, peer, soap};
use crate::bandwidth::Requester;
use crate::wire::xml::Limits;

/// A request as it came in; its body is still on the wire.
pub type Request = http::Request<Incoming>;

/// An answer.
pub type Response = http::Response<Body>;

/// Who asks, and over what.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// This end of the connection.
    pub local: SocketAddr,
    /// Whether the connection is TLS, so that addresses in answers begin with `https`.
    pub tls: bool,
    /// Whether it showed a client certificate that holds (`server.tls.client_roots`).
    pub certificate: bool,
}

/// The longest host and port: 253 characters of a name, brackets, five digits.
const MAX_HOST: usize = 262;

/// Under which address this server was reached, without a slash at its end: what is configured, the `Host` header, or
/// the connection's own end. Only characters of a host and port are believed.
pub(super) fn base_url(public_url: Option<&str>, parts: &Parts, from: Peer) -> String {
    if let Some(url) = public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let scheme = if from.tls { "https" } else { "http" };
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match host.filter(|host| is_host(host)) {
        Some(host) => format!("{scheme}://{host}"),
        // an IPv4 peer on a dual-stack listener sees an IPv4 address
        None => format!("{scheme}://{}", SocketAddr::new(from.local.ip().to_canonical(), from.local.port())),
    }
}

fn is_host(host: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !host.is_empty() && host.len() <= MAX_HOST && host.bytes().all(legal)
}

/// Answers requests; what a [`super::Listener`] serves.
pub trait Answer: Send + Sync + 'static {
    /// Answers one request. Faults are answers too.
    fn answer(&self, request: Request, from: Peer) -> impl Future<Output = Response> + Send;
}

/// The agents' and downstream servers' listener: the services of [MS-WUSP] 2.1 and [MS-WSUSSS] 2.1, and the payloads.
pub struct Site {
    /// `ClientWebService`, `SimpleAuthWebService`, and agents' part of `ReportingWebService`.
    pub client: client::Service,
    /// `ServerSyncWebService`, `DssAuthWebService`, and servers' part of `ReportingWebService`.
    pub downstream: downstream::Service,
    /// `Content`, `selfupdate`.
    pub files: files::Service,
    /// `tailwater`.
    pub peer: peer::Service,
}

impl Site {
    /// Agents and downstream servers report under one address: the operation tells whose it is. It stands in
    /// `SOAPAction`; only without that the body is looked at, read once and by the limits of agents.
    async fn report(&self, request: Request, from: Peer) -> Response {
        let action =
            request.headers().get("SOAPAction").and_then(|value| value.to_str().ok()).map(operation_of);
        match action.filter(|operation| !operation.is_empty()) {
            Some(operation) if downstream::is_rollup(operation) => {
                self.downstream.report(request, from).await
            }
            Some(_) => self.client.answer(request, from).await,
            None => {
                let (parts, body) = request.into_parts();
                let body = match soap::read_body(&parts.headers, body).await {
                    Ok(body) => body,
                    Err(misdirected) => return misdirected.answer(),
                };
                let opened = crate::wire::soap::open(&body[..], Limits::REQUEST);
                match opened {
                    Ok(message) if downstream::is_rollup(&message.operation) => {
                        self.downstream.report_message(&parts, body, from).await
                    }
                    _ => self.client.answer_message(&parts, body, from).await,
                }
            }
        }
    }
}

/// The last segment of a `SOAPAction`.
fn operation_of(action: &str) -> &str {
    action.trim().trim_matches('"').rsplit('/').next().unwrap_or_default()
}

impl Answer for Site {
    async fn answer(&self, request: Request, from: Peer) -> Response {
        let first = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default();
        let is = |name: &str| first.eq_ignore_ascii_case(name);
        if is("Content") || is("selfupdate") {
            self.files.answer(request, Requester::at(from.address.ip())).await
        } else if is("ReportingWebService") {
            // boxed, so that the many small answers for payloads do not carry its size along
            Box::pin(self.report(request, from)).await
        } else if is("ClientWebService") || is("SimpleAuthWebService") {
            Box::pin(self.client.answer(request, from)).await
        } else if is("ServerSyncWebService") || is("DssAuthWebService") {
            Box::pin(self.downstream.answer(request, from)).await
        } else if is("tailwater") {
            Box::pin(self.peer.answer(request, from)).await
        } else {
            body::text(StatusCode::NOT_FOUND, "Nothing is served under this address.\n")
        }
    }
}
