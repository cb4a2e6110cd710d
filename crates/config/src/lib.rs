//! The configuration: one TOML file and the environment, checked, and remembered with the origin of each value.
//!
//! **Invariant:** `config/tailwater.toml` names every key with its default, and a test holds it to that.
//! It never starts anything: it only says what was asked for.

mod doubts;
mod error;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing;
mod keys;
mod settings;
mod source;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use serde::Serialize;

pub use doubts::Doubt;
pub use error::ConfigError;
pub use keys::default_of;
pub use source::{Origin, Raw};

use tailwater_bandwidth::{BudgetConfig, Counted, HostList, LegRates, Window};
use tailwater_domain::{ByteCount, Class, Limit, Rate, joined_limits};
use tailwater_telemetry as telemetry;

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![settings::LIMITS, source::LIMITS,];

/// Where a configuration is looked for when none is named, first found first.
pub const PLACES: [&str; 2] = ["./tailwater.toml", "/etc/tailwater/tailwater.toml"];

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[server]`
    pub server: ServerSettings,
    /// `[upstream]`
    pub upstream: UpstreamSettings,
    /// `[agents]`
    pub agents: AgentsSettings,
    /// `[downstream]`
    pub downstream: DownstreamSettings,
    /// `[content]`
    pub content: ContentSettings,
    /// `bandwidth.rate`
    pub rate: Rate,
    /// `[[bandwidth.window]]`
    pub windows: Vec<Window>,
    /// `[bandwidth.downstream]`
    pub legs: LegRates,
    /// `[bandwidth.budget]`, where there is one.
    pub budget: Option<BudgetConfig>,
    /// `bandwidth.time_zone`
    pub time_zone: TimeZone,
    /// `bandwidth.count`: what of a packet counts.
    pub counted: Counted,
    /// `bandwidth.adaptive`: the classes that do not yield to other traffic; `None` when nothing yields.
    pub adaptive: Option<Vec<Class>>,
    /// `admin.listen`
    pub admin_listen: SocketAddr,
    /// `admin.names`
    pub admin_names: Vec<String>,
    /// `[log]`
    pub log: telemetry::Config,
}

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
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
    /// PEM roots of client certificates; none where nobody is asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether who shows none is turned away.
    pub client_required: bool,
}

/// `[upstream]`: whom to synchronise from, what, and when.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// `http://server:8530`, without a slash at its end.
    pub url: String,
    /// Who decides.
    pub mode: Mode,
    /// Names or GUIDs; empty means all.
    pub products: Vec<String>,
    /// Names or GUIDs; empty means all.
    pub classifications: Vec<String>,
    /// Lower case, at least one.
    pub languages: Vec<String>,
    /// Local times of day.
    pub times: Vec<Time>,
    /// Or at intervals.
    pub every: Option<Duration>,
    /// Each start is delayed by a random part of this.
    pub jitter: Duration,
    /// What this server calls itself upstream; its host name when unset.
    pub account_name: Option<String>,
    /// What an upstream that is a tailwater is asked for.
    pub tailwater: Tailwater,
    /// What the upstream's administrator made for this server.
    pub token: Option<String>,
    /// PEM roots to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM chain shown to upstream.
    pub client_certificate: Option<PathBuf>,
    /// PEM key, when not in the same file.
    pub client_key: Option<PathBuf>,
    /// Through what.
    pub proxy: Proxy,
    /// Where payloads come from first.
    pub content_from: ContentFrom,
    /// What they cost there.
    pub cost: u32,
    /// Where else they are available.
    pub sources: Vec<SourceSettings>,
    /// A synchronisation that would remove more than this share waits for an administrator; 0 to 1.
    pub hold_removals_above: f64,
}

/// `[[upstream.source]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// `http://server:8530`, without a slash at its end; `None` for Microsoft's own addresses.
    pub url: Option<String>,
    /// The lowest is asked first.
    pub cost: u32,
}

/// `upstream.proxy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// What `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.
    System,
    /// Straight.
    None,
    /// This one.
    Url(String),
}

/// `upstream.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Approvals, declines and groups are this server's own.
    Autonomous,
    /// They are the upstream's.
    Replica,
}

/// `upstream.tailwater`: what an upstream that is a tailwater as well is asked for beside MS-WSUSSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tailwater {
    /// Lists and documents the short way, and notice of changes.
    Follow,
    /// Lists and documents.
    Sync,
    /// Nothing.
    Off,
}

