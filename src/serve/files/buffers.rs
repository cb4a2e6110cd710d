//! Reusable buffers for what is read from disk and sent.
//!
//! **Invariant:** at most [`MAX_KEPT`] buffers are kept unused. A buffer is never handed out twice at a time.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Bytes in a buffer: what fits the processor's second-level cache together with the socket's copy.
pub(super) const BUFFER: usize = 256 * 1024;

/// Buffers kept for reuse: 16 MiB.
const MAX_KEPT: usize = 64;

/// A pool of buffers. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A buffer on loan; goes back when dropped.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
    pool: Buffers,
}

impl Buffers {
    /// An unused buffer of [`BUFFER`] bytes.
    pub(super) fn take(&self) -> Buffer {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = kept.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
        Buffer { bytes, len: 0, pool: self.clone() }
    }
}

impl Buffer {
    /// The first `len` bytes, to read into.
    pub(super) fn space(&mut self, len: usize) -> &mut [u8] {
        let len = len.min(BUFFER);
        &mut self.bytes[..len]
    }

    /// What was read, to be sent; the buffer goes back when it was.
    pub(super) fn filled(mut self, len: usize) -> Bytes {
        self.len = len.min(BUFFER);
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
        let bytes = std::mem::take(&mut self.bytes);
        let mut kept = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        assert_eq!(pool.0.lock().unwrap().len(), 0);
        drop(part);
        assert_eq!(pool.0.lock().unwrap().len(), 1);
    }
}
