//! What a client certificate says of who shows it: its public key, and the first name that it is made out for.
//!
//! **Invariant:** only certificates that the listener verified come here. A name is one that domain names allow, and is
//! shown and compared, never resolved. It never decides who may come.

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use webpki::EndEntityCert;

use tailwater_catalog::Certificate;
use tailwater_domain::{Limit, ServerName, limits};

/// The longest name that is kept of a certificate, in bytes; a longer one is none.
const MAX_NAME: usize = 128;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_NAME in "bytes": "The name in a client certificate" => "the certificate is known by its key alone",
];

/// A client certificate that is valid. Small and copied, as a connection's ends are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PeerCertificate {
    key: [u8; 32],
    name: [u8; MAX_NAME],
    len: u8,
}

impl std::fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerCertificate").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl PeerCertificate {
    /// One with this hash of its public key, made out for this name.
    pub fn new(key: [u8; 32], name: &str) -> Self {
        let name = ServerName::parse(name).map(ServerName::into_string).unwrap_or_default();
        let name = if name.len() > MAX_NAME { "" } else { &name };
        let mut bytes = [0; MAX_NAME];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Self { key, name: bytes, len: u8::try_from(name.len()).unwrap_or_default() }
    }

    /// What a verified certificate says.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok(parsed) = EndEntityCert::try_from(certificate) else {
            // verified by the same library: it can be read, and if not it is told by all of its bytes
            return Self::new(Sha256::digest(certificate.as_ref()).into(), "");
        };
        let name = parsed.valid_dns_names().next().unwrap_or_default();
        Self::new(Sha256::digest(parsed.subject_public_key_info().as_ref()).into(), name)
    }

    /// The name; empty where there is none.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.name[..usize::from(self.len)]).unwrap_or_default()
    }

    /// As it is kept.
    pub fn to_kept(self) -> Certificate {
        Certificate { key: self.key, name: self.name().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn a_certificate_is_known_by_its_key_and_shown_by_its_name() {
        let read = |pem: &[u8]| PeerCertificate::of(&CertificateDer::from_pem_slice(pem).unwrap());
        let branch = read(include_bytes!("../../../../tests/it/link_certificates/branch.pem"));
        let server = read(include_bytes!("../../../../tests/it/link_certificates/server.pem"));
        assert!(
            branch.key != server.key
                && branch == read(include_bytes!("../../../../tests/it/link_certificates/branch.pem"))
        );
        assert_eq!(branch.to_kept().name, branch.name());
    }

    #[test]
    fn only_names_are_shown() {
        for (said, shown) in [("branch.example", "branch.example"), ("a\u{202e}b", ""), ("<b>", ""), ("", "")]
        {
            assert_eq!(PeerCertificate::new([1; 32], said).name(), shown, "{said:?}");
        }
        assert_eq!(PeerCertificate::new([1; 32], &format!("{}.example", "a.".repeat(100))).name(), "");
    }
}
