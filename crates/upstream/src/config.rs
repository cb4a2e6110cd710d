//! What an administrator may set about synchronisation. Invariant: what is here was checked for form by
//! `config`; names of categories can only be checked against an upstream. It never reads a file.

use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;

use tailwater_bandwidth::LinkConfig;
use tailwater_domain::Choice;

/// From whom, what, and when.
#[derive(Debug, Clone)]
pub struct Config {
    /// `http://server:8530`, without a slash at its end.
    pub url: String,
    /// Names or GUIDs; empty means all.
    pub products: Vec<String>,
    /// Names or GUIDs; empty means all.
    pub classifications: Vec<String>,
    /// `en`, `pt-br`, …; empty keeps all.
    pub languages: Vec<String>,
    /// When.
    pub schedule: Schedule,
    /// What this server calls itself, a DNS name; the machine's name when unset.
    pub account_name: Option<String>,
    /// What the upstream's administrator made for this server, where it lets in only whom it knows.
    pub token: Option<String>,
    /// Who decides.
    pub mode: Mode,
    /// Where payloads come from first.
    pub content_from: ContentFrom,
    /// What a byte of payload from the upstream costs beside one from the others.
    pub cost: u32,
    /// Other sources of payloads.
    pub sources: Vec<PricedSource>,
    /// What an upstream that is a tailwater is asked for beside MS-WSUSSS.
    pub peer: PeerUse,
    /// Holds answers too long for memory, and the trust root of Microsoft's service. Made when absent.
    pub dir: PathBuf,
    /// How the link was set up: Microsoft's service needs a client with one more trust root.
    pub link: LinkConfig,
}

/// What of it may change while the server runs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// As [`Config::products`].
    pub products: Vec<String>,
    /// As [`Config::classifications`].
    pub classifications: Vec<String>,
    /// As [`Config::schedule`].
    pub schedule: Schedule,
}

impl Config {
    pub(super) fn plan(&self) -> Plan {
        let Self { products, classifications, schedule, .. } = self.clone();
        Plan { products, classifications, schedule }
    }

    /// The same with another plan.
    pub(super) fn with(&self, plan: &Plan) -> Self {
        let Plan { products, classifications, schedule } = plan.clone();
        Self { products, classifications, schedule, ..self.clone() }
    }
}

/// What payloads from the upstream cost when nothing else is said.
pub const USUAL_COST: u32 = 10;

/// A source of payloads, and what they cost there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedSource {
    /// Where.
    pub kind: SourceKind,
    /// The lowest is asked first.
    pub cost: u32,
}

/// Where payloads are available besides at the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// A server that answers `/Content/<XX>/<SHA-1>.<ext>`: a WSUS, a tailwater, a web server with a `WsusContent`
    /// folder. `http://server:8530`, without a slash at its end.
    Server(String),
    /// Microsoft's own addresses, as the metadata names them.
    Microsoft,
}

impl SourceKind {
    /// The address of a server; `None` for Microsoft's own addresses.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Server(url) => Some(url),
            Self::Microsoft => None,
        }
    }
}

/// When synchronisation starts by itself.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Local times of day.
    pub times: Vec<Time>,
    /// Or at intervals.
    pub every: Option<Duration>,
    /// Each start is delayed by a random part of this, so that a thousand sites do not ask at once.
    pub jitter: Duration,
    /// Whose local times.
    pub time_zone: TimeZone,
}

impl Schedule {
    /// Never by itself.
    pub fn on_demand() -> Self {
        Self { times: Vec::new(), every: None, jitter: Duration::ZERO, time_zone: TimeZone::UTC }
    }
}

/// Who decides which updates computers get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// This server.
    #[default]
    Autonomous,
    /// The upstream: groups, approvals and declines are taken from it.
    Replica,
}

impl Choice for Mode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("autonomous", Self::Autonomous), ("replica", Self::Replica)];
}

/// What an upstream that is a tailwater as well is asked for beside MS-WSUSSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerUse {
    /// Lists and documents the short way, and notice of changes: one there starts a synchronisation here.
    #[default]
    Follow,
    /// Lists and documents.
    Sync,
    /// Nothing.
    Off,
}

impl Choice for PeerUse {
    const WORDS: &'static [(&'static str, Self)] =
        &[("follow", Self::Follow), ("sync", Self::Sync), ("off", Self::Off)];
}

/// Where payloads come from first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContentFrom {
    /// The upstream.
    #[default]
    Upstream,
    /// Microsoft's own addresses, as the metadata names them.
    Microsoft,
}

impl Choice for ContentFrom {
    const WORDS: &'static [(&'static str, Self)] =
        &[("upstream", Self::Upstream), ("microsoft", Self::Microsoft)];
}
