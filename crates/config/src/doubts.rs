//! What can be used and is probably not meant: keys without effect, and keys that work against each other.
//!
//! **Invariant:** a doubt never keeps a server from starting; what cannot work is an error in [`super::load`]. It
//! asks nobody and opens nothing.

use jiff::tz::TimeZone;

use super::{BandwidthSettings, Loaded, Origin, Settings};
use tailwater_domain::Rate;
use tailwater_transfer::Policy;
use tailwater_upstream::Mode;

/// Languages as update servers name them. A server may know others; which ones it says itself.
const LANGUAGES: [&str; 39] = [
    "all", "ar", "bg", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "he", "hi", "hr", "hu", "it",
    "ja", "ja-nec", "ko", "lt", "lv", "nl", "no", "pl", "pt", "pt-br", "ro", "ru", "sk", "sl", "sr", "sv",
    "th", "tr", "uk", "zh-cn", "zh-hk", "zh-tw",
];

/// The parts of this program that write to the log.
const ROOMS: [&str; 18] = [
    "api",
    "app",
    "bandwidth",
    "catalog",
    "cli",
    "config",
    "content",
    "durable",
    "kv",
    "ledger",
    "needs",
    "runtime",
    "serve",
    "simulate",
    "telemetry",
    "transfer",
    "upstream",
    "wire",
];

/// How alike a language must be to be offered.
const ALIKE: f64 = 0.7;

// not a limit: ALIKE: what is proposed instead

/// A key, and what is doubtful about it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Doubt {
    /// The key.
    pub key: &'static str,
    /// What is doubtful, and what to do.
    pub text: String,
}

/// The time zone in force, in words.
pub(super) fn zone_name(zone: &TimeZone, named: bool) -> String {
    match zone.iana_name() {
        Some(name) if named => name.to_owned(),
        Some(name) => format!("{name} (this machine's)"),
        None if zone == &TimeZone::unknown() => {
            "UTC, because this machine's own cannot be found (TZ and /etc/localtime)".to_owned()
        }
        None => "this machine's, without a name".to_owned(),
    }
}

/// Whether this machine has no database of time zones.
pub(super) fn lacks_zones() -> bool {
    jiff::tz::db().is_definitively_empty()
}

