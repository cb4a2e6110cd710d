//! Which addresses lie outside, on the public internet. Pure.
//!
//! After the registries of special-purpose addresses (RFC 6890, RFC 8190): of IPv4 everything is public that no block takes
//! out; of IPv6 only what lies within `2000::/3`, less its special blocks. Forms that carry an IPv4 address inside are what that
//! address is: mapped and compatible ones, 6to4, NAT64 and ISATAP.
//!
//! **Invariant:** what is not known to be public is not public. It never asks the network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address that is not public is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// This machine: 127.0.0.0/8, `::1`, and the unspecified addresses, which lead here as well.
    Loopback,
    /// This link only: 169.254.0.0/16 (with the metadata services of clouds), `fe80::/10`.
    LinkLocal,
    /// A private network: RFC 1918, shared address space (RFC 6598), `fc00::/7`, `fec0::/10`.
    Private,
    /// Everybody or a group.
    Multicast,
    /// Documentation, benchmarks, protocols, or not assigned.
    Reserved,
    /// An address of this machine, public or not.
    Own,
    /// A name that only a site's own resolver knows, which a proxy would resolve.
    Inside,
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Private => "a private address",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
            Self::Own => "an address of this machine",
            Self::Inside => "a name of the inner network",
        })
    }
}

/// `None` for a public address.
pub(super) fn special(address: IpAddr) -> Option<AddressKind> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

/// Blocks of IPv4 that are not public.
const V4: [(Ipv4Addr, u32, AddressKind); 17] = [
    (Ipv4Addr::UNSPECIFIED, 8, AddressKind::Loopback),
    (Ipv4Addr::new(10, 0, 0, 0), 8, AddressKind::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, AddressKind::Private),
    (Ipv4Addr::new(127, 0, 0, 0), 8, AddressKind::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, AddressKind::LinkLocal),
    // Azure's wire server: the metadata service of its machines, at an address that is public by its number
    (Ipv4Addr::new(168, 63, 129, 16), 32, AddressKind::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, AddressKind::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, AddressKind::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, AddressKind::Reserved),
    (Ipv4Addr::new(192, 88, 99, 0), 24, AddressKind::Reserved),
    (Ipv4Addr::new(192, 168, 0, 0), 16, AddressKind::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, AddressKind::Reserved),
    (Ipv4Addr::new(198, 51, 100, 0), 24, AddressKind::Reserved),
    (Ipv4Addr::new(203, 0, 113, 0), 24, AddressKind::Reserved),
    (Ipv4Addr::new(224, 0, 0, 0), 4, AddressKind::Multicast),
    (Ipv4Addr::BROADCAST, 32, AddressKind::Multicast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, AddressKind::Reserved),
];

fn special_v4(address: Ipv4Addr) -> Option<AddressKind> {
    let within = |base: Ipv4Addr, bits: u32| (address.to_bits() ^ base.to_bits()) >> (32 - bits) == 0;
    V4.into_iter().find(|(base, bits, _)| within(*base, *bits)).map(|(.., kind)| kind)
}

