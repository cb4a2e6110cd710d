//! The link towards the upstream: what it may carry, who takes turns on it, what it has carried, the HTTP client whose sockets
//! pass all of that; and the rates of what this server sends.
//!
//! **Invariant:** every byte received from an upstream, metadata and headers included, passes [`Limiter`]
//! and is counted by [`Meter`] at the socket, below TLS. It never decides what is worth fetching.

mod budget;
mod calendar;
mod client;
mod congestion;
mod egress;
mod error;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::budget::read_any as budget_file;
    pub use crate::client::fuzzing::addresses;
}
mod schedule;

use tailwater_domain::{Limit, joined_limits};

pub use budget::{Budget, BudgetConfig, BudgetLine, BudgetPace, BudgetStatus, Forecast, Standing, WhenSpent};
pub use calendar::{
    Calendar, Completion, Days, Exception, ParseDaysError, RateInForce, RateReason, Timetable, Window,
};
pub use client::{
    AddressKind, ClientCertificate, Counted, HostList, HostListError, LinkBody, LinkClient, LinkConfig,
    ProxySetting, Reachable,
};
pub use congestion::{CapReason, CongestionYield, YieldStatus};
pub use egress::{EgressLane, EgressLimiter, EgressRates, EgressStatus};
pub use error::{Blame, LinkError};
pub use schedule::{ExchangeSlot, Lane, Limiter, LimiterStatus, Meter, MeterReading};

/// The limits of this room.
pub const LIMITS: &[Limit] =
    joined_limits![budget::LIMITS, calendar::LIMITS, client::LIMITS, congestion::LIMITS, schedule::LIMITS,];
