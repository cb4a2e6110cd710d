//! What one answer brought: told as it is stored, and what is left over when the answer ends.
//!
//! **Invariant:** every byte of a body is told once, as stored or as wasted, however the answer ends.

use std::sync::Arc;

use super::shared::{Shared, origin};
use super::{Came, Source};
use crate::bandwidth::Class;
use crate::domain::{ByteRange, Sha1Digest};

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

    /// It is held now.
    pub(super) fn stored(&mut self, range: ByteRange) {
        self.untold = self.untold.saturating_sub(range.len());
        self.shared.sources.came(self.class, self.sha1, &self.origin, Came::Stored(range));
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if self.untold > 0 {
            self.shared.sources.came(self.class, self.sha1, &self.origin, Came::Wasted(self.untold));
        }
    }
}
