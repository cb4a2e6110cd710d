//! Downstream servers in memory and in the index: who came, who may, what each took.
//!
//! **Invariant:** what an administrator decided is journaled and durable when a call returns; contact is written without
//! waiting, at most once a minute, counts whenever a worker asks for it. There are never more servers than the limit.
//! Who is shut out is known by everything it came with, not by the identity that it says.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::catalog::computers::members::cut;
use crate::catalog::decisions::decided::entries;
use crate::catalog::error::CatalogError;
use crate::catalog::storage::log::{Store, lock};
use crate::catalog::storage::record;
use crate::catalog::storage::record::key;
use crate::catalog::values::server::{
    Certificate, Credential, IdentifiedBy, Invitation, Refused, Seen, Server, Standing, Took,
};
use crate::domain::{Limit, ServerId, limits};
use crate::kv::Kv;
use crate::runtime::{Allowance, Clock, RateLimiter, RateLimits, is_recent};

/// New servers: an organisation that is set up at once, and then one in two seconds from one address.
const NEW_SERVERS: RateLimits = RateLimits {
    total: None,
    per_subnet: Some(Allowance { burst: 2_000, interval: Duration::from_secs(1) }),
    per_address: Some(Allowance { burst: 1_000, interval: Duration::from_secs(2) }),
    entries: 1_000,
};
/// A server that only ever came within so long of its first coming never came back.
const FIRST_VISIT: SignedDuration = SignedDuration::from_hours(1);
/// How long a server that never came back is kept when there is no room.
const MADE_UP_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// The longest chain of servers that is followed.
const MAX_DEPTH: usize = 32;
/// The longest name that is kept, in characters: that of a DNS name.
pub(in crate::catalog) const MAX_NAME: usize = 255;
/// How exact contact is written down.
const CONTACT_GRAIN: SignedDuration = SignedDuration::from_secs(60);

pub(in crate::catalog) const LIMITS: &[Limit] = limits![
    key "downstream.max_servers" in "servers": "Downstream servers, direct or not" => "one that never came back and that nobody decided about goes; else ServerBusy",
    key "downstream.max_descendants" in "computers": "Computers of downstream servers" => "ServerBusy",
    key "downstream.max_state" in "bytes": "What is kept of what downstream servers say" => "servers that never came back go; then ServerBusy",
    MAX_DEPTH in "servers": "A chain of servers that is followed" => "the rest of it is not shown",
    MAX_NAME in "characters": "The name of a server" => "it is cut, or refused at the handshake",
];

// not a limit: CONTACT_GRAIN, FIRST_VISIT: how exact contact is kept, and what counts as one visit

/// All servers.
#[derive(Default)]
pub(in crate::catalog) struct Servers {
    known: RwLock<HashMap<ServerId, Arc<Server>>>,
    /// By name in lower case.
    pub(in crate::catalog) invitations: RwLock<HashMap<String, Invitation>>,
    pub(in crate::catalog) refused: Mutex<Vec<Refused>>,
    /// What was taken and is not written down yet. Locked before `changing`.
    taken: Mutex<HashMap<ServerId, Took>>,
    /// By what those that are shut out are known.
    revoked: RwLock<Revoked>,
    /// Held while servers change.
    pub(in crate::catalog) changing: Mutex<()>,
}

/// How often new servers come, one limiter for the life of a store.
pub(in crate::catalog) fn new_servers(clock: &Clock) -> RateLimiter {
    RateLimiter::new(NEW_SERVERS, clock.clone())
}

/// By what those that are shut out are known, whatever identity they say.
#[derive(Default)]
struct Revoked {
    names: HashMap<String, ServerId>,
    tokens: HashMap<[u8; 32], ServerId>,
    keys: HashMap<[u8; 32], ServerId>,
    certificate_names: HashMap<String, ServerId>,
    /// Only those that no other server comes from.
    addresses: HashMap<IpAddr, ServerId>,
}

