//! `[upstream]`: whom to synchronise from, what, and when.
//!
//! **Invariant:** a key of this section stands here once: its name and default, its meaning, and how it is read.

use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use tailwater_bandwidth::ProxySetting;
use tailwater_domain::{Limit, limits};
use tailwater_upstream::{ContentFrom, Mode, PeerUse, PricedSource, Schedule, SourceKind};

use crate::ConfigError;
use crate::keys::{Field, FieldKind, Key, field, list, number, tables, text, unset};
use crate::reading::{Checked, Table};

/// Other sources of payloads: each is asked for what those before it lack.
const MAX_SOURCES: usize = 8;

/// The highest cost.
const MOST_COST: i64 = 1_000;

/// The longest token, in bytes.
const MAX_TOKEN: usize = 512;

/// Shortest wait between two synchronisations: an upstream is shared.
const SHORTEST: Duration = Duration::from_mins(1);

/// What another source of payloads says.
const SOURCE: &[Field] = &[field("url", FieldKind::Text), field("cost", FieldKind::Number)];

pub(super) const LIMITS: &[Limit] = limits![
    MAX_SOURCES in "sources": "Other sources of payloads" => "the configuration is refused",
    MOST_COST in "": "The cost of a source" => "the configuration is refused",
    MAX_TOKEN in "bytes": "A token" => "the configuration is refused",
];

/// The keys of this section, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    text("upstream.url", "\"https://sws.update.microsoft.com\""),
    text("upstream.mode", "\"autonomous\""),
    list("upstream.products", "[]").live(),
    list("upstream.classifications", "[\"Critical Updates\", \"Security Updates\", \"Definition Updates\"]")
        .live(),
    list("upstream.languages", "[\"en\"]"),
    list("upstream.schedule", "[\"03:00\"]").live(),
    unset("upstream.every").live(),
    text("upstream.jitter", "\"30m\"").live(),
    unset("upstream.account_name"),
    unset("upstream.token").secret(),
    unset("upstream.ca_file"),
    unset("upstream.client_certificate"),
    unset("upstream.client_key"),
    text("upstream.proxy", "\"system\""),
    text("upstream.content_from", "\"upstream\""),
    number("upstream.cost", "10"),
    tables("upstream.source", SOURCE),
    text("upstream.tailwater", "\"follow\""),
    text("upstream.hold_removals_above", "\"25 %\""),
];

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
    /// When synchronisation starts by itself.
    pub schedule: Schedule,
    /// What this server calls itself upstream; its host name when unset.
    pub account_name: Option<String>,
    /// What an upstream that is a tailwater is asked for.
    pub tailwater: PeerUse,
    /// What the upstream's administrator made for this server.
    pub token: Option<String>,
    /// PEM roots to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM chain shown to upstream.
    pub client_certificate: Option<PathBuf>,
    /// PEM key, when not in the same file.
    pub client_key: Option<PathBuf>,
    /// Through what.
    pub proxy: ProxySetting,
    /// Where payloads come from first.
    pub content_from: ContentFrom,
    /// What they cost there.
    pub cost: u32,
    /// Where else they are available.
    pub sources: Vec<PricedSource>,
    /// A synchronisation that would remove more than this share waits for an administrator; 0 to 1.
    pub hold_removals_above: f64,
}

impl UpstreamSettings {
    pub(super) fn read(of: &Checked<'_>) -> Result<Self, ConfigError> {
        let client_certificate = of.existing_file("upstream.client_certificate")?;
        let client_key = of.existing_file("upstream.client_key")?;
        if client_key.is_some() && client_certificate.is_none() {
            return Err(of.refuse("upstream.client_key", "is of no use without upstream.client_certificate"));
        }
        let mode = of.choice("upstream.mode")?;
        let microsoft = of.text("upstream.url").is_some_and(|url| url.contains(".update.microsoft.com"));
        if mode == Mode::Replica && microsoft {
            let reason =
                "Microsoft Update decides nothing; name the server to be a replica of in upstream.url";
            return Err(of.refuse("upstream.mode", reason));
        }
        Ok(Self {
            url: of.url("upstream.url")?.ok_or_else(|| of.refuse("upstream.url", "expected an address"))?,
            mode,
            products: of.list("upstream.products")?.to_vec(),
            classifications: of.list("upstream.classifications")?.to_vec(),
            languages: languages(of)?,
            schedule: schedule(of)?,
            account_name: of.text("upstream.account_name").map(str::to_owned),
            token: token(of)?,
            ca_file: of.existing_file("upstream.ca_file")?,
            client_certificate,
            client_key,
            proxy: proxy(of)?,
            content_from: of.choice("upstream.content_from")?,
            cost: cost(of)?,
            sources: sources(of)?,
            tailwater: of.choice("upstream.tailwater")?,
            hold_removals_above: of.share("upstream.hold_removals_above")?,
        })
    }
}

