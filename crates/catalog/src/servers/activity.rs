//! What computers installed since the upstream was told, by server and operating system.
//!
//! **Invariant:** it is bounded by server and by operating system, and what was told is taken away once, so that what came
//! meanwhile is told next. It never says when anything was installed.

use std::sync::Arc;

use crate::error::CatalogError;
use crate::storage::client_state::ClientState;
use crate::storage::entries::entries;
use crate::storage::lock::{Rank, Ranked};
use crate::storage::record::{self, key};
use crate::values::text::cut;
use tailwater_domain::{Activity, ClientSummary, Limit, OsVersion, ServerId, limits};
use tailwater_kv::Op;

/// The most operating systems that are told apart of one server.
const MAX_SYSTEMS: usize = 500;
/// The most updates that are counted of one operating system.
const MAX_ACTIVITIES: usize = 5_000;
/// The longest text of an operating system, in characters.
const MAX_OS_TEXT: usize = 64;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_SYSTEMS in "systems": "Operating systems told apart of one server" => "the rest is left out",
    MAX_ACTIVITIES in "updates": "Updates counted of one operating system" => "the rest is left out",
    MAX_OS_TEXT in "characters": "A text of an operating system" => "it is cut",
];

/// Whose activity is our own agents'.
pub(super) const OURS: ServerId = ServerId(uuid::Uuid::nil());

/// A short name of an operating system, for keys.
fn digest(os: &OsVersion) -> Result<[u8; 16], CatalogError> {
    let hash = blake3::hash(&postcard::to_allocvec(os).map_err(CatalogError::Unwritable)?);
    let mut name = [0; 16];
    name.copy_from_slice(&hash.as_bytes()[..16]);
    Ok(name)
}

/// Adds what was installed.
fn add(sums: &mut Vec<Activity>, more: &[Activity]) {
    for one in more {
        let has_room = sums.len() < MAX_ACTIVITIES;
        match sums.iter_mut().find(|sum| sum.update == one.update && sum.revision == one.revision) {
            Some(sum) => {
                sum.succeeded = sum.succeeded.saturating_add(one.succeeded);
                sum.failed = sum.failed.saturating_add(one.failed);
            }
            None if has_room => sums.push(*one),
            None => {}
        }
    }
}

/// What computers installed.
pub(crate) struct Activities {
    state: Arc<ClientState>,
    /// Held while sums change.
    changing: Ranked<()>,
}

impl Activities {
    /// Those that this state keeps.
    pub(crate) fn new(state: Arc<ClientState>) -> Self {
        Self { state, changing: Ranked::new(Rank::Activity, ()) }
    }

    /// Adds up what computers of a server installed, as operations that are still to be written.
    pub(super) fn added(
        &self,
        server: &ServerId,
        clients: &[ClientSummary],
    ) -> Result<Vec<Op>, CatalogError> {
        let mut ops = Vec::new();
        if clients.is_empty() {
            return Ok(ops);
        }
        let mut kept = entries(self.state.kv(), &key::activities(server))?.len();
        for client in clients.iter().take(MAX_SYSTEMS) {
            let key = key::activity(server, &digest(&client.os)?);
            let known = self.state.kv().get(&key)?;
            kept += usize::from(known.is_none());
            if kept > MAX_SYSTEMS {
                break;
            }
            let mut sum = if let Some(value) = known {
                record::decode('A', &value)?
            } else {
                let mut os = client.os.clone();
                os.locale = cut(&os.locale, MAX_OS_TEXT);
                os.architecture = cut(&os.architecture, MAX_OS_TEXT);
                ClientSummary { os, ..ClientSummary::default() }
            };
            sum.count = client.count;
            add(&mut sum.activity, &client.activity);
            ops.push((key, Some(record::encode(&sum)?)));
        }
        Ok(ops)
    }

    /// Adds up what computers of a server installed, without waiting for the disk.
    pub(super) fn add(&self, server: &ServerId, clients: &[ClientSummary]) -> Result<(), CatalogError> {
        let _one = self.changing.lock();
        let ops = self.added(server, clients)?;
        self.state.put_states(&ops).map(|_| ())
    }

    /// The sums of a server.
    pub(super) fn of(&self, server: &ServerId) -> Result<Vec<ClientSummary>, CatalogError> {
        let found = entries(self.state.kv(), &key::activities(server))?;
        found.iter().map(|(_, value)| record::decode('A', value)).collect()
    }

    /// The keys of the sums of a server.
    pub(super) fn keys(&self, server: &ServerId) -> Result<Vec<Vec<u8>>, CatalogError> {
        let found = entries(self.state.kv(), &key::activities(server))?;
        Ok(found.into_iter().map(|(key, _)| key).collect())
    }

    /// The upstream was told this of a server's computers: only what came since then is left.
    pub(crate) fn clear(&self, of: Option<&ServerId>, told: &[ClientSummary]) -> Result<(), CatalogError> {
        let _one = self.changing.lock();
        let of = of.unwrap_or(&OURS);
        let mut ops = Vec::new();
        for client in told {
            let key = key::activity(of, &digest(&client.os)?);
            let Some(value) = self.state.kv().get(&key)? else { continue };
            let mut left: ClientSummary = record::decode('A', &value)?;
            for sum in &mut left.activity {
                let same = |one: &&Activity| one.update == sum.update && one.revision == sum.revision;
                if let Some(told) = client.activity.iter().find(same) {
                    sum.succeeded = sum.succeeded.saturating_sub(told.succeeded);
                    sum.failed = sum.failed.saturating_sub(told.failed);
                }
            }
            left.activity.retain(|sum| sum.succeeded + sum.failed > 0);
            let rest = if left.activity.is_empty() { None } else { Some(record::encode(&left)?) };
            ops.push((key, rest));
        }
        self.state.put_reported(&ops)
    }
}
