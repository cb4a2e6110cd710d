//! What a link with a volume may still carry: budgets of a day and a month, a reserve for what is urgent, and how long
//! they will last. Pure: the time is given.
//!
//! **Invariant:** every byte belongs to one day, and a month is the sum of its days, so that no setting of the clock
//! gives a day's budget twice. It never decides when a day begins for the link: see [`super::Budget`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use tailwater_domain::{ByteCount, Choice, Class, Limit, limits};

/// Less than a piece of a payload is of no use to anybody: a budget with less left is spent.
pub(super) const LEAST: u64 = 64 * 1024;

/// Days remembered: two months and what a clock that was set wrong left behind.
const MAX_DAYS: usize = 64;

/// Days whose mean is the pace of the forecast.
const PACE_DAYS: i32 = 7;

/// The shortest time from which a pace is calculated.
const LEAST_TIME: i64 = 3600;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_DAYS in "days": "Days that a budget remembers" => "the oldest is forgotten",
];

// not a limit: LEAST, LEAST_TIME: when a budget counts as spent, and when a pace is calculated

/// What happens when a budget is spent with its reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenSpent {
    /// Nothing more is taken from upstream.
    Closed,
    /// The urgent classes go on.
    Urgent,
}

impl Choice for WhenSpent {
    const WORDS: &'static [(&'static str, Self)] = &[("closed", Self::Closed), ("urgent", Self::Urgent)];
}

/// What the link may carry.
#[derive(Debug, Clone)]
pub struct BudgetConfig {
    /// Bytes a day.
    pub daily: Option<ByteCount>,
    /// Bytes a calendar month.
    pub monthly: Option<ByteCount>,
    /// The part of each that only urgent classes may spend, in thousandths.
    pub reserve: u16,
    /// Which classes are urgent.
    pub urgent: Vec<Class>,
    /// What happens when the reserve is spent too.
    pub when_spent: WhenSpent,
    /// Whose midnight ends a day.
    pub zone: TimeZone,
}

/// What was spent on which day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spent {
    days: BTreeMap<Date, u64>,
    /// The second of the first byte counted.
    since: Option<i64>,
}

impl Spent {
    pub(super) fn on(&self, date: Date) -> u64 {
        self.days.get(&date).copied().unwrap_or_default()
    }

    fn in_month(&self, date: Date) -> u64 {
        self.days.range(date.first_of_month()..=date.last_of_month()).map(|(_, bytes)| bytes).sum()
    }

    /// The last day that something was counted on.
    pub(super) fn last(&self) -> Option<Date> {
        self.days.keys().next_back().copied()
    }

    pub(super) fn add(&mut self, date: Date, bytes: u64, now: Timestamp) {
        self.since.get_or_insert(now.as_second());
        *self.days.entry(date).or_default() += bytes;
        while self.days.len() > MAX_DAYS {
            self.days.pop_first();
        }
    }

    /// What was counted on a day that the clock had wrongly reached belongs to another one.
    pub(super) fn move_day(&mut self, from: Date, to: Date) {
        if let Some(bytes) = self.days.remove(&from) {
            *self.days.entry(to).or_default() += bytes;
        }
    }

    /// Raises a day to at least this.
    pub(super) fn raise(&mut self, date: Date, bytes: u64) {
        let known = self.days.entry(date).or_default();
        *known = (*known).max(bytes);
    }

    /// What was spent over the last days, once there is enough to calculate it.
    fn pace(&self, date: Date, zone: &TimeZone, now: Timestamp) -> Option<BudgetPace> {
        let first = date.checked_sub(jiff::Span::new().days(PACE_DAYS - 1)).ok()?;
        let begin = midnight(first, zone).as_second().max(self.since?);
        let seconds = now.as_second() - begin;
        let bytes = self.days.range(first..=date).map(|(_, bytes)| bytes).sum();
        (seconds >= LEAST_TIME && bytes > 0).then_some(BudgetPace { bytes, seconds })
    }
}

/// When a day begins.
pub(super) fn midnight(date: Date, zone: &TimeZone) -> Timestamp {
    date.to_zoned(zone.clone()).map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

/// The first instant after a day.
pub(super) fn end_of_day(date: Date, zone: &TimeZone) -> Timestamp {
    date.tomorrow().map_or(Timestamp::MAX, |next| midnight(next, zone))
}

fn end_of_month(date: Date, zone: &TimeZone) -> Timestamp {
    end_of_day(date.last_of_month(), zone)
}

/// Bytes over a time: how fast a budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetPace {
    /// Bytes received.
    pub bytes: u64,
    /// In how many seconds.
    pub seconds: i64,
}

/// What is to be expected of a budget until it renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Forecast {
    /// Too little was received to say.
    Unknown,
    /// At the pace of the last days it lasts.
    Lasts,
    /// At that pace it ends before it renews, at [`BudgetLine::ends_at`].
    Ends,
    /// Only its reserve is left.
    ReserveOnly,
    /// Nothing is left.
    Spent,
}

