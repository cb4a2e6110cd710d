//! How the link is used: defaults that suit a branch office.

use std::path::PathBuf;
use std::time::Duration;

use super::reachable::Reachable;
use tailwater_domain::Choice;

/// Which proxy requests go through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProxySetting {
    /// `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` of the environment, in small letters or capitals; loopback
    /// never uses them.
    #[default]
    System,
    /// None, whatever the environment says.
    Direct,
    /// This one, `http://[user:password@]host:port`, for every address.
    Url(String),
}

/// What of a packet counts, in rates, budgets and totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counted {
    /// What TCP carries, each time that it comes.
    #[default]
    Payload,
    /// The headers of IP and TCP as well.
    Packets,
}

impl Choice for Counted {
    const WORDS: &'static [(&'static str, Self)] = &[("payload", Self::Payload), ("packets", Self::Packets)];
}

/// What this server shows of itself in TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM: the certificate, then its chain.
    pub certificate: PathBuf,
    /// PEM: its private key; the same file when both are in one.
    pub key: PathBuf,
}

/// How [`super::LinkClient`] behaves. The rate is the [`crate::Limiter`]'s. By default every server may be reached: what a site
/// lets metadata name is said where its configuration is known.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Which proxy.
    pub proxy: ProxySetting,
    /// PEM: authorities trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// DER: further authorities trusted, such as Microsoft's update root.
    pub extra_roots: Vec<Vec<u8>>,
    /// Shown to upstreams that ask.
    pub client_certificate: Option<ClientCertificate>,
    /// Which servers may be reached, and where redirects may lead.
    pub reachable: Reachable,
    /// What of a packet counts.
    pub counted: Counted,
    /// `User-Agent`, unless a request has one.
    pub user_agent: String,
    /// For a connection, TLS and proxy included; each attempt.
    pub connect_timeout: Duration,
    /// From a request sent to the head of its answer; waiting for the limiter does not count. For payloads it is no
    /// longer than `idle_timeout`.
    pub answer_timeout: Duration,
    /// Between two pieces of an answer's body; waiting for the limiter does not count.
    pub idle_timeout: Duration,
    /// How long an unused connection is kept.
    pub keep_alive: Duration,
    /// How many unused connections an origin may have.
    pub max_idle_per_origin: usize,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            proxy: ProxySetting::System,
            ca_file: None,
            extra_roots: Vec::new(),
            client_certificate: None,
            reachable: Reachable::anywhere(),
            counted: Counted::Payload,
            user_agent: concat!("Tailwater/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(20),
            // a WSUS may think for minutes about a revision list
            answer_timeout: Duration::from_mins(5),
            idle_timeout: Duration::from_mins(1),
            // IIS closes at 120 s; leave before that, or requests meet closing connections
            keep_alive: Duration::from_secs(55),
            max_idle_per_origin: 16,
        }
    }
}