/// `upstream.content_from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentFrom {
    /// The upstream server.
    Upstream,
    /// Microsoft's own addresses, as the metadata names them.
    Microsoft,
}

/// `[agents]`.
#[derive(Debug, Clone)]
pub struct AgentsSettings {
    /// What scans are answered with.
    pub offer: OfferPolicy,
    /// Whether the group is the one that a computer names itself.
    pub client_side_targeting: bool,
    /// After how long without a call a computer's record may go to a newer identity of the same name.
    pub replace_silent_after: Duration,
    /// After how long the key that cookies are sealed with is replaced.
    pub key_rotation: Duration,
    /// How many computers are remembered.
    pub max_computers: usize,
    /// What may be kept of what agents say.
    pub max_state: ByteCount,
}

/// `agents.offer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferPolicy {
    /// Every update that is not declined, as WSUS does.
    All,
    /// Only what is approved and what leads there.
    Approved,
}

/// `[downstream]`: servers that synchronise from here.
#[derive(Debug, Clone, Copy)]
pub struct DownstreamSettings {
    /// Which may.
    pub policy: DownstreamPolicy,
    /// Transfers of tailwaters that run at once.
    pub transfers: usize,
    /// Downstream Tailwaters that may wait for a change at once.
    pub max_long_polls: usize,
    /// Servers remembered.
    pub max_servers: usize,
    /// Computers of servers below remembered.
    pub max_descendants: usize,
    /// What may be kept of what servers below say.
    pub max_state: ByteCount,
}

/// `downstream.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownstreamPolicy {
    /// Whoever asks.
    Open,
    /// Who was allowed, or shows a certificate.
    Enrolled,
}

/// `[content]`.
#[derive(Debug, Clone)]
pub struct ContentSettings {
    /// When payloads are fetched.
    pub fetch: Fetch,
    /// When files may be fetched ahead of what agents are foreseen to ask for; by default the calendar tells.
    pub quiet: Option<tailwater_needs::Quiet>,
    /// What may be held.
    pub max_size: ByteCount,
    /// What stays free on the disk.
    pub min_free: ByteCount,
    /// Which files are fetched when a client asks for one that is not held.
    pub demand: Demand,
    /// Hosts and networks that metadata may name though they are not public.
    pub allowed_private: HostList,
    /// Hosts of other sites to which sources may redirect.
    pub redirect_hosts: HostList,
}

/// `content.demand`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Files of updates that are approved or offered to somebody, here or at a downstream server.
    Approved,
    /// Every file that metadata declares.
    Anything,
}

/// `content.fetch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// Pieces when an agent asks.
    Demand,
    /// Demand, and every approved file ahead.
    Approved,
    /// Demand, and ahead what of approved updates computers here are foreseen to ask for.
    Learned,
    /// Demand, and everything that is offered ahead.
    All,
    /// Agents go to the origin.
    None,
}

/// One line of what is in force.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// With dots between the tables.
    pub key: &'static str,
    /// `None` when unset.
    pub value: Option<Raw>,
    /// Where it came from.
    pub origin: Origin,
}

/// A key that two configurations say different things of.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// With dots between the tables.
    pub key: &'static str,
    /// Whether a running server takes it over.
    #[serde(skip)]
    pub live: bool,
    /// In the first; `None` when unset.
    pub before: Option<Raw>,
    /// In the second.
    pub after: Option<Raw>,
}

/// A configuration that was read and checked.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What to run with.
    pub settings: Settings,
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// The file that was named, if one was: the same is read again by a reload.
    pub named: Option<PathBuf>,
    values: source::Values,
}

