//! Finished lists of revisions and deployments, and the turns of those in the making.
//!
//! **Invariant:** what is remembered is bounded in bytes, and one list is made once, however many ask for it. It never
//! knows what a list says.

use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Options, OptionsBuilder, Weighter};

use crate::fault::Refusal;
use tailwater_domain::{Limit, limits};
use tailwater_runtime::{Asker, Clock, TurnLimits, Turns};

/// Memory for finished lists; one of 25,000 revisions takes 3 MB, or 0.8 MB compressed.
const REMEMBERED_BYTES: u64 = 16 << 20;
/// How many lists are remembered, about.
const MAX_LISTS: usize = 64;
/// Lists in the making at once: one of 100,000 revisions takes 13 MB meanwhile.
const AT_ONCE: usize = 2;
/// How long a request waits until its list is made, or the same list for another.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const LIMITS: &[Limit] = limits![
    REMEMBERED_BYTES in "bytes": "Memory for finished lists of revisions and deployments" => "made again",
    MAX_LISTS in "lists": "Finished lists that are remembered, about" => "made again",
    AT_ONCE in "lists": "Lists of revisions and deployments that are made at once" => "a wait, then `ServerBusy`",
    PATIENCE: "The wait until a list is made" => "`ServerBusy`",
];

#[derive(Clone)]
struct ByBytes;

impl Weighter<blake3::Hash, Bytes> for ByBytes {
    fn weight(&self, _key: &blake3::Hash, list: &Bytes) -> u64 {
        list.len() as u64 + 128
    }
}

/// One shard, so that a list may take all of the room.
fn options() -> Option<Options> {
    let mut options = OptionsBuilder::new();
    options.estimated_items_capacity(MAX_LISTS).weight_capacity(REMEMBERED_BYTES).shards(1).build().ok()
}

/// Finished lists.
pub(super) struct Lists {
    finished: Cache<blake3::Hash, Bytes, ByBytes>,
    making: Turns,
}

impl Lists {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            finished: match options() {
                Some(options) => Cache::with_options(
                    options,
                    ByBytes,
                    DefaultHashBuilder::default(),
                    DefaultLifecycle::default(),
                ),
                None => Cache::with_weighter(MAX_LISTS, REMEMBERED_BYTES, ByBytes),
            },
            making: Turns::new(TurnLimits::of(AT_ONCE, PATIENCE), clock.clone()),
        }
    }

    /// What is remembered under this key, else what `make` makes, on a thread that may wait.
    pub(super) async fn get<F>(&self, key: &blake3::Hash, asker: Asker, make: F) -> Result<Bytes, Refusal>
    where
        F: FnOnce() -> Result<Bytes, Refusal> + Send + 'static,
    {
        let found = tokio::time::timeout(PATIENCE, self.finished.get_value_or_guard_async(key)).await;
        match found.map_err(|_elapsed| Refusal::Busy)? {
            Ok(list) => Ok(list),
            Err(place) => {
                let _turn = self.making.take(asker).await.map_err(|_none| Refusal::Busy)?;
                let list = tokio::task::spawn_blocking(make).await??;
                // a list that outlived its snapshot is simply not remembered
                let _ = place.insert(list.clone());
                Ok(list)
            }
        }
    }
}
