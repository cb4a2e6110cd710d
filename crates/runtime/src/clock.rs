//! The time of day and the passing of time, as a seam.
//!
//! A machine's clock may be set, by years and in both directions, while it runs or between two starts. So a time of day that
//! was stored is looked at anew whenever it is used: one in the future was stored by a clock that was ahead, and counts as now
//! ([`Clock::not_after_now`], [`is_recent`]); a wait for a time of day ends when the clock is set back
//! ([`Clock::wait_until`]); and what is old is thrown away only when the clock went there by itself ([`Ageing`]).
//!
//! **Invariant:** nobody else asks the machine for the time. What only has to pass is measured with [`Clock::instant`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use tailwater_domain::{Limit, limits};

/// How long is slept at most before the time of day is looked at again.
const LONGEST_NAP: Duration = Duration::from_mins(1);

/// By how much the clock may be ahead of everything that is known before it is doubted: longer than machines stand still.
const DOUBTFUL: SignedDuration = SignedDuration::from_hours(31 * 24);

/// How long a clock must show such a time before it is believed.
const BELIEVED_AFTER: Duration = Duration::from_hours(24);

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST_NAP: "The sleep between two looks at the clock" => "it looks at the clock",
    DOUBTFUL: "How far the clock may be ahead of everything that is kept when old things are thrown away" => "nothing is thrown away for a day",
    BELIEVED_AFTER: "How long a clock that leapt ahead is doubted" => "it is believed",
];

/// How a wait for a time of day ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The time has come.
    Due,
    /// The clock was set back: what the time was reckoned from is over, and it is to be reckoned anew.
    SetBack,
}

/// Whether something happened less than `within` ago. What was stored with a time in the future is not recent: nobody knows
/// when it was, and whoever acts on it stores a time of now.
pub fn is_recent(stored: Timestamp, within: SignedDuration, now: Timestamp) -> bool {
    let age = now.duration_since(stored);
    !age.is_negative() && age < within
}

/// The time by which old things are thrown away. A clock that jumps ahead of all that is known would throw everything away
/// at once, so it is believed a day later, when it is still there.
#[derive(Debug, Clone, Copy)]
pub struct Ageing {
    /// The newest time that is believed.
    known: Option<Timestamp>,
    /// Since when the clock shows a doubtful one.
    doubted: Option<Instant>,
}

impl Ageing {
    /// Where the newest thing that is kept has this time.
    pub fn after(known: Option<Timestamp>) -> Self {
        Self { known, doubted: None }
    }

    /// Whether things may be thrown away by the clock's time.
    pub fn is_believed(&mut self, clock: &Clock) -> bool {
        let (now, steady) = (clock.now(), clock.instant());
        let is_doubtful = self.known.is_some_and(|known| now.duration_since(known) > DOUBTFUL);
        if is_doubtful && steady.duration_since(*self.doubted.get_or_insert(steady)) < BELIEVED_AFTER {
            return false;
        }
        (self.known, self.doubted) = (Some(now), None);
        true
    }
}

/// Tells the time and sleeps. Cheap to clone; clones share the same time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`] moves it; sleeping still follows tokio's time.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.as_millisecond()))))
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
            Source::System => Timestamp::now(),
            Source::Manual(millis) => {
                Timestamp::from_millisecond(millis.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
            }
        }
    }

    /// The steady time, for measuring and waiting.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// A stored time of something that has happened: no later than now.
    pub fn not_after_now(&self, stored: Timestamp) -> Timestamp {
        stored.min(self.now())
    }

    /// Waits until a time of day, looking at least once a minute.
    pub async fn wait_until(&self, due: Timestamp) -> Waited {
        let mut before = self.now();
        loop {
            let now = self.now();
            if now < before {
                return Waited::SetBack;
            }
            before = now;
            match Duration::try_from(due.duration_since(now)) {
                Ok(left) if !left.is_zero() => self.sleep(left.min(LONGEST_NAP)).await,
                _ => return Waited::Due,
            }
        }
    }

    /// Waits.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Sets a manual clock, as an administrator or a time server sets a machine's; the system's clock is left alone.
    pub fn set(&self, to: Timestamp) {
        if let Source::Manual(millis) = &self.0 {
            millis.store(to.as_millisecond(), Ordering::Relaxed);
        }
    }

    /// Moves a manual clock forward; the system's clock is left alone.
    pub fn advance(&self, duration: Duration) {
        if let Source::Manual(millis) = &self.0 {
            millis.fetch_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_in_the_future_is_now_and_never_recent() {
        let clock = Clock::manual(at("2026-11-30T12:00:00Z"));
        let hour = SignedDuration::from_hours(1);
        for (stored, counts_as, recent) in [
            ("2016-11-30T12:00:00Z", "2016-11-30T12:00:00Z", false),
            ("2026-11-30T10:59:59Z", "2026-11-30T10:59:59Z", false),
            ("2026-11-30T11:00:01Z", "2026-11-30T11:00:01Z", true),
            ("2026-11-30T12:00:00Z", "2026-11-30T12:00:00Z", true),
            ("2026-11-30T12:00:01Z", "2026-11-30T12:00:00Z", false),
            ("2036-11-30T12:00:00Z", "2026-11-30T12:00:00Z", false),
        ] {
            assert_eq!(clock.not_after_now(at(stored)), at(counts_as), "{stored}");
            assert_eq!(is_recent(at(stored), hour, clock.now()), recent, "{stored}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_the_clock_is_set_in_either_direction() {
        for (set_to, ended) in [
            ("2036-01-01T00:00:00Z", Waited::Due),
            ("2026-12-01T12:00:00Z", Waited::Due),
            ("2026-11-30T11:00:00Z", Waited::SetBack),
            ("2016-01-01T00:00:00Z", Waited::SetBack),
        ] {
            let clock = Clock::manual(at("2026-11-30T12:00:00Z"));
            let (begun, waiting) = (clock.instant(), clock.wait_until(at("2026-11-30T13:00:00Z")));
            tokio::pin!(waiting);
            assert!(tokio::time::timeout(Duration::from_mins(10), &mut waiting).await.is_err());
            clock.set(at(set_to));
            assert_eq!(waiting.await, ended, "{set_to}");
            assert!(begun.elapsed() <= Duration::from_mins(11));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_leaps_ahead_is_believed_a_day_later() {
        let clock = Clock::manual(at("2026-11-30T12:00:00Z"));
        let mut ageing = Ageing::after(Some(clock.now()));
        clock.advance(Duration::from_hours(30 * 24));
        assert!(ageing.is_believed(&clock), "machines stand still for a month");
        clock.set(at("2036-11-30T12:00:00Z"));
        assert!(!ageing.is_believed(&clock));
        tokio::time::advance(Duration::from_hours(23)).await;
        assert!(!ageing.is_believed(&clock));
        // set right again, nothing was lost
        clock.set(at("2026-12-31T12:00:00Z"));
        assert!(ageing.is_believed(&clock));
        clock.set(at("2036-11-30T12:00:00Z"));
        assert!(!ageing.is_believed(&clock), "a new doubt is a new day");
        tokio::time::advance(Duration::from_hours(24)).await;
        assert!(ageing.is_believed(&clock));
        assert!(Ageing::after(None).is_believed(&clock), "who knows nothing loses nothing");
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Timestamp::from_second(1_000).unwrap());
        let twin = clock.clone();
        clock.advance(Duration::from_secs(5));
        assert_eq!(twin.now(), Timestamp::from_second(1_005).unwrap());
    }
}
