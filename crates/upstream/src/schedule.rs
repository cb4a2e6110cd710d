//! When the next synchronisation starts by itself.
//!
//! Invariant: times are local times of the configured zone, also over the changes of summer time; a machine
//! that slept through one starts it when it wakes. It never runs two at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::client::chance;
use super::config::Schedule;
use super::error::SyncError;
use super::handle::Upstream;
use super::report::{Outcome, SyncOptions, Trigger};
use tailwater_domain::{Limit, limits};
use tailwater_runtime::Waited;

/// The wait before a synchronisation that failed, or lacks something, is tried again; doubles with each.
const FIRST_RETRY: Duration = Duration::from_mins(15);
/// The longest such wait.
const LONGEST_RETRY: Duration = Duration::from_hours(4);

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST_RETRY: "The pause before a failed synchronisation is tried again" => "it grows no further",
];

/// The first of `times` after `now`.
fn next_time(times: &[Time], zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let local = now.to_zoned(zone.clone());
    let today = local.date();
    // a time that a change of summer time skips is the first moment after the gap
    let starts = [today, today.checked_add(1.day()).ok()?].into_iter().flat_map(|day| {
        times.iter().filter_map(move |time| day.to_datetime(*time).to_zoned(zone.clone()).ok())
    });
    starts.map(|start| start.timestamp()).filter(|start| *start > now).min()
}

/// When to start after `now`; `last` is when the last one started.
pub(super) fn next(schedule: &Schedule, last: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    if let Some(every) = schedule.every {
        let every = SignedDuration::try_from(every).ok()?;
        // a clock that was ahead then would be waited for
        let due = last.map(|last| last.min(now)).and_then(|last| last.checked_add(every).ok()).unwrap_or(now);
        return Some(due.max(now));
    }
    next_time(&schedule.times, &schedule.time_zone, now)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(at)
}

/// When to try again after `failures` in a row, unless the schedule comes first.
pub(super) fn retry_at(now: Timestamp, failures: u32) -> Timestamp {
    let wait = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(LONGEST_RETRY);
    later(now, wait.mul_f64(0.75 + 0.5 * chance()))
}

impl Upstream {
    /// Starts the worker that synchronises on schedule. Without a schedule it waits for one.
    pub fn start_schedule(&self) {
        let upstream = self.clone();
        self.0.tasks.spawn("synchronisation on schedule", async move { upstream.keep_schedule().await });
    }

    async fn keep_schedule(&self) {
        let inner = &self.0;
        let stopping = inner.tasks.stopping();
        let mut plans = inner.chosen.plan.subscribe();
        let mut failures = 0;
        // a start in the future is that of a clock which was ahead: nobody knows when it was, and the next one tells
        let last = self.history().first().map(|report| report.started_at);
        let mut last = last.filter(|last| *last <= inner.clock.now());
        loop {
            let plan = Arc::clone(&plans.borrow_and_update());
            let now = inner.clock.now();
            last = last.map(|last| last.min(now));
            let due = next(&plan.schedule, last, now);
            let mut due = due.map(|due| later(due, plan.schedule.jitter.mul_f64(chance())));
            if let Some(scheduled) = due.filter(|_| failures > 0) {
                due = Some(scheduled.min(retry_at(now, failures)));
            }
            inner.activity.next_run.send_replace(due);
            let wait = async {
                match due {
                    Some(due) => inner.clock.wait_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                waited = wait => if waited == Waited::SetBack {
                    continue;
                },
                changed = plans.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                () = stopping.cancelled() => return,
            }
            last = Some(inner.clock.now());
            match self.run(SyncOptions::default(), Trigger::Schedule).await {
                Ok(report) if report.outcome == Outcome::Partial => failures += 1,
                Ok(_) | Err(SyncError::Cancelled | SyncError::AlreadyRunning) => failures = 0,
                Err(_) => failures += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(times: &[&str], every: Option<u64>, zone: &str) -> Schedule {
        Schedule {
            times: times.iter().map(|time| Time::strptime("%H:%M", time).unwrap()).collect(),
            every: every.map(Duration::from_secs),
            jitter: Duration::ZERO,
            time_zone: TimeZone::get(zone).unwrap_or(TimeZone::UTC),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn local_times_follow_the_zone() {
        let night = schedule(&["03:00", "15:30"], None, "UTC");
        let table = [
            ("2026-11-22T02:59:59Z", "2026-11-22T03:00:00Z"),
            ("2026-11-22T03:00:00Z", "2026-11-22T15:30:00Z"),
            ("2026-11-22T15:30:00Z", "2026-11-23T03:00:00Z"),
        ];
        for (now, due) in table {
            assert_eq!(next(&night, None, at(now)), Some(at(due)), "{now}");
        }
        if TimeZone::get("Europe/Berlin").is_err() {
            println!("skipped: this machine has no time zones");
            return;
        }
        let berlin = schedule(&["02:30"], None, "Europe/Berlin");
        // in the night of 29 March 2026 there is no 02:30
        assert_eq!(next(&berlin, None, at("2026-03-28T23:00:00Z")), Some(at("2026-03-29T01:30:00Z")));
        assert_eq!(next(&berlin, None, at("2026-07-01T12:00:00Z")), Some(at("2026-07-02T00:30:00Z")));
    }

    #[test]
    fn intervals_count_from_the_last_start_and_are_caught_up() {
        let hourly = schedule(&[], Some(3600), "UTC");
        let now = at("2026-11-22T12:00:00Z");
        assert_eq!(next(&hourly, None, now), Some(now));
        assert_eq!(next(&hourly, Some(at("2026-11-22T11:30:00Z")), now), Some(at("2026-11-22T12:30:00Z")));
        assert_eq!(next(&hourly, Some(at("2026-11-20T11:30:00Z")), now), Some(now));
        // a clock that was ahead is not waited for
        for ahead in ["2026-11-22T13:00:00Z", "2026-11-23T12:00:00Z", "2036-11-22T12:00:00Z"] {
            assert_eq!(next(&hourly, Some(at(ahead)), now), Some(at("2026-11-22T13:00:00Z")), "{ahead}");
        }
    }

    #[test]
    fn on_demand_means_never() {
        assert_eq!(next(&Schedule::on_demand(), None, at("2026-11-22T12:00:00Z")), None);
    }
}
