//! An accepted connection that sends no faster than its legs allow.
//!
//! **Invariant:** it asks for a turn only when the socket takes bytes, so that a slow client holds nothing back from
//! others. It lies below TLS. Without legs it is the socket itself. It never holds up what it reads.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::bandwidth::Leg;
use crate::domain::{Limit, limits};

/// Buffers sent at once while a leg limits.
const SLICES: usize = 16;

pub(super) const LIMITS: &[Limit] = limits![
    SLICES in "buffers": "Buffers sent at once while a rate holds" => "they are sent next",
];

/// A connection and its leg.
pub(super) struct Paced {
    stream: TcpStream,
    leg: Option<Leg>,
}

impl Paced {
    pub(super) fn new(stream: TcpStream, leg: Option<Leg>) -> Self {
        Self { stream, leg }
    }

    /// Writes as much of the buffers as the leg allows.
    fn poll_paced(
        stream: &TcpStream,
        leg: &mut Leg,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let whole: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if whole == 0 {
            return Poll::Ready(Ok(0));
        }
        loop {
            ready!(stream.poll_write_ready(cx))?;
            let mut left = ready!(leg.poll_take(cx, whole));
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, buffer) in slices.iter_mut().zip(buffers) {
                let part = buffer.len().min(left);
                *slice = IoSlice::new(&buffer[..part]);
                left -= part;
            }
            match stream.try_write_vectored(&slices[..buffers.len().min(SLICES)]) {
                Ok(sent) => {
                    leg.sent(sent, sent == whole);
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
        match &mut this.leg {
            None => Pin::new(&mut this.stream).poll_write(cx, buf),
            Some(leg) => Self::poll_paced(&this.stream, leg, cx, &[IoSlice::new(buf)]),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match &mut this.leg {
            None => Pin::new(&mut this.stream).poll_write_vectored(cx, bufs),
            Some(leg) => Self::poll_paced(&this.stream, leg, cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
