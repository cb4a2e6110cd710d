//! The one place that decides who may synchronise from here: authorization, every cookie, roll-ups, and what two
//! tailwaters say to each other all ask it.
//!
//! **Invariant:** an administrator's word comes before the policy, and a refusal is told to the log with who and why.
//! It never answers a request: callers turn [`Denied`] into the fault of their operation.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::catalog::{Catalog, CatalogError, Server, Standing, Took};
use crate::domain::{Limit, ServerId, limits};
use crate::serve::Peer;
use crate::serve::fault::Refusal;

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

/// What a server shows beside its identity.
#[derive(Clone)]
pub struct Proof {
    /// Where it comes from.
    pub address: IpAddr,
    /// `Authorization: Bearer …`.
    pub token: Option<String>,
    /// Whether the listener verified a client certificate.
    pub certificate: bool,
    /// Who that is, once the gate let it pass.
    who: Arc<OnceLock<ServerId>>,
}

impl Proof {
    /// What a request shows.
    pub fn of(parts: &Parts, from: Peer) -> Self {
        let shown = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = shown.and_then(|text| {
            let (scheme, token) = text.trim().split_once(' ')?;
            scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim().to_owned())
        });
        Self { address: from.address.ip(), token: bearer, certificate: from.certificate, who: Arc::default() }
    }
}

/// Why a server is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// An administrator shut it out.
    #[error("an administrator revoked it")]
    Revoked,
    /// Nobody let it in, and the policy asks for that.
    #[error("nobody allowed it, and downstream.policy is \"enrolled\"")]
    NotEnrolled,
    /// It must show its token, and did not, or showed another one.
    #[error("it did not show the token that was made for it")]
    Token,
    /// It never authorized here.
    #[error("it never authorized here")]
    Unknown,
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Denied {
    fn reason(&self) -> &'static str {
        match self {
            Self::Revoked => "revoked by an administrator",
            Self::NotEnrolled => "not enrolled, and downstream.policy asks for it",
            Self::Token => "without the token that was made for it",
            Self::Unknown => "never authorized here",
            Self::Catalog(_) => "the catalog failed",
        }
    }

    /// As `GetAuthorizationCookie` says it: its faults are `InvalidParameters` and `InternalServerError` only, and the
    /// first makes a server stop instead of trying for ever ([MS-WSUSSS] 3.1.4.2).
    pub fn at_authorization(self) -> Refusal {
        self.or(Refusal::Parameter("accountGuid"))
    }

    /// As `GetCookie` says it ([MS-WSUSSS] 3.1.4.3).
    pub fn at_cookie(self) -> Refusal {
        self.or(Refusal::InvalidAuthorizationCookie)
    }

    /// As every operation with a cookie says it, and roll-ups, which have no fault of their own.
    pub fn at_operation(self) -> Refusal {
        self.or(Refusal::InvalidCookie)
    }

    fn or(self, refusal: Refusal) -> Refusal {
        match self {
            Self::Catalog(error) => error.into(),
            _ => refusal,
        }
    }
}

/// The gate. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    policy: Policy,
    catalog: Catalog,
    /// Who comes from where; nobody when several do.
    addresses: Mutex<HashMap<IpAddr, Option<ServerId>>>,
}

impl Gate {
    /// A gate that follows this policy and what the catalog knows.
    pub fn new(policy: Policy, catalog: Catalog) -> Self {
        Self(Arc::new(Inner { policy, catalog, addresses: Mutex::default() }))
    }

    /// A server says who it is (`GetAuthorizationCookie`): it is made when unknown and let in. May wait for the disk.
    ///
    /// # Errors
    /// [`Denied`]; the log was told.
    pub fn admit(&self, id: &ServerId, name: &str, proof: &Proof) -> Result<Arc<Server>, Denied> {
        let known = self.0.catalog.server(id);
        let admitted = match self.judge(known.as_deref(), proof) {
            Err(Denied::NotEnrolled) => {
                let claimed = self.0.catalog.claim_invitation(id, name, proof.token.as_deref())?;
                claimed.map(|_| ()).ok_or(Denied::NotEnrolled)
            }
            judged => judged,
        };
        admitted.inspect_err(|denied| self.tell(id, name, proof, denied))?;
        self.came(id, proof);
        Ok(self.0.catalog.introduce_server(id, name)?)
    }

