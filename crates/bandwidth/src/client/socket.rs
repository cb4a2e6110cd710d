//! A TCP connection that reads no faster than the link allows: the one place where bytes are taken from the
//! limiter and counted.
//!
//! **Invariant:** it asks the limiter only when bytes are there to be read, or its window is too small for the RTT of the
//! path, and gives back what it did not use. It lies below TLS, so everything counts. It never inspects what it carries.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::account::Account;
use super::arrival_monitor::{ArrivalMonitor, MonitorGuard};
use super::receive_window::ReceiveWindow;
use super::socket_options;
use crate::LinkError;
use crate::schedule::{Lane, Limiter, Meter};
use tailwater_domain::Purpose;

/// A TCP connection on the limited link.
pub(super) struct LinkSocket {
    stream: TcpStream,
    lane: Lane,
    lane_purpose: Purpose,
    meter: Meter,
    account: Arc<Account>,
    /// The most that the receive buffer held lately.
    fills: u64,
    window: ReceiveWindow,
    /// Waits for a turn to open its window.
    growing: bool,
    /// Bytes are there that may not be read yet, and the kernel was told to acknowledge what arrives meanwhile.
    unread: bool,
    _guard: Option<MonitorGuard>,
}

impl LinkSocket {
    pub(super) fn new(
        stream: TcpStream,
        limiter: &Limiter,
        meter: &Meter,
        account: Arc<Account>,
        window: ReceiveWindow,
        monitor: &ArrivalMonitor,
    ) -> Self {
        let lane_purpose = account.purpose();
        let lane = limiter.lane(lane_purpose);
        let guard = monitor.open(&stream, &account, window.round_trip());
        Self {
            stream,
            lane,
            lane_purpose,
            meter: meter.clone(),
            account,
            fills: 0,
            window,
            growing: false,
            unread: false,
            _guard: guard,
        }
    }

    /// Reads how full the receive buffer is. Kernels open a window in steps, so that it is seldom as full as
    /// it might be; a deposit for the rest would be missing on the link.
    fn measure_fill(&mut self) {
        let unread = rustix::io::ioctl_fionread(&self.stream).unwrap_or(0);
        // forgets slowly: a step of the window takes several reads
        self.fills = unread.max(self.fills - self.fills / 32);
    }

    fn follow_purpose(&mut self) {
        let purpose = self.account.purpose();
        if purpose != self.lane_purpose {
            self.lane.set_purpose(purpose);
            self.lane_purpose = purpose;
        }
    }

    /// Nothing is there to be read: where more could be in flight, pays for it in turn and opens the window.
    fn grow(&mut self, cx: &mut Context<'_>) {
        if !self.window.is_long() {
            return;
        }
        self.follow_purpose();
        let mut room = self.window.room_to_grow(self.account.unpaid());
        while room > 0 {
            self.growing = true;
            let Poll::Ready(Ok(bytes)) = self.lane.poll_take(cx, room) else { return };
            self.account.put_back(bytes);
            self.window.grow(&self.stream, bytes);
            room = self.window.room_to_grow(self.account.unpaid());
        }
        self.window.advertise_rest(&self.stream);
        self.stop_growing();
    }

    /// Lets the kernel acknowledge what arrives while nobody may read. Otherwise it waits for a reader, up to 40 ms, and the
    /// other end takes its last segment for lost and sends it again.
    fn acknowledge_unread(&mut self) {
        if !std::mem::replace(&mut self.unread, true) {
            // a kernel that does not know how acknowledges later
            let _later = socket_options::suspend_wakeups(&self.stream, self.window.buffer());
        }
    }

    /// Any byte is to wake this task again.
    fn watch_again(&mut self) {
        if std::mem::take(&mut self.unread) {
            let _always = socket_options::resume_wakeups(&self.stream);
        }
    }

    fn stop_growing(&mut self) {
        if std::mem::take(&mut self.growing) {
            self.lane.withdraw();
        }
    }

    /// How many of `want` bytes may be read now, and whether the deposit paid.
    fn poll_allowed(&mut self, cx: &mut Context<'_>, want: u64) -> Poll<Result<(u64, bool), LinkError>> {
        self.follow_purpose();
        if self.account.deposited() > 0 {
            self.measure_fill();
        }
        if self.window.grown().is_some() && self.account.unpaid() == 0 {
            self.window.close(&self.stream);
        }
        let drawn = self.account.draw(want, self.window.grown().unwrap_or(self.fills));
        if drawn > 0 {
            self.stop_growing();
            return Poll::Ready(Ok((drawn, true)));
        }
        let taken = self.lane.poll_take(cx, want);
        self.account.note_turn(taken.is_pending());
        if matches!(taken, Poll::Ready(Err(LinkError::Spent { .. }))) {
            self.account.note_spent();
        }
        taken.map_ok(|bytes| (bytes, false))
    }

    /// Reads at most what is allowed; true when the socket had to be waited for again.
    fn read_allowed(&mut self, buf: &mut ReadBuf<'_>, allowed: u64, from_deposit: bool) -> io::Result<bool> {
        let most = usize::try_from(allowed).unwrap_or(usize::MAX);
        let result = self.stream.try_read_buf(&mut (&mut *buf).limit(most));
        let read = *result.as_ref().unwrap_or(&0) as u64;
        let unused = allowed - read;
        if from_deposit {
            self.account.put_back(unused);
        } else {
            self.lane.give_back(unused);
        }
        match result {
            Ok(_) => {
                self.account.count_read(read);
                self.window.received(read);
                self.lane.received(read);
                self.meter.count_received(self.lane_purpose.class, read);
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.watch_again();
                self.lane.release();
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for LinkSocket {
    /// What waits in the receive buffer crossed the link, although nobody reads it.
    fn drop(&mut self) {
        let unread = rustix::io::ioctl_fionread(&self.stream).unwrap_or(0);
        if unread > 0 {
            self.meter.count_received(self.lane_purpose.class, unread);
            self.lane.received_beside(unread);
        }
    }
}

impl AsyncRead for LinkSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let want = buf.remaining() as u64;
        if want == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let Poll::Ready(ready) = this.stream.poll_read_ready(cx) else {
                this.grow(cx);
                return Poll::Pending;
            };
            ready?;
            this.account.note_came();
            let Poll::Ready(allowed) = this.poll_allowed(cx, want) else {
                this.acknowledge_unread();
                return Poll::Pending;
            };
            let (allowed, from_deposit) = allowed.map_err(io::Error::other)?;
            if !this.read_allowed(buf, allowed, from_deposit)? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for LinkSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.account.note_asked();
        this.meter.count_sent(this.account.purpose().class, sent as u64);
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs))?;
        this.account.note_asked();
        this.meter.count_sent(this.account.purpose().class, sent as u64);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
