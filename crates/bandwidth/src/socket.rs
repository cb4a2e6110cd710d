//! A TCP connection that reads no faster than the link allows: the one place where bytes are taken from the
//! limiter and counted.
//!
//! **Invariant:** it asks the limiter only when bytes are there to be read, or its window is too small for the way they
//! come, and gives back what it did not use. It lies below TLS, so everything counts. It never looks at what it carries.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::deposit::Deposit;
use super::limiter::{Lane, Limiter};
use super::meter::Meter;
use super::reach::Reach;
use super::wire::{Watch, Wire};
use super::{LinkError, options};
use tailwater_domain::Purpose;

/// What a connection's socket and the exchange above it tell each other. Shared by both.
pub(super) struct Account {
    purpose: Mutex<Purpose>,
    /// Counts whatever moves: bytes read, turns waited for. Timeouts compare it.
    moves: AtomicU64,
    /// The socket waits for its turn on the link.
    held_up: AtomicBool,
    /// Bytes read since the exchange began.
    read: AtomicU64,
    /// Bytes after which the answer ends, counted like `read`; `u64::MAX` while unknown.
    ends_at: AtomicU64,
    deposit: Mutex<Option<Deposit>>,
    /// The budget was spent before the answer ended.
    spent: AtomicBool,
    /// Microseconds since the connection was made, counted from 1: when a request left last, and when the first byte
    /// after it was there to be read, whether or not it might be read then; 0 while there is none.
    asked_at: AtomicU64,
    came_at: AtomicU64,
    made: Instant,
}

impl Account {
    pub(super) fn new(purpose: Purpose) -> Self {
        Self {
            purpose: Mutex::new(purpose),
            moves: AtomicU64::new(0),
            held_up: AtomicBool::new(false),
            read: AtomicU64::new(0),
            ends_at: AtomicU64::new(u64::MAX),
            deposit: Mutex::new(None),
            spent: AtomicBool::new(false),
            asked_at: AtomicU64::new(0),
            came_at: AtomicU64::new(0),
            made: Instant::now(),
        }
    }

    /// A request goes out.
    pub(super) fn begin(&self, purpose: Purpose, deposit: Deposit) {
        *self.purpose.lock().unwrap_or_else(PoisonError::into_inner) = purpose;
        self.read.store(0, Ordering::Relaxed);
        self.ends_at.store(u64::MAX, Ordering::Relaxed);
        *self.deposit.lock().unwrap_or_else(PoisonError::into_inner) = Some(deposit);
    }

    /// The head of the answer came; `whole` is its length and that of its body, where it says so.
    pub(super) fn answered(&self, whole: Option<u64>) {
        let Some(whole) = whole else { return };
        self.ends_at.store(whole, Ordering::Relaxed);
        let left = whole.saturating_sub(self.read.load(Ordering::Relaxed));
        if let Some(deposit) = &*self.deposit.lock().unwrap_or_else(PoisonError::into_inner) {
            deposit.keep(left);
        }
    }

    /// The answer ended, or is given up.
    pub(super) fn end(&self) {
        *self.deposit.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Something that changes with every byte read and every turn waited for; `None` while the socket waits
    /// for its turn, which is nobody's fault.
    pub(super) fn moves(&self) -> Option<u64> {
        (!self.held_up.load(Ordering::Relaxed)).then(|| self.moves.load(Ordering::Relaxed))
    }

    /// Whether the exchange broke off because the budget was spent.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// How long the first byte of the answer took from the request's last byte on; `None` before it is there.
    pub(super) fn answer_took(&self) -> Option<Duration> {
        let (asked, came) = (self.asked_at.load(Ordering::Relaxed), self.came_at.load(Ordering::Relaxed));
        (asked > 0 && came > 0).then(|| Duration::from_micros(came.saturating_sub(asked)))
    }

    fn age(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn note_asked(&self) {
        self.came_at.store(0, Ordering::Relaxed);
        self.asked_at.store(self.age(), Ordering::Relaxed);
    }

    fn note_came(&self) {
        if self.came_at.load(Ordering::Relaxed) == 0 {
            self.came_at.store(self.age(), Ordering::Relaxed);
        }
    }

    pub(super) fn purpose(&self) -> Purpose {
        *self.purpose.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is left of the deposit.
    pub(super) fn deposited(&self) -> u64 {
        self.deposit.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Deposit::held)
    }

    /// Draws up to `want` of the deposit where it is more than what can still come unpaid: `fills`, the most
    /// that the receive buffer was seen to hold, or the rest of the answer.
    fn draw(&self, want: u64, fills: u64) -> u64 {
        let left = self.ends_at.load(Ordering::Relaxed).saturating_sub(self.read.load(Ordering::Relaxed));
        match &*self.deposit.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(deposit) if deposit.held() >= left => deposit.draw(want),
            Some(deposit) => deposit.draw(want.min(deposit.held().saturating_sub(fills))),
            None => 0,
        }
    }

    /// Bytes of the answer that were not read yet; 0 while nothing is asked for, `u64::MAX` while its length is unknown.
    pub(super) fn left(&self) -> u64 {
        if self.deposit.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return 0;
        }
        match self.ends_at.load(Ordering::Relaxed) {
            u64::MAX => u64::MAX,
            ends_at => ends_at.saturating_sub(self.read.load(Ordering::Relaxed)),
        }
    }

