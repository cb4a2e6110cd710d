//! What one answer brought: told as it is stored, and what is left over when the answer ends.
//!
//! **Invariant:** every byte of a body is told once, as stored or as wasted, however the answer ends; the beginning of a
//! cut piece with the answer that brings its rest, or when it is thrown away.

use std::sync::Arc;

use super::origins::origin;
use super::shared::Shared;
use super::{ByteOutcome, Source};
use tailwater_domain::{ByteRange, Class, Sha1Digest};

/// The bytes of one answer.
pub(super) struct Tally {
    shared: Arc<Shared>,
    class: Class,
    sha1: Sha1Digest,
    origin: Arc<str>,
    /// Bytes that came and were not told.
    untold: u64,
}

impl Tally {
    pub(super) fn new(shared: &Arc<Shared>, class: Class, sha1: Sha1Digest, source: &Source) -> Self {
        Self { shared: Arc::clone(shared), class, sha1, origin: origin(&source.url).into(), untold: 0 }
    }

    /// A part of the body.
    pub(super) fn came(&mut self, bytes: usize) {
        self.untold += bytes as u64;
    }

    /// Sets aside what is kept for the answer that brings the rest of its piece; told as wasted when none does.
    pub(super) fn set_aside(&mut self, bytes: usize) -> Self {
        let untold = self.untold.min(bytes as u64);
        self.untold -= untold;
        Self {
            shared: Arc::clone(&self.shared),
            class: self.class,
            sha1: self.sha1,
            origin: Arc::clone(&self.origin),
            untold,
        }
    }

    /// What was set aside goes on here.
    pub(super) fn take_up(&mut self, mut aside: Self) {
        self.untold += std::mem::take(&mut aside.untold);
    }

    /// It is held now.
    pub(super) fn stored(&mut self, range: ByteRange) {
        self.untold = self.untold.saturating_sub(range.len());
        self.shared.sources.came(self.class, self.sha1, &self.origin, ByteOutcome::Stored(range));
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if self.untold > 0 {
            self.shared.sources.came(self.class, self.sha1, &self.origin, ByteOutcome::Wasted(self.untold));
        }
    }
}
