//! Telling the upstream of this server, those below it, and all their computers ([MS-WSUSSS] 3.2.4.5).
//!
//! **Invariant:** only what changed since the upstream took it travels, within the batches it asks for; what it took is
//! written down before the next request, so that a kill costs one request again. It never fails a synchronisation.

mod computers;
mod pace;
mod request;
mod round;
mod schedule;
mod servers;

pub(super) use request::RollupRequest;
pub use round::RollupReport;

use tailwater_domain::{Limit, joined_limits};

pub(super) const LIMITS: &[Limit] = joined_limits![computers::LIMITS, servers::LIMITS,];
