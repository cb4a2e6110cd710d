//! Which rate is in force when: windows of the week over a base rate, and an administrator's exception.
//!
//! `windows` is the calendar, `outlook` calculates ahead on it, `timetable` keeps the limiter at its rate.
//!
//! **Invariant:** only [`Timetable`] changes the limiter's rate. It never grants bytes.

mod outlook;
mod timetable;
mod windows;

use tailwater_domain::{Limit, joined_limits};

pub use outlook::Completion;
pub use timetable::Timetable;
pub use windows::{Calendar, Days, Exception, ParseDaysError, RateInForce, RateReason, Window};

/// The limits of this subject.
pub(crate) const LIMITS: &[Limit] = joined_limits![outlook::LIMITS, windows::LIMITS,];
