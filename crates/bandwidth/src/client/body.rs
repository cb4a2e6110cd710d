//! The body of an answer, as it comes off the limited link.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::connect::Connection;
use super::origin::Origin;
use super::pool::Pool;
use crate::LinkError;
use crate::schedule::Place;

/// What an exchange holds while its answer is read.
pub(super) struct Lease {
    pub(super) connection: Connection,
    pub(super) origin: Origin,
    pub(super) pool: Arc<Pool>,
    /// The place among the open exchanges.
    pub(super) place: Option<Place>,
}

impl Lease {
    /// The answer was read whole: the connection may serve again.
    fn finish(self) {
        self.connection.account.end();
        self.pool.put(&self.origin, self.connection);
        drop(self.place);
    }

    /// The head was enough; the place goes to whoever follows it.
    pub(super) fn abandon(mut self) -> Option<Place> {
        let place = self.place.take();
        self.break_off();
        place
    }

    /// The answer is given up: what the upstream still sends must not cross the link.
    pub(super) fn break_off(self) {
        self.connection.task.abort();
        self.connection.account.end();
    }
}

/// The body of an answer. Dropping it before its end closes the connection, so that nothing more of it
/// crosses the link.
pub struct LinkBody {
    incoming: Incoming,
    lease: Option<Lease>,
    idle_limit: Duration,
    idle: Pin<Box<Sleep>>,
    /// A frame is waited for.
    waiting: bool,
    /// What the socket had counted when the wait began.
    moves: Option<u64>,
}

impl LinkBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, idle_limit: Duration) -> Self {
        let mut body = Self {
            incoming,
            lease: Some(lease),
            idle_limit,
            idle: Box::pin(tokio::time::sleep(idle_limit)),
            waiting: false,
            moves: None,
        };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.finish();
        }
    }

    fn origin(&self) -> String {
        self.lease.as_ref().map(|lease| lease.origin.to_string()).unwrap_or_default()
    }

    /// Ready when nothing moved at the socket for the idle limit; waiting for the limiter is no idleness.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        let moves = self.lease.as_ref().and_then(|lease| lease.connection.account.moves());
        if !self.waiting {
            self.waiting = true;
            self.moves = moves;
            self.idle.as_mut().reset(Instant::now() + self.idle_limit);
        }
        loop {
            ready!(self.idle.as_mut().poll(cx));
            if moves.is_some() && self.moves == moves {
                let (origin, limit) = (self.origin(), self.idle_limit);
                return Poll::Ready(LinkError::Timeout { origin, stage: "more of its answer", limit });
            }
            self.moves = moves;
            self.idle.as_mut().reset(Instant::now() + self.idle_limit);
        }
    }
}

impl Body for LinkBody {
    type Data = Bytes;
    type Error = LinkError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LinkError>>> {
        let this = self.get_mut();
        if this.lease.is_none() {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting = false;
                if this.incoming.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(source))) => {
                let origin = this.origin();
                let is_spent = this.lease.as_ref().is_some_and(|lease| lease.connection.account.is_spent());
                if let Some(lease) = this.lease.take() {
                    lease.break_off();
                }
                let broken = LinkError::Broken { origin, source };
                let error = if is_spent { LinkError::Spent { until: None } } else { broken };
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let error = ready!(this.poll_idle(cx));
                if let Some(lease) = this.lease.take() {
                    lease.break_off();
                }
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for LinkBody {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.break_off();
        }
    }
}
