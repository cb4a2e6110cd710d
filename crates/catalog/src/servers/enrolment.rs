//! Who may synchronise from here: permissions, tokens, refusals.
//!
//! **Invariant:** a decision is durable when a call returns; of a token only its hash is kept, and it is compared in a
//! time that does not tell how much of it is right. It never decides by policy: that is the gate's.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::part::{MAX_NAME, Servers};
use super::tokens::{hash, is_token, new_token};
use crate::error::CatalogError;
use crate::storage::lock::leaf;
use crate::storage::record::{self, key};
use crate::values::server::{
    Credential, Invitation, Permission, Refused, Revocation, Seen, Server, Standing,
};
use crate::values::text::cut;
use tailwater_domain::{Limit, ServerId, ServerName, limits};
use tailwater_runtime::is_recent;

/// How many permissions may wait for somebody to come.
const MAX_INVITATIONS: usize = 1_000;
/// How many refused servers are remembered; the oldest goes first.
const MAX_REFUSED: usize = 100;
/// How often one refused server gets a line of the log.
const TELL_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// How many refused servers get one in that time: whoever makes identities up must not fill the log.
const MAX_TOLD: usize = 30;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_INVITATIONS in "servers": "Permissions that wait for their server" => "no further one is given: 400",
    MAX_REFUSED in "servers": "Refused servers that are remembered" => "the oldest is forgotten",
    MAX_TOLD in "lines": "Lines of the log about refused servers in a minute" => "they are not logged",
    TELL_EVERY: "Time between two lines of the log about one refused server" => "it is not logged",
];

impl Servers {
    /// The server that an identity or a name means; also one that was only refused so far.
    fn find_server(&self, name_or_id: &str) -> Result<Option<(ServerId, String)>, CatalogError> {
        let wanted = name_or_id.trim();
        // an identity has the form of a name too
        if let Err(source) = ServerName::parse(wanted) {
            return Err(CatalogError::ServerName { name: cut(wanted, 80), source });
        }
        let known: Vec<_> = self.known().all().into_iter().map(|one| (one.id, one.name.clone())).collect();
        let refused = leaf(&self.refused).clone();
        if let Ok(id) = wanted.parse::<ServerId>() {
            let of_refused = refused.into_iter().map(|one| (one.id, one.name));
            let named = known.into_iter().chain(of_refused).find(|(other, _)| *other == id);
            return Ok(Some(named.unwrap_or((id, String::new()))));
        }
        let mut named: Vec<_> =
            known.into_iter().filter(|(_, name)| name.eq_ignore_ascii_case(wanted)).collect();
        if named.is_empty() {
            let refused = refused.into_iter().filter(|one| one.name.eq_ignore_ascii_case(wanted));
            named.extend(refused.map(|one| (one.id, one.name)));
        }
        match named.len() {
            0 | 1 => Ok(named.pop()),
            count => Err(CatalogError::AmbiguousServer { name: wanted.to_owned(), count }),
        }
    }

    /// Lets a server in, named by identity or name, and makes a token for it.
    pub(crate) fn allow_server(
        &self,
        name_or_id: &str,
        needs_token: bool,
    ) -> Result<Permission, CatalogError> {
        let token = new_token()?;
        let Some((id, name)) = self.find_server(name_or_id)? else {
            let name = name_or_id.trim().to_owned();
            self.invite(Invitation {
                name: name.clone(),
                needs_token,
                token: hash(&token),
                at: self.state().clock().now(),
            })?;
            return Ok(Permission { server: None, name, token });
        };
        let server = self.alter_server(&id, true, true, |server| {
            // who is let in again may come with another certificate and from elsewhere
            if server.standing == Standing::Revoked {
                server.seen = Seen::default();
            }
            server.seen.certificates.clear();
            server.standing = Standing::Allowed;
            server.needs_token = needs_token;
            server.token = Some(hash(&token));
            server.seen.note_token(hash(&token));
            if server.name.is_empty() {
                server.name.clone_from(&name);
            }
        })?;
        leaf(&self.refused).retain(|one| one.id != id);
        Ok(Permission { server: Some(id), name: server.name.clone(), token })
    }

    fn invite(&self, invitation: Invitation) -> Result<(), CatalogError> {
        let mut waiting = self.invitations.lock();
        let name = invitation.name.to_lowercase();
        if waiting.len() >= MAX_INVITATIONS && !waiting.contains_key(&name) {
            return Err(CatalogError::TooManyServers { limit: MAX_INVITATIONS });
        }
        self.state().journal(vec![(key::invitation(&name), Some(record::encode(&invitation)?))])?;
        waiting.insert(name, invitation);
        Ok(())
    }

