//! Keeps the limiter at the rate that the calendar and an administrator's exception say.
//!
//! **Invariant:** a change of the rate, by the clock or by an exception, is in force within a second on everything
//! that runs. It never remembers anything over a restart: whoever sets an exception keeps it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::outlook::Completion;
use super::windows::{Calendar, Exception, RateInForce, Window};
use crate::schedule::Limiter;
use tailwater_runtime::{Clock, Tasks};

/// The longest sleep while something is to come: the machine's clock may be set meanwhile.
const CLOCK_CHECK: Duration = Duration::from_secs(1);

// not a limit: CLOCK_CHECK: how often the clock is checked

/// The calendar in force. Cheap to clone.
#[derive(Clone)]
pub struct Timetable(Arc<SharedTimetable>);

struct SharedTimetable {
    calendar: Mutex<Arc<Calendar>>,
    exception: Mutex<Option<Exception>>,
    changed: Notify,
    limiter: Limiter,
    clock: Clock,
}

impl Timetable {
    /// Sets the limiter's rate now, and follows the calendar until shutdown.
    pub fn start(
        calendar: Calendar,
        exception: Option<Exception>,
        limiter: &Limiter,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Self {
        let inner = Arc::new(SharedTimetable {
            calendar: Mutex::new(Arc::new(calendar)),
            exception: Mutex::new(exception),
            changed: Notify::new(),
            limiter: limiter.clone(),
            clock: clock.clone(),
        });
        inner.apply();
        let (worker, stopping) = (Arc::clone(&inner), tasks.stopping());
        tasks.spawn("link-calendar", async move {
            tokio::select! {
                () = worker.follow() => {}
                () = stopping.cancelled() => {}
            }
        });
        Self(inner)
    }

    /// What is in force now, and what comes next.
    pub fn in_force(&self) -> RateInForce {
        self.0.in_force()
    }

    /// The windows of the calendar.
    pub fn windows(&self) -> Vec<Window> {
        self.0.calendar().windows().to_vec()
    }

    /// Another calendar from now on; an exception stays in force over it.
    pub fn set_calendar(&self, calendar: Calendar) {
        *self.0.calendar.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(calendar);
        self.0.apply();
        self.0.changed.notify_one();
    }

    /// When so many bytes will have crossed, beginning now, with the whole link for them.
    pub fn completion(&self, bytes: u64) -> Completion {
        self.0.calendar().completion(self.0.clock.now(), self.0.exception(), bytes)
    }

    /// When the link next carries as much as at the best time of its week; now, when it does. `None` when it is never
    /// open.
    pub fn next_fastest(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.calendar().next_fastest(now, self.0.exception())
    }

    /// Puts a rate in force over the calendar, or the calendar in force again.
    pub fn set_exception(&self, exception: Option<Exception>) {
        *self.0.exception.lock().unwrap_or_else(PoisonError::into_inner) = exception;
        self.0.apply();
        self.0.changed.notify_one();
    }
}

impl SharedTimetable {
    fn calendar(&self) -> Arc<Calendar> {
        Arc::clone(&self.calendar.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn exception(&self) -> Option<Exception> {
        let now = self.clock.now();
        let mut exception = self.exception.lock().unwrap_or_else(PoisonError::into_inner);
        *exception = exception.map(|exception| exception.begun_by(now));
        *exception
    }

    fn in_force(&self) -> RateInForce {
        self.calendar().at(self.clock.now(), self.exception())
    }

    fn apply(&self) -> RateInForce {
        let found = self.in_force();
        let before = self.limiter.rate();
        if before != found.rate {
            self.limiter.set_rate(found.rate);
            tracing::info!(%before, now = %found.rate, because = ?found.because, until = ?found.until, "the link's rate changed");
        }
        found
    }

    async fn follow(&self) {
        loop {
            let left = self.apply().until.map(|until| until.duration_since(self.clock.now()));
            let wait = left.map(|left| Duration::try_from(left).unwrap_or_default().min(CLOCK_CHECK));
            tokio::select! {
                () = self.changed.notified() => {}
                () = self.clock.sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::windows::Days;
    use super::*;
    use tailwater_domain::Rate;

    #[tokio::test(start_paused = true)]
    async fn the_limiter_follows_the_clock_and_the_exception() {
        let clock = Clock::manual("2026-11-25T07:59:58Z".parse::<Timestamp>().unwrap());
        let tasks = Tasks::new();
        let limiter = Limiter::new(Rate::Unlimited, &clock, &tasks);
        let window = Window {
            days: Days::ALL,
            from: "08:00".parse().unwrap(),
            to: "18:00".parse().unwrap(),
            rate: "closed".parse().unwrap(),
            zone: TimeZone::UTC,
        };
        let base: Rate = "20 Mbit/s".parse().unwrap();
        let timetable = Timetable::start(Calendar::new(base, vec![window]), None, &limiter, &clock, &tasks);
        assert_eq!(limiter.rate(), base);
        clock.advance(Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        assert_eq!(limiter.rate(), Rate::Closed);
        let mut lane = limiter.lane(tailwater_domain::Class::Interactive);
        let nothing = tokio::time::timeout(Duration::from_mins(10), lane.take(1)).await;
        assert!(nothing.is_err(), "a closed link carries nothing");
        let until = clock.now() + jiff::SignedDuration::from_secs(60);
        timetable.set_exception(Some(Exception { rate: Rate::Unlimited, until: Some(until), since: None }));
        assert_eq!(limiter.rate(), Rate::Unlimited);
        assert_eq!(lane.take(7).await.unwrap(), 7);
        clock.advance(Duration::from_secs(61));
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(limiter.rate(), Rate::Closed);
        timetable.set_exception(Some(Exception { rate: base, until: None, since: None }));
        timetable.set_exception(None);
        assert_eq!(limiter.rate(), Rate::Closed);
        // another calendar holds at once, and an exception over it
        let slow: Rate = "2 Mbit/s".parse().unwrap();
        timetable.set_calendar(Calendar::new(slow, Vec::new()));
        assert_eq!((limiter.rate(), timetable.windows().len()), (slow, 0));
        timetable.set_exception(Some(Exception { rate: base, until: None, since: None }));
        timetable.set_calendar(Calendar::new(Rate::Closed, Vec::new()));
        assert_eq!(limiter.rate(), base);
        drop(lane);
        assert!(tasks.shut_down(Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_exception_lasts_as_long_as_it_was_meant_to() {
        const DAY: i64 = 86_400;
        for jump in [-3_650 * DAY, -DAY, -3_600, 3_600, DAY, 3_650 * DAY] {
            for at_start in [true, false] {
                let clock = Clock::manual("2026-11-25T22:00:00Z".parse::<Timestamp>().unwrap());
                let tasks = Tasks::new();
                let limiter = Limiter::new(Rate::Unlimited, &clock, &tasks);
                let (since, jump) = (clock.now(), jiff::SignedDuration::from_secs(jump));
                let until = since + jiff::SignedDuration::from_hours(8);
                let exception =
                    Some(Exception { rate: Rate::Unlimited, until: Some(until), since: Some(since) });
                let start = |exception| {
                    let calendar = Calendar::new(Rate::Closed, Vec::new());
                    Timetable::start(calendar, exception, &limiter, &clock, &tasks)
                };
                let timetable = if at_start {
                    clock.set(since + jump);
                    start(exception)
                } else {
                    let timetable = start(exception);
                    assert_eq!(limiter.rate(), Rate::Unlimited);
                    clock.set(since + jump);
                    timetable
                };
                let mut hours = 0;
                while timetable.in_force().rate == Rate::Unlimited {
                    clock.advance(Duration::from_hours(1));
                    hours += 1;
                    assert!(hours <= 9, "{jump:?}, at start {at_start}");
                }
            }
        }
    }
}
