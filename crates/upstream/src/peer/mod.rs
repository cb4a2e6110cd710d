//! An upstream that is a tailwater as well: the same catalog in a fraction of the bytes (docs/protocol-v1.md).
//!
//! **Invariant:** it is found by asking and never required: whatever is strange on this path is told once, remembered
//! for a while, and the synchronisation goes on over MS-WSUSSS. Documents that come this way are cut, compared and
//! staged as any others. It never decides what is visible.

mod client;
mod exchange;
mod follow;
mod order;
mod round;
mod state;

use tailwater_domain::{Limit, joined_limits};

pub(super) use client::PeerClient;
pub(super) use exchange::PeerError;
pub(super) use state::PeerState;

pub(super) const LIMITS: &[Limit] =
    joined_limits![state::LIMITS, exchange::LIMITS, follow::LIMITS, client::LIMITS, order::LIMITS,];
