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

/// A machine.
pub(super) struct Machine {
    pub(super) id: Uuid,
    pub(super) dns_name: String,
    pub(super) traits: Traits,
}

impl Machine {
    /// The machine with this number, of a fleet with so many kinds. Its identity is always the same.
    pub(super) fn new(number: u32, kinds: u32) -> Self {
        let kinds = usize::try_from(kinds).unwrap_or(1).clamp(1, KINDS.len());
        Self {
            id: Uuid::new_v5(&SPACE, &number.to_be_bytes()),
            dns_name: format!("pc-{number:05}.branch.example"),
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
