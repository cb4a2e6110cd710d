//! What this server sends to agents and downstream servers: the rates in all, to one client and to one subnet.
//!
//! **Invariant:** without any rate nothing is limited and nothing is locked. It never limits what comes from upstream.

mod limiter;
mod rates;
mod scheduler;

pub use limiter::{EgressLane, EgressLimiter, EgressStatus};
pub use rates::EgressRates;