impl Loaded {
    /// What differs from another configuration: keys, each with whether it can be changed while the server runs.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let value = |values: &source::Values, key: &str| values.get(key).map(|(raw, _)| raw.clone());
        keys::KEYS
            .iter()
            .filter_map(|key| {
                let (before, after) = (value(&self.values, key.path), value(&other.values, key.path));
                let shown = |raw: Option<Raw>| match raw {
                    Some(_) if keys::is_secret(key.path) => Some(Raw::Text("(set)".to_owned())),
                    other => other.map(|raw| without_credentials(&raw)),
                };
                (before != after).then(|| Difference {
                    key: key.path,
                    live: keys::is_live(key.path),
                    before: shown(before),
                    after: shown(after),
                })
            })
            .collect()
    }

    /// The same with the values of `other` for those keys that can be changed while the server runs: what is in force
    /// after a reload.
    #[must_use]
    pub fn with_live(&self, other: &Self) -> Self {
        let mut values = self.values.clone();
        for key in keys::KEYS.iter().filter(|key| keys::is_live(key.path)) {
            match other.values.get(key.path) {
                Some(value) => values.insert(key.path, value.clone()),
                None => values.remove(key.path),
            };
        }
        let mut settings = self.settings.clone();
        let theirs = &other.settings;
        settings.upstream.products.clone_from(&theirs.upstream.products);
        settings.upstream.classifications.clone_from(&theirs.upstream.classifications);
        settings.upstream.times.clone_from(&theirs.upstream.times);
        settings.upstream.every = theirs.upstream.every;
        settings.upstream.jitter = theirs.upstream.jitter;
        settings.content.max_size = theirs.content.max_size;
        settings.content.min_free = theirs.content.min_free;
        settings.rate = theirs.rate;
        settings.windows.clone_from(&theirs.windows);
        settings.log.filter.clone_from(&theirs.log.filter);
        Self { settings, file: other.file.clone(), named: self.named.clone(), values }
    }

    /// Every key with its value in force and where that came from. Credentials are left out.
    pub fn shown(&self) -> Vec<Shown> {
        keys::KEYS
            .iter()
            .map(|key| match self.values.get(key.path) {
                Some((_, origin)) if keys::is_secret(key.path) => Shown {
                    key: key.path,
                    value: Some(Raw::Text("(set)".to_owned())),
                    origin: origin.clone(),
                },
                Some((raw, origin)) => {
                    Shown { key: key.path, value: Some(without_credentials(raw)), origin: origin.clone() }
                }
                None => Shown { key: key.path, value: None, origin: Origin::Default },
            })
            .collect()
    }
}

fn without_credentials(raw: &Raw) -> Raw {
    match raw {
        Raw::Text(text) if text.contains("://") => Raw::Text(telemetry::safe_url(text)),
        other => other.clone(),
    }
}

/// Reads the file that is named, else the first of [`PLACES`] that exists, else none; then the environment.
///
/// # Errors
/// With all mistakes at once ([`ConfigError::Several`]), as far as the file can be read at all.
pub fn load<I>(named: Option<&Path>, environment: I) -> Result<Loaded, ConfigError>
where
    I: IntoIterator<Item = (String, String)>,
{
    let found = || PLACES.iter().map(PathBuf::from).find(|place| place.exists());
    let file = named.map(Path::to_owned).or_else(found);
    let (mut values, mut mistakes) = (source::defaults()?, Vec::new());
    if let Some(path) = &file {
        source::read_file(path, &mut values, &mut mistakes)?;
    }
    source::read_environment(environment, &mut values, &mut mistakes);
    let base = file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let settings = checked(&values, base, &mut mistakes);
    match (ConfigError::of(mistakes), settings) {
        (None, Some(settings)) => Ok(Loaded { settings, file, named: named.map(Path::to_owned), values }),
        (Some(error), _) => Err(error),
        // a value is wrong when there are no settings
        (None, None) => Err(ConfigError::Several { list: Vec::new() }),
    }
}

/// The settings; a wrong value is noted, set back to its default, and the rest is checked on.
fn checked(values: &source::Values, base: &Path, mistakes: &mut Vec<ConfigError>) -> Option<Settings> {
    let mut values = values.clone();
    for _ in 0..=keys::KEYS.len() {
        let error = match settings::Checked::new(&values, base).settings() {
            Ok(settings) => return Some(settings),
            Err(error) => error,
        };
        let key = error.key().map(str::to_owned);
        mistakes.push(error);
        if !key.is_some_and(|key| set_back(&mut values, &key)) {
            return None;
        }
    }
    None
}

/// Sets a key, or all below it, back to what is built in; false when it was that already.
fn set_back(values: &mut source::Values, key: &str) -> bool {
    let Ok(defaults) = source::defaults() else { return false };
    let below = format!("{key}.");
    let meant: Vec<&'static str> = keys::KEYS
        .iter()
        .map(|known| known.path)
        .filter(|path| *path == key || path.starts_with(&below))
        .collect();
    let mut changed = false;
    for path in meant {
        let before = values.get(path).cloned();
        let default = defaults.get(path).cloned();
        changed |= before != default;
        match default {
            Some(default) => values.insert(path, default),
            None => values.remove(path),
        };
    }
    changed
}

#[cfg(test)]
mod tests;