    /// A server that was let in before asks for something. Memory only.
    ///
    /// # Errors
    /// [`Denied`]; the log was told.
    pub fn check(&self, id: &ServerId, proof: &Proof) -> Result<Arc<Server>, Denied> {
        let known = self.0.catalog.server(id);
        let judged = match &known {
            Some(server) => self.judge(Some(server), proof),
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

    fn judge(&self, known: Option<&Server>, proof: &Proof) -> Result<(), Denied> {
        let standing = known.map_or(Standing::Open, |server| server.standing);
        match standing {
            Standing::Revoked => Err(Denied::Revoked),
            Standing::Allowed => {
                let shown = proof.token.as_deref();
                let fits = |server: &Server| shown.is_some_and(|token| server.has_token(token));
                let missing = known.is_some_and(|server| server.needs_token && !fits(server));
                if missing { Err(Denied::Token) } else { Ok(()) }
            }
            Standing::Open if self.0.policy == Policy::Open || proof.certificate => Ok(()),
            Standing::Open => Err(Denied::NotEnrolled),
        }
    }

    /// Counts the bytes of an answer about updates for who passed with this proof; `told` is the change number up to
    /// which it was told what there is.
    pub fn count_metadata(&self, proof: &Proof, bytes: u64, told: Option<u64>) {
        if let Some(id) = proof.who.get() {
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
        let _again = proof.who.set(*id);
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
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::catalog::Config;
    use crate::runtime::Clock;

    fn gate(policy: Policy) -> (Gate, Catalog, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_second(1_000_000).unwrap());
        let catalog = Catalog::open(Config::new(dir.path()), clock).unwrap();
        (Gate::new(policy, catalog.clone()), catalog, dir)
    }

    fn shown(token: Option<&str>) -> Proof {
        Proof {
            address: IpAddr::from([192, 0, 2, 7]),
            token: token.map(str::to_owned),
            certificate: false,
            who: Arc::default(),
        }
    }

    fn server(number: u128) -> ServerId {
        ServerId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn an_open_gate_lets_in_whoever_is_not_revoked() {
        let (gate, catalog, _dir) = gate(Policy::Open);
        assert_eq!(gate.admit(&server(1), "a.example", &shown(None)).unwrap().name, "a.example");
        assert!(gate.check(&server(1), &shown(None)).is_ok());
        assert!(matches!(gate.check(&server(2), &shown(None)), Err(Denied::Unknown)));
        catalog.revoke_server("A.example").unwrap();
        assert!(matches!(gate.check(&server(1), &shown(None)), Err(Denied::Revoked)));
        assert!(matches!(gate.admit(&server(1), "a.example", &shown(None)), Err(Denied::Revoked)));
        catalog.allow_server(&server(1).to_string(), false).unwrap();
        assert!(gate.check(&server(1), &shown(None)).is_ok());
    }

    #[test]
    fn enrolment_is_by_name_by_identity_or_by_token() {
        let (gate, catalog, _dir) = gate(Policy::Enrolled);
        let refused = gate.admit(&server(1), "a.example", &shown(None));
        assert!(matches!(refused, Err(Denied::NotEnrolled)));
        assert_eq!(catalog.refused_servers()[0].id, server(1));
        // by the name of one that was refused, which means that one and no other
        assert_eq!(catalog.allow_server("a.example", false).unwrap().server, Some(server(1)));
        assert!(gate.admit(&server(1), "a.example", &shown(None)).is_ok());
        assert!(gate.admit(&server(2), "a.example", &shown(None)).is_err());
        // by a name that nobody came by: the first who does
        assert_eq!(catalog.allow_server("b.example", false).unwrap().server, None);
        assert!(gate.admit(&server(3), "b.example", &shown(None)).is_ok());
        assert!(gate.admit(&server(4), "b.example", &shown(None)).is_err());
        // by token, whatever the name
        let token = catalog.allow_server("c.example", true).unwrap().token;
        assert!(gate.admit(&server(5), "c.example", &shown(None)).is_err());
        assert!(gate.admit(&server(5), "other.example", &shown(Some(&token))).is_ok());
        assert!(gate.check(&server(5), &shown(Some(&token))).is_ok());
        assert!(matches!(gate.check(&server(5), &shown(None)), Err(Denied::Token)));
        let certified = Proof { certificate: true, ..shown(None) };
        assert!(gate.admit(&server(6), "d.example", &certified).is_ok());
    }

    #[test]
    fn decisions_outlive_the_process() {
        let (gate, catalog, dir) = gate(Policy::Enrolled);
        let token = catalog.allow_server("a.example", true).unwrap().token;
        catalog.allow_server("b.example", false).unwrap();
        assert!(gate.admit(&server(1), "a.example", &shown(Some(&token))).is_ok());
        drop((gate, catalog));
        let catalog = Catalog::open(Config::new(dir.path()), Clock::system()).unwrap();
        let gate = Gate::new(Policy::Enrolled, catalog.clone());
        assert!(gate.check(&server(1), &shown(Some(&token))).is_ok());
        assert_eq!(catalog.invitations()[0].name, "b.example");
        assert!(gate.admit(&server(2), "b.example", &shown(None)).is_ok());
    }

    #[test]
    fn an_address_names_a_server_only_while_one_comes_from_it() {
        let (gate, _catalog, _dir) = gate(Policy::Open);
        gate.admit(&server(1), "a.example", &shown(None)).unwrap();
        assert_eq!(gate.server_at(shown(None).address), Some(server(1)));
        gate.admit(&server(2), "b.example", &shown(None)).unwrap();
        assert_eq!(gate.server_at(shown(None).address), None);
    }
}
