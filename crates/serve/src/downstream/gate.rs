//! The one place that decides who may synchronise from here: authorization, every cookie, roll-ups, and what two
//! tailwaters say to each other all ask it.
//!
//! An identity is a number that a server says, so who was shut out is known by all that it came with: name, token,
//! certificate, address. Who comes with one of them is shut out too, under whatever identity, until an administrator lets
//! that one in. Where the policy is "open", somebody who changes all of them at once is somebody else.
//!
//! **Invariant:** an administrator's word comes before the policy, and a refusal is told to the log with who and why.
//! A server that once showed a certificate needs one of that key or name from then on. It never answers a request:
//! callers turn [`Denied`] into the fault of their operation.

mod denied;
mod proof;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

pub use self::denied::Denied;
pub use self::proof::Proof;
use tailwater_catalog::{Catalog, Credential, Server, Standing, Took};
use tailwater_domain::{Choice, Limit, ServerId, limits};

/// How many addresses are remembered that servers come from.
const MAX_ADDRESSES: usize = 10_000;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_ADDRESSES in "addresses": "Addresses remembered of downstream servers" => "it is not remembered",
];

/// `downstream.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Whoever asks, as WSUS does; an administrator can still revoke one.
    #[default]
    Open,
    /// Whom an administrator allowed, and whoever shows a certificate that the listener accepts.
    Enrolled,
}

impl Choice for Policy {
    const WORDS: &'static [(&'static str, Self)] = &[("open", Self::Open), ("enrolled", Self::Enrolled)];
}

/// The gate. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<GateState>);

struct GateState {
    policy: Policy,
    catalog: Catalog,
    /// Who comes from where; nobody when several do.
    addresses: Mutex<HashMap<IpAddr, Option<ServerId>>>,
}

impl Gate {
    /// A gate that follows this policy and what the catalog knows.
    pub fn new(policy: Policy, catalog: Catalog) -> Self {
        Self(Arc::new(GateState { policy, catalog, addresses: Mutex::default() }))
    }

    /// A server says who it is (`GetAuthorizationCookie`): it is made when unknown and let in. May wait for the disk.
    ///
    /// # Errors
    /// [`Denied`]; the log was told.
    pub fn admit(&self, id: &ServerId, name: &str, proof: &Proof) -> Result<Arc<Server>, Denied> {
        let mut known = self.0.catalog.server(id);
        let credential = proof.credential();
        let undecided = known.as_ref().is_none_or(|known| known.standing == Standing::Open);
        if let Some(token) = proof.token.as_deref().filter(|_| undecided) {
            // who shows a token that was made for somebody is that one from now on
            known = self.0.catalog.claim_invitation(id, name, Some(token), true)?.or(known);
        }
        let admitted = match self.judge(known.as_deref(), name, proof, &credential) {
            Err(Denied::NotEnrolled) => {
                let claimed = self.0.catalog.claim_invitation(id, name, None, false)?;
                claimed.map(|_| ()).ok_or(Denied::NotEnrolled)
            }
            judged => judged,
        };
        admitted.inspect_err(|denied| self.tell(id, name, proof, denied))?;
        self.came(id, proof);
        Ok(self.0.catalog.introduce_server(id, name, &credential)?)
    }

    /// A server that was let in before asks for something. Memory only.
    ///
    /// # Errors
    /// [`Denied`]; the log was told.
    pub fn check(&self, id: &ServerId, proof: &Proof) -> Result<Arc<Server>, Denied> {
        let known = self.0.catalog.server(id);
        let judged = match &known {
            Some(server) => self.judge(Some(server), &server.name, proof, &proof.credential()),
            None => Err(Denied::Unknown),
        };
        let name = known.as_ref().map_or("", |server| &server.name);
        judged.inspect_err(|denied| self.tell(id, name, proof, denied))?;
        self.came(id, proof);
        known.ok_or(Denied::Unknown)
    }

    /// Whether any server that was let in comes from an address.
    pub fn has_come(&self, address: IpAddr) -> bool {
        self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&address)
    }

    /// The server that comes from an address, when only one does.
    pub fn server_at(&self, address: IpAddr) -> Option<ServerId> {
        let addresses = self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.get(&address).copied().flatten()
    }

    /// Whether some server comes from this address, perhaps several.
    pub fn is_servers(&self, address: IpAddr) -> bool {
        let addresses = self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.contains_key(&address.to_canonical()) || addresses.contains_key(&address)
    }

    fn judge(
        &self,
        known: Option<&Server>,
        name: &str,
        proof: &Proof,
        credential: &Credential,
    ) -> Result<(), Denied> {
        let standing = known.map_or(Standing::Open, |server| server.standing);
        let bound = || {
            let fits = known.is_none_or(|server| server.seen.allows(credential.certificate.as_ref()));
            if fits { Ok(()) } else { Err(Denied::Certificate) }
        };
        match standing {
            Standing::Revoked => Err(Denied::Revoked),
            Standing::Allowed => {
                let shown = proof.token.as_deref();
                let fits = |server: &Server| shown.is_some_and(|token| server.has_token(token));
                let missing = known.is_some_and(|server| server.needs_token && !fits(server));
                if missing { Err(Denied::Token) } else { bound() }
            }
            Standing::Open => {
                // one that only others told of so far is as new as one that nobody did
                let is_known = known.is_some_and(|server| server.last_seen.is_some());
                if let Some((of, by)) = self.0.catalog.is_revoked(name, credential, is_known) {
                    return Err(Denied::RevokedAs { of, by });
                }
                bound()?;
                if self.0.policy == Policy::Open || proof.certificate.is_some() {
                    Ok(())
                } else {
                    Err(Denied::NotEnrolled)
                }
            }
        }
    }

    /// Counts the bytes of an answer about updates for who passed with this proof; `told` is the change number up to
    /// which it was told what there is.
    pub fn count_metadata(&self, proof: &Proof, bytes: u64, told: Option<u64>) {
        if let Some(id) = proof.admitted_as() {
            self.count(id, Took { metadata: bytes, change: told, ..Took::default() });
        }
    }

    /// Counts the bytes of a payload for the server that comes from this address, when only one does.
    pub fn count_content(&self, address: IpAddr, bytes: u64) {
        if let Some(id) = self.server_at(address) {
            self.count(&id, Took { content: bytes, ..Took::default() });
        }
    }

    fn count(&self, id: &ServerId, took: Took) {
        self.0.catalog.server_took(id, took);
    }

    fn came(&self, id: &ServerId, proof: &Proof) {
        // the first that one request is about
        proof.is_admitted_as(*id);
        let mut addresses = self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.len() >= MAX_ADDRESSES && !addresses.contains_key(&proof.address) {
            return;
        }
        let who = addresses.entry(proof.address).or_insert(Some(*id));
        if who.is_some_and(|other| other != *id) {
            *who = None;
        }
    }

    fn tell(&self, id: &ServerId, name: &str, proof: &Proof, denied: &Denied) {
        let reason = denied.reason();
        if self.0.catalog.note_refused(id, name, reason) {
            tracing::warn!(server = %id, name, address = %proof.address, reason, "refused a downstream server");
        }
    }
}

#[cfg(test)]
mod tests;
