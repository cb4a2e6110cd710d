//! Whose turn it is on the link and how much a turn is: the limiter, the dispatcher behind it, exchanges that may be open, and
//! what crossed.
//!
//! `limiter` is the door; `dispatch` gives turns by class, `round_robin` within a class, `quota` and `cap` say how much there is,
//! `shape` what a rate means for turns and windows, `deposit` takes payment in advance, `meter` counts.
//!
//! **Invariant:** what is granted never exceeds the rate, the budget and the cap together. It never samples at a socket.

mod arrivals;
mod cap;
mod deposit;
mod dispatch;
mod exchange_slots;
mod limiter;
mod meter;
mod priority;
mod quota;
mod round_robin;
mod shape;

pub(crate) use arrivals::ArrivalSample;
pub(crate) use deposit::{Deposit, DepositQueue};
use tailwater_domain::{Limit, joined_limits};

pub use exchange_slots::ExchangeSlot;
pub(crate) use exchange_slots::ExchangeSlots;
pub use limiter::{Lane, Limiter, LimiterStatus};
pub use meter::{Meter, MeterReading};
pub(crate) use quota::Quota;
pub(crate) use shape::{LONG_RTT, Shape, can_scale};

/// The limits of this subject.
pub(crate) const LIMITS: &[Limit] =
    joined_limits![arrivals::LIMITS, exchange_slots::LIMITS, limiter::LIMITS, shape::LIMITS,];
