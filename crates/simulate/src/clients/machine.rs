//! The machine that a simulated agent runs on.

use uuid::Uuid;

use super::fragment::Traits;

/// The name space of machines' identities.
const SPACE: Uuid = Uuid::from_u128(0x3f0c_6a53_0f0b_4c6f_8a4e_6d61_6368_696e);

/// Kinds of machines; a fleet of one image has only the first.
const KINDS: [Traits; 4] = [
    Traits { architecture: 9, build: 26_100, language: "en", behind: 0 },
    Traits { architecture: 9, build: 19_045, language: "de", behind: 1 },
    Traits { architecture: 12, build: 26_100, language: "en", behind: 0 },
    Traits { architecture: 9, build: 17_763, language: "fr", behind: 3 },
];

/// The server that an address means, however it is written: host in lower case, and port.
fn place(server: &str) -> String {
    let parsed: Option<http::Uri> = server.trim().parse().ok();
    let place = parsed.as_ref().and_then(|uri| {
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        Some(format!("{}:{port}", uri.host()?.to_ascii_lowercase()))
    });
    place.unwrap_or_else(|| server.trim().to_ascii_lowercase())
}

/// A machine.
pub(super) struct Machine {
    pub(super) id: Uuid,
    pub(super) dns_name: String,
    pub(super) traits: Traits,
}

impl Machine {
    /// The machine with this number, of a fleet with so many kinds that uses this server. Its identity is always the
    /// same for a server and a seed, and none of another server or seed: a head office sees two fleets as two.
    pub(super) fn new(server: &str, seed: u64, number: u32, kinds: u32) -> Self {
        let kinds = usize::try_from(kinds).unwrap_or(1).clamp(1, KINDS.len());
        let fleet = Uuid::new_v5(&SPACE, format!("{seed} {}", place(server)).as_bytes());
        let site = fleet.as_fields().0;
        Self {
            id: Uuid::new_v5(&fleet, &number.to_be_bytes()),
            dns_name: format!("pc-{number:05}.site-{site:08x}.example"),
            traits: KINDS[number as usize % kinds].clone(),
        }
    }

    /// As in `ComputerInfo`.
    pub(super) fn architecture_name(&self) -> &'static str {
        if self.traits.architecture == 12 { "ARM64" } else { "AMD64" }
    }

    /// As in events.
    pub(super) fn reported_architecture(&self) -> &'static str {
        if self.traits.architecture == 12 { "Arm64Compatible" } else { "Amd64Compatible" }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn fleets_of_two_servers_or_seeds_have_nothing_in_common_and_stay_what_they_are() {
        let servers =
            ["http://a.example:8530", "http://b.example:8530", "http://a.example", "https://a.example"];
        let (mut ids, mut names) = (HashSet::new(), HashSet::new());
        for server in servers {
            for seed in 1..4 {
                for number in 0..50 {
                    let machine = Machine::new(server, seed, number, 3);
                    let again = Machine::new(&format!("{}/", server.to_uppercase()), seed, number, 1);
                    assert_eq!((machine.id, &machine.dns_name), (again.id, &again.dns_name));
                    assert!(
                        ids.insert(machine.id) && names.insert(machine.dns_name),
                        "{server} {seed} {number}"
                    );
                }
            }
        }
    }
}