    /// How much of the rest of the answer is not paid for; 0 while its length is unknown.
    fn unpaid(&self) -> u64 {
        let ends_at = self.ends_at.load(Ordering::Relaxed);
        if ends_at == u64::MAX {
            return 0;
        }
        let left = ends_at.saturating_sub(self.read.load(Ordering::Relaxed));
        let deposit = self.deposit.lock().unwrap_or_else(PoisonError::into_inner);
        deposit.as_ref().map_or(0, |deposit| left.saturating_sub(deposit.held()))
    }

    fn put_back(&self, bytes: u64) {
        if let Some(deposit) = &*self.deposit.lock().unwrap_or_else(PoisonError::into_inner) {
            deposit.put_back(bytes);
        }
    }

    fn count_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        self.moves.fetch_add(1, Ordering::Relaxed);
    }
}

/// A TCP connection on the limited link.
pub(super) struct LinkSocket {
    stream: TcpStream,
    lane: Lane,
    lane_purpose: Purpose,
    meter: Meter,
    account: Arc<Account>,
    /// The most that the receive buffer held lately.
    fills: u64,
    reach: Reach,
    /// Waits for a turn to open its window.
    growing: bool,
    /// Bytes are there that may not be read yet, and the kernel was told to acknowledge what comes without that.
    unread: bool,
    _watch: Option<Watch>,
}

impl LinkSocket {
    pub(super) fn new(
        stream: TcpStream,
        limiter: &Limiter,
        meter: &Meter,
        account: Arc<Account>,
        reach: Reach,
        wire: &Wire,
    ) -> Self {
        let lane_purpose = account.purpose();
        let lane = limiter.lane(lane_purpose);
        let watch = wire.open(&stream, &account, reach.round_trip());
        Self {
            stream,
            lane,
            lane_purpose,
            meter: meter.clone(),
            account,
            fills: 0,
            reach,
            growing: false,
            unread: false,
            _watch: watch,
        }
    }

    /// Looks how full the receive buffer is. Kernels open a window in steps, so that it is seldom as full as
    /// it might be; a deposit for the rest would be missing on the link.
    fn look(&mut self) {
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

    /// Nothing is there to be read: where more could be on its way, pays for it in turn and opens the window.
    fn grow(&mut self, cx: &mut Context<'_>) {
        if !self.reach.is_far() {
            return;
        }
        self.follow_purpose();
        let mut lacks = self.reach.lacks(self.account.unpaid());
        while lacks > 0 {
            self.growing = true;
            let Poll::Ready(Ok(bytes)) = self.lane.poll_take(cx, lacks) else { return };
            self.account.put_back(bytes);
            self.reach.grow(&self.stream, bytes);
            lacks = self.reach.lacks(self.account.unpaid());
        }
        self.reach.settle(&self.stream);
        self.stop_growing();
    }

    /// Lets the kernel acknowledge what comes while nobody may read. Otherwise it waits for a reader, up to 40 ms, and the other
    /// end takes its last segment for lost and sends it again.
    fn acknowledge_unread(&mut self) {
        if !std::mem::replace(&mut self.unread, true) {
            // a kernel that does not know how acknowledges later
            let _later = options::wake_nobody(&self.stream, self.reach.buffer());
        }
    }

    /// Any byte is to wake this task again.
    fn watch_again(&mut self) {
        if std::mem::take(&mut self.unread) {
            let _always = options::wake_at_once(&self.stream);
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
            self.look();
        }
        if self.reach.grown().is_some() && self.account.unpaid() == 0 {
            self.reach.close(&self.stream);
        }
        let drawn = self.account.draw(want, self.reach.grown().unwrap_or(self.fills));
        if drawn > 0 {
            self.stop_growing();
            return Poll::Ready(Ok((drawn, true)));
        }
        let taken = self.lane.poll_take(cx, want);
        if self.account.held_up.swap(taken.is_pending(), Ordering::Relaxed) != taken.is_pending() {
            self.account.moves.fetch_add(1, Ordering::Relaxed);
        }
        if matches!(taken, Poll::Ready(Err(LinkError::Spent { .. }))) {
            self.account.spent.store(true, Ordering::Relaxed);
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
                self.reach.came(read);
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
