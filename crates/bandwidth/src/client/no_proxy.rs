//! Which hosts need no proxy: `NO_PROXY`, as curl and the other programs of a site read it. Pure.
//!
//! An entry is a name (and what lies below it), `.name`, `*.name` (only what lies below it), another pattern with `*`, an
//! address, a network (`10.0.0.0/8`, `fd00::/8`), each with `:port` where it is meant for one port only, or `*` for
//! everybody. Commas and spaces stand between them, letter case and a final dot mean nothing.
//!
//! **Invariant:** an entry that is not understood exempts nobody. It never asks what a name's address is.

use std::net::IpAddr;

use ipnet::IpNet;
use tailwater_domain::{Limit, limits};

/// Entries that are read; more than a site has networks.
const MOST: usize = 1024;

pub(super) const LIMITS: &[Limit] = limits![
    MOST in "entries": "Entries of NO_PROXY" => "they are passed over",
];

/// All entries.
#[derive(Debug, Clone, Default)]
pub(super) struct NoProxy(Vec<Entry>);

/// A host or several, at one port or at all.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) pattern: HostPattern,
    pub(super) port: Option<u16>,
}

/// The hosts that an entry names.
#[derive(Debug, Clone)]
pub(super) enum HostPattern {
    Network(IpNet),
    /// The name and what lies below it.
    Domain(String),
    /// With `*` for any text.
    Pattern(String),
}

impl NoProxy {
    pub(super) fn parse(list: &str) -> Self {
        let entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        Self(entries.take(MOST).filter_map(|text| Entry::parse(text).or_else(|| misread(text))).collect())
    }

    /// Whether this host, without brackets, needs no proxy at this port.
    pub(super) fn matches(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        self.0
            .iter()
            .any(|entry| entry.port.is_none_or(|wanted| wanted == port) && entry.pattern.is(&host, address))
    }
}

impl Entry {
    /// `None` when it is not understood.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        if let Some(pattern) = HostPattern::address(&text) {
            return Some(Self { pattern, port: None });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        let pattern = HostPattern::address(name).or_else(|| HostPattern::name(name))?;
        Some(Self { pattern, port })
    }
}

fn misread(entry: &str) -> Option<Entry> {
    let entry: String = entry.chars().take(80).collect();
    tracing::warn!(entry, "no_proxy has an entry that is no name, address or network; it exempts nobody");
    None
}

impl HostPattern {
    fn address(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let network = bare.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        network.ok().or_else(|| bare.parse().ok()).map(Self::Network)
    }

    fn name(text: &str) -> Option<Self> {
        let known = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
        let bare = text.trim_start_matches('.').trim_end_matches('.');
        if bare.is_empty() || !bare.chars().all(known) {
            return None;
        }
        let bare = bare.to_owned();
        Some(if bare.contains('*') { Self::Pattern(bare) } else { Self::Domain(bare) })
    }

    pub(super) fn is(&self, host: &str, address: Option<IpAddr>) -> bool {
        match self {
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Self::Domain(name) => {
                let rest = host.strip_suffix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || (rest.ends_with('.') && address.is_none()))
            }
            Self::Pattern(pattern) => matches(pattern, host),
        }
    }
}

/// Whether a text has the form of a pattern in which `*` is any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_exempt_whom_they_name() {
        // the list, a host, its port, whether it needs no proxy
        let table = [
            ("", "a.example", 80, false),
            ("*", "a.example", 80, true),
            ("*", "2001:db8::1", 443, true),
            ("x.example", "x.example", 80, true),
            ("x.example", "a.x.example", 80, true),
            ("x.example", "ax.example", 80, false),
            ("x.example", "x.example.org", 80, false),
            ("X.Example.", "x.EXAMPLE", 80, true),
            ("x.example", "x.example.", 80, true),
            (".x.example", "a.x.example", 80, true),
            (".x.example", "x.example", 80, true),
            (".x.example", "ax.example", 80, false),
            ("*.x.example", "a.x.example", 80, true),
            ("*.x.example", "a.b.x.example", 80, true),
            ("*.x.example", "x.example", 80, false),
            ("*.x.example", "ax.example", 80, false),
            ("wsus*", "wsus07", 80, true),
            ("wsus*", "nowsus", 80, false),
            ("wsus*.x.example", "wsus1.x.example", 80, true),
            ("wsus*.x.example", "wsus1.y.example", 80, false),
            ("*update*", "an.update.example", 80, true),
            ("192.168.*", "192.168.3.4", 80, true),
            ("192.168.*", "192.169.3.4", 80, false),
            ("x.example:8530", "x.example", 8530, true),
            ("x.example:8530", "a.x.example", 8530, true),
            ("x.example:8530", "x.example", 80, false),
            ("*.x.example:8530", "a.x.example", 8530, true),
            ("*:8530", "a.example", 8530, true),
            ("*:8530", "a.example", 8531, false),
            ("a.example, b.example", "b.example", 80, true),
            ("a.example b.example", "b.example", 80, true),
            (" a.example\t,,\n b.example ,", "b.example", 80, true),
            ("10.0.0.7", "10.0.0.7", 80, true),
            ("10.0.0.7", "10.0.0.70", 80, false),
            ("10.0.0.7:8530", "10.0.0.7", 8530, true),
            ("10.0.0.7:8530", "10.0.0.7", 80, false),
            ("10.0.0.0/8", "10.200.3.4", 80, true),
            ("10.1.2.3/8", "10.200.3.4", 80, true),
            ("10.0.0.0/8", "11.0.0.1", 80, false),
            ("10.0.0.0/8", "10.example", 80, false),
            ("10.0.0.0/8:8530", "10.9.9.9", 8530, true),
            ("192.168.1.0/25", "192.168.1.127", 80, true),
            ("192.168.1.0/25", "192.168.1.128", 80, false),
            ("0.0.0.0/0", "8.8.8.8", 80, true),
            ("0.0.0.0/0", "2001:db8::1", 80, false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", 80, true),
            ("2001:db8::1", "2001:db8::1", 80, true),
            ("2001:DB8:0::1", "2001:db8::1", 80, true),
            ("[2001:db8::1]", "2001:db8::1", 80, true),
            ("[2001:db8::1]:8530", "2001:db8::1", 8530, true),
            ("[2001:db8::1]:8530", "2001:db8::1", 80, false),
            ("2001:db8::/32", "2001:db8:7::9", 80, true),
            ("2001:db8::/32", "2001:db9::9", 80, false),
            ("::ffff:10.0.0.7", "10.0.0.7", 80, true),
            ("0.7", "10.0.0.7", 80, false),
            // not understood: nobody
            ("10.0.0.0/99", "10.0.0.1", 80, false),
            ("x.example:http", "x.example", 80, false),
            ("http://x.example", "x.example", 80, false),
            (".", "x.example", 80, false),
            ("x.example:99999", "x.example", 80, false),
        ];
        for (list, host, port, expected) in table {
            assert_eq!(NoProxy::parse(list).matches(host, port), expected, "{list:?}: {host} {port}");
        }
    }
}
