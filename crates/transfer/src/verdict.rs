//! What happens when the last piece has landed: the digests are compared, and what does not match is fetched
//! again.
//!
//! **Invariant:** files are hashed one at a time, small ones beside large ones, off the runtime's threads. A file that does not match
//! [`MAX_MISMATCHES`] times in a row is given up and said so; it is never served as verified.

use std::sync::Arc;
use std::time::Duration;

use super::TransferError;
use super::flow::Flow;
use super::health::Health;
use super::plan::Demand;
use super::shared::locked;
use tailwater_content::{SparseFile, Verdict};
use tailwater_domain::{ByteRange, Class, Limit, Sha1Digest, limits};

/// The same when the file did not match [`MAX_MISMATCHES`] times.
pub(super) const REST_MISMATCH: Duration = Duration::from_mins(10);

/// The same when the store cannot take bytes.
pub(super) const REST_STORE: Duration = Duration::from_secs(5);

/// What is small: hashed in a tenth of a second, so that who waits for it does not wait for one that takes a minute.
const SMALL: u64 = 16 * 1024 * 1024;

/// How often a file whose digests do not match is fetched again.
const MAX_MISMATCHES: u32 = 3;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_MISMATCHES in "tries": "Downloads of a file whose digests do not match" => "the file is refused until it is asked for anew",
];

// not a limit: SMALL: where a file is hashed

impl Flow {
    /// Verifies a file that is complete without this flow having fetched its last piece.
    pub(super) fn verify_if_complete(self: &Arc<Self>, file: &Arc<SparseFile>) {
        self.landed(file, usize::MAX, 0..0);
    }

    pub(super) fn start_verifying(self: &Arc<Self>, file: Arc<SparseFile>) {
        let flow = Arc::clone(self);
        self.shared.tasks.spawn("verify", async move {
            let is_small = flow.declaration.size <= SMALL;
            let turns = if is_small { &flow.shared.hashing_small } else { &flow.shared.hashing };
            let _turn = turns.acquire().await;
            let (store, hashed) = (flow.shared.store.clone(), Arc::clone(&file));
            let verdict = tokio::task::spawn_blocking(move || store.finish(&hashed)).await;
            match verdict {
                Ok(Ok(Verdict::Verified)) => flow.verified(),
                // from whatever source: the digest is that of these bytes
                Ok(Ok(Verdict::Collision)) => {
                    flow.give_up(TransferError::Collision { sha1: flow.sha1() }, REST_MISMATCH);
                }
                Ok(Ok(Verdict::Mismatch { found })) => flow.mismatched(&file, &found).await,
                Ok(Err(error)) => flow.give_up(error.into(), REST_STORE),
                Err(_) => flow.give_up(TransferError::Stopping, REST_STORE),
            }
        });
    }

    fn verified(&self) {
        let mut flows = locked(&self.shared.flows);
        let mut state = locked(&self.state);
        tracing::info!(sha1 = %self.sha1(), size = self.declaration.size, "verified");
        (state.verifying, state.mismatches, state.trouble) = (false, 0, None);
        // there is nothing left to pause
        state.paused = false;
        if let Some(id) = state.refetch.take() {
            state.plan.remove(id);
        }
        state.waiters.clear();
        self.settled.notify_waiters();
        self.forget_if_idle(&mut flows, &mut state);
    }

    pub(super) fn give_up(&self, error: TransferError, rest: Duration) {
        tracing::warn!(sha1 = %self.sha1(), %error, "a transfer is given up for now");
        let mut state = locked(&self.state);
        state.verifying = false;
        state.trouble = Some(error.to_string());
        state.fail(error, self.shared.clock.instant() + rest);
        drop(state);
        self.settled.notify_waiters();
        self.forget();
    }

    /// The bytes were not what was declared; the store has dropped them. Fetches everything again.
    pub(super) async fn mismatched(self: &Arc<Self>, gone: &Arc<SparseFile>, found: &Sha1Digest) {
        let mismatches = {
            let mut state = locked(&self.state);
            let liars = state.health.as_mut().map(Health::lied).unwrap_or_default();
            tracing::warn!(
                sha1 = %self.sha1(), %found, sources = ?liars,
                "what was fetched does not match its digest and was dropped"
            );
            state.mismatches += 1;
            state.waiters.clear();
            state.mismatches
        };
        if mismatches >= MAX_MISMATCHES {
            self.give_up(TransferError::Mismatch { sha1: self.sha1() }, REST_MISMATCH);
            return;
        }
        if self.limit().is_some() {
            // what cannot be kept is fetched when somebody asks for it again, and then from another source
            let mut state = locked(&self.state);
            state.is_passed = false;
            state.remembered = Some(self.shared.clock.instant() + REST_MISMATCH);
            state.trouble = Some(
                "the bytes did not match the digest; asked for again, they are fetched from another source"
                    .to_owned(),
            );
            // somebody may have asked again already
            if state.has(gone) {
                state.file = None;
                state.restart();
            }
            drop(state);
            self.settled.notify_waiters();
            self.kick();
            return;
        }
        let (store, declaration) = (self.shared.store.clone(), self.declaration.clone());
        let made = tokio::task::spawn_blocking(move || store.prepare(&declaration)).await;
        let Ok(Ok(file)) = made else {
            self.give_up(TransferError::Dropped { sha1: self.sha1() }, REST_STORE);
            return;
        };
        {
            let mut state = locked(&self.state);
            if !state.has(&file) {
                state.file = Some(Arc::clone(&file));
                state.restart();
            }
            state.verifying = false;
            state.trouble = Some("the bytes did not match the digest; fetching again".to_owned());
            if let (None, Some(whole)) = (state.refetch, ByteRange::new(0, self.declaration.size)) {
                let id = state.plan.add(whole, Demand::own(Class::Normal));
                state.refetch = Some(id);
            }
        }
        self.settled.notify_waiters();
        self.kick();
        // all of it may have come while the old one was still being dropped
        self.verify_if_complete(&file);
    }
}
