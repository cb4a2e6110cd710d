//! The link towards the upstream: what it may carry, who takes turns on it, what it has carried, the
//! HTTP client whose sockets pass all of that, and the rates of the other legs.
//!
//! **Invariant:** every byte received from an upstream, metadata and headers included, passes [`Limiter`]
//! and is counted by [`Meter`] at the socket, below TLS. It never decides what is worth fetching.

mod address_kind;
mod allowance;
mod arrivals;
mod body;
mod budget;
mod calendar;
mod cap;
mod client;
mod config;
mod connect;
mod control;
mod delay;
mod deposit;
mod dial;
mod dispatch;
mod error;
mod exempt;
/// What `fuzz/` reaches.
#[cfg(fuzzing)]
pub mod fuzzing;
mod host_list;
mod leg_turns;
mod legs;
mod limiter;
mod meter;
mod options;
mod outlook;
mod passbook;
mod places;
mod politeness;
mod pool;
mod proxy;
mod quota;
mod reach;
mod reachable;
mod redirect;
mod resolver;
mod rings;
mod shape;
mod socket;
mod standing;
mod timetable;
mod tls;
mod trust;
mod wire;

use tailwater_domain::{Limit, joined_limits};

pub use address_kind::AddressKind;
pub use allowance::{BudgetConfig, BudgetLine, BudgetPace, Forecast, WhenSpent};
pub use body::LinkBody;
pub use budget::Budget;
pub use calendar::{Because, Calendar, Days, Exception, InForce, ParseDaysError, Window};
pub use client::LinkClient;
pub use config::{ClientCertificate, LinkConfig, ProxySetting};
pub use control::Pace;
pub use error::{Blame, LinkError};
pub use host_list::{HostList, HostListError};
pub use legs::{Leg, LegRates, Legs, LegsStatus};
pub use limiter::{Lane, Limiter, LimiterStatus};
pub use meter::{Meter, MeterReading};
pub use outlook::Through;
pub use places::Place;
pub use politeness::{Politeness, Yielding};
pub use reachable::Reachable;
pub use standing::{BudgetStatus, Standing};
pub use timetable::Timetable;
pub use wire::Counted;

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![
    allowance::LIMITS,
    arrivals::LIMITS,
    budget::LIMITS,
    calendar::LIMITS,
    client::LIMITS,
    connect::LIMITS,
    delay::LIMITS,
    dial::LIMITS,
    exempt::LIMITS,
    limiter::LIMITS,
    outlook::LIMITS,
    passbook::LIMITS,
    places::LIMITS,
    politeness::LIMITS,
    pool::LIMITS,
    reach::LIMITS,
    shape::LIMITS,
    wire::LIMITS,
];
