//! What all flows share: the rooms below, the limits, and what was learnt of the sources' servers.
//!
//! **Invariant:** the registry of flows is locked before a flow's state, never after it. It never holds a
//! flow's own state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::flow::Flow;
use super::{Config, Sources};
use crate::bandwidth::LinkClient;
use crate::content::Store;
use crate::domain::Sha1Digest;
use crate::runtime::{Clock, Tasks};

/// Requests for one file at once, so that a distant source is filled.
const LANES: usize = 4;

/// Origins whose support of ranges is remembered.
const MAX_ORIGINS: usize = 64;

/// What all flows share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) link: LinkClient,
    pub(super) sources: Arc<dyn Sources>,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) hashing: Arc<Semaphore>,
    pub(super) flows: Mutex<HashMap<Sha1Digest, Arc<Flow>>>,
    origins: Mutex<HashMap<String, bool>>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `scheme://host:port` of an address.
pub(super) fn origin(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    &url[..url[authority..].find('/').map_or(url.len(), |at| authority + at)]
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
            flows: Mutex::default(),
            origins: Mutex::default(),
            config,
            store,
            link,
            sources,
            clock,
            tasks,
        }
    }

    /// Whether an origin answers ranges; `None` until it was seen.
    pub(super) fn takes_ranges(&self, url: &str) -> Option<bool> {
        locked(&self.origins).get(origin(url)).copied()
    }

    pub(super) fn note_ranges(&self, url: &str, takes: bool) -> bool {
        let mut origins = locked(&self.origins);
        if origins.len() >= MAX_ORIGINS && !origins.contains_key(origin(url)) {
            origins.clear();
        }
        origins.insert(origin(url).to_owned(), takes) != Some(takes)
    }

    /// Requests one file may have open: fewer when the link carries few and several files share it.
    pub(super) fn lanes(&self) -> usize {
        let files = locked(&self.flows).len().max(1);
        (self.link.max_transfers() / files).clamp(1, LANES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_ends_before_the_path() {
        let table = [
            ("http://a:8530/Content/x?y", "http://a:8530"),
            ("https://b/", "https://b"),
            ("http://c", "http://c"),
        ];
        for (url, expected) in table {
            assert_eq!(origin(url), expected);
        }
    }
}
