//! The subnet that a client's address belongs to, as limits and rates count it.
//!
//! **Invariant:** an IPv4 address has the same subnet whether it came as such or mapped into IPv6. It never looks at a
//! routing table: 24 bits of an IPv4 address and 64 of an IPv6 address are what one site, or one attacker, has cheaply.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A network of addresses that are counted together: /24 of IPv4, /64 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subnet(IpAddr);

impl Subnet {
    /// The subnet of an address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                IpAddr::V4(Ipv4Addr::new(a, b, c, 0))
            }
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        })
    }

    /// Its first address.
    pub fn address(self) -> IpAddr {
        self.0
    }

    /// How many bits name it.
    pub fn prefix(self) -> u8 {
        if self.0.is_ipv4() { 24 } else { 64 }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0, self.prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_what_a_site_has_in_one_place() {
        let table = [
            ("10.1.2.3", "10.1.2.0/24"),
            ("::ffff:10.1.2.3", "10.1.2.0/24"),
            ("127.0.0.1", "127.0.0.0/24"),
            ("fd00:1:2:3:4:5:6:7", "fd00:1:2:3::/64"),
            ("::1", "::/64"),
        ];
        for (address, network) in table {
            assert_eq!(Subnet::of(address.parse().unwrap()).to_string(), network);
        }
    }
}
