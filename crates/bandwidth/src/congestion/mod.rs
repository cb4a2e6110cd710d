//! Yielding to other traffic on the link, as LEDBAT does (RFC 6817): `delay` measures, `control` decides, `congestion_yield`
//! applies.
//!
//! **Invariant:** it only lowers what the calendar allows, and never slows a class that is exempt.

mod congestion_yield;
mod control;
mod delay;

use tailwater_domain::{Limit, joined_limits};

pub use congestion_yield::{CongestionYield, YieldStatus};
pub use control::CapReason;

/// The limits of this subject.
pub(crate) const LIMITS: &[Limit] = joined_limits![delay::LIMITS, congestion_yield::LIMITS,];
