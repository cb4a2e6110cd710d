//! How somebody waits for bytes of one file, and what ends the wait without them.
//!
//! **Invariant:** whoever waits is told when nothing came for the whole patience, however often it was woken to look; a
//! client that has got nothing yet is told at once when nothing can come in time. It never asks a source itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::TransferError;
use super::flow::{Flow, State, Waiter};
use super::shared::locked;
use tailwater_content::{PIECE, SparseFile};
use tailwater_domain::{Limit, limits};

/// What a client is told at least to wait before it asks again.
const LEAST_AGAIN: Duration = Duration::from_secs(5);

/// How long a client that has got nothing yet is held for a wait whose end is known: Delivery Optimization leaves a
/// server that is silent for 20 s, `WinHTTP` one that is for 30 s, and both take 503 as an invitation to come again.
const LONGEST_HELD: Duration = Duration::from_secs(20);

/// How often a client that has got nothing yet looks whether the servers are down.
const LOOK: Duration = Duration::from_secs(1);

/// How long the queue waits for servers that are down before it looks at another file.
const QUEUE_PATIENCE: Duration = Duration::from_mins(1);

/// Looks for room, within half a second, before a client that has got nothing yet is told that there is none: whoever
/// has just left may still be leaving.
const LOOKS_FOR_ROOM: u32 = 3;

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST_HELD: "The time a client without a byte is held for a wait whose end is known" => "503 with Retry-After",
    QUEUE_PATIENCE: "The time the queue waits for servers that are down" => "it looks at another file",
    LOOKS_FOR_ROOM in "looks": "Looks for room before a client without a byte is refused" => "503 with Retry-After",
];

impl Flow {
    /// Waits until the byte at `offset` is readable; says up to where, at most `limit`.
    pub(super) async fn ready(
        self: &Arc<Self>,
        file: &Arc<SparseFile>,
        id: u64,
        (offset, limit): (u64, u64),
        waiter: Waiter,
    ) -> Result<u64, TransferError> {
        let leaves = self.shared.clock.instant() + LONGEST_HELD.min(self.shared.config.patience);
        let passes = self.limit().is_some();
        // whoever is woken to look again has waited all the same
        let mut since = self.shared.clock.instant();
        loop {
            let (landed, idle) = {
                let mut state = locked(&self.state);
                if file.is_dropped() {
                    return Err(TransferError::Dropped { sha1: self.sha1() });
                }
                state.plan.moved(id, offset);
                let end = file.held_until(offset, limit);
                if end > offset {
                    drop(state);
                    if passes {
                        self.wanted.notify_waiters();
                    }
                    self.kick();
                    return Ok(end);
                }
                if let Some((error, _)) = &state.failed {
                    return Err(error.clone());
                }
                if state.paused {
                    return Err(TransferError::Stopped { sha1: self.sha1() });
                }
                if let Some(error) = state.spent(&self.shared) {
                    return Err(error);
                }
                if let Some(crowded) = &state.crowded
                    && waiter != Waiter::Reader
                    && crowded.looks >= LOOKS_FOR_ROOM
                    && crowded.until > self.shared.clock.instant()
                {
                    return Err(crowded.error.clone());
                }
                if waiter == Waiter::Newcomer
                    && let Some(error) = self.in_vain(&state, leaves)
                {
                    return Err(error);
                }
                let (sender, landed) = oneshot::channel();
                state.waiter_id += 1;
                let key = (offset / PIECE, state.waiter_id);
                state.waiters.insert(key, sender);
                (landed, state.lanes == 0)
            };
            if idle {
                self.kick();
            }
            self.wait(landed, waiter, leaves, &mut since).await?;
        }
    }

    /// When no server that has the file can be reached, and none is to be tried just now.
    fn unreachable(&self, state: &State) -> Option<TransferError> {
        let now = self.shared.clock.instant();
        let until = state.down_until(&self.shared, now).filter(|until| *until > now)?;
        Some(TransferError::Unreachable { sha1: self.sha1(), again: (until - now).max(LEAST_AGAIN) })
    }

    /// Why a client that would leave at `leaves` need not wait until then.
    fn in_vain(&self, state: &State, leaves: Instant) -> Option<TransferError> {
        if state.verifying {
            // all of it is there
            return None;
        }
        self.unreachable(state).or_else(|| {
            let now = self.shared.clock.instant();
            let until = state.resting_until(&self.shared, now).filter(|until| *until > leaves)?;
            let again = Duration::from_secs((until - now).as_secs() + 1);
            Some(TransferError::Deferred { sha1: self.sha1(), again })
        })
    }

    /// Waits for a landing, unless nothing of the file has come for too long. A newcomer is told earlier when nothing
    /// can come before it leaves.
    async fn wait(
        &self,
        mut landed: oneshot::Receiver<()>,
        waiter: Waiter,
        leaves: Instant,
        since: &mut Instant,
    ) -> Result<(), TransferError> {
        let patience = match waiter {
            Waiter::Queue => QUEUE_PATIENCE,
            Waiter::Newcomer | Waiter::Reader => self.shared.config.patience,
        };
        let stopping = self.shared.tasks.stopping();
        loop {
            tokio::select! {
                // an error only says that everybody was woken
                _ = &mut landed => return Ok(()),
                () = stopping.cancelled() => return Err(TransferError::Stopping),
                // an outage shows while one waits
                () = tokio::time::sleep(LOOK), if waiter == Waiter::Newcomer => {
                    let state = locked(&self.state);
                    self.in_vain(&state, leaves).map_or(Ok(()), Err)?;
                }
                () = tokio::time::sleep_until(*since + patience) => {
                    let (latest, down) = {
                        let mut state = locked(&self.state);
                        if state.verifying {
                            state.progress = self.shared.clock.instant();
                        }
                        (state.progress, self.in_vain(&state, self.shared.clock.instant() + QUEUE_PATIENCE))
                    };
                    if waiter == Waiter::Queue {
                        // a link that is closed for the day, or a slow one, is nobody's fault
                        down.map_or(Ok(()), Err)?;
                        *since = self.shared.clock.instant();
                        continue;
                    }
                    if latest <= *since {
                        return Err(TransferError::TimedOut { sha1: self.sha1(), patience });
                    }
                    *since = latest;
                }
            }
        }
    }
}
