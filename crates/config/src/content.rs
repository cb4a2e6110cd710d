//! `[content]`: which payloads are fetched, when, and how much is kept.
//!
//! **Invariant:** a key of this section stands here once: its name and default, its meaning, and how it is read.

use jiff::tz::TimeZone;
use tailwater_bandwidth::HostList;
use tailwater_domain::{ByteCount, Limit, limits};
use tailwater_needs::Quiet;
use tailwater_transfer::{Demand, Policy};

use crate::ConfigError;
use crate::keys::{Key, list, text, unset};
use crate::reading::{Checked, time_of_day};

/// The smallest store: less holds no file.
const LEAST_SIZE: ByteCount = ByteCount(1_000_000);

pub(super) const LIMITS: &[Limit] = limits![
    LEAST_SIZE in "bytes": "The size of the store, at least" => "less is refused",
];

/// The keys of this section, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    text("content.fetch", "\"demand\""),
    unset("content.quiet.from"),
    unset("content.quiet.to"),
    text("content.max_size", "\"200 GB\"").live(),
    text("content.min_free", "\"5 GB\"").live(),
    text("content.demand", "\"approved\""),
    list("content.allowed_private", "[]"),
    list("content.redirect_hosts", "[]"),
];

/// `[content]`.
#[derive(Debug, Clone)]
pub struct ContentSettings {
    /// When payloads are fetched.
    pub fetch: Policy,
    /// When files may be fetched ahead of what agents are foreseen to ask for; by default the calendar tells.
    pub quiet: Option<Quiet>,
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

impl ContentSettings {
    pub(super) fn read(of: &Checked<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            fetch: of.choice("content.fetch")?,
            quiet: quiet(of)?,
            max_size: of.size("content.max_size", LEAST_SIZE, "")?,
            min_free: of.parsed("content.min_free")?,
            demand: of.choice("content.demand")?,
            allowed_private: hosts(of, "content.allowed_private")?,
            redirect_hosts: hosts(of, "content.redirect_hosts")?,
        })
    }
}

fn hosts(of: &Checked<'_>, key: &str) -> Result<HostList, ConfigError> {
    HostList::parse(of.list(key)?).map_err(|error| of.refuse(key, error.to_string()))
}

fn quiet(of: &Checked<'_>) -> Result<Option<Quiet>, ConfigError> {
    let wanted = "expected a time of day such as \"22:00\"";
    let time = |key: &str| {
        of.text(key).map(|text| time_of_day(text).ok_or_else(|| of.refuse(key, wanted))).transpose()
    };
    let zone = of.text("bandwidth.time_zone").map(|name| of.zone("bandwidth.time_zone", name));
    match (time("content.quiet.from")?, time("content.quiet.to")?) {
        (Some(from), Some(to)) => {
            Ok(Some(Quiet { from, to, zone: zone.transpose()?.unwrap_or_else(TimeZone::system) }))
        }
        (None, None) => Ok(None),
        _ => Err(of.conflict("content.quiet.from", "content.quiet", "needs from and to together")),
    }
}
