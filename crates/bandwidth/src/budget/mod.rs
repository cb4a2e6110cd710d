//! The budget of a link with a volume: what a day and a month may still carry, booked on disk before it is granted.
//!
//! `allowance` is the arithmetic, `booking` the account at work, `budget_file` its file, `standing` what is shown.
//!
//! **Invariant:** other subjects see [`Budget`] and its [`Gate`]s; how a day is booked is nobody else's business. It never slows
//! anything: rates are `schedule`'s.

mod allowance;
mod booking;
mod budget_file;
mod standing;

use tailwater_domain::{Limit, joined_limits};

pub use allowance::{BudgetConfig, BudgetLine, BudgetPace, Forecast, WhenSpent};
pub use booking::Budget;
pub(crate) use booking::Gate;
#[cfg(fuzzing)]
pub use budget_file::read_any;
pub use standing::{BudgetStatus, Standing};

/// The limits of this subject.
pub(crate) const LIMITS: &[Limit] = joined_limits![allowance::LIMITS, booking::LIMITS, budget_file::LIMITS,];
