//! Which rate is in force when: windows of the week over a base rate, and one exception over all of them.
//!
//! **Invariant:** a window is a span of instants, made from wall-clock times in its own zone, so days on which clocks
//! change are as long as they really are. It never asks for the time: it is given.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use tailwater_domain::{Limit, Rate, limits};

/// Days examined from a moment on: a weekly window begins or ends within them.
const AHEAD: i32 = 8;

/// Boundaries examined before saying that the rate stays: three a day for a week.
const BOUNDARIES: usize = 24;

pub(super) const LIMITS: &[Limit] = limits![
    BOUNDARIES in "changes": "Changes of the calendar that are examined" => "the rate counts as staying",
];

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

/// A text that names no days.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no day; write days like \"mon-fri\", \"sat\" or \"daily\"")]
pub struct ParseDaysError(String);

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0x7f);

    /// Reads names of days and ranges of them: `mon-fri`, `sat`, `fri-mon`, `daily`.
    ///
    /// # Errors
    /// When one is none, or there are none.
    pub fn parse<T: AsRef<str>>(names: &[T]) -> Result<Self, ParseDaysError> {
        let mut days = 0;
        for name in names {
            days |= one_or_range(name.as_ref())?;
        }
        if days == 0 { Err(ParseDaysError(String::new())) } else { Ok(Self(days)) }
    }

    fn has(self, date: Date) -> bool {
        self.0 & (1 << date.weekday().to_monday_zero_offset()) != 0
    }

    fn count(self) -> u32 {
        self.0.count_ones()
    }
}

impl std::fmt::Display for Days {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::ALL {
            return f.write_str("daily");
        }
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let ours: Vec<&str> = names
            .iter()
            .enumerate()
            .filter(|(day, _)| self.0 & (1 << day) != 0)
            .map(|(_, name)| *name)
            .collect();
        f.write_str(&ours.join(", "))
    }
}

fn one_or_range(text: &str) -> Result<u8, ParseDaysError> {
    let folded = text.trim().to_ascii_lowercase();
    if folded == "daily" {
        return Ok(Days::ALL.0);
    }
    let (first, last) = folded.split_once('-').unwrap_or((&folded, &folded));
    let day = |name: &str| {
        let names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
        let name = name.trim();
        names.iter().position(|full| name.len() >= 3 && full.starts_with(name))
    };
    let (Some(mut at), Some(last)) = (day(first), day(last)) else {
        return Err(ParseDaysError(text.chars().take(40).collect()));
    };
    let mut days = 1 << at;
    while at != last {
        at = (at + 1) % 7;
        days |= 1 << at;
    }
    Ok(days)
}

/// A part of the week with a rate of its own.
#[derive(Debug, Clone)]
pub struct Window {
    /// Days on which it begins.
    pub days: Days,
    /// When it begins, on the wall.
    pub from: Time,
    /// When it ends; not after `from` means on the next day.
    pub to: Time,
    /// The rate in it.
    pub rate: Rate,
    /// Whose wall.
    pub zone: TimeZone,
}

impl Window {
    /// The span of the window that begins on this day, if one does.
    fn on(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.days.has(date) {
            return None;
        }
        let end_date = if self.to > self.from { date } else { date.tomorrow().ok()? };
        let instant = |date: Date, time| {
            self.zone
                .to_ambiguous_zoned(date.to_datetime(time))
                .compatible()
                .ok()
                .map(|zoned| zoned.timestamp())
        };
        let span = (instant(date, self.from)?, instant(end_date, self.to)?);
        (span.0 < span.1).then_some(span)
    }

    /// Spans that may cover a moment or begin within a week after it, in order.
    fn around(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(now).date();
        (-1..=AHEAD).filter_map(move |days| self.on(today.checked_add(Span::new().days(days)).ok()?))
    }

    /// Minutes of a week: the fewer, the more specific.
    fn minutes(&self) -> u32 {
        let minute =
            |time: Time| u32::from(time.hour().unsigned_abs()) * 60 + u32::from(time.minute().unsigned_abs());
        let length = (minute(self.to) + 24 * 60 - minute(self.from)) % (24 * 60);
        self.days.count() * if length == 0 { 24 * 60 } else { length }
    }
}

