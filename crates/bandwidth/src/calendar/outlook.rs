//! What the calendar lets through from now on: when an amount will have crossed the link, and when it is fastest.
//!
//! **Invariant:** an amount is spread over the very windows that the limiter will follow, an exception included. It
//! never calculates further ahead than [`HORIZON`]. Pure: the time is given.

use jiff::{SignedDuration, Timestamp};

use super::windows::{Calendar, Exception};
use tailwater_domain::{Limit, Rate, limits};

/// How far ahead is calculated: a month's budget and then some.
const HORIZON: SignedDuration = SignedDuration::from_hours(24 * 92);

/// Over how much of the calendar the fastest rate is searched: every window begins in it.
const WEEK: SignedDuration = SignedDuration::from_hours(24 * 7);

/// Changes of the rate that are followed: three a day for three months.
const MAX_SPANS: usize = 300;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_SPANS in "changes": "Changes of the rate that are followed" => "the outlook ends there",
];

/// When an amount will have crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// At this time, when nothing else crosses.
    At(Timestamp),
    /// As fast as the link carries it: no rate is set by then.
    Unlimited,
    /// Not within three months.
    BeyondHorizon,
}

fn order(rate: Rate) -> u64 {
    rate.bytes_per_second().unwrap_or(u64::MAX)
}

impl Calendar {
    /// Spans of one rate each, from `now` on, until the horizon: their ends and rates.
    fn spans(
        &self,
        now: Timestamp,
        exception: Option<Exception>,
    ) -> impl Iterator<Item = (Timestamp, Timestamp, Rate)> {
        let horizon = now.checked_add(HORIZON).unwrap_or(Timestamp::MAX);
        let mut at = Some(now);
        std::iter::from_fn(move || {
            let start = at?;
            let found = self.at(start, exception);
            // without a change within a week there is none at all, or the same again
            let end = found.until.filter(|until| *until > start).unwrap_or(horizon).min(horizon);
            at = (end < horizon).then_some(end);
            Some((start, end, found.rate))
        })
        .take(MAX_SPANS)
    }

    /// When so many bytes will have crossed, beginning now, with the whole link for them.
    pub fn completion(&self, now: Timestamp, exception: Option<Exception>, bytes: u64) -> Completion {
        let mut left = bytes;
        if left == 0 {
            return Completion::At(now);
        }
        for (start, end, rate) in self.spans(now, exception) {
            let Some(speed) = rate.bytes_per_second() else {
                return if left == bytes { Completion::Unlimited } else { Completion::At(start) };
            };
            let millis = u64::try_from(end.duration_since(start).as_millis()).unwrap_or_default();
            let carried = u64::try_from(u128::from(speed) * u128::from(millis) / 1_000).unwrap_or(u64::MAX);
            if carried >= left {
                let millis =
                    i64::try_from(u128::from(left) * 1_000 / u128::from(speed.max(1))).unwrap_or(i64::MAX);
                let at = start.checked_add(SignedDuration::from_millis(millis));
                return Completion::At(at.unwrap_or(Timestamp::MAX));
            }
            left -= carried;
        }
        Completion::BeyondHorizon
    }

    /// The fastest rate of the week.
    pub fn fastest(&self, now: Timestamp) -> Rate {
        let week = now.checked_add(WEEK).unwrap_or(Timestamp::MAX);
        let spans = self.spans(now, None).take_while(|(start, ..)| *start < week);
        spans.map(|(.., rate)| rate).max_by_key(|rate| order(*rate)).unwrap_or_default()
    }

    /// When the link next is at its fastest: at once, at a time, or never when it is always closed.
    pub fn next_fastest(&self, now: Timestamp, exception: Option<Exception>) -> Option<Timestamp> {
        let fastest = order(self.fastest(now));
        self.spans(now, exception)
            .find(|(.., rate)| order(*rate) >= fastest && fastest > 0)
            .map(|(start, ..)| start)
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::windows::{Days, Window};
    use super::*;

    fn window(from: &str, to: &str, rate: &str) -> Window {
        Window {
            days: Days::ALL,
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            rate: rate.parse().unwrap(),
            zone: TimeZone::UTC,
        }
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_amount_is_spread_over_the_windows() {
        let calendar = Calendar::new(
            "8 Mbit/s".parse().unwrap(),
            vec![window("08:00", "18:00", "closed"), window("12:00", "13:00", "800 kbit/s")],
        );
        let now = time("2026-11-25T07:59:00Z");
        let completion = |bytes| calendar.completion(now, None, bytes);
        assert_eq!(completion(0), Completion::At(now));
        assert_eq!(completion(30_000_000), Completion::At(time("2026-11-25T07:59:30Z")));
        // 60 MB until eight, 100 kB/s from twelve to one, the rest from six on
        assert_eq!(completion(61_000_000), Completion::At(time("2026-11-25T12:00:10Z")));
        assert_eq!(
            completion(60_000_000 + 360_000_000 + 5_000_000),
            Completion::At(time("2026-11-25T18:00:05Z"))
        );
        let exception =
            Exception { rate: Rate::Unlimited, until: Some(time("2026-11-25T09:00:00Z")), since: None };
        assert_eq!(calendar.completion(now, Some(exception), 1), Completion::Unlimited);
        let closed = Exception { rate: Rate::Closed, until: Some(time("2026-11-25T18:00:00Z")), since: None };
        assert_eq!(
            calendar.completion(now, Some(closed), 1_000_000),
            Completion::At(time("2026-11-25T18:00:01Z"))
        );
        assert_eq!(
            Calendar::new(Rate::Closed, Vec::new()).completion(now, None, 1),
            Completion::BeyondHorizon
        );
        let rising = Calendar::new("8 kbit/s".parse().unwrap(), vec![window("20:00", "21:00", "unlimited")]);
        assert_eq!(rising.completion(now, None, 1 << 40), Completion::At(time("2026-11-25T20:00:00Z")));
    }

    #[test]
    fn the_fastest_part_of_the_week_is_found() {
        let now = time("2026-11-25T12:00:00Z");
        let day = Calendar::new("20 Mbit/s".parse().unwrap(), vec![window("08:00", "18:00", "2 Mbit/s")]);
        assert_eq!(day.fastest(now), "20 Mbit/s".parse().unwrap());
        assert_eq!(day.next_fastest(now, None), Some(time("2026-11-25T18:00:00Z")));
        let night = Calendar::new("20 Mbit/s".parse().unwrap(), vec![window("22:00", "06:00", "unlimited")]);
        assert_eq!(night.next_fastest(now, None), Some(time("2026-11-25T22:00:00Z")));
        assert_eq!(
            night.next_fastest(time("2026-11-25T23:00:00Z"), None),
            Some(time("2026-11-25T23:00:00Z"))
        );
        assert_eq!(Calendar::new(Rate::Unlimited, Vec::new()).next_fastest(now, None), Some(now));
        assert_eq!(Calendar::new(Rate::Closed, Vec::new()).next_fastest(now, None), None);
    }
}
