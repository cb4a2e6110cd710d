//! A connection whose requests are checked before the HTTP library sees them: what two readers could take for different
//! requests is refused with 400, and nothing behind it is ever answered.
//!
//! The library is lenient where RFC 9112 lets it be. Bytes pass unchanged while they keep to the strict grammar of
//! [`framing`]. From the first that does not, the library gets bytes that it refuses in every state, so that its answer, and
//! the end of the connection, come in their turn.
//!
//! **Invariant:** a byte is passed on only when the request that it belongs to is well formed so far; a header that began
//! is complete within [`HEADER_TIME`]. It never copies what it passes on, and never looks into bodies.

mod framing;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::framing::{Expects, Framing};
use super::activity::Activity;
use tailwater_domain::{Limit, joined_limits, limits};
use tailwater_runtime::Clock;

/// How long the first header may take from the begin of a connection, and each later one from its first byte.
const HEADER_TIME: Duration = Duration::from_secs(15);

const OWN_LIMITS: &[Limit] = limits![
    HEADER_TIME: "The time for the header of a request to arrive" => "the connection is closed",
];

pub(super) const LIMITS: &[Limit] = joined_limits![OWN_LIMITS, framing::LIMITS];

/// No state of the library's reader takes this: neither in a header nor in a chunked body.
const REFUSED: &[u8] = b"\r\0\r\n\r\n";

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The connection.
pub(super) struct Strict<S> {
    inner: S,
    framing: Framing,
    /// What is left to be read of [`REFUSED`], once something was refused.
    refused: Option<&'static [u8]>,
    activity: Arc<Activity>,
    clock: Clock,
    header: Option<Timer>,
}

impl<S> Strict<S> {
    pub(super) fn new(inner: S, activity: Arc<Activity>, clock: Clock) -> Self {
        Self { inner, framing: Framing::new(), refused: None, activity, clock, header: None }
    }

    /// Nothing came: how long that may go on.
    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // while a request is answered nobody waits for the next
        if self.framing.expects() != Expects::Header || self.activity.is_answering() {
            self.header = None;
            return Poll::Pending;
        }
        let timer = self.header.get_or_insert_with(|| {
            let clock = self.clock.clone();
            Box::pin(async move { clock.sleep(HEADER_TIME).await })
        });
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the header did not arrive in time")))
    }
}

fn put(buf: &mut ReadBuf<'_>, bytes: &'static [u8]) -> &'static [u8] {
    let (now, later) = bytes.split_at(bytes.len().min(buf.remaining()));
    buf.put_slice(now);
    later
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(left) = this.refused {
            if left.is_empty() {
                // the library closes the connection; nothing more is read of it
                return Poll::Pending;
            }
            this.refused = Some(put(buf, left));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Pending => {
                if this.framing.expects() == Expects::Body {
                    this.activity.waits_for_client();
                }
                return this.poll_header(cx);
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {}
        }
        let came = &buf.filled()[before..];
        if let Err(kept) = this.framing.pass(came) {
            buf.set_filled(before + kept);
            this.refused = Some(put(buf, REFUSED));
        }
        if this.framing.expects() != Expects::Header {
            this.header = None;
        }
        this.activity.came();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
