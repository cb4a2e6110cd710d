//! What all flows share: the rooms below, the limits, and what was learnt of the sources' servers.
//!
//! **Invariant:** the registry of flows is locked before a flow's state, never after it. It never holds a
//! flow's own state.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::flow::Flow;
use super::origins::Origins;
use super::passage::Passages;
use super::{Config, Sources};
use tailwater_bandwidth::LinkClient;
use tailwater_content::Store;
use tailwater_domain::{Limit, Sha1Digest, limits};
use tailwater_runtime::{Clock, Tasks};

/// Requests for one file at once, so that a distant source is filled.
const LANES: usize = 4;

/// The same when several readers are at different parts of it: each gets its first piece without waiting for
/// the windows of the others.
const MOST_LANES: usize = 24;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_LANES in "requests": "Requests at once for one file" => "ranges wait",
];

/// What all flows share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) link: LinkClient,
    pub(super) sources: Arc<dyn Sources>,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) hashing: Arc<Semaphore>,
    pub(super) hashing_small: Arc<Semaphore>,
    pub(super) flows: Mutex<HashMap<Sha1Digest, Arc<Flow>>>,
    pub(super) origins: Origins,
    /// What passes through without being kept.
    pub(super) passages: Passages,
    /// Bytes of cut pieces, over all files.
    pub(super) partial_pieces: Arc<AtomicU64>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        config: Config,
        store: Store,
        link: LinkClient,
        sources: Arc<dyn Sources>,
        clock: Clock,
        tasks: Tasks,
    ) -> Self {
        Self {
            hashing: Arc::new(Semaphore::new(1)),
            hashing_small: Arc::new(Semaphore::new(1)),
            flows: Mutex::default(),
            origins: Origins::new(&config.servers),
            passages: Passages::default(),
            partial_pieces: Arc::default(),
            config,
            store,
            link,
            sources,
            clock,
            tasks,
        }
    }

    /// Requests one file may have open: fewer when the link carries few and several files share it, more when a long way
    /// needs more to be filled.
    pub(super) fn lanes(&self, spots: usize) -> usize {
        let files = locked(&self.flows).len().max(1);
        let (all, near) = (self.link.max_transfers(), self.link.limiter().max_transfers());
        let lanes = LANES * (all / near.max(1)).max(1);
        (all / files).clamp(1, lanes.max(spots).min(MOST_LANES))
    }
}
