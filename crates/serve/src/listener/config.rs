//! How a listener treats its connections, and why it could not be set up.
//!
//! **Invariant:** every error names the address or the file that it is about. Nothing here opens anything.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tailwater_domain::{Limit, limits};

/// How long a client may take no byte, where nothing else is configured.
const STALLED_AFTER: Duration = Duration::from_mins(1);

pub(super) const LIMITS: &[Limit] = limits![
    STALLED_AFTER key "server.stalled_after": "Time in which a client takes no byte of its answer" => "the connection is closed",
];

/// How a listener treats its connections.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Where to listen; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Certificate chain and key (PEM); plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// Connections open at once, where the listener has them to itself ([`super::Listener::with_connections`]).
    pub max_connections: usize,
    /// A connection on which no request begins or completes its headers for so long is closed. Agents keep
    /// connections for 27-30 s themselves; at least 60 s here, so that they are the ones who close.
    pub idle: Duration,
    /// How long a client may take no byte of its answer (`server.stalled_after`).
    pub stalled_after: Duration,
    /// How long running answers may take to end at shutdown.
    pub drain: Duration,
}

impl ListenerConfig {
    /// Defaults for an address.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            max_connections: 16_384,
            idle: Duration::from_secs(75),
            stalled_after: STALLED_AFTER,
            drain: Duration::from_secs(10),
        }
    }
}

/// Where the certificate and its key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM, the server's certificate first.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// PEM roots of client certificates. Clients are then asked for one.
    pub client_roots: Option<PathBuf>,
    /// Whether who has none is turned away in the handshake; else it is answered all the same.
    pub client_required: bool,
}

/// Why a listener could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// Another program has the port.
    #[error(
        "port {} of {} is in use; stop the program that has it or set another listen address",
        address.port(), address.ip()
    )]
    InUse {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The system refused.
    #[error(
        "cannot listen on {address}; check that the address belongs to this machine and the port is allowed"
    )]
    Refused {
        /// What was asked for.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A certificate or key file cannot be used.
    #[error("cannot read {path} as PEM; give a certificate chain and its private key")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The roots of client certificates cannot be used.
    #[error("{path} holds no certificates that client certificates could be checked against")]
    ClientRoots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
    /// Certificate and key do not fit each other, or are of an unknown kind.
    #[error("the certificate {certificate} and its key do not work together")]
    Tls {
        /// The certificate's file.
        certificate: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}
