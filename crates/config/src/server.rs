//! `[server]`: where agents find this server, and where it keeps its data.
//!
//! **Invariant:** a key of this section stands here once: its name and default, its meaning, and how it is read.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tailwater_domain::{ByteCount, Limit, limits};
use tailwater_serve::TlsFiles;

use crate::ConfigError;
use crate::keys::{Key, list, number, text, unset};
use crate::reading::Checked;

/// The shortest time in which a client must take a byte: a link may be gone for a moment.
const SHORTEST_STALL: Duration = Duration::from_secs(5);

/// The least memory for requests.
const LEAST_MEMORY: ByteCount = ByteCount(16_000_000);

pub(super) const LIMITS: &[Limit] = limits![
    LEAST_MEMORY in "bytes": "The memory for requests, at least" => "less is refused",
];

/// The keys of this section, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    text("server.listen", "\"0.0.0.0:8530\""),
    text("server.data_dir", "\"./tailwater-data\""),
    unset("server.public_url"),
    number("server.max_connections", "10000"),
    number("server.max_connections_per_address", "0"),
    number("server.max_connections_per_subnet", "0"),
    list("server.hosts", "[]"),
    text("server.request_memory", "\"64 MB\""),
    text("server.stalled_after", "\"60s\""),
    unset("server.selfupdate_dir"),
    unset("server.tls.listen"),
    unset("server.tls.certificate"),
    unset("server.tls.key"),
    unset("server.tls.client_ca"),
    text("server.tls.client_certificates", "\"request\""),
    unset("server.tls.client_roots"),
];

/// `[server]`: where agents find this server, and where it keeps its data.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Plain HTTP listener.
    pub listen: SocketAddr,
    /// Everything that is kept is below this folder.
    pub data_dir: PathBuf,
    /// What agents are told; otherwise from their own `Host` header.
    pub public_url: Option<String>,
    /// Connections of agents and downstream servers at once.
    pub max_connections: usize,
    /// Of them by one address; 0 for no bound but the fair share.
    pub max_connections_per_address: usize,
    /// Of them by one subnet; 0 for no bound but the fair share.
    pub max_connections_per_subnet: usize,
    /// Names besides addresses and `localhost` under which this server answers; empty for any.
    pub hosts: Vec<String>,
    /// Memory for all requests together.
    pub request_memory: ByteCount,
    /// How long a client may take no byte of its answer.
    pub stalled_after: Duration,
    /// What `/selfupdate/` serves.
    pub selfupdate_dir: Option<PathBuf>,
    /// Second listener.
    pub tls: Option<TlsSettings>,
}

/// `[server.tls]`.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// Listener.
    pub listen: SocketAddr,
    /// The certificate, its key, and whether clients are asked for one of theirs.
    pub files: TlsFiles,
}

impl ServerSettings {
    pub(super) fn read(of: &Checked<'_>) -> Result<Self, ConfigError> {
        let data_dir = of.path("server.data_dir");
        let selfupdate_dir = of.path("server.selfupdate_dir");
        if let Some(dir) = selfupdate_dir.as_ref().filter(|dir| !dir.is_dir()) {
            return Err(of.refuse("server.selfupdate_dir", format!("{} is no folder", dir.display())));
        }
        Ok(Self {
            listen: of.needed_address("server.listen")?,
            data_dir: data_dir.ok_or_else(|| of.refuse("server.data_dir", "expected a folder"))?,
            public_url: of.url("server.public_url")?,
            max_connections: of.number("server.max_connections", 16, 1_000_000)?,
            max_connections_per_address: of.number("server.max_connections_per_address", 0, 1_000_000)?,
            max_connections_per_subnet: of.number("server.max_connections_per_subnet", 0, 1_000_000)?,
            hosts: of.list("server.hosts")?.to_vec(),
            request_memory: of.size(
                "server.request_memory",
                LEAST_MEMORY,
                ": a report of a busy computer takes as much",
            )?,
            stalled_after: of
                .duration("server.stalled_after", SHORTEST_STALL)?
                .ok_or_else(|| of.refuse("server.stalled_after", "expected a time such as \"60s\""))?,
            selfupdate_dir,
            tls: tls(of)?,
        })
    }
}

fn tls(of: &Checked<'_>) -> Result<Option<TlsSettings>, ConfigError> {
    let listen = of.address("server.tls.listen")?;
    let certificate = of.existing_file("server.tls.certificate")?;
    let key = of.existing_file("server.tls.key")?;
    let (ca, roots) =
        (of.existing_file("server.tls.client_ca")?, of.existing_file("server.tls.client_roots")?);
    if ca.is_some() && roots.is_some() {
        return Err(of.conflict(
            "server.tls.client_roots",
            "server.tls.client_roots",
            "is the former name of client_ca; keep one of them",
        ));
    }
    let (asked, client_required) = of.one_of(
        "server.tls.client_certificates",
        &[("off", (false, false)), ("request", (true, false)), ("require", (true, true))],
    )?;
    let named = ca.or(roots);
    if client_required && named.is_none() {
        let reason = "needs client_ca, the roots that certificates are checked against";
        return Err(of.refuse("server.tls.client_certificates", reason));
    }
    let client_ca = named.filter(|_| asked);
    match (listen, certificate, key) {
        (Some(listen), Some(certificate), Some(key)) => Ok(Some(TlsSettings {
            listen,
            files: TlsFiles { certificate, key, client_roots: client_ca, client_required },
        })),
        (None, None, None) if client_ca.is_none() => Ok(None),
        _ => {
            Err(of.conflict("server.tls.listen", "server.tls", "needs listen, certificate and key together"))
        }
    }
}
