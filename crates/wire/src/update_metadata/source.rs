//! Where a document is read from: every token's bytes are remembered, so that the document can be copied exactly.
//!
//! **Invariant:** never more than [`MAX_DOCUMENT`] bytes in all and [`MAX_TOKEN`] in one token are read.

use std::io::{self, BufRead};

use super::error::MetadataError;
use tailwater_domain::{Limit, limits};

/// The largest document that is read: twice the 94 MB (in UTF-16) of the largest known.
pub const MAX_DOCUMENT: u64 = 256 << 20;
/// The longest tag or run of text.
const MAX_TOKEN: usize = 8 << 20;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_DOCUMENT in "bytes": "A document" => "that document is refused",
    MAX_TOKEN in "bytes": "A tag or run of text of a document" => "that document is refused",
];

/// Remembers the bytes of the token being read and refuses to read without end.
pub(super) struct Tee<R> {
    inner: R,
    /// The bytes of the token being read.
    pub(super) seen: Vec<u8>,
    left: u64,
}

impl<R> Tee<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, seen: Vec::new(), left: MAX_DOCUMENT }
    }
}

/// Carries a limit that was exceeded through the reader's error type.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("more than {limit} {what}")]
struct Exceeded {
    what: &'static str,
    limit: u64,
}

pub(super) fn limit_or(error: &std::sync::Arc<io::Error>) -> MetadataError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Exceeded>()) {
        Some(limit) => MetadataError::TooMuch { what: limit.what, limit: limit.limit },
        None => MetadataError::Spool(io::Error::new(error.kind(), std::sync::Arc::clone(error))),
    }
}

impl<R: BufRead> io::Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let len = available.len().min(buffer.len());
        buffer[..len].copy_from_slice(&available[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl<R: BufRead> BufRead for Tee<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Err(io::Error::other(Exceeded { what: "bytes", limit: MAX_DOCUMENT }));
        }
        if self.seen.len() > MAX_TOKEN {
            return Err(io::Error::other(Exceeded {
                what: "bytes in one tag or text",
                limit: MAX_TOKEN as u64,
            }));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Ok(buffer) = self.inner.fill_buf() {
            self.seen.extend_from_slice(&buffer[..amount.min(buffer.len())]);
        }
        self.left = self.left.saturating_sub(amount as u64);
        self.inner.consume(amount);
    }
}
