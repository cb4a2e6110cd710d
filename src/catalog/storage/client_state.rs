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

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::catalog::decisions::decided::entries;
use crate::catalog::error::CatalogError;
use crate::catalog::storage::log::{Op, Store, lock};
use crate::catalog::storage::record::key;
use crate::kv::{Batch, Kv, MAX_BATCH};
use crate::runtime::{LOG_PERIOD, LogThrottle};

/// Whose state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::catalog) enum StateOf {
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

/// What is used, and when room was last looked for.
#[derive(Default)]
pub(in crate::catalog) struct Quota {
    used: Mutex<StateBytes>,
    looked: Mutex<Option<Instant>>,
    refused: LogThrottle,
}

impl Quota {
    /// Measures what is in the index.
    pub(in crate::catalog) fn load(kv: &Kv) -> Result<Self, CatalogError> {
        let mut used = StateBytes::default();
        for kind in KINDS {
            kv.scan(kind, |key, value| {
                if let Some(of) = StateOf::of(key) {
                    *used.of(of) += (key.len() + value.len()) as u64;
                }
                true
            })?;
        }
        Ok(Self { used: Mutex::new(used), ..Self::default() })
    }
}

/// What operations add and take, by whose state it is.
#[derive(Default)]
struct Change {
    added: StateBytes,
    taken: StateBytes,
}

impl Store {
    fn change_by(&self, ops: &[Op]) -> Result<Change, CatalogError> {
        let mut change = Change::default();
        for (key, value) in ops {
            let Some(of) = StateOf::of(key) else { continue };
            if let Some(before) = self.kv.get(key)? {
                *change.taken.of(of) += (key.len() + before.len()) as u64;
            }
            if let Some(value) = value {
                *change.added.of(of) += (key.len() + value.len()) as u64;
            }
        }
        Ok(change)
    }

    /// Follows operations that are written in another way, journaled ones for instance, whatever they add.
    pub(in crate::catalog) fn account(&self, ops: &[Op]) -> Result<(), CatalogError> {
        let change = self.change_by(ops)?;
        let mut used = lock(&self.quota.used);
        for (of, added, taken) in change.sides() {
            let used = used.of(of);
            *used = used.saturating_add(added).saturating_sub(taken);
        }
        Ok(())
    }

    /// Writes one thing that a client said, without waiting for the disk. Whether there was room for it.
    pub(in crate::catalog) fn put_state(&self, op: Op) -> Result<bool, CatalogError> {
        self.put_states(&[op])
    }

    /// Writes what clients said, all of it or nothing, without waiting for the disk. Whether there was room for it.
    pub(in crate::catalog) fn put_states(&self, ops: &[Op]) -> Result<bool, CatalogError> {
        let change = self.change_by(ops)?;
        let mut used = lock(&self.quota.used);
        for (of, added, taken) in change.sides() {
            let after = used.of(of).saturating_add(added).saturating_sub(taken);
            if added > taken && after > self.max_state(of) {
                drop(used);
                if let Some(count) = self.quota.refused.note(self.clock.instant()) {
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
        for some in ops.chunks(MAX_BATCH) {
            let mut batch = Batch::default();
            for (key, value) in some {
                match value {
                    Some(value) => batch.put(key.as_slice(), value.as_slice()),
                    None => batch.remove(key.as_slice()),
                }
            }
            self.kv.note(&batch)?;
        }
        Ok(true)
    }

    /// The same, durable when it returns.
    ///
    /// # Errors
    /// [`CatalogError::TooMuchState`] when there was no room; then nothing is written.
    pub(in crate::catalog) fn put_states_durably(&self, ops: &[Op]) -> Result<(), CatalogError> {
        if !self.put_states(ops)? {
            return Err(CatalogError::TooMuchState { limit: self.config.max_downstream_state.0 });
        }
        if ops.is_empty() { Ok(()) } else { Ok(self.kv.flush()?) }
    }

    /// What the upstream was told, durable when it returns. It is written whatever is used: without it everything would
    /// be told again for ever, and it is no more than what computers say.
    pub(in crate::catalog) fn put_told(&self, ops: &[Op]) -> Result<(), CatalogError> {
        self.account(ops)?;
        self.apply_durably(ops)
    }

    fn max_state(&self, of: StateOf) -> u64 {
        match of {
            StateOf::Agents => self.config.max_state.0,
            StateOf::Downstream => self.config.max_downstream_state.0,
        }
    }

    /// Bytes that clients make this server keep.
    pub(in crate::catalog) fn state_bytes(&self) -> StateBytes {
        *lock(&self.quota.used)
    }

    fn is_full(&self, of: StateOf) -> bool {
        let limit = self.max_state(of);
        *lock(&self.quota.used).of(of) > limit - limit / FREE_SHARE
    }

    /// Whether somebody should look for room now: nearly all is used, and nobody looked within a minute.
    fn must_look(&self, of: StateOf) -> bool {
        let now = self.clock.instant();
        let mut looked = lock(&self.quota.looked);
        let recent = looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOG_PERIOD);
        if recent || !self.is_full(of) {
            return false;
        }
        *looked = Some(now);
        true
    }

    /// Lets agents' state go while nearly all that is allowed is used. The caller holds `changing` of computers.
    pub(in crate::catalog) fn make_room_for_agents(&self) -> Result<(), CatalogError> {
        if !self.must_look(StateOf::Agents) {
            return Ok(());
        }
        for one in self.never_came_back() {
            if !self.is_full(StateOf::Agents) {
                return Ok(());
            }
            self.drop_computer(&one.id)?;
        }
        let mut members = self.computers.all();
        members.sort_unstable_by(|a, b| (a.last_report, &a.id).cmp(&(b.last_report, &b.id)));
        for one in members {
            if !self.is_full(StateOf::Agents) {
                return Ok(());
            }
            let events = entries(&self.kv, &key::events(&one.id))?.into_iter().map(|(key, _)| (key, None));
            self.put_states(&events.collect::<Vec<Op>>())?;
        }
        Ok(())
    }

    /// Lets servers go that nobody decided about and that never came back, with all they told, while nearly all that is
    /// allowed is used.
    pub(in crate::catalog) fn make_room_for_downstream(&self) -> Result<(), CatalogError> {
        if !self.must_look(StateOf::Downstream) {
            return Ok(());
        }
        let now = self.clock.now();
        for id in self.servers.never_came_back(now, SignedDuration::from_hours(24)) {
            if !self.is_full(StateOf::Downstream) {
                return Ok(());
            }
            self.forget_server(&id)?;
        }
        Ok(())
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
