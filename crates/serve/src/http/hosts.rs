//! Who may ask at all: names that a listener answers to, and what browsers say of the page behind a request.
//!
//! **Invariant:** a page from elsewhere cannot use a visitor's browser against a listener, neither by a name that was
//! pointed at it (DNS rebinding) nor by a form or a script. It never looks at what is asked for.

use http::{HeaderMap, HeaderName, Method, Uri, header};

/// Where a browser says the page behind a request came from (Fetch Metadata).
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Names besides addresses and `localhost` that a listener answers to.
#[derive(Debug, Clone, Default)]
pub struct Hosts(pub Vec<String>);

/// The host that a request is for: that of an absolute target comes before the header (RFC 9112 3.2.2).
pub(crate) fn asked_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let target = uri.authority().map(http::uri::Authority::as_str);
    target.or_else(|| headers.get(header::HOST).and_then(|host| host.to_str().ok()))
}

/// A host without its port, in brackets or not.
fn name_of(host: &str) -> Option<&str> {
    match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(address, _)| address),
        None => Some(host.rsplit_once(':').map_or(host, |(name, _)| name)),
    }
}

impl Hosts {
    /// Whether a host is ours. Addresses always are: a browser's rebinding attack needs a name.
    pub(crate) fn knows(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else { return false };
        if host.starts_with('[') {
            return name.parse::<std::net::Ipv6Addr>().is_ok();
        }
        // a dot at the end is the same name
        let name = name.strip_suffix('.').unwrap_or(name);
        name.parse::<std::net::IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|own| own.trim_end_matches('.').eq_ignore_ascii_case(name))
    }
}

/// Why a request is not even looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Foreign {
    /// It is for another host.
    #[error("This server does not answer under that name; server.hosts lists its names.\n")]
    Host,
    /// A browser sent it for a page.
    #[error("Requests that browsers send for other pages are refused.\n")]
    Page,
}

/// Whether agents' listener may answer. No agent or server is a browser, and this listener serves no page that asks for
/// anything, so whatever comes from a page comes from elsewhere.
pub(crate) fn check_request(
    hosts: &Hosts,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), Foreign> {
    if headers.contains_key(header::ORIGIN) || is_from_elsewhere(method, headers) {
        return Err(Foreign::Page);
    }
    // HTTP/1.0 without a host names nobody else
    match asked_host(uri, headers) {
        Some(host) if !hosts.0.is_empty() && !hosts.knows(host) => Err(Foreign::Host),
        _ => Ok(()),
    }
}

/// Whether a browser says that another site's page is behind it; one of the same site may lead here, and no more.
fn is_from_elsewhere(method: &Method, headers: &HeaderMap) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    headers.get_all(SITE).iter().any(|site| match site.as_bytes() {
        b"none" | b"same-origin" => false,
        b"same-site" => !reads,
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_own_names_are_known_with_and_without_a_port() {
        let hosts = Hosts(vec!["Updates.branch.example".to_owned()]);
        for host in [
            "updates.branch.example",
            "UPDATES.branch.example:8530",
            "updates.branch.example.",
            "10.0.0.1",
            "[::1]:1",
            "localhost:8530",
        ] {
            assert!(hosts.knows(host), "{host}");
        }
        for host in
            ["", "branch.example", "updates.branch.example.evil", "10.0.0.1.evil:8530", "[evil]:1", "[::1"]
        {
            assert!(!hosts.knows(host), "{host}");
        }
    }

    #[test]
    fn pages_and_foreign_names_are_refused() {
        type Row = (
            &'static str,
            &'static [&'static str],
            &'static str,
            &'static [(&'static str, &'static str)],
            Option<Foreign>,
        );
        let table: [Row; 16] = [
            ("GET", &[], "/", &[("host", "whatever")], None),
            ("POST", &[], "/", &[], None),
            ("GET", &["own"], "/", &[], None),
            ("GET", &["own"], "/", &[("host", "own:8530")], None),
            ("GET", &["own"], "/", &[("host", "evil")], Some(Foreign::Host)),
            ("GET", &["own"], "http://evil/", &[("host", "own")], Some(Foreign::Host)),
            ("GET", &["own"], "http://own/", &[("host", "evil")], None),
            ("GET", &[], "/", &[("host", "a"), ("origin", "http://evil")], Some(Foreign::Page)),
            ("GET", &[], "/", &[("host", "a"), ("origin", "null")], Some(Foreign::Page)),
            ("POST", &[], "/", &[("host", "a"), ("origin", "http://a")], Some(Foreign::Page)),
            ("GET", &[], "/", &[("sec-fetch-site", "none")], None),
            ("GET", &[], "/", &[("sec-fetch-site", "same-origin")], None),
            ("GET", &[], "/", &[("sec-fetch-site", "same-site")], None),
            ("POST", &[], "/", &[("sec-fetch-site", "same-site")], Some(Foreign::Page)),
            ("HEAD", &[], "/", &[("sec-fetch-site", "cross-site")], Some(Foreign::Page)),
            ("OPTIONS", &[], "/", &[("sec-fetch-site", "Cross-Site")], Some(Foreign::Page)),
        ];
        for (method, names, uri, headers, wanted) in table {
            let hosts = Hosts(names.iter().map(|name| (*name).to_owned()).collect());
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let got =
                check_request(&hosts, &method.parse().unwrap(), &uri.parse().unwrap(), &headers.collect());
            assert_eq!(got.err(), wanted, "{method} {uri} {names:?}");
        }
    }
}
