//! A request with its two ends, and the service that answers it.
//!
//! **Invariant:** an address that answers name is the configured one, or one made of nothing but the characters of a
//! host and a port. It never reads a body.

use std::future::Future;
use std::net::SocketAddr;

use http::request::Parts;
use hyper::body::Incoming;

use super::body::Body;
use super::certificate::PeerCertificate;
use super::hosts::asked_host;
use tailwater_domain::{Limit, limits};

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
    /// The client certificate that it showed, where that is valid (`server.tls.client_ca`).
    pub certificate: Option<PeerCertificate>,
}

/// Answers requests; what a [`crate::Listener`] serves.
pub trait Answer: Send + Sync + 'static {
    /// Answers one request. Faults are answers too. The future may be dropped when the client leaves.
    fn answer(&self, request: Request, from: Peer) -> impl Future<Output = Response> + Send;
}

/// The longest host and port: 253 characters of a name, brackets, five digits.
const MAX_HOST: usize = 262;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_HOST in "bytes": "The Host of a request" => "the configured address is used instead",
];

/// Under which address this server was reached, without a slash at its end: what is configured, the `Host` header, or
/// the connection's own end. Only characters of a host and port are believed.
pub(crate) fn base_url(public_url: Option<&str>, parts: &Parts, from: Peer) -> String {
    if let Some(url) = public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let scheme = if from.tls { "https" } else { "http" };
    match asked_host(&parts.uri, &parts.headers).filter(|host| is_host(host)) {
        Some(host) => format!("{scheme}://{host}"),
        // an IPv4 peer on a dual-stack listener sees an IPv4 address
        None => format!("{scheme}://{}", SocketAddr::new(from.local.ip().to_canonical(), from.local.port())),
    }
}

fn is_host(host: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !host.is_empty() && host.len() <= MAX_HOST && host.bytes().all(legal)
}
