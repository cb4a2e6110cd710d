//! `[downstream]`: servers that synchronise from here.
//!
//! **Invariant:** a key of this section stands here once: its name and default, its meaning, and how it is read.

use tailwater_domain::ByteCount;
use tailwater_serve::downstream::Policy;

use crate::ConfigError;
use crate::keys::{Key, number, text};
use crate::reading::{Checked, LEAST_STATE};

/// The keys of this section, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    text("downstream.policy", "\"open\""),
    number("downstream.transfers", "16"),
    number("downstream.max_long_polls", "4096"),
    number("downstream.max_servers", "10000"),
    number("downstream.max_descendants", "500000"),
    text("downstream.max_state", "\"8 GB\""),
];

/// `[downstream]`: servers that synchronise from here.
#[derive(Debug, Clone, Copy)]
pub struct DownstreamSettings {
    /// Which may.
    pub policy: Policy,
    /// Transfers of tailwaters that run at once.
    pub transfers: usize,
    /// Downstream Tailwaters that may wait for a change at once.
    pub max_long_polls: usize,
    /// Servers remembered.
    pub max_servers: usize,
    /// Computers of servers below remembered.
    pub max_descendants: usize,
    /// What may be kept of what servers below say.
    pub max_state: ByteCount,
}

impl DownstreamSettings {
    pub(super) fn read(of: &Checked<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            policy: of.choice("downstream.policy")?,
            transfers: of.number("downstream.transfers", 1, 10_000)?,
            max_long_polls: of.number("downstream.max_long_polls", 1, 1_000_000)?,
            max_servers: of.number("downstream.max_servers", 1, 1_000_000)?,
            max_descendants: of.number("downstream.max_descendants", 1, 10_000_000)?,
            max_state: of.size("downstream.max_state", LEAST_STATE, "")?,
        })
    }
}
