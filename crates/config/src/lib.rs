//! The configuration: one TOML file and the environment, checked, and remembered with the origin of each value.
//!
//! **Invariant:** `config/tailwater.toml` names every key with its default, and a test holds it to that.
//! It never starts anything: it only says what was asked for.

mod admin;
mod agents;
mod bandwidth;
mod content;
mod doubts;
mod downstream;
mod error;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing;
mod keys;
mod log;
mod reading;
mod server;
mod source;
mod upstream;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use admin::AdminSettings;
pub use agents::AgentsSettings;
pub use bandwidth::BandwidthSettings;
pub use content::ContentSettings;
pub use doubts::Doubt;
pub use downstream::DownstreamSettings;
pub use error::ConfigError;
pub use keys::default_of;
pub use server::{ServerSettings, TlsSettings};
pub use source::{Origin, Raw};
pub use upstream::UpstreamSettings;

use tailwater_domain::{Limit, joined_limits};
use tailwater_telemetry as telemetry;

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    reading::LIMITS,
    server::LIMITS,
    upstream::LIMITS,
    content::LIMITS,
    bandwidth::LIMITS,
    source::LIMITS,
];

/// Where a configuration is looked for when none is named, first found first.
pub const PLACES: [&str; 2] = ["./tailwater.toml", "/etc/tailwater/tailwater.toml"];

/// Everything that can be set, by section.
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
    /// `[bandwidth]`
    pub bandwidth: BandwidthSettings,
    /// `[admin]`
    pub admin: AdminSettings,
    /// `[log]`
    pub log: telemetry::Config,
}

impl Settings {
    fn read(of: &reading::Checked<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            server: ServerSettings::read(of)?,
            upstream: UpstreamSettings::read(of)?,
            agents: AgentsSettings::read(of)?,
            downstream: DownstreamSettings::read(of)?,
            content: ContentSettings::read(of)?,
            bandwidth: BandwidthSettings::read(of)?,
            admin: AdminSettings::read(of)?,
            log: log::read(of)?,
        })
    }
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
    /// What relative paths of the file are relative to.
    base: PathBuf,
    values: source::Values,
}

impl Loaded {
    /// What differs from another configuration: keys, each with whether it can be changed while the server runs.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let value = |values: &source::Values, key: &str| values.get(key).map(|(raw, _)| raw.clone());
        keys::all()
            .filter_map(|key| {
                let (before, after) = (value(&self.values, key.path), value(&other.values, key.path));
                let shown = |raw: Option<Raw>| match raw {
                    Some(_) if key.is_secret => Some(Raw::Text("(set)".to_owned())),
                    other => other.map(|raw| without_credentials(&raw)),
                };
                (before != after).then(|| Difference {
                    key: key.path,
                    live: key.is_live,
                    before: shown(before),
                    after: shown(after),
                })
            })
            .collect()
    }

    /// The same with the values of `other` for those keys that can be changed while the server runs: what is in force
    /// after a reload.
    ///
    /// # Errors
    /// When the two do not go together, or a file that was named before is gone.
    pub fn with_live(&self, other: &Self) -> Result<Self, ConfigError> {
        let mut values = self.values.clone();
        for key in keys::all().filter(|key| key.is_live) {
            match other.values.get(key.path) {
                Some(value) => values.insert(key.path, value.clone()),
                None => values.remove(key.path),
            };
        }
        let settings = Settings::read(&reading::Checked::new(&values, &self.base))?;
        let (file, named, base) = (other.file.clone(), self.named.clone(), self.base.clone());
        Ok(Self { settings, file, named, base, values })
    }

    /// Every key with its value in force and where that came from. Credentials are left out.
    pub fn shown(&self) -> Vec<Shown> {
        keys::all()
            .map(|key| match self.values.get(key.path) {
                Some((_, origin)) if key.is_secret => Shown {
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
        (None, Some(settings)) => {
            let (base, named) = (base.to_owned(), named.map(Path::to_owned));
            Ok(Loaded { settings, file, named, base, values })
        }
        (Some(error), _) => Err(error),
        // a value is wrong when there are no settings
        (None, None) => Err(ConfigError::Several { list: Vec::new() }),
    }
}

/// The settings; a wrong value is noted, set back to its default, and the rest is checked on.
fn checked(values: &source::Values, base: &Path, mistakes: &mut Vec<ConfigError>) -> Option<Settings> {
    let mut values = values.clone();
    for _ in 0..=keys::all().count() {
        let error = match Settings::read(&reading::Checked::new(&values, base)) {
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
    let meant: Vec<&'static str> =
        keys::all().map(|known| known.path).filter(|path| *path == key || path.starts_with(&below)).collect();
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
