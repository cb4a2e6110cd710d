//! Downstream servers in memory and in the index: who came, who may, what each took.
//!
//! **Invariant:** what an administrator decided is journaled and durable when a call returns; contact is written without
//! waiting, at most once a minute, counts whenever a worker asks for it. There are never more servers than the limit.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};

use super::computers::cut;
use super::decisions::entries;
use super::kv::Kv;
use super::record::{self, key};
use super::store::{Store, lock};
use super::{CatalogError, Invitation, Refused, Server, Standing, Took};
use crate::domain::{Limit, ServerId, limits};
use crate::runtime::is_recent;

/// How many servers are remembered: far more than any tree of offices has.
const MAX_SERVERS: usize = 10_000;
/// The longest chain of servers that is followed.
const MAX_DEPTH: usize = 32;
/// The longest name that is kept, in characters: that of a DNS name.
pub(super) const MAX_NAME: usize = 255;
/// How exact contact is written down.
const CONTACT_GRAIN: SignedDuration = SignedDuration::from_secs(60);

pub(super) const LIMITS: &[Limit] = limits![
    MAX_SERVERS in "servers": "Downstream servers remembered" => "the one seen longest ago is forgotten",
    MAX_DEPTH in "servers": "Servers in a chain" => "the chain is not followed further",
    MAX_NAME in "characters": "The name of a server" => "it is cut",
];

// not a limit: CONTACT_GRAIN: how exact the time of last contact is

/// All servers.
#[derive(Default)]
pub(super) struct Servers {
    known: RwLock<HashMap<ServerId, Arc<Server>>>,
    /// By name in lower case.
    pub(super) invitations: RwLock<HashMap<String, Invitation>>,
    pub(super) refused: Mutex<Vec<Refused>>,
    /// What was taken and is not written down yet. Locked before `changing`.
    taken: Mutex<HashMap<ServerId, Took>>,
    /// Held while servers change.
    pub(super) changing: Mutex<()>,
}

impl Servers {
    pub(super) fn load(kv: &Kv) -> Result<Self, CatalogError> {
        let (mut known, mut invitations) = (HashMap::new(), HashMap::new());
        for (_, value) in entries(kv, b"S")? {
            let server: Server = record::decode('S', &value)?;
            known.insert(server.id, Arc::new(server));
        }
        for (_, value) in entries(kv, b"I")? {
            let invitation: Invitation = record::decode('I', &value)?;
            invitations.insert(invitation.name.to_lowercase(), invitation);
        }
        Ok(Self { known: RwLock::new(known), invitations: RwLock::new(invitations), ..Self::default() })
    }

