//! Requests that reach no service, and the plain statuses that say so.
//!
//! **Invariant:** what was not read of a request makes its connection useless, so the answer closes it. It never says
//! anything in the words of a protocol above HTTP: faults are made of this by [`crate::fault`].

use http::{HeaderValue, StatusCode, header};

use super::body::text;
use super::request::Response;

/// Why a request does not even reach a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misdirected {
    /// Nothing is served under the path.
    #[error("No web service is served under this address.\n")]
    NotFound,
    /// The services answer POST, and monitoring's GET and HEAD.
    #[error("This address answers POST requests of update agents and servers.\n")]
    Method,
    /// The body is larger than any request.
    #[error("The request is larger than {0} bytes, the most this server accepts.\n")]
    TooLarge(usize),
    /// The body is compressed or in an unknown character set.
    #[error("The body must be plain UTF-8 or UTF-16 XML.\n")]
    MediaType,
    /// The body is no SOAP by its media type.
    #[error("SOAP is sent as text/xml, or as application/soap+xml.\n")]
    ContentType,
    /// The body did not arrive in time.
    #[error("The request did not arrive in time.\n")]
    Timeout,
    /// The body broke off.
    #[error("The request broke off.\n")]
    Incomplete,
    /// There is no memory for the body now.
    #[error("Server busy; retry later.\n")]
    Busy,
}

impl Misdirected {
    /// The status that says so.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType | Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Incomplete => StatusCode::BAD_REQUEST,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The status of a fault that says so to a sender of SOAP: 500 as for every fault, but for what senders act on by
    /// its status alone.
    pub fn fault_status(self) -> StatusCode {
        match self {
            Self::Incomplete => StatusCode::INTERNAL_SERVER_ERROR,
            other => other.status(),
        }
    }

    /// The answer to who does not speak SOAP. What was not read of the request makes the connection useless, so it is closed.
    pub fn answer(self) -> Response {
        let mut answer = text(self.status(), self.to_string());
        let headers = answer.headers_mut();
        match self {
            Self::NotFound => {}
            Self::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
            }
            other => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
                if other == Self::Busy {
                    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
                }
            }
        }
        answer
    }
}
