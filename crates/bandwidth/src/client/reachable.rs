//! Which servers may be reached: the configured ones wherever they are, others only on the public internet.
//!
//! Metadata names addresses and answers redirect to others, and neither is the administrator's word. So an address that nobody
//! configured is checked after its name was resolved, at each connection: names that change what they stand for, and every
//! way to write an address, end at the same numbers. Through a proxy this server resolves nothing: what is written as an
//! address is judged like one, names that only a site's own resolver knows are refused, and other names are the proxy's to judge.
//!
//! **Invariant:** a listener of this server is never reached, whatever is configured. It never opens a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use http::Uri;

use super::address_kind::{AddressKind, special};
use super::host_list::HostList;
use super::origin::Origin;
use crate::LinkError;

/// Hosts of Microsoft's service that payloads are redirected to (its own list for firewalls).
const MICROSOFT: [&str; 6] = [
    "*.windowsupdate.com",
    "*.update.microsoft.com",
    "*.windowsupdate.microsoft.com",
    "*.delivery.mp.microsoft.com",
    "download.microsoft.com",
    "officecdn.microsoft.com",
];

/// Names that no public resolver knows (RFC 6761, 6762, 8375, and `.internal`), and customary ones of the same kind.
const INSIDE: [&str; 9] =
    ["localhost", "local", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa"];

/// Which servers may be reached.
#[derive(Debug, Clone)]
pub struct Reachable {
    anywhere: bool,
    configured: Vec<Origin>,
    private: HostList,
    redirects: HostList,
    microsoft: HostList,
    own: Vec<SocketAddr>,
}

/// Why an address is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forbidden {
    /// This server listens there.
    OwnListener,
    /// It is not public, and not configured.
    Kind(AddressKind),
}

impl Forbidden {
    pub(super) fn error(self, origin: &Origin, address: Option<IpAddr>) -> LinkError {
        let origin = origin.to_string();
        match self {
            Self::OwnListener => LinkError::OwnListener { origin },
            Self::Kind(kind) => LinkError::NotPublic { origin, kind, address },
        }
    }
}

impl Reachable {
    /// Every server, and every redirect; own listeners only when they are named.
    pub fn anywhere() -> Self {
        Self { anywhere: true, ..Self::public() }
    }

    /// Public addresses alone.
    pub fn public() -> Self {
        Self {
            anywhere: false,
            configured: Vec::new(),
            private: HostList::default(),
            redirects: HostList::default(),
            microsoft: HostList::parse(MICROSOFT).unwrap_or_default(),
            own: Vec::new(),
        }
    }