/// A rate that holds whatever the windows say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Exception {
    /// The rate.
    pub rate: Rate,
    /// Until when; `None` until it is taken back.
    pub until: Option<Timestamp>,
    /// When it was made; unknown of those made by earlier versions.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// By how much a clock may have been set back before the end of an exception is reckoned anew; less keeps the time that the
/// administrator read on the clock.
const SET_BACK: SignedDuration = SignedDuration::from_hours(12);

// not a limit: SET_BACK: what counts as a clock that was set back

impl Exception {
    /// The same where it was made by a clock that was ahead: it began now, and lasts as long as it was meant to.
    #[must_use]
    pub fn begun_by(self, now: Timestamp) -> Self {
        match (self.since, self.until) {
            (Some(since), Some(until)) if since.duration_since(now) > SET_BACK => {
                let until = now.saturating_add(until.duration_since(since)).unwrap_or(until);
                Self { until: Some(until), since: Some(now), ..self }
            }
            _ => self,
        }
    }

    /// Whether it still holds.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Why a rate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RateReason {
    /// `bandwidth.rate`.
    Base,
    /// A window, counted from 0 in the order of the configuration.
    Window(usize),
    /// An administrator said so.
    Exception,
}

/// The rate that holds, and what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct RateInForce {
    /// The rate.
    pub rate: Rate,
    /// Why.
    pub because: RateReason,
    /// When another rate begins to hold, if one does within a week.
    pub until: Option<Timestamp>,
    /// Which one that is.
    pub then: Option<Rate>,
}

/// Windows over a base rate.
#[derive(Debug, Clone)]
pub struct Calendar {
    base: Rate,
    windows: Vec<Window>,
}

impl Calendar {
    /// Windows in the order of the configuration: of two that are equally specific the later one wins.
    pub fn new(base: Rate, windows: Vec<Window>) -> Self {
        Self { base, windows }
    }

