//! How many bytes of the index clients can make this server keep: what computers say, and what servers below say.
//!
//! | of | what | beyond `max_state` |
//! |---|---|---|
//! | agents | computers, their states, events, changes of identity, replaced identities, what the upstream was told of them | members that never came back go, the longest silent first; then events of those that reported longest ago; then what would grow is not kept |
//! | downstream | servers, their computers with their states, what these installed | servers that nobody decided about and that never came back go with all they told; then roll-ups get `ServerBusy` |
//!
//! Cookies and anchors are sealed and not kept; what is remembered of scans is in memory.
//!
//! **Invariant:** the counts are those of the keys and values in the index, measured at the start and followed since; what
//! shrinks is always written. It never touches what an administrator decided.

use std::sync::Mutex;

use tokio::time::Instant;

use super::handle::Storage;
use super::lock::leaf;
use crate::config::Config;
use crate::error::CatalogError;
use std::sync::Arc;
use tailwater_durable::Disk;
use tailwater_kv::{Kv, Op};
use tailwater_runtime::{Clock, LOG_PERIOD, LogThrottle};

/// Whose state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateOf {
    Agents,
    Downstream,
}

impl StateOf {
    /// Whose a key of the index is; nobody's when clients cannot make it.
    fn of(key: &[u8]) -> Option<Self> {
        match key.first()? {
            b'c' | b't' | b'e' | b'f' | b'i' | b'u' => Some(Self::Agents),
            b'r' | b'R' | b'S' | b'A' => Some(Self::Downstream),
            _ => None,
        }
    }
}

/// Kinds of keys that are counted.
const KINDS: [&[u8]; 10] = [b"c", b"t", b"e", b"f", b"i", b"u", b"r", b"R", b"S", b"A"];
/// Once room was made, so much of what is allowed is free.
const FREE_SHARE: u64 = 10;

/// Bytes in the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateBytes {
    /// What agents of this server said.
    pub agents: u64,
    /// What servers below said.
    pub downstream: u64,
}

impl StateBytes {
    fn of(&mut self, of: StateOf) -> &mut u64 {
        match of {
            StateOf::Agents => &mut self.agents,
            StateOf::Downstream => &mut self.downstream,
        }
    }
}

/// What clients made this server keep: the one way in which it is written.
pub(crate) struct ClientState {
    storage: Arc<Storage>,
    config: Arc<Config>,
    used: Mutex<StateBytes>,
    /// When room was last looked for.
    looked: Mutex<Option<Instant>>,
    refused: LogThrottle,
}

impl ClientState {
    /// Measures what is in the index.
    pub(crate) fn load(storage: Arc<Storage>, config: Arc<Config>) -> Result<Self, CatalogError> {
        let mut used = StateBytes::default();
        for kind in KINDS {
            storage.kv().scan(kind, |key, value| {
                if let Some(of) = StateOf::of(key) {
                    *used.of(of) += (key.len() + value.len()) as u64;
                }
                true
            })?;
        }
        let (looked, refused) = (Mutex::default(), LogThrottle::default());
        Ok(Self { storage, config, used: Mutex::new(used), looked, refused })
    }

    /// The index, for reading.
    pub(crate) fn kv(&self) -> &Kv {
        self.storage.kv()
    }

    /// The time.
    pub(crate) fn clock(&self) -> &Clock {
        self.storage.clock()
    }

    /// The disk that it lies on.
    pub(crate) fn disk(&self) -> &Disk {
        self.storage.log().disk()
    }

    /// Makes everything written so far durable.
    pub(crate) fn flush(&self) -> Result<(), CatalogError> {
        Ok(self.kv().flush()?)
    }

    /// Writes what an administrator decided of clients, whatever it adds: journaled and durable.
    pub(crate) fn journal(&self, ops: Vec<Op>) -> Result<(), CatalogError> {
        self.account(&ops)?;
        self.storage.journal(ops)
    }
}

/// What operations add and take, by whose state it is.
#[derive(Default)]
struct Change {
    added: StateBytes,
    taken: StateBytes,
}