    /// Shuts a server out, named by identity or name.
    pub(crate) fn revoke_server(&self, name_or_id: &str) -> Result<Revocation, CatalogError> {
        let name = name_or_id.trim().to_lowercase();
        let mut waiting = self.invitations.lock();
        let invited = waiting.contains_key(&name);
        if invited {
            self.state().journal(vec![(key::invitation(&name), None)])?;
            waiting.remove(&name);
        }
        drop(waiting);
        let Some((id, name)) = self.find_server(name_or_id)? else {
            let nobody = Revocation { server: None, also: Vec::new(), shared: Vec::new() };
            return if invited {
                Ok(nobody)
            } else {
                Err(CatalogError::UnknownServer(name_or_id.to_owned()))
            };
        };
        let revoked = self.alter_server(&id, true, true, |server| {
            server.standing = Standing::Revoked;
            server.needs_token = false;
            server.token = None;
            if server.name.is_empty() {
                server.name.clone_from(&name);
            }
            server.seen.note(&name, &Credential::default());
        })?;
        let others: Vec<Arc<Server>> = self
            .known()
            .all()
            .into_iter()
            .filter(|one| one.id != id && one.standing == Standing::Open && one.parent.is_none())
            .collect();
        let is_shut_out = |one: &Arc<Server>| {
            let name = one.seen.names.last().map_or("", String::as_str);
            let certificate = one.seen.certificates.last().cloned();
            self.known()
                .is_revoked(name, &Credential { certificate, ..Credential::default() }, true)
                .is_some()
        };
        let comes_from = |address: &IpAddr| others.iter().any(|one| one.seen.addresses.contains(address));
        Ok(Revocation {
            also: others.iter().filter(|one| is_shut_out(one)).map(|one| one.id).collect(),
            shared: revoked.seen.addresses.iter().copied().filter(comes_from).collect(),
            server: Some(revoked),
        })
    }

    /// Whether a server that is not allowed yet may come by a permission; if so it is allowed from now on.
    pub(crate) fn claim_invitation(
        &self,
        id: &ServerId,
        name: &str,
        token: Option<&str>,
        token_only: bool,
    ) -> Result<Option<Arc<Server>>, CatalogError> {
        if self.known().get(id).is_some_and(|known| known.standing == Standing::Revoked) {
            return Ok(None);
        }
        let mut waiting = self.invitations.lock();
        let by_token = |one: &&Invitation| token.is_some_and(|token| is_token(&one.token, token));
        // a name is what somebody who was shut out knows
        let by_name = || waiting.get(&name.to_lowercase()).filter(|one| !one.needs_token && !token_only);
        let Some(found) = waiting.values().find(by_token).or_else(by_name).cloned() else { return Ok(None) };
        let server = self.alter_server(id, true, true, |server| {
            server.standing = Standing::Allowed;
            server.needs_token = found.needs_token;
            server.token = Some(found.token);
            server.seen.note_token(found.token);
            server.name = cut(name, MAX_NAME);
        })?;
        let key = found.name.to_lowercase();
        self.state().journal(vec![(key::invitation(&key), None)])?;
        waiting.remove(&key);
        leaf(&self.refused).retain(|one| one.id != *id);
        Ok(Some(server))
    }

    /// Permissions that nobody came for yet, by name.
    pub(crate) fn invitations(&self) -> Vec<Invitation> {
        let waiting = self.invitations.lock();
        let mut all: Vec<_> = waiting.values().cloned().collect();
        drop(waiting);
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Notes that a server was refused; true when that is worth a line of the log.
    pub(crate) fn note_refused(&self, id: &ServerId, name: &str, reason: &'static str) -> bool {
        let now = self.state().clock().now();
        let mut refused = leaf(&self.refused);
        let before = refused.iter().position(|one| one.id == *id).map(|at| refused.remove(at));
        let (times, told) =
            before.map_or((0, None), |one| (one.times, (one.reason == reason).then_some(one.told)));
        let recent = |told: Timestamp| is_recent(told, TELL_EVERY, now);
        let lines = refused.iter().filter(|one| recent(one.told)).count();
        let tell = told.is_none_or(|told| !recent(told)) && lines < MAX_TOLD;
        if refused.len() >= MAX_REFUSED {
            refused.remove(0);
        }
        let told = if tell { now } else { told.unwrap_or(Timestamp::UNIX_EPOCH) };
        refused.push(Refused { id: *id, name: cut(name, MAX_NAME), reason, at: now, times: times + 1, told });
        tell
    }

    /// Servers that were refused since this process began.
    pub(crate) fn refused_servers(&self) -> Vec<Refused> {
        leaf(&self.refused).clone()
    }
}