    /// The windows.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    fn rate_at(&self, now: Timestamp) -> (Rate, RateReason) {
        let active = |window: &Window| window.around(now).any(|(start, end)| start <= now && now < end);
        let most_specific = self
            .windows
            .iter()
            .enumerate()
            .filter(|(_, window)| active(window))
            .min_by_key(|(index, window)| (window.minutes(), usize::MAX - index));
        most_specific
            .map_or((self.base, RateReason::Base), |(index, window)| (window.rate, RateReason::Window(index)))
    }

    /// What holds at a moment under an exception, if there is one.
    pub fn at(&self, now: Timestamp, exception: Option<Exception>) -> RateInForce {
        if let Some(exception) = exception.filter(|exception| exception.holds(now)) {
            let then = exception.until.map(|until| self.rate_at(until).0);
            return RateInForce {
                rate: exception.rate,
                because: RateReason::Exception,
                until: exception.until,
                then,
            };
        }
        let (rate, because) = self.rate_at(now);
        let mut boundaries: Vec<Timestamp> = self
            .windows
            .iter()
            .flat_map(|window| window.around(now))
            .flat_map(|(start, end)| [start, end])
            .filter(|boundary| *boundary > now)
            .collect();
        boundaries.sort_unstable();
        boundaries.dedup();
        let change = boundaries
            .into_iter()
            .take(BOUNDARIES)
            .map(|boundary| (boundary, self.rate_at(boundary).0))
            .find(|(_, next)| *next != rate);
        RateInForce { rate, because, until: change.map(|(at, _)| at), then: change.map(|(_, next)| next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &str, from: &str, to: &str, rate: &str) -> Window {
        Window {
            days: Days::parse(&[days]).unwrap(),
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            rate: rate.parse().unwrap(),
            zone: TimeZone::get("Europe/Berlin").unwrap(),
        }
    }

    fn at(calendar: &Calendar, wall: &str) -> (String, Option<String>) {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now = zone.to_timestamp(wall.parse().unwrap()).unwrap();
        let found = calendar.at(now, None);
        (found.rate.to_string(), found.until.map(|until| zone.to_datetime(until).to_string()))
    }

    #[test]
    fn the_most_specific_window_wins_and_the_base_holds_else() {
        let calendar = Calendar::new(
            "20 Mbit/s".parse().unwrap(),
            vec![
                window("mon-fri", "08:00", "18:00", "2 Mbit/s"),
                window("wed", "12:00", "13:00", "8 Mbit/s"),
                window("daily", "22:00", "04:00", "unlimited"),
                window("sun", "00:00", "00:00", "closed"),
            ],
        );
        // 2026-11-25 is a Wednesday
        let table = [
            ("2026-11-25T07:59", "20 Mbit/s", "2026-11-25T08:00:00"),
            ("2026-11-25T08:00", "2 Mbit/s", "2026-11-25T12:00:00"),
            ("2026-11-25T12:30", "8 Mbit/s", "2026-11-25T13:00:00"),
            ("2026-11-25T13:00", "2 Mbit/s", "2026-11-25T18:00:00"),
            ("2026-11-25T23:00", "unlimited", "2026-11-26T04:00:00"),
            ("2026-11-26T03:59", "unlimited", "2026-11-26T04:00:00"),
            // the night of Saturday ends where the more specific night begins: six hours daily are 42 a week, the
            // closed Sunday is 24
            ("2026-11-28T23:30", "unlimited", "2026-11-29T00:00:00"),
            ("2026-11-29T12:00", "closed", "2026-11-30T00:00:00"),
            ("2026-11-30T01:00", "unlimited", "2026-11-30T04:00:00"),
        ];
        for (wall, rate, until) in table {
            assert_eq!(at(&calendar, wall), (rate.to_owned(), Some(until.to_owned())), "{wall}");
        }
    }

    #[test]
    fn days_on_which_clocks_change_are_as_long_as_they_are() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let night = window("daily", "01:00", "05:00", "unlimited");
        let hours = |date: &str| {
            let (start, end) = night.on(date.parse().unwrap()).unwrap();
            end.duration_since(start).as_hours()
        };
        assert_eq!([hours("2026-03-28"), hours("2026-03-29"), hours("2026-10-25")], [4, 3, 5]);
        // a window inside the hour that does not exist is empty, one at its edge begins with the new hour
        assert!(window("daily", "02:00", "03:00", "closed").on("2026-03-29".parse().unwrap()).is_none());
        let edge = window("daily", "02:30", "04:00", "closed").on("2026-03-29".parse().unwrap()).unwrap();
        assert_eq!(zone.to_datetime(edge.0).to_string(), "2026-03-29T03:30:00");
        // the hour that comes twice is in the window both times
        let twice = window("daily", "02:00", "03:00", "closed").on("2026-10-25".parse().unwrap()).unwrap();
        assert_eq!(twice.1.duration_since(twice.0).as_hours(), 2);
    }

    #[test]
    fn an_exception_holds_over_everything_until_it_ends() {
        let calendar =
            Calendar::new("20 Mbit/s".parse().unwrap(), vec![window("daily", "08:00", "18:00", "2 Mbit/s")]);
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let until: Timestamp = "2026-11-25T13:00:00Z".parse().unwrap();
        let exception = Exception { rate: Rate::Unlimited, until: Some(until), since: None };
        let found = calendar.at(now, Some(exception));
        assert_eq!(
            (found.rate, found.because, found.until),
            (Rate::Unlimited, RateReason::Exception, Some(until))
        );
        assert_eq!(found.then, Some("2 Mbit/s".parse().unwrap()));
        assert_eq!(calendar.at(until, Some(exception)).because, RateReason::Window(0));
    }

    #[test]
    fn days_are_named_as_people_do() {
        let days = |names: &[&str]| Days::parse(names).map(|days| days.0);
        assert_eq!(days(&["mon-fri"]), Ok(0b001_1111));
        assert_eq!(days(&["sat", "Sunday"]), Ok(0b110_0000));
        assert_eq!(days(&["fri-mon"]), Ok(0b111_0001));
        assert_eq!(days(&["daily"]), Ok(0b111_1111));
        for wrong in [&["funday"][..], &["mon-"], &["m"], &[]] {
            assert!(days(wrong).is_err(), "{wrong:?}");
        }
    }
}