impl Loaded {
    fn is_set(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|(_, origin)| *origin != Origin::Default)
    }

    /// The time zone that windows, budgets and the ledger follow, in words.
    pub fn time_zone(&self) -> String {
        zone_name(&self.settings.bandwidth.time_zone, self.is_set("bandwidth.time_zone"))
    }

    /// Everything doubtful, in the order of the keys.
    pub fn doubts(&self) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        let mut doubt = |key, text: String| doubts.push(Doubt { key, text });
        self.about_upstream(&mut doubt);
        self.about_selection(&mut doubt);
        self.about_link(&mut doubt);
        self.about_log(&mut doubt);
        doubts
    }

    fn about_upstream(&self, doubt: &mut impl FnMut(&'static str, String)) {
        let Settings { server, upstream, .. } = &self.settings;
        if let Some(url) = &server.public_url
            && ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"].iter().any(|host| host_of(url) == *host)
        {
            let text = format!("{url} leads computers to themselves; name this server as they know it");
            doubt("server.public_url", text);
        }
        if is_own(&upstream.url, server.listen.port(), server.listen.ip().to_string().as_str()) {
            let text = format!("{} is this server itself; name the server above it", upstream.url);
            doubt("upstream.url", text);
        }
        if upstream.url.starts_with("http://") {
            for (key, set) in [
                ("upstream.ca_file", upstream.ca_file.is_some()),
                ("upstream.client_certificate", upstream.client_certificate.is_some()),
            ] {
                if set {
                    doubt(key, "has no effect: upstream.url begins with http://, not https://".to_owned());
                }
            }
            if upstream.token.is_some() {
                let text = "crosses the network in the clear, because upstream.url begins with http://";
                doubt("upstream.token", text.to_owned());
            }
        }
        if upstream.schedule.times.is_empty()
            && upstream.schedule.every.is_none()
            && self.is_set("upstream.jitter")
        {
            doubt("upstream.jitter", "has no effect: nothing is synchronised on schedule".to_owned());
        }
    }

    fn about_selection(&self, doubt: &mut impl FnMut(&'static str, String)) {
        let upstream = &self.settings.upstream;
        if upstream.mode == Mode::Replica {
            for key in ["upstream.products", "upstream.classifications"] {
                if self.is_set(key) {
                    let text = "works against upstream.mode = \"replica\": the upstream decides, and this server holds \
                                only a part of what it decides on; leave the key out";
                    doubt(key, text.to_owned());
                }
            }
        }
        let microsoft = upstream.url.contains(".update.microsoft.com");
        if microsoft && upstream.products.is_empty() && upstream.mode == Mode::Autonomous {
            let text = "is empty: everything that Microsoft publishes is synchronised, hundreds of thousands of updates; \
                        name the products you have (`tailwater categories list` after the first synchronisation)";
            doubt("upstream.products", text.to_owned());
        }
        for language in &upstream.languages {
            if LANGUAGES.contains(&language.as_str()) {
                continue;
            }
            let alike = |known: &&&str| strsim::jaro_winkler(known, language);
            let near = LANGUAGES.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
            let near =
                near.filter(|near| alike(near) >= ALIKE).map(|near| format!("; did you mean {near:?}?"));
            let text = format!(
                "{language:?} is no language that update servers usually have{}",
                near.unwrap_or_default()
            );
            doubt("upstream.languages", text);
        }
    }

    /// Directives for parts of this program that do not exist filter nothing.
    fn about_log(&self, doubt: &mut impl FnMut(&'static str, String)) {
        for directive in self.settings.log.filter.split(',') {
            let target = directive.split(['=', '[']).next().unwrap_or_default().trim();
            let below = target.strip_prefix("tailwater_").or_else(|| target.strip_prefix("tailwater::"));
            let Some(room) = below.and_then(|rest| rest.split("::").next()) else { continue };
            if !ROOMS.contains(&room) {
                let text = format!("{target:?} is no part of this program; there are {}", ROOMS.join(", "));
                doubt("log.filter", text);
            }
        }
    }

    fn about_link(&self, doubt: &mut impl FnMut(&'static str, String)) {
        let Settings { content, bandwidth, .. } = &self.settings;
        let BandwidthSettings { rate, windows, budget, adaptive, .. } = bandwidth;
        if content.quiet.is_some() && content.fetch != Policy::Learned {
            doubt("content.quiet", "has no effect without content.fetch = \"learned\"".to_owned());
        }
        let open = |rate: &Rate| *rate != Rate::Closed;
        if !open(rate) && !windows.iter().any(|window| open(&window.rate)) {
            let text = "is closed, and no window opens the link: nothing is ever taken from upstream";
            doubt("bandwidth.rate", text.to_owned());
        }
        if adaptive.is_none() && self.is_set("bandwidth.adaptive_exempt") {
            let text = "has no effect without bandwidth.adaptive = true";
            doubt("bandwidth.adaptive_exempt", text.to_owned());
        }
        if budget.is_none() {
            for key in ["bandwidth.budget.reserve", "bandwidth.budget.urgent", "bandwidth.budget.when_spent"]
            {
                if self.is_set(key) {
                    let text = "has no effect without bandwidth.budget.daily or bandwidth.budget.monthly";
                    doubt(key, text.to_owned());
                }
            }
        }
        if self.is_set("bandwidth.time_zone") || (windows.is_empty() && budget.is_none()) {
            return;
        }
        if lacks_zones() || self.settings.bandwidth.time_zone == TimeZone::unknown() {
            let text = format!(
                "is not set, and in force is {}; name one{}",
                self.time_zone(),
                if lacks_zones() { " after installing the time zone database (package tzdata)" } else { "" }
            );
            doubt("bandwidth.time_zone", text);
        }
    }
}

fn host_of(url: &str) -> &str {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    if authority.starts_with('[') {
        return authority.find(']').map_or(authority, |end| &authority[..=end]);
    }
    authority.split(':').next().unwrap_or_default()
}

/// Whether an address is a listener of this machine, as far as its text tells.
fn is_own(url: &str, port: u16, listens_at: &str) -> bool {
    let host = host_of(url);
    let usual = if url.starts_with("https://") { 443 } else { 80 };
    let theirs = url.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(usual);
    port != 0 && theirs == port && ([listens_at, "localhost", "127.0.0.1", "[::1]"].contains(&host))
}
