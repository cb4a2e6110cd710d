//! Finished pages of scans, and the room for large answers.
//!
//! **Invariant:** what is remembered is bounded in bytes and known by the scan's fingerprint. It never makes a page.

use std::time::Duration;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::config::Config;
use crate::outgoing::{AnswerMemory, MAX_ANSWER_BYTES};
use tailwater_domain::{Limit, limits};
use tailwater_runtime::{Clock, TurnLimits, Turns};

/// Large answers that are compressed at once: each takes a processor for a second.
const LARGE_AT_ONCE: usize = 2;
/// Answers up to this size are gathered in memory; larger ones are large.
pub(super) const MAX_GATHERED: u64 = 2 << 20;

pub(super) const LIMITS: &[Limit] = limits![
    LARGE_AT_ONCE in "answers": "Large answers to agents that are compressed at once" => "it goes out uncompressed, as a stream",
    MAX_GATHERED in "bytes": "Answers to agents that are gathered in memory" => "compressed as they are read, or streamed",
];

/// What tells one remembered page from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PageKey {
    /// Of the scan: question and snapshot.
    pub(super) fingerprint: u128,
    /// What the client understands, and how it is wrapped.
    pub(super) shape: u8,
}

/// Pages weigh what they are long.
#[derive(Clone)]
pub(super) struct ByBytes;

impl Weighter<PageKey, Bytes> for ByBytes {
    fn weight(&self, _key: &PageKey, page: &Bytes) -> u64 {
        page.len() as u64 + 128
    }
}

/// Finished pages, and the room for large answers.
pub(super) struct Pages {
    pub(super) finished: Cache<PageKey, Bytes, ByBytes>,
    pub(super) making: Turns,
    pub(super) memory: AnswerMemory,
}

impl Pages {
    pub(super) fn new(config: &Config, clock: &Clock) -> Self {
        let bytes = config.remembered_pages.0;
        let pages = usize::try_from(bytes / 16_384).unwrap_or(1_024).max(16);
        Self {
            finished: Cache::with_weighter(pages, bytes, ByBytes),
            making: Turns::new(TurnLimits::of(LARGE_AT_ONCE, Duration::ZERO), clock.clone()),
            memory: AnswerMemory::new(MAX_ANSWER_BYTES),
        }
    }
}
