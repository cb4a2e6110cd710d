//! Reusable buffers for what is read from disk and sent.
//!
//! **Invariant:** at most [`MAX_KEPT`] buffers are kept unused, and the more are on loan the smaller are those that are
//! handed out: ten thousand clients that read slowly hold a buffer each. A buffer is never handed out twice at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Bytes in a buffer: what fits the processor's second-level cache together with the socket's copy.
pub(super) const BUFFER: usize = 256 * 1024;

/// The same while more than [`MANY`] are on loan.
const SMALL: usize = 64 * 1024;

/// The same while more than [`TOO_MANY`] are on loan: ten thousand clients then hold 160 MiB.
const LEAST: usize = 16 * 1024;

/// 32 MiB of the large ones.
const MANY: usize = 128;

/// 24 MiB more.
const TOO_MANY: usize = 512;

/// Large buffers kept for reuse: 16 MiB. Small ones are the allocator's business.
const MAX_KEPT: usize = 64;

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
}

impl Buffers {
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
        Buffer { bytes, len: 0, pool: self.clone() }
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
    fn ten_thousand_clients_hold_little() {
        let pool = Buffers::default();
        let loans: Vec<_> = (0..10_000).map(|_| pool.take()).collect();
        let held: usize = loans.iter().map(|buffer| buffer.bytes.len()).sum();
        assert!(held < 220 << 20, "{held} bytes");
        drop(loans);
        assert_eq!(pool.take().bytes.len(), BUFFER);
    }
}
