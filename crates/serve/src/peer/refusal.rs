//! Why a tailwater's request is not answered, and the answers that are messages.
//!
//! **Invariant:** nothing of an internal error reaches the wire but its kind; who meets a limit is told when to retry. It
//! never speaks SOAP.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::slots::RetryLater;
use crate::http::{Misdirected, Response, body};
use tailwater_catalog::CatalogError;
use tailwater_runtime::NoTurn;
use tailwater_wire::peer::{MEDIA_TYPE, MessageError};

/// What a child is told to wait that meets a limit, in seconds.
pub(super) const LATER: &str = "30";

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("Not found.")]
    NotFound,
    #[error("Method not allowed.")]
    Method,
    #[error("Authorize first: the cookie is missing, too old, or no longer good.")]
    Cookie,
    #[error("The request cannot be read: {0}.")]
    Message(#[from] MessageError),
    #[error("The answer could not be written to a temporary file.")]
    Body,
    #[error("{0}")]
    Misdirected(Misdirected),
    #[error("Server busy; retry later.")]
    Busy { retry_after: &'static str },
    #[error("The catalog could not answer.")]
    Catalog(#[from] CatalogError),
    #[error("A worker ended before its answer.")]
    Worker(#[from] tokio::task::JoinError),
}

impl Refused {
    /// The answer that says so.
    pub(super) fn answer(&self) -> Response {
        if let Self::Misdirected(misdirected) = self {
            return misdirected.answer();
        }
        let status = match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Cookie => StatusCode::FORBIDDEN,
            Self::Message(_) => StatusCode::BAD_REQUEST,
            Self::Misdirected(misdirected) => misdirected.status(),
            Self::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Catalog(_) | Self::Worker(_) | Self::Body => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() && !matches!(self, Self::Busy { .. }) {
            tracing::error!(error = %self, cause = ?std::error::Error::source(self), "a request of a downstream tailwater failed");
        }
        let mut answer = body::text(status, format!("{self}\n"));
        if let Self::Busy { retry_after } = self {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(retry_after));
        }
        answer
    }
}

impl From<RetryLater> for Refused {
    fn from(retry: RetryLater) -> Self {
        Self::Busy { retry_after: if retry == RetryLater::Now { "0" } else { LATER } }
    }
}

impl From<NoTurn> for Refused {
    fn from(_none: NoTurn) -> Self {
        Self::Busy { retry_after: LATER }
    }
}

/// An answer that is a message.
pub(super) fn message(bytes: impl Into<Bytes>) -> Response {
    let mut answer = Response::new(body::full(bytes));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    answer
}
