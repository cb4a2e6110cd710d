//! The machine underneath: time, tasks, and what clients share.
//!
//! **Invariant:** every other room asks [`Clock`] for the time and spawns through [`Tasks`], so that tests
//! own the time and shutdown waits for all work. It never knows what the work is.

mod allocator;
mod byte_cache;
mod clock;
mod log_throttle;
mod panics;
mod rate_limiter;
mod retry;
mod shares;
mod tasks;
mod threads;
mod turns;
mod wanted;

use tailwater_domain::{Limit, joined_limits};

pub use allocator::give_memory_back;
pub use byte_cache::ByteCache;
pub use clock::{Ageing, Clock, Waited, is_recent};
pub use log_throttle::{LOG_PERIOD, LogThrottle};
pub use panics::{Panicked, guarded, guarded_future};
pub use rate_limiter::{Allowance, RateLimiter, RateLimits, TooOften};
pub use retry::retry;
pub use shares::{InUse, Limits, Refused, Share, Shares};
pub use tasks::{TaskStatus, Tasks};
pub use threads::executor;
pub use turns::{Asker, NoTurn, Turn, TurnLimits, TurnStatus, Turns};
pub use wanted::{is_unwanted, while_wanted};

/// The limits of this room.
pub const LIMITS: &[Limit] = joined_limits![clock::LIMITS, panics::LIMITS, threads::LIMITS, turns::LIMITS,];