impl ClientState {
    fn change_by(&self, ops: &[Op]) -> Result<Change, CatalogError> {
        let mut change = Change::default();
        for (key, value) in ops {
            let Some(of) = StateOf::of(key) else { continue };
            if let Some(before) = self.kv().get(key)? {
                *change.taken.of(of) += (key.len() + before.len()) as u64;
            }
            if let Some(value) = value {
                *change.added.of(of) += (key.len() + value.len()) as u64;
            }
        }
        Ok(change)
    }

    /// Follows operations that are written whatever they add.
    fn account(&self, ops: &[Op]) -> Result<(), CatalogError> {
        let change = self.change_by(ops)?;
        let mut used = leaf(&self.used);
        for (of, added, taken) in change.sides() {
            let used = used.of(of);
            *used = used.saturating_add(added).saturating_sub(taken);
        }
        Ok(())
    }

    /// Writes one thing that a client said, without waiting for the disk. Whether there was room for it.
    pub(crate) fn put_state(&self, op: Op) -> Result<bool, CatalogError> {
        self.put_states(&[op])
    }

    /// Writes what clients said, all of it or nothing, without waiting for the disk. Whether there was room for it.
    pub(crate) fn put_states(&self, ops: &[Op]) -> Result<bool, CatalogError> {
        let change = self.change_by(ops)?;
        let mut used = leaf(&self.used);
        for (of, added, taken) in change.sides() {
            let after = used.of(of).saturating_add(added).saturating_sub(taken);
            if added > taken && after > self.max_state(of) {
                drop(used);
                if let Some(count) = self.refused.note(self.clock().instant()) {
                    let key = match of {
                        StateOf::Agents => "agents.max_state",
                        StateOf::Downstream => "downstream.max_state",
                    };
                    tracing::warn!(
                        key,
                        limit = self.max_state(of),
                        since_the_last_line = count,
                        "clients say more than may be kept: some of it is not"
                    );
                }
                return Ok(false);
            }
        }
        for (of, added, taken) in change.sides() {
            let used = used.of(of);
            *used = used.saturating_add(added).saturating_sub(taken);
        }
        drop(used);
        self.kv().note_all(ops)?;
        Ok(true)
    }

    /// The same, durable when it returns.
    ///
    /// # Errors
    /// [`CatalogError::TooMuchState`] when there was no room; then nothing is written.
    pub(crate) fn put_states_durably(&self, ops: &[Op]) -> Result<(), CatalogError> {
        if !self.put_states(ops)? {
            return Err(CatalogError::TooMuchState { limit: self.config.max_downstream_state.0 });
        }
        if ops.is_empty() { Ok(()) } else { self.flush() }
    }

    /// What the upstream was told, durable when it returns. It is written whatever is used: without it everything would
    /// be told again for ever, and it is no more than what computers say.
    pub(crate) fn put_reported(&self, ops: &[Op]) -> Result<(), CatalogError> {
        self.account(ops)?;
        self.storage.apply_durably(ops)
    }

    fn max_state(&self, of: StateOf) -> u64 {
        match of {
            StateOf::Agents => self.config.max_state.0,
            StateOf::Downstream => self.config.max_downstream_state.0,
        }
    }

    /// Bytes that clients make this server keep.
    pub(crate) fn state_bytes(&self) -> StateBytes {
        *leaf(&self.used)
    }

    /// Whether nearly all that is allowed is used.
    pub(crate) fn is_full(&self, of: StateOf) -> bool {
        let limit = self.max_state(of);
        *leaf(&self.used).of(of) > limit - limit / FREE_SHARE
    }

    /// Whether somebody should look for room now: nearly all is used, and nobody looked within a minute.
    pub(crate) fn must_look(&self, of: StateOf) -> bool {
        let now = self.clock().instant();
        let mut looked = leaf(&self.looked);
        let recent = looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOG_PERIOD);
        if recent || !self.is_full(of) {
            return false;
        }
        *looked = Some(now);
        true
    }
}

impl Change {
    fn sides(&self) -> [(StateOf, u64, u64); 2] {
        [
            (StateOf::Agents, self.added.agents, self.taken.agents),
            (StateOf::Downstream, self.added.downstream, self.taken.downstream),
        ]
    }
}
