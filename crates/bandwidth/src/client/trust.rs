//! Whether a server's certificate is trusted, and what helps when it is not.
//!
//! Authorities are checked by webpki. A certificate that `ca_file` names itself is trusted as it is, whatever issued it and
//! whether or not it calls itself an authority: self-signed ones of update servers mostly do.
//!
//! **Invariant:** the server's name and the certificate's dates are checked for every certificate, named or not, and the
//! server has to hold its key. It never accepts what neither an authority nor the administrator vouches for.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, InvalidMessage, SignatureScheme};

use super::origin::Origin;

/// Trusts what webpki trusts, and the certificates that are named.
#[derive(Debug)]
pub(super) struct PinnedCertificates {
    pub(super) authorities: Arc<WebPkiServerVerifier>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for PinnedCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked =
            self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match checked {
            // dates are checked before issuers: they are right. `Other` is an authority's own certificate
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))
                if self.certificates.iter().any(|named| named == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// What TLS said, where TLS said something.
pub(super) fn said(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
}

/// Whether the other end speaks no TLS at all.
pub(super) fn is_plain(error: &io::Error) -> bool {
    matches!(said(error), Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)))
}

/// Whether the other end speaks TLS, although no connection came about.
pub(super) fn is_tls(error: &io::Error) -> bool {
    said(error).is_some_and(|error| !matches!(error, Error::InvalidMessage(_)))
}

/// What helps, for people.
pub(super) fn cure(error: &io::Error, origin: &Origin) -> String {
    let plain = Origin { https: false, ..origin.clone() };
    match said(error) {
        Some(Error::InvalidCertificate(certificate)) => cure_certificate(certificate, origin),
        Some(Error::AlertReceived(alert)) => format!(
            "it refused with the alert {alert:?}; when it asks for a certificate of this server set upstream.client_certificate"
        ),
        Some(Error::PeerIncompatible(_)) => {
            "it offers no TLS 1.2 or 1.3 that is safe; enable these there".to_owned()
        }
        Some(_) => "what came is no TLS that can be used; check what listens there".to_owned(),
        None => format!(
            "it broke off; when it speaks plain HTTP there set upstream.url to {plain}, and check that no firewall inspects the connection"
        ),
    }
}

fn cure_certificate(error: &CertificateError, origin: &Origin) -> String {
    match error {
        CertificateError::UnknownIssuer => "its certificate comes from an authority that this machine does not trust; set upstream.ca_file to the authority's certificate, or to the server's own, as PEM".to_owned(),
        CertificateError::Other(_) => "its certificate is self-signed; set upstream.ca_file to this certificate as PEM".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "its certificate expired{}; renew it on that server, or set this machine's clock",
            match error {
                CertificateError::ExpiredContext { not_after, .. } => on(*not_after),
                _ => String::new(),
            }
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "its certificate is not valid yet{}; set this machine's clock",
            match error {
                CertificateError::NotValidYetContext { not_before, .. } => format!(", but{}", on(*not_before)),
                _ => String::new(),
            }
        ),
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => format!(
            "its certificate is for {}, not for {}; set upstream.url to a name that it is for",
            presented.iter().take(5).map(|name| shown(name)).collect::<Vec<_>>().join(", "),
            origin.host
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "its certificate names no server as subjectAltName, and so not {}; give it one with that name (a common name alone does not count)",
            origin.host
        ),
        CertificateError::Revoked => "its certificate was revoked; get a new one for that server".to_owned(),
        CertificateError::BadEncoding => "its certificate cannot be read (X.509 version 3 is needed); make a new one for that server".to_owned(),
        _ => "its certificate cannot be used for a server; get another one, or set upstream.ca_file to this certificate as PEM".to_owned(),
    }
}

fn on(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map(|time| format!(" on {time}")).unwrap_or_default()
}

/// `DnsName("x")` and the like as the name alone; it is a stranger's text.
fn shown(name: &str) -> String {
    let bare = name.split('"').nth(1).unwrap_or(name);
    bare.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_names_what_helps() {
        let origin = Origin { https: true, host: "wsus.example".to_owned(), port: 8531 };
        let told = |error: Error| cure(&io::Error::new(io::ErrorKind::InvalidData, error), &origin);
        let names = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("wsus.example").unwrap(),
            presented: vec!["DnsName(\"other.example\")".to_owned()],
        };
        let date = UnixTime::since_unix_epoch(std::time::Duration::from_hours(24 * 365 * 50));
        let expired = CertificateError::ExpiredContext { time: date, not_after: date };
        let table = [
            (CertificateError::UnknownIssuer, "upstream.ca_file"),
            (expired, "on 2019-12-20"),
            (CertificateError::Expired, "clock"),
            (CertificateError::NotValidYet, "clock"),
            (names, "for other.example, not for wsus.example; set upstream.url"),
            (CertificateError::NotValidForName, "subjectAltName"),
        ];
        for (error, expected) in table {
            let text = told(Error::InvalidCertificate(error.clone()));
            assert!(text.contains(expected), "{error:?}: {text}");
        }
        let broken = cure(&io::ErrorKind::UnexpectedEof.into(), &origin);
        assert!(broken.contains("http://wsus.example:8531"), "{broken}");
    }
}
