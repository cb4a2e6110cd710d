//! What a server shows beside its identity: where it comes from, a token, a certificate.
//!
//! **Invariant:** a token is never logged. It never decides whether that is enough.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::http::{Peer, PeerCertificate};
use tailwater_catalog::Credential;
use tailwater_domain::ServerId;

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
    pub(super) who: Arc<OnceLock<ServerId>>,
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

    /// What of it identifies a server.
    pub(super) fn credential(&self) -> Credential {
        Credential {
            address: Some(self.address),
            token: self.token.clone(),
            certificate: self.certificate.map(PeerCertificate::to_kept),
        }
    }

    /// Who that is, once the gate let it pass.
    pub(super) fn admitted_as(&self) -> Option<&ServerId> {
        self.who.get()
    }

    /// The gate let it pass; of several servers that one request is about the first counts.
    pub(super) fn is_admitted_as(&self, id: ServerId) {
        let _again = self.who.set(id);
    }
}
