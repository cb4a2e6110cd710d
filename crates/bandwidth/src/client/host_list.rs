//! Hosts and networks that an administrator lists. Pure.
//!
//! An entry is a name (itself alone), `*.name` (what lies below it), `*` (everybody), an address or a network
//! (`10.0.0.0/8`, `fd00::/8`), each with `:port` where it is meant for one port only. Letter case and a final dot mean nothing.
//!
//! **Invariant:** an entry that is not understood is an error, never an entry that lists nobody. It never asks what a name's
//! address is.

use std::net::IpAddr;

use super::no_proxy::{Entry, HostPattern};

/// An entry that is no host, address or network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} is no name, *.name, address or network such as 10.0.0.0/8, with :port or without")]
pub struct HostListError {
    /// As it was written.
    pub entry: String,
}

/// The list; empty, it lists nobody.
#[derive(Debug, Clone, Default)]
pub struct HostList(Vec<Entry>);

impl HostList {
    /// Reads entries.
    ///
    /// # Errors
    /// With the first that is not understood.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<Self, HostListError> {
        let read = |entry: S| {
            let text = entry.as_ref().trim();
            let error = || HostListError { entry: text.chars().take(80).collect() };
            // a dot in front means what lies below it elsewhere; here that is written with an asterisk
            let read = Entry::parse(text).filter(|_| !text.starts_with('.')).ok_or_else(error)?;
            Ok(match read {
                // a pattern without an asterisk is the name alone
                Entry { pattern: HostPattern::Domain(name), port } => {
                    Entry { pattern: HostPattern::Pattern(name), port }
                }
                other => other,
            })
        };
        entries.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a host, without brackets, is listed at this port by its name or its literal address.
    pub fn names(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        self.at(port).any(|pattern| pattern.is(&host, address))
    }

    /// Whether an address is listed at this port, whatever name led to it.
    pub fn has_address(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        self.at(port)
            .any(|pattern| matches!(pattern, HostPattern::Network(network) if network.contains(&address)))
    }

    fn at(&self, port: u16) -> impl Iterator<Item = &HostPattern> {
        self.0
            .iter()
            .filter(move |entry| entry.port.is_none_or(|wanted| wanted == port))
            .map(|entry| &entry.pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_list_whom_they_name_and_nobody_else() {
        // the entry, a host, its port, whether it is listed
        let table = [
            ("cdn.example", "cdn.example", 80, true),
            ("CDN.example.", "cdn.EXAMPLE", 80, true),
            ("cdn.example", "cdn.example.", 80, true),
            ("cdn.example", "a.cdn.example", 80, false),
            ("cdn.example", "xcdn.example", 80, false),
            ("*.cdn.example", "a.cdn.example", 80, true),
            ("*.cdn.example", "a.b.cdn.example", 80, true),
            ("*.cdn.example", "cdn.example", 80, false),
            ("*.cdn.example", "xcdn.example", 80, false),
            ("*.cdn.example", "a.cdn.example.evil.example", 80, false),
            ("*", "whoever.example", 8080, true),
            ("cdn.example:8080", "cdn.example", 8080, true),
            ("cdn.example:8080", "cdn.example", 80, false),
            ("10.0.0.0/8", "10.1.2.3", 80, true),
            ("10.0.0.0/8", "::ffff:10.1.2.3", 80, true),
            ("10.0.0.0/8", "11.1.2.3", 80, false),
            ("[::1]:8530", "::1", 8530, true),
            ("[::1]:8530", "::1", 8531, false),
        ];
        for (entry, host, port, listed) in table {
            let list = HostList::parse([entry]).unwrap();
            assert_eq!(list.names(host, port), listed, "{entry:?}: {host} {port}");
            assert!(!HostList::default().names(host, port));
        }
        let list = HostList::parse(["192.168.7.0/24", "cdn.example"]).unwrap();
        assert!(list.has_address("192.168.7.9".parse().unwrap(), 80));
        assert!(list.has_address("::ffff:192.168.7.9".parse().unwrap(), 80));
        assert!(!list.has_address("192.168.8.9".parse().unwrap(), 80));
        for entry in [
            "",
            " ",
            "http://cdn.example",
            "10.0.0.0/99",
            "cdn.example:http",
            "cdn example",
            ".cdn.example",
            ".",
        ] {
            assert!(HostList::parse([entry]).is_err(), "{entry:?}");
        }
    }
}
