//! Values made of texts: each checked once, with an error that says what is expected instead.
//!
//! **Invariant:** a [`Settings`] that exists is fit to run with. It never opens a socket or creates a file.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::source::{Origin, Raw, Values};
use super::{ConfigError, Settings, UpstreamSettings};
use crate::{
    AgentsSettings, ContentFrom, ContentSettings, Demand, DownstreamPolicy, DownstreamSettings, Fetch, Mode,
    OfferPolicy, Proxy, ServerSettings, SourceSettings, Tailwater, TlsSettings,
};
use tailwater_bandwidth::{BudgetConfig, Counted, Days, HostList, LegRates, WhenSpent, Window};
use tailwater_domain::{ByteCount, Class, Limit, Rate, limits};
use tailwater_needs::Quiet;
use tailwater_telemetry as telemetry;

/// How many entries a list may have.
const MAX_LIST: usize = 1_000;

/// How many windows a calendar may have: every one is looked at each second.
const MAX_WINDOWS: usize = 100;

/// The smallest budget: less holds no synchronisation.
const LEAST_BUDGET: ByteCount = ByteCount(1_000_000);

/// The least that clients may make this server keep: a few hundred computers.
const LEAST_STATE: ByteCount = ByteCount(10_000_000);
// not a limit: LEAST_STATE: what the limit may be set to

/// Other sources of payloads: each is asked for what those before it lack.
const MAX_SOURCES: usize = 8;

/// The highest cost.
const MOST_COST: i64 = 1_000;

/// The longest token, in bytes.
const MAX_TOKEN: usize = 512;

/// Longest wait between two synchronisations, and longest jitter.
const LONGEST: Duration = Duration::from_hours(24 * 31);

pub(super) const LIMITS: &[Limit] = limits![
    MAX_LIST in "entries": "Entries of a list in the configuration" => "the configuration is refused",
    MAX_WINDOWS in "windows": "Windows of the calendar" => "the configuration is refused",
    MAX_SOURCES in "sources": "Other sources of payloads" => "the configuration is refused",
    MOST_COST in "": "The cost of a source" => "the configuration is refused",
    MAX_TOKEN in "bytes": "A token" => "the configuration is refused",
    LONGEST: "The interval and the jitter of synchronisations" => "the configuration is refused",
    LEAST_MEMORY in "bytes": "The memory for requests, at least" => "less is refused",
    LEAST_BUDGET in "bytes": "A budget, at least" => "less is refused",
];

/// Shortest wait between two synchronisations: an upstream is shared.
const SHORTEST: Duration = Duration::from_mins(1);

/// The shortest time in which a client must take a byte: a link may be gone for a moment.
const SHORTEST_STALL: Duration = Duration::from_secs(5);

/// The least memory for requests.
const LEAST_MEMORY: ByteCount = ByteCount(16_000_000);

/// Reads checked values out of the texts.
pub(super) struct Checked<'a> {
    values: &'a Values,
    /// What relative paths of the file are relative to.
    base: &'a Path,
}

impl<'a> Checked<'a> {
    pub(super) fn new(values: &'a Values, base: &'a Path) -> Self {
        Self { values, base }
    }

    fn refuse(&self, key: &str, reason: impl Into<String>) -> ConfigError {
        let (value, origin) = self
            .values
            .get(key)
            .map_or((String::new(), Origin::Default), |(raw, origin)| (raw.to_string(), origin.clone()));
        ConfigError::Value {
            origin,
            key: key.to_owned(),
            value: value.chars().take(80).collect(),
            reason: reason.into(),
        }
    }

    fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    fn is_default(&self, key: &str) -> bool {
        self.origin(key) == Origin::Default
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        match self.values.get(key) {
            Some((Raw::Text(text), _)) if !text.trim().is_empty() => Some(text.trim()),
            _ => None,
        }
    }

