//! The body of an answer, whatever it comes from.
//!
//! **Invariant:** every body knows its length before its first byte is sent, because BITS refuses answers
//! without one. It never gathers a payload in memory.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body::{Frame, SizeHint};
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

/// What polling a body gives: its next part, an error that ends it, or its end.
pub type Polled = Poll<Option<Result<Frame<Bytes>, io::Error>>>;

/// Sees a body leave. It is dropped with the body: after its last byte, or when the client left.
pub trait Observer: Send + Unpin {
    /// The client takes more.
    ///
    /// # Errors
    /// Ends the body here: the client sees that it broke off.
    fn before(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What there was for it; `ended` when nothing more follows.
    fn after(&mut self, polled: &Polled, ended: bool);
}

/// A body that an [`Observer`] sees leave. It passes every part on unchanged.
pub struct Observed<O> {
    body: Body,
    observer: O,
}

impl<O: Observer> Observed<O> {
    /// The body, seen by an observer from now on.
    pub fn new(body: Body, observer: O) -> Self {
        Self { body, observer }
    }
}

impl<O: Observer> http_body::Body for Observed<O> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        if let Err(error) = self.observer.before() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ended = matches!(polled, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream();
        self.observer.after(&polled, ended);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