impl Revoked {
    fn of(known: &HashMap<ServerId, Arc<Server>>) -> Self {
        let mut all = Self::default();
        for server in known.values().filter(|server| server.standing == Standing::Revoked) {
            let Seen { names, addresses, certificates, tokens } = &server.seen;
            all.names.extend(names.iter().map(|name| (name.clone(), server.id)));
            all.tokens.extend(tokens.iter().map(|hash| (*hash, server.id)));
            all.addresses.extend(addresses.iter().map(|address| (*address, server.id)));
            for certificate in certificates {
                all.keys.insert(certificate.key, server.id);
                if !certificate.name.is_empty() {
                    all.certificate_names.insert(certificate.name.to_lowercase(), server.id);
                }
            }
        }
        for server in known.values().filter(|server| server.standing != Standing::Revoked) {
            server.seen.addresses.iter().for_each(|address| {
                all.addresses.remove(address);
            });
        }
        all
    }

    fn find(&self, name: &str, credential: &Credential, is_known: bool) -> Option<(ServerId, IdentifiedBy)> {
        let by_certificate = |shown: &Certificate| {
            self.keys.get(&shown.key).or_else(|| self.certificate_names.get(&shown.name.to_lowercase()))
        };
        let token = credential
            .token
            .as_deref()
            .and_then(|token| self.tokens.get(&crate::catalog::servers::enrolment::hash(token)));
        let certificate = credential.certificate.as_ref().and_then(by_certificate);
        let name = self.names.get(&name.to_lowercase());
        // who came from there before under an identity of its own is somebody else
        let address = credential.address.filter(|_| !is_known);
        let address = address.and_then(|address| self.addresses.get(&address.to_canonical()));
        [
            (token, IdentifiedBy::Token),
            (certificate, IdentifiedBy::Certificate),
            (name, IdentifiedBy::Name),
            (address, IdentifiedBy::Address),
        ]
        .into_iter()
        .find_map(|(found, by)| Some((*found?, by)))
    }
}

impl Servers {
    pub(in crate::catalog) fn load(kv: &Kv) -> Result<Self, CatalogError> {
        let (mut known, mut invitations) = (HashMap::new(), HashMap::new());
        for (_, value) in entries(kv, b"S")? {
            let server = Server::of_record(&value)?;
            known.insert(server.id, Arc::new(server));
        }
        let revoked = RwLock::new(Revoked::of(&known));
        for (_, value) in entries(kv, b"I")? {
            let invitation: Invitation = record::decode('I', &value)?;
            invitations.insert(invitation.name.to_lowercase(), invitation);
        }
        Ok(Self {
            known: RwLock::new(known),
            invitations: RwLock::new(invitations),
            revoked,
            ..Self::default()
        })
    }

