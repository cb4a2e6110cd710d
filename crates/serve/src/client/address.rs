//! Under which address agents reach this server, for the addresses it tells them.
//!
//! **Invariant:** only characters of a host and port reach an address; a `Host` header with anything else is replaced
//! by the address the connection came to.

use http::request::Parts;

use super::{Config, Locations};
use crate::http::{Peer, base_url};
use tailwater_catalog::FileUrl;
use tailwater_domain::FileDeclaration;

/// Addresses as one request shall see them.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// `http://host:port`
    pub(super) base: String,
    locations: Locations,
}

impl Address {
    /// From the configuration, the `Host` header, or the connection.
    pub(super) fn of(config: &Config, parts: &Parts, from: Peer) -> Self {
        Self { base: base_url(config.public_url.as_deref(), parts, from), locations: config.locations }
    }

    /// The host alone.
    pub(super) fn host(&self) -> &str {
        let after = self.base.split_once("://").map_or(self.base.as_str(), |(_, host)| host);
        match after.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => after,
        }
    }

    /// Where an agent gets a payload, or is sent on to where it is.
    pub(super) fn of_file(&self, file: &FileDeclaration, urls: &[FileUrl]) -> String {
        if self.locations == Locations::Origin {
            let origin = urls.iter().find(|url| url.sha1 == file.sha1).and_then(|url| url.mu_url.as_ref());
            if let Some(origin) = origin {
                return origin.clone();
            }
        }
        format!("{}{}", self.base, file.content_path())
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use tailwater_domain::Sha1Digest;

    fn address(public_url: Option<&str>, host: Option<&str>, tls: bool) -> Address {
        let mut request = Request::builder();
        if let Some(host) = host {
            request = request.header("Host", host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let config = Config { public_url: public_url.map(str::to_owned), ..Config::default() };
        let local = "192.0.2.7:8530".parse().unwrap();
        Address::of(
            &config,
            &parts,
            Peer { address: "192.0.2.9:50000".parse().unwrap(), local, tls, certificate: None },
        )
    }

    #[test]
    fn the_host_header_decides_unless_it_lies_or_is_overruled() {
        let table = [
            (None, Some("updates:8530"), false, "http://updates:8530", "updates"),
            (None, Some("[2001:db8::1]:8531"), true, "https://[2001:db8::1]:8531", "[2001:db8::1]"),
            (None, Some("a/b"), false, "http://192.0.2.7:8530", "192.0.2.7"),
            (None, Some("a@b"), false, "http://192.0.2.7:8530", "192.0.2.7"),
            (None, None, false, "http://192.0.2.7:8530", "192.0.2.7"),
            (Some("https://u.example/"), Some("x"), false, "https://u.example", "u.example"),
        ];
        for (public_url, host, tls, base, name) in table {
            let address = address(public_url, host, tls);
            assert_eq!((address.base.as_str(), address.host()), (base, name), "{host:?}");
        }
    }

    #[test]
    fn an_agent_is_told_where_a_payload_comes_from_where_that_lasts() {
        let file = FileDeclaration {
            sha1: Sha1Digest([7; 20]),
            sha256: None,
            size: 1,
            name: "x.cab".to_owned(),
            patching: None,
        };
        let told = |byte, mu_url: Option<&str>| FileUrl {
            sha1: Sha1Digest([byte; 20]),
            mu_url: mu_url.map(str::to_owned),
            uss_url: Some("/Content/x".to_owned()),
        };
        let theirs = "http://download.example/d/x.cab";
        let here = format!("http://updates:8530{}", file.content_path());
        let table = [
            (Locations::Here, told(7, Some(theirs)), &*here),
            (Locations::Origin, told(7, Some(theirs)), theirs),
            // a token is not stored: this server sends on
            (Locations::Origin, told(7, None), &here),
            (Locations::Origin, told(8, Some(theirs)), &here),
        ];
        for (locations, known, expected) in table {
            let address = Address { locations, ..address(None, Some("updates:8530"), false) };
            assert_eq!(
                address.of_file(&file, std::slice::from_ref(&known)),
                expected,
                "{locations:?} {known:?}"
            );
        }
    }
}