    pub(super) fn get(&self, id: &ServerId) -> Option<Arc<Server>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All of them, by name, then by identity.
    pub(super) fn all(&self) -> Vec<Arc<Server>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known.values().cloned().collect();
        drop(known);
        all.sort_unstable_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        all
    }

    fn keep(&self, server: Server) -> Arc<Server> {
        let server = Arc::new(server);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(server.id, Arc::clone(&server));
        server
    }

    /// The one that may go when there is no room: nobody decided about it, it told nothing, longest not seen.
    fn least_wanted(&self, now: Timestamp) -> Option<ServerId> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let plain = known.values().filter(|one| one.standing == Standing::Open);
        let wanted = |one: &&Arc<Server>| {
            // what a clock noted that was ahead counts as now
            (one.last_rollup.is_some(), one.last_seen.unwrap_or(one.first_seen).min(now))
        };
        plain.min_by_key(wanted).map(|one| one.id)
    }

    pub(super) fn drop_one(&self, id: &ServerId) -> Option<Arc<Server>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    pub(super) fn len(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
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

impl Store {
    /// Changes a server, making it when unknown and `make` allows. What was `decided` is durable.
    pub(super) fn alter_server(
        &self,
        id: &ServerId,
        make: bool,
        decided: bool,
        work: impl FnOnce(&mut Server),
    ) -> Result<Arc<Server>, CatalogError> {
        let _one = lock(&self.servers.changing);
        let before = self.servers.get(id);
        let mut server = match &before {
            Some(known) => (**known).clone(),
            None if !make => return Err(CatalogError::UnknownServer(id.to_string())),
            None => {
                self.make_room_for_server()?;
                fresh(*id, self.clock.now())
            }
        };
        work(&mut server);
        if before.as_deref() == Some(&server) {
            return Ok(self.servers.keep(server));
        }
        let op = (key::server(id), Some(record::encode(&server)?));
        if decided {
            self.journal(vec![op])?;
        } else {
            self.put(op)?;
        }
        Ok(self.servers.keep(server))
    }

    fn make_room_for_server(&self) -> Result<(), CatalogError> {
        if self.servers.len() < MAX_SERVERS {
            return Ok(());
        }
        let goes = self
            .servers
            .least_wanted(self.clock.now())
            .ok_or(CatalogError::TooManyServers { limit: MAX_SERVERS })?;
        self.servers.drop_one(&goes);
        self.put((key::server(&goes), None))
    }

    pub(super) fn introduce_server(&self, id: &ServerId, name: &str) -> Result<Arc<Server>, CatalogError> {
        let now = self.clock.now();
        let name = cut(name, MAX_NAME);
        let recent = |at: Timestamp| is_recent(at, CONTACT_GRAIN, now);
        let known = self.servers.get(id).filter(|known| {
            known.name == name && known.parent.is_none() && known.last_seen.is_some_and(recent)
        });
        if let Some(known) = known {
            return Ok(known);
        }
        self.alter_server(id, true, false, |server| {
            server.name = name;
            server.parent = None;
            server.last_seen = Some(now);
        })
    }

    /// Counts what a server took. Written down by [`Store::write_server_counts`].
    pub(super) fn server_took(&self, id: &ServerId, took: Took) {
        let took = Took { at: Some(self.clock.now()), ..took };
        let mut taken = lock(&self.servers.taken);
        if self.servers.get(id).is_some() {
            taken.entry(*id).or_default().add(&took);
        }
    }

    /// Writes down what servers took since the last time; what cannot be written is kept for the next time.
    pub(super) fn write_server_counts(&self) -> Result<(), CatalogError> {
        let ids: Vec<ServerId> = lock(&self.servers.taken).keys().copied().collect();
        for id in ids {
            // counted once: a reader between the two would see it twice or not at all
            let mut taken = lock(&self.servers.taken);
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
    pub(super) fn server(&self, id: &ServerId) -> Option<Arc<Server>> {
        self.servers.get(id).map(|server| self.counted(server))
    }

    /// All servers, by name, then by identity.
    pub(super) fn servers(&self) -> Vec<Arc<Server>> {
        self.servers.all().into_iter().map(|server| self.counted(server)).collect()
    }

    fn counted(&self, server: Arc<Server>) -> Arc<Server> {
        let taken = lock(&self.servers.taken);
        let Some(sum) = taken.get(&server.id) else { return server };
        let mut counted = (*server).clone();
        counted.took.add(sum);
        counted.last_seen = sum.at.or(counted.last_seen);
        Arc::new(counted)
    }

    /// The servers between this one and what `id` serves: the direct child first, `id` itself last. Empty when `id`
    /// is unknown. A ring (somebody lies) ends where it began.
    pub(super) fn chain(&self, id: &ServerId) -> Vec<ServerId> {
        let mut chain = Vec::new();
        let mut next = self.servers.get(id);
        while let Some(server) = next.take() {
            if chain.len() == MAX_DEPTH || chain.contains(&server.id) {
                break;
            }
            chain.push(server.id);
            next = server.parent.and_then(|parent| self.servers.get(&parent));
        }
        chain.reverse();
        chain
    }

    /// A server and all below it.
    pub(super) fn servers_below(&self, id: &ServerId) -> HashSet<ServerId> {
        let all = self.servers.all();
        let (mut below, mut grew) = (HashSet::from([*id]), true);
        while grew {
            let before = below.len();
            below.extend(
                all.iter()
                    .filter(|one| one.parent.is_some_and(|p| below.contains(&p)))
                    .map(|one| one.id)
                    .collect::<Vec<_>>(),
            );
            grew = below.len() > before;
        }
        below
    }
}
