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

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::catalog::{Catalog, CatalogError, Credential, IdentifiedBy, Server, Standing, Took};
use crate::domain::{Limit, ServerId, limits};
use crate::serve::fault::Refusal;
use crate::serve::{Peer, PeerCertificate};

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
    /// The client certificate that the listener verified.
    pub certificate: Option<PeerCertificate>,
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

    fn credential(&self) -> Credential {
        Credential {
            address: Some(self.address),
            token: self.token.clone(),
            certificate: self.certificate.map(PeerCertificate::to_kept),
        }
    }
}

/// Why a server is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// An administrator shut it out.
    #[error("an administrator revoked it")]
    Revoked,
    /// It comes with what one has that an administrator shut out.
    #[error("it is server {of}, which an administrator revoked, by its {}; `tailwater downstreams allow` lets it in", by_what(*.by))]
    RevokedAs {
        /// Which one.
        of: ServerId,
        /// What both have.
        by: IdentifiedBy,
    },
    /// It came with a certificate before and shows none of that key or name.
    #[error("it showed another certificate before, or one at all")]
    Certificate,
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
            Self::RevokedAs { by, .. } => match by {
                IdentifiedBy::Name => "has the name of a revoked server",
                IdentifiedBy::Token => "has a token of a revoked server",
                IdentifiedBy::Certificate => "has the certificate of a revoked server",
                IdentifiedBy::Address => "comes from the address of a revoked server",
            },
            Self::Certificate => {
                "without the certificate that it had before; to accept it: downstreams allow"
            }
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

