//! When files may be fetched ahead of demand: the quiet window.
//!
//! A configured `content.quiet` holds. Without one the calendar tells: the link is quiet while it carries as much as at
//! the best time of its week, because that is when its owner wants it used. With neither it is always quiet: what is
//! fetched ahead yields to everything else anyway.
//!
//! **Invariant:** it depends on the clock, the calendar and its exception only. It never decides what is fetched.

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use tailwater_bandwidth::{Calendar, Days, Timetable, Window};
use tailwater_domain::Rate;

/// The configured window, on every day.
#[derive(Debug, Clone)]
pub struct Quiet {
    /// When it begins, on the wall.
    pub from: Time,
    /// When it ends; not after `from` means on the next day.
    pub to: Time,
    /// Whose wall.
    pub zone: TimeZone,
}

/// Tells whether it is quiet.
pub(super) struct QuietHours {
    configured: Option<Calendar>,
    timetable: Timetable,
}

impl QuietHours {
    pub(super) fn new(configured: Option<&Quiet>, timetable: Timetable) -> Self {
        let calendar = |quiet: &Quiet| {
            let window = Window {
                days: Days::ALL,
                from: quiet.from,
                to: quiet.to,
                rate: Rate::Unlimited,
                zone: quiet.zone.clone(),
            };
            Calendar::new(Rate::Closed, vec![window])
        };
        Self { configured: configured.map(calendar), timetable }
    }

    /// When it is quiet next: `now`, when it is. `None` when it never will be.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.configured {
            Some(calendar) => calendar.next_fastest(now, None),
            None => self.timetable.next_fastest(now),
        }
    }
}
