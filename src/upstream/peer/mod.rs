//! An upstream that is a tailwater as well: the same catalog in a fraction of the bytes (ARCHITECTURE.md, "Between
//! two tailwaters").
//!
//! **Invariant:** it is found by asking and never required: whatever is strange on this path is told once, remembered
//! for a while, and the synchronisation goes on over MS-WSUSSS. Documents that come this way are cut, compared and
//! staged as any others. It never decides what is visible.

mod acquaintance;
mod exchange;
mod follow;
mod line;
mod order;
mod round;

use crate::domain::{Limit, joined_limits};

pub(super) use acquaintance::Acquaintance;
pub(super) use exchange::Trouble;
pub(super) use line::Line;
pub(super) use round::Mark;

pub(super) const LIMITS: &[Limit] =
    joined_limits![acquaintance::LIMITS, exchange::LIMITS, follow::LIMITS, line::LIMITS, order::LIMITS,];
