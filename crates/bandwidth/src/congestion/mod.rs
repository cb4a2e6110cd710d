//! Yielding to other traffic on the link, as LEDBAT does (RFC 6817): `delay` measures, `control` decides, `yielding` applies.
//!
//! **Invariant:** it only lowers what the calendar allows, and never slows a class that is exempt.

mod control;
mod delay;
mod yielding;

use tailwater_domain::{Limit, joined_limits};

pub use control::Pace;
pub use yielding::{Politeness, Yielding};

/// The limits of this subject.
pub(crate) const LIMITS: &[Limit] = joined_limits![delay::LIMITS, yielding::LIMITS,];
