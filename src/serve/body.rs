//! The body of an answer, whatever it comes from.
//!
//! **Invariant:** every body knows its length before its first byte is sent, because BITS refuses answers
//! without one. It never gathers a payload in memory.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A body without a byte.
pub fn empty() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body that is in memory already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A short plain-text answer, such as an error that a person may read.
pub fn text(status: StatusCode, message: impl Into<Bytes>) -> Response<Body> {
    let mut answer = Response::new(full(message));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