fn special_v6(address: Ipv6Addr) -> Option<AddressKind> {
    let segments = address.segments();
    let within =
        |base: [u16; 8], bits: u32| (address.to_bits() ^ Ipv6Addr::from(base).to_bits()) >> (128 - bits) == 0;
    let inner = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let last = inner(segments[6], segments[7]);
    // IPv4 inside: what it is decides, and a public one behind a translator is public
    if address.is_unspecified() || address.is_loopback() {
        return Some(AddressKind::Loopback);
    }
    if within([0; 8], 96) {
        // compatible (deprecated): nothing public is reached by it
        return special_v4(last).or(Some(AddressKind::Reserved));
    }
    if within([0, 0, 0, 0, 0, 0xffff, 0, 0], 96) || within([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96) {
        return special_v4(last);
    }
    if within([0, 0, 0, 0, 0xffff, 0, 0, 0], 96) {
        // translated (SIIT, RFC 2765)
        return special_v4(last);
    }
    if within([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48) {
        // NAT64 of a site's own (RFC 8215)
        return special_v4(last).or(Some(AddressKind::Private));
    }
    if within([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10) {
        return Some(AddressKind::LinkLocal);
    }
    if within([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7) || within([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10) {
        return Some(AddressKind::Private);
    }
    if within([0xff00, 0, 0, 0, 0, 0, 0, 0], 8) {
        return Some(AddressKind::Multicast);
    }
    if !within([0x2000, 0, 0, 0, 0, 0, 0, 0], 3) {
        return Some(AddressKind::Reserved);
    }
    if within([0x2002, 0, 0, 0, 0, 0, 0, 0], 16) {
        // 6to4
        return special_v4(inner(segments[1], segments[2]));
    }
    let reserved = within([0x2001, 0, 0, 0, 0, 0, 0, 0], 23)
        || within([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32)
        || within([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20);
    if reserved {
        return Some(AddressKind::Reserved);
    }
    // ISATAP: the last half is 5efe and an IPv4 address
    let is_isatap = segments[5] == 0x5efe && matches!(segments[4], 0 | 0x0200);
    if is_isatap { special_v4(last) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn only_what_is_known_to_be_public_is_public() {
        use AddressKind::{LinkLocal, Loopback, Multicast, Private, Reserved};
        let table: [(&str, Option<AddressKind>); 82] = [
            ("0.0.0.0", Some(Loopback)),
            ("0.1.2.3", Some(Loopback)),
            ("9.255.255.255", None),
            ("10.0.0.0", Some(Private)),
            ("10.255.255.255", Some(Private)),
            ("11.0.0.0", None),
            ("100.63.255.255", None),
            ("100.64.0.0", Some(Private)),
            ("100.127.255.255", Some(Private)),
            ("100.128.0.0", None),
            ("126.255.255.255", None),
            ("127.0.0.1", Some(Loopback)),
            ("127.255.255.254", Some(Loopback)),
            ("128.0.0.0", None),
            ("168.63.129.16", Some(LinkLocal)),
            ("168.63.129.17", None),
            ("169.253.255.255", None),
            ("169.254.169.254", Some(LinkLocal)),
            ("169.255.0.0", None),
            ("172.15.255.255", None),
            ("172.16.0.1", Some(Private)),
            ("172.31.255.255", Some(Private)),
            ("172.32.0.0", None),
            ("192.0.0.170", Some(Reserved)),
            ("192.0.1.0", None),
            ("192.0.2.1", Some(Reserved)),
            ("192.88.99.1", Some(Reserved)),
            ("192.167.255.255", None),
            ("192.168.0.1", Some(Private)),
            ("192.169.0.0", None),
            ("198.17.255.255", None),
            ("198.18.0.1", Some(Reserved)),
            ("198.19.255.255", Some(Reserved)),
            ("198.20.0.0", None),
            ("198.51.100.7", Some(Reserved)),
            ("203.0.113.7", Some(Reserved)),
            ("223.255.255.255", None),
            ("224.0.0.1", Some(Multicast)),
            ("239.255.255.250", Some(Multicast)),
            ("240.0.0.1", Some(Reserved)),
            ("255.255.255.255", Some(Multicast)),
            ("8.8.8.8", None),
            ("::", Some(Loopback)),
            ("::1", Some(Loopback)),
            ("::2", Some(Loopback)),
            ("::127.0.0.1", Some(Loopback)),
            ("::8.8.8.8", Some(Reserved)),
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("::ffff:7f00:1", Some(Loopback)),
            ("::ffff:10.0.0.1", Some(Private)),
            ("::ffff:169.254.169.254", Some(LinkLocal)),
            ("::ffff:0.0.0.0", Some(Loopback)),
            ("::ffff:8.8.8.8", None),
            ("::ffff:0:127.0.0.1", Some(Loopback)),
            ("64:ff9b::7f00:1", Some(Loopback)),
            ("64:ff9b::10.0.0.1", Some(Private)),
            ("64:ff9b::169.254.169.254", Some(LinkLocal)),
            ("64:ff9b::8.8.8.8", None),
            ("64:ff9b:1::10.0.0.1", Some(Private)),
            ("64:ff9b:1::8.8.8.8", Some(Private)),
            ("64:ff9b:2::8.8.8.8", Some(Reserved)),
            ("100::1", Some(Reserved)),
            ("2002:7f00:1::", Some(Loopback)),
            ("2002:a00:1::5", Some(Private)),
            ("2002:a9fe:a9fe::1", Some(LinkLocal)),
            ("2002:c0a8:101::1", Some(Private)),
            ("2002:808:808::1", None),
            ("2001::1", Some(Reserved)),
            ("2001:0:53aa:64c:0:7efd:80ff:fffe", Some(Reserved)),
            ("2001:20::1", Some(Reserved)),
            ("2001:db8::1", Some(Reserved)),
            ("2001:200::1", None),
            ("2606:4700:4700::1111", None),
            ("2a00::5efe:10.0.0.1", Some(Private)),
            ("2a00::200:5efe:127.0.0.1", Some(Loopback)),
            ("2a00::5efe:8.8.8.8", None),
            ("3fff::1", Some(Reserved)),
            ("5f00::1", Some(Reserved)),
            ("fc00::1", Some(Private)),
            ("fd12:3456::1", Some(Private)),
            ("fe80::1", Some(LinkLocal)),
            ("ff02::1", Some(Multicast)),
        ];
        for (address, kind) in table {
            assert_eq!(special(address.parse().unwrap()), kind, "{address}");
        }
        assert_eq!(special("fec0::1".parse().unwrap()), Some(Private));
        assert_eq!(special("4000::1".parse().unwrap()), Some(Reserved));
    }
}