fn by_what(by: IdentifiedBy) -> &'static str {
    match by {
        IdentifiedBy::Name => "name",
        IdentifiedBy::Token => "token",
        IdentifiedBy::Certificate => "certificate",
        IdentifiedBy::Address => "address",
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
            certificate: None,
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
        let certified =
            Proof { certificate: Some(PeerCertificate::new([6; 32], "d.example")), ..shown(None) };
        assert!(gate.admit(&server(6), "d.example", &certified).is_ok());
    }

    /// What of a server that was shut out is another one when it comes again.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Other {
        Identity,
        Name,
        Address,
        Certificate,
        Token,
    }

    /// Every set of what it may change, under both policies, with and without a certificate and a token: it gets in only
    /// where nothing by which it is known is left and the policy lets strangers in.
    #[test]
    fn who_was_shut_out_stays_so_whatever_it_changes() {
        let all = [Other::Identity, Other::Name, Other::Address, Other::Certificate, Other::Token];
        let mut let_in = 0;
        for policy in [Policy::Open, Policy::Enrolled] {
            for (with_certificate, with_token) in [(false, false), (true, false), (false, true), (true, true)]
            {
                for set in 0..1_u32 << all.len() {
                    let changed = |what: Other| {
                        all.iter().position(|one| *one == what).is_some_and(|at| set >> at & 1 == 1)
                    };
                    let (gate, catalog, _dir) = gate(policy);
                    let token = catalog.allow_server("branch.example", with_token).unwrap().token;
                    let certificate =
                        |key: u8, name: &str| with_certificate.then(|| PeerCertificate::new([key; 32], name));
                    let first = Proof {
                        token: with_token.then_some(token),
                        certificate: certificate(1, "branch.example"),
                        ..shown(None)
                    };
                    gate.admit(&server(1), "branch.example", &first).unwrap();
                    let revoked = catalog.revoke_server("branch.example").unwrap();
                    let seen = &revoked.server.as_ref().unwrap().seen;
                    let named = (seen.names.len(), seen.addresses.len(), seen.certificates.len());
                    assert_eq!(
                        named,
                        (1, 1, usize::from(with_certificate)),
                        "the administrator is told which"
                    );
                    let again = Proof {
                        address: if changed(Other::Address) { [198, 51, 100, 9] } else { [192, 0, 2, 7] }
                            .into(),
                        token: if changed(Other::Token) { None } else { first.token.clone() },
                        certificate: if changed(Other::Certificate) {
                            certificate(2, "other.example")
                        } else {
                            first.certificate
                        },
                        who: Arc::default(),
                    };
                    let id = if changed(Other::Identity) { server(2) } else { server(1) };
                    let name = if changed(Other::Name) { "other.example" } else { "branch.example" };
                    let outcome = gate.admit(&id, name, &again);
                    let is_stranger = changed(Other::Identity)
                        && changed(Other::Name)
                        && changed(Other::Address)
                        && (changed(Other::Certificate) || !with_certificate)
                        && (changed(Other::Token) || !with_token);
                    let gets_in = is_stranger && (policy == Policy::Open || with_certificate);
                    assert_eq!(outcome.is_ok(), gets_in, "{policy:?} {set:05b} {outcome:?}");
                    let_in += usize::from(gets_in);
                    if !gets_in {
                        assert!(gate.check(&server(1), &again).is_err());
                        assert_eq!(catalog.refused_servers().last().unwrap().id, server(1));
                        // an explicit word lets it in again
                        catalog.allow_server(&id.to_string(), false).unwrap();
                        gate.admit(&id, name, &again).unwrap();
                        gate.check(&id, &again).unwrap();
                    }
                }
            }
        }
        assert!(let_in > 0, "strangers were among them");
    }

    #[test]
    fn an_address_that_others_come_from_shuts_nobody_out() {
        let (gate, catalog, dir) = gate(Policy::Open);
        gate.admit(&server(1), "a.example", &shown(None)).unwrap();
        gate.admit(&server(2), "b.example", &shown(None)).unwrap();
        let revoked = catalog.revoke_server("a.example").unwrap();
        assert_eq!((revoked.shared, revoked.also), (vec![shown(None).address], Vec::new()));
        assert!(gate.check(&server(2), &shown(None)).is_ok());
        gate.admit(&server(3), "c.example", &shown(None)).unwrap();
        // one that has its name is shut out with it, and named
        gate.admit(&server(4), "d.example", &shown(None)).unwrap();
        gate.admit(&server(5), "D.example", &shown(None)).unwrap();
        let revoked = catalog.revoke_server(&server(4).to_string()).unwrap();
        assert_eq!(revoked.also, [server(5)]);
        assert!(matches!(gate.check(&server(5), &shown(None)), Err(Denied::RevokedAs { .. })));
        // that outlives the process, and that what it told is forgotten
        catalog.forget_server(&server(4)).unwrap();
        drop((gate, catalog));
        let catalog = Catalog::open(Config::new(dir.path()), Clock::system()).unwrap();
        let gate = Gate::new(Policy::Open, catalog);
        assert!(matches!(gate.check(&server(4), &shown(None)), Err(Denied::Revoked)));
        let again = gate.admit(&server(6), "d.example", &shown(None));
        assert!(matches!(again, Err(Denied::RevokedAs { by: IdentifiedBy::Name, .. })));
    }

    #[test]
    fn a_server_is_bound_to_the_certificate_it_came_with() {
        let (gate, catalog, _dir) = gate(Policy::Open);
        let with = |key: u8, name: &str| Proof {
            certificate: Some(PeerCertificate::new([key; 32], name)),
            ..shown(None)
        };
        gate.admit(&server(1), "a.example", &with(1, "a.example")).unwrap();
        assert!(gate.check(&server(1), &with(1, "a.example")).is_ok());
        assert!(gate.check(&server(1), &with(2, "A.example")).is_ok(), "a renewed one for the same name");
        assert!(gate.check(&server(1), &with(1, "b.example")).is_ok(), "another name, the same key");
        for other in [shown(None), with(3, "b.example"), with(3, "")] {
            assert!(matches!(gate.check(&server(1), &other), Err(Denied::Certificate)));
            assert!(matches!(gate.admit(&server(1), "a.example", &other), Err(Denied::Certificate)));
        }
        catalog.allow_server("a.example", false).unwrap();
        assert!(gate.admit(&server(1), "a.example", &shown(None)).is_ok(), "an administrator said so");
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
