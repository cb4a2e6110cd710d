//! One line of the log a minute about what anybody can make happen as often as they like.
//!
//! **Invariant:** of what is counted here, at most one line a period is due, and it says how many came since the last
//! one. It never writes: who asks writes the line.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two lines.
pub const LOG_PERIOD: Duration = Duration::from_mins(1);
// not a limit: LOG_PERIOD: how often a line is written

/// Counts what happens, and says when a line about it is due.
#[derive(Debug, Default)]
pub struct LogThrottle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    since: u64,
    total: u64,
}

impl LogThrottle {
    /// It happened again. How often since the last line, when one is due now; the first one always is.
    pub fn note(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.since += 1;
        state.total += 1;
        let due = state.last.is_none_or(|last| now.saturating_duration_since(last) >= LOG_PERIOD);
        if !due {
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.since))
    }

    /// How often it happened since this process began.
    pub fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_minute_says_how_many_came_between() {
        let (throttle, start) = (LogThrottle::default(), Instant::now());
        assert_eq!(throttle.note(start), Some(1));
        for millis in 1..1_000 {
            assert_eq!(throttle.note(start + Duration::from_millis(millis)), None);
        }
        assert_eq!(throttle.note(start + LOG_PERIOD), Some(1_000));
        assert_eq!(throttle.note(start + LOG_PERIOD), None);
        assert_eq!(throttle.total(), 1_002);
    }
}
