//! How soon what computers say is told upward.
//!
//! Invariant: the first news waits [`GATHER`] for others, two tellings of news are [`GAP`] apart, and both together are
//! under a minute; after a failure only the usual retries tell, ever more seldom. It asks no time by itself.

use jiff::{SignedDuration, Timestamp};

/// How long the first of several reports waits for the others: agents report in several calls.
const GATHER: SignedDuration = SignedDuration::from_secs(15);
/// The least time between two tellings of news: five small requests a minute at most, which a WSUS bears.
const GAP: SignedDuration = SignedDuration::from_secs(40);
/// For how long an upstream without a reporting service is left alone.
const DEAF: SignedDuration = SignedDuration::from_hours(24);

/// When what was told, and what waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// When everything was last told; nobody knows this server upstream before.
    pub(super) whole: Option<Timestamp>,
    /// Attempts that failed in a row.
    pub(super) failures: u32,
    /// Since when news wait.
    waiting: Option<Timestamp>,
    /// When news were last told.
    news: Option<Timestamp>,
    /// Until when nobody listens.
    deaf: Option<Timestamp>,
}

fn after(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}

impl Pace {
    pub(super) fn new(whole: Option<Timestamp>) -> Self {
        Self { whole, ..Self::default() }
    }

    /// Lets times that a clock noted which was ahead be now; whether there were any.
    pub(super) fn not_after(&mut self, now: Timestamp) -> bool {
        let before = self.clone();
        for time in [&mut self.whole, &mut self.waiting, &mut self.news] {
            *time = time.map(|time| time.min(now));
        }
        self.deaf = self.deaf.map(|deaf| deaf.min(after(now, DEAF)));
        *self != before
    }

    /// Some computer said something.
    pub(super) fn heard(&mut self, now: Timestamp) {
        self.waiting.get_or_insert(now);
    }

    /// When news are to be told; none while there are none, nobody listens, or a retry tells all of it.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let waiting = self.waiting.filter(|_| self.whole.is_some() && self.failures == 0)?;
        let gathered = after(waiting, GATHER);
        let apart = self.news.map_or(gathered, |news| after(news, GAP));
        Some(gathered.max(apart).max(self.deaf.unwrap_or(gathered)))
    }

    /// News were told, or there turned out to be none.
    pub(super) fn told_news(&mut self, now: Timestamp) {
        (self.waiting, self.news) = (None, Some(now));
    }

    /// Everything was told.
    pub(super) fn told_all(&mut self, now: Timestamp) {
        *self = Self { whole: Some(now), news: Some(now), ..Self::default() };
    }

    /// The upstream has no reporting service.
    pub(super) fn nobody_listens(&mut self, now: Timestamp) {
        *self = Self { whole: Some(now), deaf: Some(after(now, DEAF)), ..Self::default() };
    }

    /// It could not be told.
    pub(super) fn failed(&mut self) {
        self.failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn news_are_told_within_a_minute_and_in_batches() {
        let mut pace = Pace::new(Some(at(0)));
        assert_eq!(pace.due(), None);
        // somebody reports every second for an hour
        let (mut told, mut oldest) = (Vec::new(), None);
        for second in 1_000..4_600 {
            pace.heard(at(second));
            oldest.get_or_insert(second);
            if pace.due().is_some_and(|due| due <= at(second)) {
                assert!(second - oldest.take().unwrap() < 60, "{second}");
                told.push(second);
                pace.told_news(at(second));
            }
        }
        assert!((60..=90).contains(&told.len()), "{} in an hour", told.len());
        assert!(told.windows(2).all(|pair| pair[1] - pair[0] >= GAP.as_secs()));
        pace.told_news(at(4_600));
        // one report alone does not wait long
        pace.heard(at(9_000));
        assert_eq!(pace.due(), Some(at(9_000 + GATHER.as_secs())));
    }

    #[test]
    fn before_the_first_after_a_failure_and_where_nobody_listens_news_wait() {
        let mut pace = Pace::new(None);
        pace.heard(at(5));
        assert_eq!(pace.due(), None, "nobody knows this server yet");
        pace.told_all(at(10));
        assert_eq!(pace.due(), None, "all of it was told");
        pace.heard(at(20));
        pace.failed();
        assert_eq!((pace.due(), pace.failures), (None, 1), "the retry tells");
        pace.told_all(at(500));
        pace.nobody_listens(at(600));
        pace.heard(at(700));
        assert_eq!(pace.due(), Some(at(600 + DEAF.as_secs())));
    }

    #[test]
    fn times_of_a_clock_that_was_ahead_are_not_waited_for() {
        let ten_years = 10 * 365 * 86_400;
        for ahead in [3_600, 86_400, ten_years] {
            let mut pace = Pace::new(Some(at(1_000 + ahead)));
            pace.heard(at(1_000 + ahead));
            pace.told_news(at(1_000 + ahead));
            pace.heard(at(1_000 + ahead));
            assert!(pace.not_after(at(1_000)));
            assert!(!pace.not_after(at(1_000)), "once");
            assert_eq!(pace.due(), Some(at(1_000 + GAP.as_secs())), "{ahead}");
            pace.nobody_listens(at(1_000 + ahead));
            pace.heard(at(2_000));
            pace.not_after(at(2_000));
            assert!(pace.due() <= Some(at(2_000 + DEAF.as_secs())), "{ahead}");
        }
    }
}
