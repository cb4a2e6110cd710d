//! Downstream servers in memory: who there is, in which tree, and by what those that were shut out are known.
//!
//! **Invariant:** who is shut out is known by everything it came with, not by the identity that it says; that follows the
//! servers. A leaf: nothing else is locked meanwhile. It never writes anything.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};

use super::tokens::hash;
use crate::error::CatalogError;
use crate::storage::entries::entries;
use crate::values::server::{Certificate, Credential, IdentifiedBy, Seen, Server, Standing};
use tailwater_domain::{Limit, ServerId, limits};
use tailwater_kv::Kv;

/// A server that only ever came within so long of its first coming never came back.
const FIRST_VISIT: SignedDuration = SignedDuration::from_hours(1);
/// The longest chain of servers that is followed.
const MAX_DEPTH: usize = 32;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_DEPTH in "servers": "A chain of servers that is followed" => "the rest of it is not shown",
];

// not a limit: FIRST_VISIT: what counts as one visit

/// All servers below.
pub(crate) struct Registry {
    known: RwLock<HashMap<ServerId, Arc<Server>>>,
    /// By what those that are shut out are known.
    revoked: RwLock<Revoked>,
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
        let token = credential.token.as_deref().and_then(|token| self.tokens.get(&hash(token)));
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

impl Registry {
    /// The servers in the index.
    pub(crate) fn load(kv: &Kv) -> Result<Self, CatalogError> {
        let mut known = HashMap::new();
        for (_, value) in entries(kv, b"S")? {
            let server = Server::of_record(&value)?;
            known.insert(server.id, Arc::new(server));
        }
        let revoked = RwLock::new(Revoked::of(&known));
        Ok(Self { known: RwLock::new(known), revoked })
    }

    /// A server.
    pub(crate) fn get(&self, id: &ServerId) -> Option<Arc<Server>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All of them, by name, then by identity.
    pub(crate) fn all(&self) -> Vec<Arc<Server>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known.values().cloned().collect();
        drop(known);
        all.sort_unstable_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        all
    }

    /// Puts a server in the place of its former self.
    pub(crate) fn keep(&self, server: Server) -> Arc<Server> {
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
    pub(crate) fn is_revoked(
        &self,
        name: &str,
        credential: &Credential,
        is_known: bool,
    ) -> Option<(ServerId, IdentifiedBy)> {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).find(name, credential, is_known)
    }

    /// Servers that nobody decided about, that told nothing and that only came once, longer ago than this; the longest
    /// ago first.
    pub(crate) fn never_came_back(&self, now: Timestamp, ago: SignedDuration) -> Vec<ServerId> {
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

    /// Forgets one; what it was, if it was known.
    pub(crate) fn drop_one(&self, id: &ServerId) -> Option<Arc<Server>> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let gone = known.remove(id);
        if gone.as_ref().is_some_and(|gone| gone.standing == Standing::Revoked) {
            self.sort_out(&known);
        }
        gone
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The servers between this one and what `id` serves: the direct child first, `id` itself last. Empty when `id`
    /// is unknown. A ring (somebody lies) ends where it began.
    pub(crate) fn chain(&self, id: &ServerId) -> Vec<ServerId> {
        let mut chain = Vec::new();
        let mut next = self.get(id);
        while let Some(server) = next.take() {
            if chain.len() == MAX_DEPTH || chain.contains(&server.id) {
                break;
            }
            chain.push(server.id);
            next = server.parent.and_then(|parent| self.get(&parent));
        }
        chain.reverse();
        chain
    }

    /// A server and all below it.
    pub(crate) fn below(&self, id: &ServerId) -> HashSet<ServerId> {
        let all = self.all();
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
