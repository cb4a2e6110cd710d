//! An accepted connection that sends no faster than its egress lane allows, and ends when its client stops reading.
//!
//! **Invariant:** it asks for a turn only when the socket takes bytes, so that a slow client holds nothing back from
//! others. It lies below TLS. Without a lane it is the socket itself. Only a full socket counts as a client that does not
//! read: what waits for the upstream, the disk or a limiter does not. It never holds up what it reads.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use tailwater_bandwidth::EgressLane;
use tailwater_domain::{Limit, limits};
use tailwater_runtime::Clock;

/// Buffers sent at once while a lane limits.
const SLICES: usize = 16;

/// How long a connection that is closed is read on, so that a client which is still sending what was refused gets to
/// read the refusal instead of a reset.
const LINGER: Duration = Duration::from_secs(2);
/// A client that sends nothing for so long after the close has nothing more to send.
const LINGER_QUIET: Duration = Duration::from_millis(250);
/// Bytes that are read and thrown away then.
const MAX_LINGER_BYTES: usize = 8 << 20;
/// How much of them at once.
const LINGER_STEP: usize = 16 * 1024;

// not a limit: LINGER_STEP: what is more is read next

pub(super) const LIMITS: &[Limit] = limits![
    SLICES in "buffers": "Buffers sent at once while a rate holds" => "they are sent next",
    LINGER: "Reading on after a refusal whose request is still arriving" => "the connection is reset",
    LINGER_QUIET: "Silence of such a client" => "the connection is closed",
    MAX_LINGER_BYTES in "bytes": "What is read and thrown away of such a request" => "the connection is reset",
];

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection, its lane, and how long it may take no byte.
pub(super) struct Paced {
    stream: TcpStream,
    lane: Option<EgressLane>,
    stall: Stall,
    linger: Option<Linger>,
}

/// Tells a client that does not read from one that is slow.
struct Stall {
    clock: Clock,
    after: Duration,
    /// Since when the socket is full.
    since: Option<Instant>,
    /// Runs at most as long as the client may stall; it is not set anew for every byte.
    timer: Option<Timer>,
}

/// What is read on after the close.
struct Linger {
    until: Instant,
    read: usize,
    quiet: Timer,
}

fn timer(clock: &Clock, time: Duration) -> Timer {
    let clock = clock.clone();
    Box::pin(async move { clock.sleep(time).await })
}

impl Stall {
    /// The socket is full: an error once that is so for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let now = self.clock.instant();
        let since = *self.since.get_or_insert(now);
        loop {
            let left = (since + self.after).saturating_duration_since(now);
            let running = self.timer.get_or_insert_with(|| timer(&self.clock, left));
            ready!(running.as_mut().poll(cx));
            self.timer = None;
            if left.is_zero() {
                let text = "the client took no byte for too long";
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, text));
            }
        }
    }

    /// What the socket said of a write.
    fn judge<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Pending => self.poll(cx).map(Err),
            done @ Poll::Ready(_) => {
                self.since = None;
                done
            }
        }
    }
}

impl Paced {
    /// A connection whose client may take no byte for `stalled_after` while there are some for it.
    pub(super) fn new(
        stream: TcpStream,
        lane: Option<EgressLane>,
        clock: Clock,
        stalled_after: Duration,
    ) -> Self {
        let stall = Stall { clock, after: stalled_after, since: None, timer: None };
        Self { stream, lane, stall, linger: None }
    }

    /// Reads on for a while and forgets what it reads; ready when nothing more comes, or enough came.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waste = [0; LINGER_STEP];
        let clock = self.stall.clock.clone();
        loop {
            let mut buffer = ReadBuf::new(&mut waste);
            let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
            match (polled, &mut self.linger) {
                // the last: nothing was on its way, as usual
                (Poll::Ready(Err(_)), _) | (Poll::Pending, None) => return Poll::Ready(()),
                (Poll::Ready(Ok(())), _) if buffer.filled().is_empty() => return Poll::Ready(()),
                (Poll::Pending, Some(linger)) => return linger.quiet.as_mut().poll(cx),
                (Poll::Ready(Ok(())), linger) => {
                    let now = clock.instant();
                    let quiet = timer(&clock, LINGER_QUIET);
                    let before = linger.take().unwrap_or(Linger { until: now + LINGER, read: 0, quiet });
                    let read = before.read + buffer.filled().len();
                    if now >= before.until || read >= MAX_LINGER_BYTES {
                        return Poll::Ready(());
                    }
                    *linger = Some(Linger { read, quiet: timer(&clock, LINGER_QUIET), ..before });
                }
            }
        }
    }

    /// Writes as much of the buffers as the lane allows.
    fn poll_paced(
        stream: &TcpStream,
        lane: &mut EgressLane,
        stall: &mut Stall,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let whole: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if whole == 0 {
            return Poll::Ready(Ok(0));
        }
        loop {
            let ready = stream.poll_write_ready(cx);
            ready!(stall.judge(ready, cx))?;
            let mut left = ready!(lane.poll_take(cx, whole));
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, buffer) in slices.iter_mut().zip(buffers) {
                let part = buffer.len().min(left);
                *slice = IoSlice::new(&buffer[..part]);
                left -= part;
            }
            match stream.try_write_vectored(&slices[..buffers.len().min(SLICES)]) {
                Ok(sent) => {
                    lane.sent(sent, sent == whole);
                    return Poll::Ready(Ok(sent));
                }
                // the grant is kept for when the client reads again
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match &mut this.lane {
            None => {
                let written = Pin::new(&mut this.stream).poll_write(cx, buf);
                this.stall.judge(written, cx)
            }
            Some(lane) => Self::poll_paced(&this.stream, lane, &mut this.stall, cx, &[IoSlice::new(buf)]),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match &mut this.lane {
            None => {
                let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
                this.stall.judge(written, cx)
            }
            Some(lane) => Self::poll_paced(&this.stream, lane, &mut this.stall, cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}