/// What is left of one budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BudgetLine {
    /// The whole.
    pub limit: u64,
    /// The part of it that only urgent classes may spend.
    pub reserve: u64,
    /// Received since the day or month began.
    pub spent: u64,
    /// What the classes that are not urgent may still take.
    pub left: u64,
    /// What the urgent ones may still take.
    pub left_for_urgent: u64,
    /// When it begins anew.
    pub renews_at: Timestamp,
    /// When it ends at the pace of the last days, where that is before it begins anew.
    pub ends_at: Option<Timestamp>,
    /// The same in a word.
    pub forecast: Forecast,
    /// What it will come to at that pace when it begins anew.
    pub expected: Option<u64>,
}

impl BudgetConfig {
    fn is_urgent(&self, class: Class) -> bool {
        self.urgent.contains(&class)
    }

    fn reserve_of(&self, limit: u64) -> u64 {
        let part = u128::from(limit) * u128::from(self.reserve) / 1000;
        u64::try_from(part).unwrap_or(limit).min(limit)
    }

    /// The limits of a day: (limit, spent, when it begins anew).
    fn limits(&self, spent: &Spent, date: Date) -> [Option<(u64, u64)>; 2] {
        [
            self.daily.map(|limit| (limit.0, spent.on(date))),
            self.monthly.map(|limit| (limit.0, spent.in_month(date))),
        ]
    }

    /// What a class may still take on a day; `u64::MAX` without an end.
    pub(super) fn left(&self, spent: &Spent, date: Date, class: Class) -> u64 {
        let urgent = self.is_urgent(class);
        if urgent && self.when_spent == WhenSpent::Urgent {
            return u64::MAX;
        }
        let left = |(limit, spent): (u64, u64)| {
            let limit = if urgent { limit } else { limit - self.reserve_of(limit) };
            limit.saturating_sub(spent)
        };
        let left = self.limits(spent, date).into_iter().flatten().map(left).min().unwrap_or(u64::MAX);
        if left < LEAST { 0 } else { left }
    }

    /// When a class that has nothing left may go on.
    pub(super) fn renews(&self, spent: &Spent, date: Date, class: Class) -> Timestamp {
        let month_only = Self { daily: None, ..self.clone() };
        if self.monthly.is_some() && month_only.left(spent, date, class) == 0 {
            end_of_month(date, &self.zone)
        } else {
            end_of_day(date, &self.zone)
        }
    }

    /// The budgets of a day as they stand: daily, monthly.
    pub(super) fn lines(
        &self,
        spent: &Spent,
        date: Date,
        now: Timestamp,
        pace: Option<BudgetPace>,
    ) -> [Option<BudgetLine>; 2] {
        let [day, month] = self.limits(spent, date);
        let pace = pace.or_else(|| spent.pace(date, &self.zone, now));
        let line = |(limit, used): (u64, u64), renews_at: Timestamp| {
            let reserve = self.reserve_of(limit);
            let (ends_at, expected) = forecast(limit.saturating_sub(used), used, pace, now, renews_at);
            let (left, left_for_urgent) =
                ((limit - reserve).saturating_sub(used), limit.saturating_sub(used));
            let forecast = match (pace, ends_at) {
                _ if left_for_urgent < LEAST => Forecast::Spent,
                _ if left < LEAST => Forecast::ReserveOnly,
                (None, _) => Forecast::Unknown,
                (Some(_), Some(_)) => Forecast::Ends,
                (Some(_), None) => Forecast::Lasts,
            };
            let is_over = matches!(forecast, Forecast::Spent | Forecast::ReserveOnly);
            let ends_at = ends_at.filter(|_| !is_over);
            BudgetLine {
                limit,
                reserve,
                spent: used,
                left,
                left_for_urgent,
                renews_at,
                ends_at,
                forecast,
                expected,
            }
        };
        [
            day.map(|day| line(day, end_of_day(date, &self.zone))),
            month.map(|month| line(month, end_of_month(date, &self.zone))),
        ]
    }
}

/// When what is left ends at a pace, if before `renews_at`, and what will have been used by then.
fn forecast(
    left: u64,
    used: u64,
    pace: Option<BudgetPace>,
    now: Timestamp,
    renews_at: Timestamp,
) -> (Option<Timestamp>, Option<u64>) {
    let Some(BudgetPace { bytes, seconds }) = pace else { return (None, None) };
    let to_come = (renews_at.as_second() - now.as_second()).max(0);
    let (bytes, seconds) = (i128::from(bytes), i128::from(seconds.max(1)));
    let expected = i128::from(used) + bytes * i128::from(to_come) / seconds;
    let until_end = i64::try_from(i128::from(left) * seconds / bytes.max(1)).unwrap_or(i64::MAX);
    let ends_at =
        (until_end < to_come).then(|| Timestamp::from_second(now.as_second() + until_end).ok()).flatten();
    (ends_at, u64::try_from(expected).ok())
}

#[cfg(test)]
mod tests;
