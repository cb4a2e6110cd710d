//! What can go wrong on the link, whose fault it is, and whether trying again may help.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::AddressKind;

/// Who has to act when an exchange fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The server at the other end, or the network towards it.
    Upstream,
    /// The proxy between.
    Proxy,
    /// This site's own configuration.
    Configuration,
    /// The server is shutting down; nobody is to blame.
    Shutdown,
    /// The budget is spent; nobody is to blame.
    Budget,
}

/// An exchange that did not succeed. `origin` is always `scheme://host:port`: never a path or a query, which
/// may hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address is not `http://…` or `https://…` with a host.
    #[error("{address:?} is no address to fetch from; write it like http://host:8530")]
    Address {
        /// What was given, without path and query.
        address: String,
    },
    /// The name has no address.
    #[error("cannot find an address for {host}; check its spelling and this machine's DNS")]
    Resolve {
        /// The name asked for.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// No connection.
    #[error("cannot connect to {origin}; check that it runs and that no firewall is between")]
    Connect {
        /// Towards whom.
        origin: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing moved for too long.
    #[error("{origin} gave no {stage} within {} s; check the link or raise its timeout", limit.as_secs())]
    Timeout {
        /// Towards whom.
        origin: String,
        /// `connection`, `answer` or `more of its answer`.
        stage: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// No secure connection.
    #[error("cannot set up TLS with {origin}: {cure}")]
    Tls {
        /// Towards whom.
        origin: String,
        /// What is wrong, and the setting that helps.
        cure: String,
        /// What TLS said.
        #[source]
        source: io::Error,
    },
    /// The scheme of the address is not what the server speaks at that port.
    #[error(
        "{origin} speaks {} at this port; write {instead} instead (upstream.url or the url of a source)",
        if instead.starts_with("https") { "TLS" } else { "plain HTTP" }
    )]
    OtherScheme {
        /// Towards whom.
        origin: String,
        /// The address with the scheme that it speaks.
        instead: String,
    },
    /// The proxy did not open a tunnel.
    #[error(
        "the proxy {proxy} refused a tunnel to {origin} with status {status}; check upstream.proxy and its credentials"
    )]
    ProxyRefused {
        /// The proxy's `host:port`.
        proxy: String,
        /// Towards whom.
        origin: String,
        /// What it answered.
        status: u16,
    },
    /// The connection broke, or spoke something that is no HTTP.
    #[error("the exchange with {origin} broke off")]
    Broken {
        /// With whom.
        origin: String,
        /// What HTTP said.
        #[source]
        source: hyper::Error,
    },
    /// A redirect that is not followed.
    #[error("{origin} redirects {why}; set the address it leads to instead")]
    Redirect {
        /// Who redirects.
        origin: String,
        /// `more than 3 times`, `to an address that is not http(s)`, ….
        why: &'static str,
    },
    /// A redirect to another site.
    #[error(
        "{origin} redirects to {target}, which is another site; if payloads may come from there, add its host to \
         content.redirect_hosts"
    )]
    RedirectHost {
        /// Who redirects.
        origin: String,
        /// Where to: `scheme://host:port`.
        target: String,
    },
    /// An address that nobody configured leads to no public server.
    #[error(
        "{origin} leads to {}{kind}, which only the configuration may name; if payloads come from there, add its host or \
         network to content.allowed_private",
        address.map(|address| format!("{address}, ")).unwrap_or_default()
    )]
    NotPublic {
        /// Towards whom.
        origin: String,
        /// What it leads to.
        kind: AddressKind,
        /// Where its name led; `None` for a name that a proxy would resolve.
        address: Option<IpAddr>,
    },
    /// This server itself.
    #[error(
        "{origin} is where this server itself listens, and never a source; set the address of another one"
    )]
    OwnListener {
        /// Towards whom.
        origin: String,
    },
    /// A certificate or key file of the configuration cannot be used.
    #[error("cannot use {}: {what}", path.display())]
    CertificateFile {
        /// The file.
        path: PathBuf,
        /// What is missing, and the next step.
        what: &'static str,
        /// What reading it said.
        #[source]
        source: Option<io::Error>,
    },
    /// TLS cannot be set up with what is configured.
    #[error(
        "cannot set up TLS with the configured certificates; check upstream.ca_file and upstream.client_certificate"
    )]
    TlsSetup(#[source] rustls::Error),
    /// The proxy setting is no proxy's address.
    #[error("{setting:?} is no proxy; write it like http://proxy:3128")]
    ProxySetting {
        /// What was given, without credentials.
        setting: String,
    },
    /// The budget of the link is spent for this class.
    #[error("the link's budget is spent{}", until.map(|until| format!("; it begins anew at {until}")).unwrap_or_default())]
    Spent {
        /// When it begins anew; unknown when the rest of it is only granted to others.
        until: Option<Timestamp>,
    },
    /// The budget file cannot be read or written.
    #[error("cannot keep the account of the link's budget in {}; check the folder and its disk", path.display())]
    BudgetFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Stopping,
}

impl LinkError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Tls { .. }
            | Self::OtherScheme { .. }
            | Self::Broken { .. }
            | Self::Redirect { .. }
            | Self::RedirectHost { .. }
            | Self::NotPublic { .. }
            | Self::OwnListener { .. } => Blame::Upstream,
            Self::ProxyRefused { .. } => Blame::Proxy,
            Self::Address { .. }
            | Self::CertificateFile { .. }
            | Self::TlsSetup(_)
            | Self::BudgetFile { .. }
            | Self::ProxySetting { .. } => Blame::Configuration,
            Self::Spent { .. } => Blame::Budget,
            Self::Stopping => Blame::Shutdown,
        }
    }

    /// Whether the same request may succeed later with nothing changed on this side.
    pub fn retry_may_help(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Tls { .. }
            | Self::OtherScheme { .. }
            | Self::Spent { .. }
            | Self::Broken { .. } => true,
            // 407 asks for other credentials; the rest of the proxy's troubles pass
            Self::ProxyRefused { status, .. } => *status != 407,
            Self::Address { .. }
            | Self::Redirect { .. }
            | Self::RedirectHost { .. }
            | Self::NotPublic { .. }
            | Self::OwnListener { .. }
            | Self::CertificateFile { .. }
            | Self::TlsSetup(_)
            | Self::ProxySetting { .. }
            | Self::BudgetFile { .. }
            | Self::Stopping => false,
        }
    }
}
