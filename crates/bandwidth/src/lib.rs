//! The link towards the upstream: what it may carry, who takes turns on it, what it has carried, the
//! HTTP client whose sockets pass all of that, and the rates of the other legs.
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
    pub use crate::budget::read_any as passbook;
    pub use crate::client::fuzzing::addresses;
}
mod schedule;

use tailwater_domain::{Limit, joined_limits};

pub use budget::{Budget, BudgetConfig, BudgetLine, BudgetPace, BudgetStatus, Forecast, Standing, WhenSpent};
pub use calendar::{Because, Calendar, Days, Exception, InForce, ParseDaysError, Through, Timetable, Window};
pub use client::{
    AddressKind, ClientCertificate, Counted, HostList, HostListError, LinkBody, LinkClient, LinkConfig,
    ProxySetting, Reachable,
};
pub use congestion::{Pace, Politeness, Yielding};
pub use egress::{Leg, LegRates, Legs, LegsStatus};
pub use error::{Blame, LinkError};
pub use schedule::{Lane, Limiter, LimiterStatus, Meter, MeterReading, Place};

/// The limits of this room.
pub const LIMITS: &[Limit] =
    joined_limits![budget::LIMITS, calendar::LIMITS, client::LIMITS, congestion::LIMITS, schedule::LIMITS,];
