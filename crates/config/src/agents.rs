//! `[agents]`: what computers are told, and what is kept of them.
//!
//! **Invariant:** a key of this section stands here once: its name and default, its meaning, and how it is read.

use std::time::Duration;

use tailwater_catalog::OfferPolicy;
use tailwater_domain::ByteCount;

use crate::ConfigError;
use crate::keys::{Key, number, text};
use crate::reading::{Checked, LEAST_STATE};

/// The keys of this section, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    text("agents.offer", "\"all\""),
    text("agents.targeting", "\"server\""),
    text("agents.replace_silent_after", "\"25h\""),
    text("agents.key_rotation", "\"720h\""),
    number("agents.max_computers", "100000"),
    text("agents.max_state", "\"8 GB\""),
];

/// `[agents]`.
#[derive(Debug, Clone)]
pub struct AgentsSettings {
    /// What scans are answered with.
    pub offer: OfferPolicy,
    /// Whether the group is the one that a computer names itself.
    pub client_side_targeting: bool,
    /// After how long without a call a computer's record may go to a newer identity of the same name.
    pub replace_silent_after: Duration,
    /// After how long the key that cookies are sealed with is replaced.
    pub key_rotation: Duration,
    /// How many computers are remembered.
    pub max_computers: usize,
    /// What may be kept of what agents say.
    pub max_state: ByteCount,
}

impl AgentsSettings {
    pub(super) fn read(of: &Checked<'_>) -> Result<Self, ConfigError> {
        let hours = Duration::from_hours;
        Ok(Self {
            offer: of.choice("agents.offer")?,
            client_side_targeting: of.one_of("agents.targeting", &[("server", false), ("client", true)])?,
            replace_silent_after: of
                .duration("agents.replace_silent_after", Duration::from_secs(1))?
                .unwrap_or(hours(25)),
            key_rotation: of.duration("agents.key_rotation", hours(1))?.unwrap_or(hours(720)),
            max_computers: of.number("agents.max_computers", 1, 10_000_000)?,
            max_state: of.size("agents.max_state", LEAST_STATE, "")?,
        })
    }
}
