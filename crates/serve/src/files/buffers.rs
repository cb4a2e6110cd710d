//! Reusable buffers for what is read from disk and sent.
//!
//! **Invariant:** at most [`MAX_KEPT`] buffers are kept unused, and the more are on loan the smaller are those that are
//! handed out: ten thousand clients that read slowly hold one small buffer each. A buffer is never handed out twice at a
//! time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tailwater_domain::{Limit, limits};

/// Bytes in a buffer: what fits the processor's second-level cache together with the socket's copy.
pub(super) const BUFFER: usize = 256 * 1024;

/// The same while more than [`MANY`] are on loan.
const SMALL: usize = 64 * 1024;

/// The same while more than [`TOO_MANY`] are on loan: ten thousand clients then hold 80 MiB.
const LEAST: usize = 8 * 1024;

/// 32 MiB of the large ones.
const MANY: usize = 128;

/// 24 MiB more.
const TOO_MANY: usize = 512;

/// Large buffers kept for reuse: 16 MiB. Small ones are the allocator's business.
const MAX_KEPT: usize = 64;

pub(super) const LIMITS: &[Limit] = limits![
    BUFFER in "bytes": "A buffer of an answer" => "the answer takes several",
    SMALL in "bytes": "The same while many are on loan" => "the answer takes several",
    LEAST in "bytes": "The same while too many are on loan" => "the answer takes several",
    TOO_MANY in "buffers": "Buffers of the second size on loan" => "further ones are of the smallest size",
    MAX_KEPT in "buffers": "Large buffers kept for reuse" => "they are made anew",
];

/// A pool of buffers. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Pool>);

#[derive(Default)]
struct Pool {
    kept: Mutex<Vec<Box<[u8]>>>,
    on_loan: AtomicUsize,
}

/// A buffer on loan; goes back when dropped.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
    pool: Buffers,
    borrower: Option<Borrower>,
}

/// One answer that takes buffers.
#[derive(Clone, Default)]
pub(super) struct Borrower(Arc<Loans>);

#[derive(Default)]
struct Loans {
    count: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Borrower {
    fn has_one(&self) -> bool {
        self.0.count.load(Ordering::Acquire) > 0
    }

    fn returns_one(&self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        let waker = self.0.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Buffers {
    /// Ready unless very many buffers are on loan and the borrower has one of them: what sends an answer would otherwise
    /// collect as many as it has room for. It is woken when its last one went.
    pub(super) fn poll_free(&self, borrower: &Borrower, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.on_loan.load(Ordering::Relaxed) < TOO_MANY || !borrower.has_one() {
            return Poll::Ready(());
        }
        let mut waker = borrower.0.waker.lock().unwrap_or_else(PoisonError::into_inner);
        *waker = Some(cx.waker().clone());
        drop(waker);
        // it may have gone meanwhile
        if borrower.has_one() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// As [`Buffers::take`], for a borrower that [`Buffers::poll_free`] counts.
    pub(super) fn take_for(&self, borrower: &Borrower) -> Buffer {
        borrower.0.count.fetch_add(1, Ordering::AcqRel);
        let mut buffer = self.take();
        buffer.borrower = Some(borrower.clone());
        buffer
    }

    /// An unused buffer of at most [`BUFFER`] bytes.
    pub(super) fn take(&self) -> Buffer {
        let on_loan = self.0.on_loan.fetch_add(1, Ordering::Relaxed);
        let size = match on_loan {
            TOO_MANY.. => LEAST,
            MANY.. => SMALL,
            _ => BUFFER,
        };
        let kept = || self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let kept = if size == BUFFER { kept() } else { None };
        let bytes = kept.unwrap_or_else(|| vec![0; size].into_boxed_slice());
        Buffer { bytes, len: 0, pool: self.clone(), borrower: None }
    }
}

impl Buffer {
    /// At most its first `len` bytes, to read into.
    pub(super) fn space(&mut self, len: usize) -> &mut [u8] {
        let len = len.min(self.bytes.len());
        &mut self.bytes[..len]
    }

    /// What was read, to be sent; the buffer goes back when it was.
    pub(super) fn filled(mut self, len: usize) -> Bytes {
        self.len = len.min(self.bytes.len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.0.on_loan.fetch_sub(1, Ordering::Relaxed);
        if let Some(borrower) = self.borrower.take() {
            borrower.returns_one();
        }
        if self.bytes.len() < BUFFER {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let mut kept = self.pool.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_KEPT {
            kept.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_bytes_were_sent() {
        let pool = Buffers::default();
        let mut buffer = pool.take();
        buffer.space(5).copy_from_slice(b"hello");
        let bytes = buffer.filled(5);
        assert_eq!(&bytes[..], b"hello");
        let part = bytes.slice(1..3);
        drop(bytes);
        assert_eq!(pool.0.kept.lock().unwrap().len(), 0);
        drop(part);
        assert_eq!(pool.0.kept.lock().unwrap().len(), 1);
    }

    #[test]
    fn while_very_many_are_on_loan_nobody_has_two() {
        let (pool, borrower) = (Buffers::default(), Borrower::default());
        let cx = &mut Context::from_waker(Waker::noop());
        let own = pool.take_for(&borrower);
        assert!(pool.poll_free(&borrower, cx).is_ready());
        let others: Vec<_> = (0..TOO_MANY).map(|_| pool.take()).collect();
        assert!(pool.poll_free(&borrower, cx).is_pending());
        assert!(pool.poll_free(&Borrower::default(), cx).is_ready());
        drop(own);
        assert!(pool.poll_free(&borrower, cx).is_ready());
        drop(others);
    }

    #[test]
    fn ten_thousand_clients_hold_little() {
        let pool = Buffers::default();
        let loans: Vec<_> = (0..10_000).map(|_| pool.take()).collect();
        let held: usize = loans.iter().map(|buffer| buffer.bytes.len()).sum();
        assert!(held < 150 << 20, "{held} bytes");
        drop(loans);
        assert_eq!(pool.take().bytes.len(), BUFFER);
    }
}