    fn list(&self, key: &str) -> Result<&'a [String], ConfigError> {
        match self.values.get(key) {
            Some((Raw::List(items), _)) if items.len() > MAX_LIST => {
                Err(self.refuse(key, format!("at most {MAX_LIST} entries")))
            }
            Some((Raw::List(items), _)) => Ok(items),
            _ => Ok(&[]),
        }
    }

    fn number(&self, key: &str, least: i64, most: i64) -> Result<usize, ConfigError> {
        match self.values.get(key) {
            Some((Raw::Number(number), _)) if (least..=most).contains(number) => {
                usize::try_from(*number).map_err(|_e| self.refuse(key, "too large"))
            }
            _ => Err(self.refuse(key, format!("expected a whole number from {least} to {most}"))),
        }
    }

    fn parsed<T>(&self, key: &str) -> Result<T, ConfigError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        self.text(key)
            .ok_or_else(|| self.refuse(key, "expected a value"))?
            .parse()
            .map_err(|error| self.refuse(key, format!("{error}")))
    }

    fn address(&self, key: &str) -> Result<Option<SocketAddr>, ConfigError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let wanted = "expected an address and a port, such as \"0.0.0.0:8530\" or \"localhost:8530\"";
        text.to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .map(Some)
            .ok_or_else(|| self.refuse(key, wanted))
    }

    fn needed_address(&self, key: &str) -> Result<SocketAddr, ConfigError> {
        self.address(key)?.ok_or_else(|| self.refuse(key, "expected an address and a port"))
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        Some(match self.origin(key) {
            Origin::File { .. } => self.base.join(text),
            Origin::Default | Origin::Environment { .. } => PathBuf::from(text),
        })
    }

    fn existing_file(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some(path) = self.path(key) else { return Ok(None) };
        match std::fs::File::open(&path) {
            Ok(_file) => Ok(Some(path)),
            Err(error) => Err(self.refuse(key, format!("{} cannot be opened: {error}", path.display()))),
        }
    }

    fn url(&self, key: &str) -> Result<Option<String>, ConfigError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let wanted = "expected an address such as \"http://server:8530\"";
        Self::plain_url(text).map(Some).ok_or_else(|| self.refuse(key, wanted))
    }

    /// An address without query and credentials, without a slash at its end.
    fn plain_url(text: &str) -> Option<String> {
        let uri: http::Uri = text.parse().ok()?;
        let scheme_fits = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = uri.query().is_none() && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
        (scheme_fits && plain).then(|| text.trim_end_matches('/').to_owned())
    }

    fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<T, ConfigError> {
        let text = self.text(key).unwrap_or_default();
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.refuse(key, format!("expected one of {}", known.join(", ")))
        })
    }

    fn duration(&self, key: &str, least: Duration) -> Result<Option<Duration>, ConfigError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let wanted = "expected a time such as \"30m\" or \"4h\"";
        let span: jiff::SignedDuration = text.parse().map_err(|_e| self.refuse(key, wanted))?;
        let span = Duration::try_from(span).map_err(|_e| self.refuse(key, wanted))?;
        if span < least || span > LONGEST {
            return Err(self.refuse(key, format!("expected at least {least:?} and at most 31 days")));
        }
        Ok(Some(span))
    }

    fn share(&self, key: &str) -> Result<f64, ConfigError> {
        let text = self.text(key).unwrap_or_default();
        let percent: Option<f64> = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
        percent
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(|percent| percent / 100.0)
            .ok_or_else(|| self.refuse(key, "expected a share from \"0 %\" to \"100 %\""))
    }

    /// All of them together.
    pub(super) fn settings(&self) -> Result<Settings, ConfigError> {
        Ok(Settings {
            server: self.server()?,
            upstream: self.upstream()?,
            agents: AgentsSettings {
                offer: self.word(
                    "agents.offer",
                    &[("all", OfferPolicy::All), ("approved", OfferPolicy::Approved)],
                )?,
                client_side_targeting: self
                    .word("agents.targeting", &[("server", false), ("client", true)])?,
                replace_silent_after: self
                    .duration("agents.replace_silent_after", Duration::from_secs(1))?
                    .unwrap_or(Duration::from_hours(25)),
                key_rotation: self
                    .duration("agents.key_rotation", Duration::from_hours(1))?
                    .unwrap_or(Duration::from_hours(720)),
                max_computers: self.number("agents.max_computers", 1, 10_000_000)?,
                max_state: self.state("agents.max_state")?,
            },
            downstream: DownstreamSettings {
                policy: self.word(
                    "downstream.policy",
                    &[("open", DownstreamPolicy::Open), ("enrolled", DownstreamPolicy::Enrolled)],
                )?,
                transfers: self.number("downstream.transfers", 1, 10_000)?,
                max_long_polls: self.number("downstream.max_long_polls", 1, 1_000_000)?,
                max_servers: self.number("downstream.max_servers", 1, 1_000_000)?,
                max_descendants: self.number("downstream.max_descendants", 1, 10_000_000)?,
                max_state: self.state("downstream.max_state")?,
            },
            content: self.content()?,
            rate: self.parsed::<Rate>("bandwidth.rate")?,
            counted: self
                .word("bandwidth.count", &[("payload", Counted::Payload), ("packets", Counted::Packets)])?,
            windows: self.windows()?,
            legs: LegRates {
                rate: self.leg("bandwidth.downstream.rate")?,
                per_client: self.leg("bandwidth.downstream.per_client")?,
                per_subnet: self.leg("bandwidth.downstream.per_subnet")?,
            },
            budget: self.budget()?,
            time_zone: self.time_zone()?,
            adaptive: self.adaptive()?,
            admin_listen: self.needed_address("admin.listen")?,
            admin_names: self.list("admin.names")?.to_vec(),
            log: self.log()?,
        })
    }

    fn server(&self) -> Result<ServerSettings, ConfigError> {
        let data_dir = self.path("server.data_dir");
        let selfupdate_dir = self.path("server.selfupdate_dir");
        if let Some(dir) = selfupdate_dir.as_ref().filter(|dir| !dir.is_dir()) {
            return Err(self.refuse("server.selfupdate_dir", format!("{} is no folder", dir.display())));
        }
        Ok(ServerSettings {
            listen: self.needed_address("server.listen")?,
            data_dir: data_dir.ok_or_else(|| self.refuse("server.data_dir", "expected a folder"))?,
            public_url: self.url("server.public_url")?,
            max_connections: self.number("server.max_connections", 16, 1_000_000)?,
            max_connections_per_address: self.number("server.max_connections_per_address", 0, 1_000_000)?,
            max_connections_per_subnet: self.number("server.max_connections_per_subnet", 0, 1_000_000)?,
            hosts: self.list("server.hosts")?.to_vec(),
            request_memory: self.request_memory()?,
            stalled_after: self
                .duration("server.stalled_after", SHORTEST_STALL)?
                .ok_or_else(|| self.refuse("server.stalled_after", "expected a time such as \"60s\""))?,
            selfupdate_dir,
            tls: self.tls()?,
        })
    }

    fn request_memory(&self) -> Result<ByteCount, ConfigError> {
        let bytes = self.parsed::<ByteCount>("server.request_memory")?;
        if bytes < LEAST_MEMORY {
            let reason =
                format!("expected at least {LEAST_MEMORY}: a report of a busy computer takes as much");
            return Err(self.refuse("server.request_memory", reason));
        }
        Ok(bytes)
    }

    /// What clients may make this server keep.
    fn state(&self, key: &str) -> Result<ByteCount, ConfigError> {
        let size = self.parsed::<ByteCount>(key)?;
        if size < LEAST_STATE {
            return Err(self.refuse(key, format!("expected at least {LEAST_STATE}")));
        }
        Ok(size)
    }

    fn tls(&self) -> Result<Option<TlsSettings>, ConfigError> {
        let listen = self.address("server.tls.listen")?;
        let certificate = self.existing_file("server.tls.certificate")?;
        let key = self.existing_file("server.tls.key")?;
        let (ca, roots) =
            (self.existing_file("server.tls.client_ca")?, self.existing_file("server.tls.client_roots")?);
        if ca.is_some() && roots.is_some() {
            return Err(ConfigError::Conflict {
                origin: self.origin("server.tls.client_roots"),
                key: "server.tls.client_roots".to_owned(),
                reason: "is the former name of client_ca; keep one of them",
            });
        }
        let (asked, client_required) = self.word(
            "server.tls.client_certificates",
            &[("off", (false, false)), ("request", (true, false)), ("require", (true, true))],
        )?;
        let named = ca.or(roots);
        if client_required && named.is_none() {
            let reason = "needs client_ca, the roots that certificates are checked against";
            return Err(self.refuse("server.tls.client_certificates", reason));
        }
        let client_ca = named.filter(|_| asked);
        match (listen, certificate, key) {
            (Some(listen), Some(certificate), Some(key)) => {
                Ok(Some(TlsSettings { listen, certificate, key, client_ca, client_required }))
            }
            (None, None, None) if client_ca.is_none() => Ok(None),
            _ => Err(ConfigError::Conflict {
                origin: self.origin("server.tls.listen"),
                key: "server.tls".to_owned(),
                reason: "needs listen, certificate and key together",
            }),
        }
    }

    fn upstream(&self) -> Result<UpstreamSettings, ConfigError> {
        let client_certificate = self.existing_file("upstream.client_certificate")?;
        let client_key = self.existing_file("upstream.client_key")?;
        if client_key.is_some() && client_certificate.is_none() {
            return Err(
                self.refuse("upstream.client_key", "is of no use without upstream.client_certificate")
            );
        }
        let (times, every) = self.schedule()?;
        let mode =
            self.word("upstream.mode", &[("autonomous", Mode::Autonomous), ("replica", Mode::Replica)])?;
        let microsoft = self.text("upstream.url").is_some_and(|url| url.contains(".update.microsoft.com"));
        if mode == Mode::Replica && microsoft {
            let reason =
                "Microsoft Update decides nothing; name the server to be a replica of in upstream.url";
            return Err(self.refuse("upstream.mode", reason));
        }
        Ok(UpstreamSettings {
            url: self
                .url("upstream.url")?
                .ok_or_else(|| self.refuse("upstream.url", "expected an address"))?,
            mode,
            products: self.list("upstream.products")?.to_vec(),
            classifications: self.list("upstream.classifications")?.to_vec(),
            languages: self.languages()?,
            times,
            every,
            jitter: self.duration("upstream.jitter", Duration::ZERO)?.unwrap_or_default(),
            account_name: self.text("upstream.account_name").map(str::to_owned),
            token: self.token()?,
            ca_file: self.existing_file("upstream.ca_file")?,
            client_certificate,
            client_key,
            proxy: self.proxy()?,
            content_from: self.word(
                "upstream.content_from",
                &[("upstream", ContentFrom::Upstream), ("microsoft", ContentFrom::Microsoft)],
            )?,
            cost: self.cost("upstream.cost")?,
            sources: self.sources()?,
            tailwater: self.word(
                "upstream.tailwater",
                &[("follow", Tailwater::Follow), ("sync", Tailwater::Sync), ("off", Tailwater::Off)],
            )?,
            hold_removals_above: self.share("upstream.hold_removals_above")?,
        })
    }

    fn cost(&self, key: &str) -> Result<u32, ConfigError> {
        self.number(key, 0, MOST_COST).map(|cost| u32::try_from(cost).unwrap_or(u32::MAX))
    }

    fn sources(&self) -> Result<Vec<SourceSettings>, ConfigError> {
        let key = "upstream.source";
        let Some((Raw::Tables(tables), _)) = self.values.get(key) else { return Ok(Vec::new()) };
        if tables.len() > MAX_SOURCES {
            return Err(self.refuse(key, format!("at most {MAX_SOURCES} sources")));
        }
        let source = |table: &BTreeMap<String, Vec<String>>| {
            let text = |name: &str| table.get(name).and_then(|values| values.first()).map(|text| text.trim());
            let wanted = "a source needs url: \"http://server:8530\", or \"microsoft\"";
            let url = text("url").ok_or_else(|| self.refuse(key, wanted))?;
            let url = match url {
                "microsoft" => None,
                url => Some(Self::plain_url(url).ok_or_else(|| self.refuse(key, wanted))?),
            };
            let wanted = format!("a source needs cost, a whole number from 0 to {MOST_COST}");
            let cost = text("cost").and_then(|text| text.parse().ok());
            let cost = cost.filter(|cost| i64::from(*cost) <= MOST_COST);
            Ok(SourceSettings { url, cost: cost.ok_or_else(|| self.refuse(key, wanted))? })
        };
        tables.iter().map(source).collect()
    }

    fn token(&self) -> Result<Option<String>, ConfigError> {
        let key = "upstream.token";
        let Some(token) = self.text(key) else { return Ok(None) };
        if token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            // the value itself must not be shown
            let reason = "must be the text that `tailwater downstreams allow` printed at the upstream";
            return Err(ConfigError::Conflict { origin: self.origin(key), key: key.to_owned(), reason });
        }
        Ok(Some(token.to_owned()))
    }

    fn schedule(&self) -> Result<(Vec<Time>, Option<Duration>), ConfigError> {
        let key = "upstream.schedule";
        let every = self.duration("upstream.every", SHORTEST)?;
        if every.is_some() && self.is_default(key) {
            return Ok((Vec::new(), every));
        }
        let wanted = "expected local times such as \"03:00\"";
        let times = self.list(key)?.iter().map(|text| Time::strptime("%H:%M", text.trim()));
        let times: Vec<Time> = times.collect::<Result<_, _>>().map_err(|_e| self.refuse(key, wanted))?;
        if every.is_some() && !times.is_empty() {
            return Err(ConfigError::Conflict {
                origin: self.origin("upstream.every"),
                key: "upstream.every".to_owned(),
                reason: "and upstream.schedule exclude each other; keep one",
            });
        }
        Ok((times, every))
    }

    fn languages(&self) -> Result<Vec<String>, ConfigError> {
        let key = "upstream.languages";
        let languages: Vec<String> =
            self.list(key)?.iter().map(|language| language.trim().to_ascii_lowercase()).collect();
        let is_tag = |tag: &String| {
            (2..=20).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if languages.is_empty() || !languages.iter().all(is_tag) {
            return Err(self.refuse(key, "expected at least one language such as \"en\" or \"pt-br\""));
        }
        Ok(languages)
    }

    fn proxy(&self) -> Result<Proxy, ConfigError> {
        match self.text("upstream.proxy") {
            None | Some("system") => Ok(Proxy::System),
            Some("none") => Ok(Proxy::None),
            // credentials are allowed here, and nowhere shown: see `shown`
            Some(text) => {
                let wanted = "expected \"system\", \"none\" or an address such as \"http://proxy:3128\"";
                let uri: http::Uri = text.parse().map_err(|_e| self.refuse("upstream.proxy", wanted))?;
                if uri.scheme_str() != Some("http") || uri.authority().is_none() {
                    return Err(self.refuse("upstream.proxy", wanted));
                }
                Ok(Proxy::Url(text.to_owned()))
            }
        }
    }

    fn content(&self) -> Result<ContentSettings, ConfigError> {
        let fetch = [
            ("demand", Fetch::Demand),
            ("approved", Fetch::Approved),
            ("learned", Fetch::Learned),
            ("all", Fetch::All),
            ("none", Fetch::None),
        ];
        let max_size = self.parsed::<ByteCount>("content.max_size")?;
        if max_size.0 < 1_000_000 {
            return Err(self.refuse("content.max_size", "expected at least \"1 MB\""));
        }
        Ok(ContentSettings {
            fetch: self.word("content.fetch", &fetch)?,
            quiet: self.quiet()?,
            max_size,
            min_free: self.parsed("content.min_free")?,
            demand: self
                .word("content.demand", &[("approved", Demand::Approved), ("anything", Demand::Anything)])?,
            allowed_private: self.hosts("content.allowed_private")?,
            redirect_hosts: self.hosts("content.redirect_hosts")?,
        })
    }

    fn hosts(&self, key: &str) -> Result<HostList, ConfigError> {
        HostList::parse(self.list(key)?).map_err(|error| self.refuse(key, error.to_string()))
    }

    /// A rate towards clients.
    fn leg(&self, key: &str) -> Result<Rate, ConfigError> {
        let rate = self.parsed::<Rate>(key)?;
        if rate == Rate::Closed {
            return Err(
                self.refuse(key, "expected a rate or \"unlimited\"; to serve nobody, stop the server")
            );
        }
        Ok(rate)
    }

    fn quiet(&self) -> Result<Option<Quiet>, ConfigError> {
        let time = |key: &str| {
            let wanted = "expected a time of day such as \"22:00\"";
            // the end of a day is written 24:00 by many
            let text = self.text(key).map(|text| if text == "24:00" { "00:00" } else { text });
            text.map(|text| Time::strptime("%H:%M", text).map_err(|_e| self.refuse(key, wanted))).transpose()
        };
        let zone = self.text("bandwidth.time_zone").map(|name| self.zone("bandwidth.time_zone", name));
        match (time("content.quiet.from")?, time("content.quiet.to")?) {
            (Some(from), Some(to)) => {
                Ok(Some(Quiet { from, to, zone: zone.transpose()?.unwrap_or_else(TimeZone::system) }))
            }
            (None, None) => Ok(None),
            _ => Err(ConfigError::Conflict {
                origin: self.origin("content.quiet.from"),
                key: "content.quiet".to_owned(),
                reason: "needs from and to together",
            }),
        }
    }

    fn windows(&self) -> Result<Vec<Window>, ConfigError> {
        let key = "bandwidth.window";
        let of_all = self.time_zone()?;
        let Some((Raw::Tables(tables), _)) = self.values.get(key) else { return Ok(Vec::new()) };
        if tables.len() > MAX_WINDOWS {
            return Err(self.refuse(key, format!("at most {MAX_WINDOWS} windows")));
        }
        let window = |table: &BTreeMap<String, Vec<String>>| {
            let text = |name: &str| table.get(name).and_then(|values| values.first()).map(|text| text.trim());
            let needed =
                |name: &str| text(name).ok_or_else(|| self.refuse(key, format!("a window needs {name}")));
            let time = |name: &str| {
                let wanted = format!("{name}: expected a time of day such as \"08:00\"");
                let text = needed(name)?;
                // the end of a day is written 24:00 by many
                let text = if text == "24:00" { "00:00" } else { text };
                Time::strptime("%H:%M", text).map_err(|_e| self.refuse(key, wanted))
            };
            let rate =
                needed("rate")?.parse::<Rate>().map_err(|error| self.refuse(key, error.to_string()))?;
            let days = table.get("days").map_or(Ok(Days::ALL), |names| Days::parse(names));
            Ok(Window {
                days: days.map_err(|error| self.refuse(key, error.to_string()))?,
                from: time("from")?,
                to: time("to")?,
                rate,
                zone: text("time_zone").map_or(Ok(of_all.clone()), |name| self.zone(key, name))?,
            })
        };
        tables.iter().map(window).collect()
    }

    fn budget(&self) -> Result<Option<BudgetConfig>, ConfigError> {
        let amount = |key: &str| -> Result<Option<ByteCount>, ConfigError> {
            let amount = self.text(key).map(|_| self.parsed::<ByteCount>(key)).transpose()?;
            match amount {
                Some(amount) if amount < LEAST_BUDGET => {
                    Err(self.refuse(key, format!("expected at least {LEAST_BUDGET}")))
                }
                amount => Ok(amount),
            }
        };
        let (daily, monthly) = (amount("bandwidth.budget.daily")?, amount("bandwidth.budget.monthly")?);
        if let (Some(day), Some(month)) = (daily, monthly)
            && day > month
        {
            let reason = "a day's budget cannot exceed bandwidth.budget.monthly";
            return Err(self.refuse("bandwidth.budget.daily", reason));
        }
        let key = "bandwidth.budget.urgent";
        let class = |name: &String| {
            let known = Class::ALL.into_iter().find(|class| class.as_str() == name.trim());
            let names = Class::ALL.map(Class::as_str).join(", ");
            known.ok_or_else(|| self.refuse(key, format!("{name:?} is no class; there are {names}")))
        };
        let urgent = self.list(key)?.iter().map(class).collect::<Result<Vec<_>, _>>()?;
        let words = [("closed", WhenSpent::Closed), ("urgent", WhenSpent::Urgent)];
        let when_spent = self.word("bandwidth.budget.when_spent", &words)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is 0 to 1")]
        let reserve = (self.share("bandwidth.budget.reserve")? * 1000.0).round() as u16;
        if daily.is_none() && monthly.is_none() {
            return Ok(None);
        }
        Ok(Some(BudgetConfig { daily, monthly, reserve, urgent, when_spent, zone: self.time_zone()? }))
    }

    /// Whose clocks windows and budgets follow.
    fn time_zone(&self) -> Result<TimeZone, ConfigError> {
        let key = "bandwidth.time_zone";
        self.text(key).map_or_else(|| Ok(TimeZone::system()), |name| self.zone(key, name))
    }

    /// The classes that do not yield to other traffic; `None` when nothing yields.
    fn adaptive(&self) -> Result<Option<Vec<Class>>, ConfigError> {
        let key = "bandwidth.adaptive_exempt";
        let class = |name: &String| {
            let found = Class::ALL.into_iter().find(|class| class.as_str() == name.trim());
            let known = || Class::ALL.map(|class| format!("{:?}", class.as_str())).join(", ");
            found.ok_or_else(|| self.refuse(key, format!("expected some of {}", known())))
        };
        let exempt = self.list(key)?.iter().map(class).collect::<Result<Vec<_>, _>>()?;
        let on = matches!(self.values.get("bandwidth.adaptive"), Some((Raw::Switch(true), _)));
        if on && exempt.len() == Class::ALL.len() {
            return Err(
                self.refuse(key, "no class is left that yields; set bandwidth.adaptive = false instead")
            );
        }
        Ok(on.then_some(exempt))
    }

    fn zone(&self, key: &str, name: &str) -> Result<TimeZone, ConfigError> {
        TimeZone::get(name).map_err(|_e| {
            let wanted = if super::doubts::lacks_zones() {
                "this machine has no time zone database; install it (package tzdata) or set TZDIR to one"
            } else {
                "expected a time zone such as \"Europe/Berlin\" or \"UTC\""
            };
            self.refuse(key, wanted)
        })
    }

    fn log(&self) -> Result<telemetry::Config, ConfigError> {
        let filter = self.text("log.filter").unwrap_or("info").to_owned();
        telemetry::check(&filter).map_err(|error| self.refuse("log.filter", error.to_string()))?;
        let format = [("text", telemetry::Format::Text), ("json", telemetry::Format::Json)];
        Ok(telemetry::Config { filter, format: self.word("log.format", &format)? })
    }
}
