//! The server role of MS-WUSP: what agents ask over SOAP.
//!
//! **Invariant:** answers come from the catalog's snapshot. It never waits for the upstream.

use http::StatusCode;

use super::body;
use super::site::{Peer, Request, Response};

/// Answers agents.
#[derive(Clone)]
pub struct Service {}

impl Service {
    /// Answers one request below `/ClientWebService`, `/SimpleAuthWebService` or `/ReportingWebService`.
    pub async fn answer(&self, _request: Request, _from: Peer) -> Response {
        std::future::ready(body::text(StatusCode::NOT_FOUND, "")).await
    }
}