    /// Public addresses, and the origins (scheme, host and port) of these, wherever they are. What is no address of a server
    /// is left out: it cannot be fetched from either.
    pub fn configured<'a>(urls: impl IntoIterator<Item = &'a str>) -> Self {
        let origins = urls.into_iter().filter_map(|url| Origin::of(&url.parse::<Uri>().ok()?).ok());
        Self { configured: origins.collect(), ..Self::public() }
    }

    /// And these hosts and networks though they are not public.
    #[must_use]
    pub fn with_private(self, private: HostList) -> Self {
        Self { private, ..self }
    }

    /// And redirects to these hosts.
    #[must_use]
    pub fn with_redirects(self, redirects: HostList) -> Self {
        Self { redirects, ..self }
    }

    /// But not these, where this server listens.
    #[must_use]
    pub fn without_own(self, own: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { own: own.into_iter().collect(), ..self }
    }

    fn is_configured(&self, origin: &Origin) -> bool {
        self.anywhere || self.configured.iter().any(|known| known.is_same(origin))
    }

    /// Whether `address`, which an origin's name stands for, may be connected to.
    pub(super) fn admits(&self, origin: &Origin, address: SocketAddr) -> Result<(), Forbidden> {
        self.admits_where(origin, address, is_of_this_machine)
    }

    fn admits_where(
        &self,
        origin: &Origin,
        address: SocketAddr,
        is_own: impl Fn(IpAddr) -> bool + Copy,
    ) -> Result<(), Forbidden> {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let kind = special(ip).or_else(|| is_own(ip).then_some(AddressKind::Own));
        if self.listens_at(ip, port, kind, is_own) {
            return Err(Forbidden::OwnListener);
        }
        match kind {
            Some(kind) if !self.is_configured(origin) => {
                let listed = self.private.names(&origin.host, port) || self.private.has_address(ip, port);
                if listed { Ok(()) } else { Err(Forbidden::Kind(kind)) }
            }
            _ => Ok(()),
        }
    }

    /// Whether a proxy may be asked to connect to this origin, whose name it resolves.
    pub(super) fn admits_by_name(&self, origin: &Origin) -> Result<(), (Forbidden, Option<IpAddr>)> {
        if let Some(ip) = literal(&origin.host) {
            let judged = self.admits(origin, SocketAddr::new(ip, origin.port));
            return judged.map_err(|forbidden| (forbidden, Some(ip)));
        }
        let host = origin.host.trim_end_matches('.');
        let is_inside = !host.contains('.')
            || INSIDE.iter().any(|inside| {
                host.strip_suffix(inside).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            });
        let allowed = !is_inside || self.is_configured(origin) || self.private.names(host, origin.port);
        if allowed { Ok(()) } else { Err((Forbidden::Kind(AddressKind::Inside), None)) }
    }

    /// Whether a request to one origin may be sent on to another: of the same site, configured, listed, or Microsoft's.
    pub(super) fn may_redirect(&self, from: &Origin, to: &Origin) -> bool {
        let (host, target) = (from.host.trim_end_matches('.'), to.host.trim_end_matches('.'));
        let is_below = || {
            literal(host).is_none()
                && host.contains('.')
                && target.strip_suffix(host).is_some_and(|rest| rest.ends_with('.'))
        };
        self.is_configured(to)
            || host == target
            || is_below()
            || self.microsoft.names(target, to.port)
            || self.redirects.names(target, to.port)
    }

    /// Whether one of this server's listeners answers there.
    fn listens_at(
        &self,
        ip: IpAddr,
        port: u16,
        kind: Option<AddressKind>,
        is_own: impl Fn(IpAddr) -> bool,
    ) -> bool {
        self.own.iter().filter(|own| own.port() == port).any(|own| {
            let own = own.ip().to_canonical();
            match kind {
                // the unspecified addresses lead to this machine
                Some(AddressKind::Loopback) => {
                    own == ip || own.is_unspecified() || (leads_here(ip) && own.is_loopback())
                }
                _ => own == ip || (own.is_unspecified() && is_own(ip)),
            }
        })
    }
}

/// What is not loopback itself and is taken for it: unspecified, and IPv6 forms around a loopback address.
fn leads_here(ip: IpAddr) -> bool {
    !ip.is_loopback()
}

/// Whether this machine has the address. Nothing is sent: the system is asked from where it would send.
fn is_of_this_machine(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let asked = UdpSocket::bind((any, 0)).and_then(|socket| {
        // the port is never used
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    asked.is_ok_and(|from| from.ip().to_canonical() == ip)
}

/// An address as resolvers read it: also one to four numbers, decimal, octal (`0…`) or hexadecimal (`0x…`), of which the last
/// fills what the others leave (`inet_aton`).
fn literal(host: &str) -> Option<IpAddr> {
    let host = host.split('%').next().unwrap_or(host).trim_end_matches('.');
    if let Ok(ip) = host.parse() {
        return Some(ip);
    }
    let number = |text: &str| {
        let lower = text.to_ascii_lowercase();
        match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
            (Some(""), _) => Some(0),
            (Some(hex), _) => u64::from_str_radix(hex, 16).ok(),
            (None, Some(octal)) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok(),
            _ => lower.parse().ok(),
        }
    };
    let numbers: Vec<u64> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = numbers.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) || *last >= 1 << (32 - 8 * first.len()) {
        return None;
    }
    let high = first.iter().enumerate().fold(0, |sum, (at, part)| sum | part << (24 - 8 * at));
    u32::try_from(high | last).ok().map(|bits| Ipv4Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests;
