//! The rates towards agents and downstream servers, as configured. Pure.
//!
//! **Invariant:** these are values; they limit nothing by themselves.

use serde::Serialize;

use crate::schedule::Shape;
use tailwater_domain::Rate;

/// Grants that a turn may not exceed, so that a fast network is not cut into system calls.
const MOST_QUANTUM: u64 = 256 * 1024;

// not a limit: MOST_QUANTUM: how turns are shared

/// Rates towards agents and downstream servers: `[bandwidth.downstream]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EgressRates {
    /// To all of them together.
    pub rate: Rate,
    /// To one address.
    pub per_client: Rate,
    /// To one subnet: 24 bits of an IPv4 address, 64 of an IPv6 address.
    pub per_subnet: Rate,
}

impl Default for EgressRates {
    fn default() -> Self {
        Self { rate: Rate::Unlimited, per_client: Rate::Unlimited, per_subnet: Rate::Unlimited }
    }
}

impl EgressRates {
    /// The smallest of the three decides how long a turn is.
    pub(super) fn quantum(&self) -> u64 {
        let turns = [self.rate, self.per_client, self.per_subnet].map(|rate| Shape::of(rate).quantum);
        turns.into_iter().min().unwrap_or(MOST_QUANTUM).min(MOST_QUANTUM)
    }
}
