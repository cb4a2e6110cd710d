//! Downstream servers: who came, who may, what each took.
//!
//! **Invariant:** what an administrator decided is journaled and durable when a call returns; contact is written without
//! waiting, at most once a minute, counts whenever a worker asks for it. There are never more servers than the limit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::registry::Registry;
use crate::config::Config;
use crate::error::CatalogError;
use crate::storage::client_state::ClientState;
use crate::storage::entries::entries;
use crate::storage::lock::{Rank, Ranked};
use crate::storage::record::{self, key};
use crate::values::server::{Credential, Invitation, Refused, Seen, Server, Standing, Took};
use crate::values::text::cut;
use tailwater_domain::{Limit, ServerId, limits};
use tailwater_runtime::{Allowance, RateLimiter, RateLimits, is_recent};

/// New servers: an organisation that is set up at once, and then one in two seconds from one address.
const NEW_SERVERS: RateLimits = RateLimits {
    total: None,
    per_subnet: Some(Allowance { burst: 2_000, interval: Duration::from_secs(1) }),
    per_address: Some(Allowance { burst: 1_000, interval: Duration::from_secs(2) }),
    entries: 1_000,
};
/// How long a server that never came back is kept when there is no room.
const MADE_UP_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// The longest name that is kept, in characters: that of a DNS name.
pub(crate) const MAX_NAME: usize = 255;
/// How exact contact is written down.
const CONTACT_GRAIN: SignedDuration = SignedDuration::from_secs(60);

pub(crate) const LIMITS: &[Limit] = limits![
    key "downstream.max_servers" in "servers": "Downstream servers, direct or not" => "one that never came back and that nobody decided about goes; else ServerBusy",
    key "downstream.max_descendants" in "computers": "Computers of downstream servers" => "ServerBusy",
    key "downstream.max_state" in "bytes": "What is kept of what downstream servers say" => "servers that never came back go; then ServerBusy",
    MAX_NAME in "characters": "The name of a server" => "it is cut, or refused at the handshake",
];

// not a limit: CONTACT_GRAIN: how exact contact is kept

/// Downstream servers.
pub(crate) struct Servers {
    state: Arc<ClientState>,
    config: Arc<Config>,
    known: Registry,
    /// By name in lower case.
    pub(super) invitations: Ranked<HashMap<String, Invitation>>,
    pub(super) refused: Mutex<Vec<Refused>>,
    /// What was taken and is not written down yet.
    taken: Ranked<HashMap<ServerId, Took>>,
    /// How often new servers come.
    newcomers: RateLimiter,
    /// Held while servers change.
    changing: Ranked<()>,
}

impl Servers {
    /// The servers in the index.
    pub(crate) fn load(state: Arc<ClientState>, config: Arc<Config>) -> Result<Self, CatalogError> {
        let (known, mut invitations) = (Registry::load(state.kv())?, HashMap::new());
        for (_, value) in entries(state.kv(), b"I")? {
            let invitation: Invitation = record::decode('I', &value)?;
            invitations.insert(invitation.name.to_lowercase(), invitation);
        }
        let newcomers = RateLimiter::new(NEW_SERVERS, state.clock().clone());
        Ok(Self {
            state,
            config,
            known,
            invitations: Ranked::new(Rank::Invitations, invitations),
            refused: Mutex::default(),
            taken: Ranked::new(Rank::Taken, HashMap::new()),
            newcomers,
            changing: Ranked::new(Rank::Servers, ()),
        })
    }

    pub(super) fn state(&self) -> &ClientState {
        &self.state
    }

    /// Who there is.
    pub(crate) fn known(&self) -> &Registry {
        &self.known
    }

    /// Changes a server, making it when unknown and `make` allows. What was `decided` is durable.
    pub(crate) fn alter_server(
        &self,
        id: &ServerId,
        make: bool,
        decided: bool,
        work: impl FnOnce(&mut Server),
    ) -> Result<Arc<Server>, CatalogError> {
        let _one = self.changing.lock();
        let before = self.known.get(id);
        let mut server = match &before {
            Some(known) => (**known).clone(),
            None if !make => return Err(CatalogError::UnknownServer(id.to_string())),
            None => {
                self.make_room_for_server()?;
                fresh(*id, self.state.clock().now())
            }
        };
        work(&mut server);
        if before.as_deref() == Some(&server) {
            return Ok(self.known.keep(server));
        }
        let op = (key::server(id), Some(server.record()?));
        if decided {
            self.state.journal(vec![op])?;
        } else if !self.state.put_state(op)? {
            return Err(CatalogError::TooMuchState { limit: self.config.max_downstream_state.0 });
        }
        Ok(self.known.keep(server))
    }

