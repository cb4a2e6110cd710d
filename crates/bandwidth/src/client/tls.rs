//! TLS towards upstreams: whom to trust, and what to show.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::config::LinkConfig;
use super::trust::PinnedCertificates;
use crate::LinkError;

fn unusable(path: &Path, what: &'static str, error: PemError) -> LinkError {
    let source = match error {
        PemError::Io(source) => Some(source),
        _ => None,
    };
    LinkError::CertificateFile { path: path.to_owned(), what, source }
}

/// The certificates of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let what = "it must be readable and hold PEM certificates";
    let list = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(path, what, error))?;
    if list.is_empty() {
        return Err(LinkError::CertificateFile { path: path.to_owned(), what, source: None });
    }
    Ok(list)
}

/// The system's authorities, those that were named, and the extra ones.
fn roots(config: &LinkConfig, named: &[CertificateDer<'static>]) -> Result<RootCertStore, LinkError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(%error, "a certificate of the system's trust store cannot be read");
    }
    let (_added, _ignored) = roots.add_parsable_certificates(native.certs);
    for certificate in named {
        // one that cannot be an authority is trusted as it is
        if let Err(error) = roots.add(certificate.clone()) {
            tracing::debug!(%error, "a certificate of upstream.ca_file is no authority");
        }
    }
    for der in &config.extra_roots {
        roots.add(CertificateDer::from(der.clone())).map_err(LinkError::TlsSetup)?;
    }
    Ok(roots)
}

/// TLS 1.2 and 1.3 with ring; HTTP/1.1 only.
pub(super) fn client_config(config: &LinkConfig) -> Result<Arc<ClientConfig>, LinkError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let named = config.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default();
    let roots = Arc::new(roots(config, &named)?);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(LinkError::TlsSetup)?;
    // a machine without any authority cannot trust anybody; that is told when it matters
    let builder = match WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider).build() {
        Ok(authorities) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(PinnedCertificates {
                authorities,
                certificates: named,
            }))
        }
        Err(_no_authority) => builder.with_root_certificates(roots),
    };
    let mut tls = match &config.client_certificate {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| {
                unusable(&files.key, "it must be readable and hold a PEM private key", error)
            })?;
            builder
                .with_client_auth_cert(certificates(&files.certificate)?, key)
                .map_err(LinkError::TlsSetup)?
        }
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}