fn cost(of: &Checked<'_>) -> Result<u32, ConfigError> {
    let key = "upstream.cost";
    of.number(key, 0, MOST_COST)
        .and_then(|cost| u32::try_from(cost).map_err(|_e| of.refuse(key, "too large")))
}

fn sources(of: &Checked<'_>) -> Result<Vec<PricedSource>, ConfigError> {
    let key = "upstream.source";
    let source = |table: &Table| {
        let text = |name: &str| table.get(name).and_then(|values| values.first()).map(|text| text.trim());
        let wanted = "a source needs url: \"http://server:8530\", or \"microsoft\"";
        let kind = match text("url").ok_or_else(|| of.refuse(key, wanted))? {
            "microsoft" => SourceKind::Microsoft,
            url => SourceKind::Server(Checked::plain_url(url).ok_or_else(|| of.refuse(key, wanted))?),
        };
        let wanted = format!("a source needs cost, a whole number from 0 to {MOST_COST}");
        let cost = text("cost").and_then(|text| text.parse().ok());
        let cost = cost.filter(|cost| i64::from(*cost) <= MOST_COST);
        Ok(PricedSource { kind, cost: cost.ok_or_else(|| of.refuse(key, wanted))? })
    };
    of.tables(key, MAX_SOURCES)?.iter().map(source).collect()
}

fn token(of: &Checked<'_>) -> Result<Option<String>, ConfigError> {
    let key = "upstream.token";
    let Some(token) = of.text(key) else { return Ok(None) };
    if token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        // the value itself must not be shown
        let reason = "must be the text that `tailwater downstreams allow` printed at the upstream";
        return Err(of.conflict(key, key, reason));
    }
    Ok(Some(token.to_owned()))
}

fn schedule(of: &Checked<'_>) -> Result<Schedule, ConfigError> {
    let key = "upstream.schedule";
    let every = of.duration("upstream.every", SHORTEST)?;
    let jitter = of.duration("upstream.jitter", Duration::ZERO)?.unwrap_or_default();
    let time_zone = TimeZone::system();
    if every.is_some() && of.is_default(key) {
        return Ok(Schedule { times: Vec::new(), every, jitter, time_zone });
    }
    let wanted = "expected local times such as \"03:00\"";
    let times = of.list(key)?.iter().map(|text| Time::strptime("%H:%M", text.trim()));
    let times: Vec<Time> = times.collect::<Result<_, _>>().map_err(|_e| of.refuse(key, wanted))?;
    if every.is_some() && !times.is_empty() {
        return Err(of.conflict(
            "upstream.every",
            "upstream.every",
            "and upstream.schedule exclude each other; keep one",
        ));
    }
    Ok(Schedule { times, every, jitter, time_zone })
}

fn languages(of: &Checked<'_>) -> Result<Vec<String>, ConfigError> {
    let key = "upstream.languages";
    let languages: Vec<String> =
        of.list(key)?.iter().map(|language| language.trim().to_ascii_lowercase()).collect();
    let is_tag = |tag: &String| {
        (2..=20).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if languages.is_empty() || !languages.iter().all(is_tag) {
        return Err(of.refuse(key, "expected at least one language such as \"en\" or \"pt-br\""));
    }
    Ok(languages)
}

fn proxy(of: &Checked<'_>) -> Result<ProxySetting, ConfigError> {
    match of.text("upstream.proxy") {
        None | Some("system") => Ok(ProxySetting::System),
        Some("none") => Ok(ProxySetting::Direct),
        // credentials are allowed here, and nowhere shown: see `shown`
        Some(text) => {
            let wanted = "expected \"system\", \"none\" or an address such as \"http://proxy:3128\"";
            let uri: http::Uri = text.parse().map_err(|_e| of.refuse("upstream.proxy", wanted))?;
            if uri.scheme_str() != Some("http") || uri.authority().is_none() {
                return Err(of.refuse("upstream.proxy", wanted));
            }
            Ok(ProxySetting::Url(text.to_owned()))
        }
    }
}