    pub(in crate::catalog) fn get(&self, id: &ServerId) -> Option<Arc<Server>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All of them, by name, then by identity.
    pub(in crate::catalog) fn all(&self) -> Vec<Arc<Server>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known.values().cloned().collect();
        drop(known);
        all.sort_unstable_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        all
    }

    fn keep(&self, server: Server) -> Arc<Server> {
        let server = Arc::new(server);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(server.id, Arc::clone(&server));
        let counts = |one: &Server| (one.standing, one.seen.clone());
        if before.as_deref().map(counts) != Some(counts(&server)) {
            self.sort_out(&known);
        }
        server
    }

    /// Follows who is shut out and who comes from where.
    fn sort_out(&self, known: &HashMap<ServerId, Arc<Server>>) {
        *self.revoked.write().unwrap_or_else(PoisonError::into_inner) = Revoked::of(known);
    }

    /// The server that was shut out and that this one is, as far as can be told.
    pub(in crate::catalog) fn is_revoked(
        &self,
        name: &str,
        credential: &Credential,
        is_known: bool,
    ) -> Option<(ServerId, IdentifiedBy)> {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).find(name, credential, is_known)
    }

    /// Servers that nobody decided about, that told nothing and that only came once, longer ago than this; the longest
    /// ago first.
    pub(in crate::catalog) fn never_came_back(&self, now: Timestamp, ago: SignedDuration) -> Vec<ServerId> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let last = |one: &Server| {
            one.last_seen.unwrap_or(one.first_seen).max(one.last_rollup.unwrap_or(one.first_seen))
        };
        let mut found: Vec<(Timestamp, ServerId)> = known
            .values()
            .filter(|one| one.standing == Standing::Open)
            .map(|one| (last(one), one))
            .filter(|(last, one)| {
                last.duration_since(one.first_seen) < FIRST_VISIT && now.duration_since(*last) >= ago
            })
            .map(|(last, one)| (last, one.id))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    pub(in crate::catalog) fn drop_one(&self, id: &ServerId) -> Option<Arc<Server>> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let gone = known.remove(id);
        if gone.as_ref().is_some_and(|gone| gone.standing == Standing::Revoked) {
            self.sort_out(&known);
        }
        gone
    }

    pub(in crate::catalog) fn len(&self) -> usize {
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
        seen: Seen::default(),
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
    pub(in crate::catalog) fn alter_server(
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
        let op = (key::server(id), Some(server.record()?));
        if decided {
            self.account(std::slice::from_ref(&op))?;
            self.journal(vec![op])?;
        } else if !self.put_state(op)? {
            return Err(CatalogError::TooMuchState { limit: self.config.max_downstream_state.0 });
        }
        Ok(self.servers.keep(server))
    }

    /// Lets one go that never came back where there is no room. One that an administrator decided about, that told
    /// something later or that took something later never goes because of newcomers.
    fn make_room_for_server(&self) -> Result<(), CatalogError> {
        let limit = self.config.max_servers;
        if self.servers.len() < limit {
            return Ok(());
        }
        let mut made_up = self.servers.never_came_back(self.clock.now(), MADE_UP_AFTER).into_iter();
        let goes = made_up.find(|id| self.servers.all().iter().all(|one| one.parent != Some(*id)));
        let goes = goes.ok_or(CatalogError::TooManyServers { limit })?;
        self.servers.drop_one(&goes);
        self.put_state((key::server(&goes), None)).map(|_| ())
    }

    pub(in crate::catalog) fn introduce_server(
        &self,
        id: &ServerId,
        name: &str,
        credential: &Credential,
    ) -> Result<Arc<Server>, CatalogError> {
        let now = self.clock.now();
        let name = cut(name, MAX_NAME);
        let recent = |at: Timestamp| is_recent(at, CONTACT_GRAIN, now);
        let known = self.servers.get(id);
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
            self.new_servers.try_take(address).map_err(|_too_often| CatalogError::ServersTooOften)?;
        }
        self.make_room_for_downstream()?;
        self.alter_server(id, true, false, |server| {
            server.name = name;
            server.parent = None;
            server.last_seen = Some(now);
            server.seen = seen;
        })
    }

    /// Counts what a server took. Written down by [`Store::write_server_counts`].
    pub(in crate::catalog) fn server_took(&self, id: &ServerId, took: Took) {
        let took = Took { at: Some(self.clock.now()), ..took };
        let mut taken = lock(&self.servers.taken);
        if self.servers.get(id).is_some() {
            taken.entry(*id).or_default().add(&took);
        }
    }

    /// Writes down what servers took since the last time; what cannot be written is kept for the next time.
    pub(in crate::catalog) fn write_server_counts(&self) -> Result<(), CatalogError> {
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
    pub(in crate::catalog) fn server(&self, id: &ServerId) -> Option<Arc<Server>> {
        self.servers.get(id).map(|server| self.counted(server))
    }

    /// All servers, by name, then by identity.
    pub(in crate::catalog) fn servers(&self) -> Vec<Arc<Server>> {
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
    pub(in crate::catalog) fn chain(&self, id: &ServerId) -> Vec<ServerId> {
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
    pub(in crate::catalog) fn servers_below(&self, id: &ServerId) -> HashSet<ServerId> {
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
