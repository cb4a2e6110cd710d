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
use crate::schedule::ExchangeSlot;

/// What an exchange owns while its answer is read.
pub(super) struct Lease {
    pub(super) connection: Connection,
    pub(super) origin: Origin,
    pub(super) pool: Arc<Pool>,
    /// Its exchange slot.
    pub(super) slot: Option<ExchangeSlot>,
}

impl Lease {
    /// The answer was read whole: the connection may serve again.
    fn finish(self) {
        self.connection.account.end();
        self.pool.put(&self.origin, self.connection);
        drop(self.slot);
    }

    /// The head was enough; the slot is used for the redirect.
    pub(super) fn abandon(mut self) -> Option<ExchangeSlot> {
        let slot = self.slot.take();
        self.abort();
        slot
    }

    /// The answer is given up: what the upstream still sends must not cross the link.
    pub(super) fn abort(self) {
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
    /// The progress at the socket when the wait began.
    progress: Option<u64>,
}

impl LinkBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, idle_limit: Duration) -> Self {
        let mut body = Self {
            incoming,
            lease: Some(lease),
            idle_limit,
            idle: Box::pin(tokio::time::sleep(idle_limit)),
            waiting: false,
            progress: None,
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

    /// Ready when the socket made no progress for the idle limit; waiting for the limiter is no idleness.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        let progress = self.lease.as_ref().and_then(|lease| lease.connection.account.progress());
        if !self.waiting {
            self.waiting = true;
            self.progress = progress;
            self.idle.as_mut().reset(Instant::now() + self.idle_limit);
        }
        loop {
            ready!(self.idle.as_mut().poll(cx));
            if progress.is_some() && self.progress == progress {
                let (origin, limit) = (self.origin(), self.idle_limit);
                return Poll::Ready(LinkError::Timeout { origin, stage: "more of its answer", limit });
            }
            self.progress = progress;
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
                    lease.abort();
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
                    lease.abort();
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
            lease.abort();
        }
    }
}
