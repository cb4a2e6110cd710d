//! The certificate of a listener, and what it asks of clients' certificates.
//!
//! **Invariant:** a client certificate that comes is checked against the configured roots or refused in the handshake;
//! one that is not asked for is never read. It never decides who may synchronise.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio_rustls::TlsAcceptor;

use super::config::{ListenerError, TlsFiles};

/// The acceptor for a chain and its key.
pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, ListenerError> {
    let pem = |path: &PathBuf| {
        let path = path.clone();
        move |source| ListenerError::Pem { path, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .map_err(pem(&files.certificate))?
        .collect::<Result<_, _>>()
        .map_err(pem(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&files.key))?;
    let unfit = |source| ListenerError::Tls { certificate: files.certificate.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match &files.client_roots {
        Some(path) => client_verifier(path, files.client_required, Arc::clone(&provider))?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Checks client certificates against the roots of a file. Agents have none as a rule and are let in without, unless it is
/// `required`.
fn client_verifier(
    path: &PathBuf,
    required: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, ListenerError> {
    let pem = |source| ListenerError::Pem { path: path.clone(), source };
    let mut roots = rustls::RootCertStore::empty();
    let found =
        CertificateDer::pem_file_iter(path).map_err(pem)?.collect::<Result<Vec<_>, _>>().map_err(pem)?;
    roots.add_parsable_certificates(found);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|source| ListenerError::ClientRoots { path: path.clone(), source })
}