    /// Lets one go that never came back where there is no room. One that an administrator decided about, that told
    /// something later or that took something later never goes because of newcomers.
    fn make_room_for_server(&self) -> Result<(), CatalogError> {
        let limit = self.config.max_servers;
        if self.known.len() < limit {
            return Ok(());
        }
        let mut made_up = self.known.never_came_back(self.state.clock().now(), MADE_UP_AFTER).into_iter();
        let goes = made_up.find(|id| self.known.all().iter().all(|one| one.parent != Some(*id)));
        let goes = goes.ok_or(CatalogError::TooManyServers { limit })?;
        self.known.drop_one(&goes);
        self.state.put_state((key::server(&goes), None)).map(|_| ())
    }

    /// A server said who it is. `make_room` lets others go before a change is written.
    pub(crate) fn introduce_server(
        &self,
        id: &ServerId,
        name: &str,
        credential: &Credential,
        make_room: impl FnOnce() -> Result<(), CatalogError>,
    ) -> Result<Arc<Server>, CatalogError> {
        let now = self.state.clock().now();
        let name = cut(name, MAX_NAME);
        let recent = |at: Timestamp| is_recent(at, CONTACT_GRAIN, now);
        let known = self.known.get(id);
        let mut seen = known.as_ref().map(|known| known.seen.clone()).unwrap_or_default();
        seen.note(&name, credential);
        let same = known.clone().filter(|known| {
            known.name == name
                && known.parent.is_none()
                && known.seen == seen
                && known.last_seen.is_some_and(recent)
        });
        if let Some(known) = same {
            return Ok(known);
        }
        if known.is_none()
            && let Some(address) = credential.address
        {
            self.newcomers.try_take(address).map_err(|_too_often| CatalogError::ServersTooOften)?;
        }
        make_room()?;
        self.alter_server(id, true, false, |server| {
            server.name = name;
            server.parent = None;
            server.last_seen = Some(now);
            server.seen = seen;
        })
    }

    /// Counts what a server took. Written down by [`Servers::write_server_counts`].
    pub(crate) fn server_took(&self, id: &ServerId, took: Took) {
        let took = Took { at: Some(self.state.clock().now()), ..took };
        let mut taken = self.taken.lock();
        if self.known.get(id).is_some() {
            taken.entry(*id).or_default().add(&took);
        }
    }

    /// Writes down what servers took since the last time; what cannot be written is kept for the next time.
    pub(crate) fn write_server_counts(&self) -> Result<(), CatalogError> {
        let ids: Vec<ServerId> = self.taken.lock().keys().copied().collect();
        for id in ids {
            // counted once: a reader between the two would see it twice or not at all
            let mut taken = self.taken.lock();
            let Some(sum) = taken.get(&id).copied() else { continue };
            let written = self.alter_server(&id, false, false, |server| {
                server.took.add(&sum);
                server.last_seen = sum.at.or(server.last_seen);
            });
            match written {
                // removed meanwhile
                Ok(_) | Err(CatalogError::UnknownServer(_)) => taken.remove(&id),
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    /// A server with everything that is counted, written down or not.
    pub(crate) fn server(&self, id: &ServerId) -> Option<Arc<Server>> {
        self.known.get(id).map(|server| self.counted(server))
    }

    /// All servers, by name, then by identity.
    pub(crate) fn servers(&self) -> Vec<Arc<Server>> {
        self.known.all().into_iter().map(|server| self.counted(server)).collect()
    }

    fn counted(&self, server: Arc<Server>) -> Arc<Server> {
        let taken = self.taken.lock();
        let Some(sum) = taken.get(&server.id) else { return server };
        let mut counted = (*server).clone();
        counted.took.add(sum);
        counted.last_seen = sum.at.or(counted.last_seen);
        Arc::new(counted)
    }
}

impl Took {
    /// Counts another taking to this one.
    fn add(&mut self, more: &Self) {
        self.metadata = self.metadata.saturating_add(more.metadata);
        self.content = self.content.saturating_add(more.content);
        self.at = more.at.or(self.at);
        self.change = self.change.max(more.change);
    }
}

fn fresh(id: ServerId, now: Timestamp) -> Server {
    Server {
        id,
        name: String::new(),
        parent: None,
        version: String::new(),
        is_replica: false,
        standing: Standing::Open,
        needs_token: false,
        token: None,
        first_seen: now,
        last_seen: None,
        last_sync: None,
        last_rollup: None,
        summary: None,
        took: Took::default(),
        seen: Seen::default(),
    }
}
