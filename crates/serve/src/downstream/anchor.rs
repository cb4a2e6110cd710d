//! Anchors: up to which change a downstream server has been told everything ([MS-WSUSSS] 3.1.4.5, note 31).
//!
//! They have WSUS's form, `nnnn,yyyy-MM-dd HH:mm:ss.fff`. The number is the catalog's change number and one more, for
//! the form wants it positive, with six digits of a check behind it; the milliseconds are three more. The check covers
//! the mark that the change has in this store's history, so only the branch of the store that wrote an anchor knows
//! it. Anchors of before there were marks have a check of three digits and count for what was given until then.
//!
//! **Invariant:** an anchor that another server or another branch of this one made, that somebody changed, or that is
//! ahead of this server is never taken for one of ours (but for one in a thousand million). It never grows with what
//! it stands for.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::cookie::Sealer;
use tailwater_catalog::Place;
use tailwater_domain::{Limit, limits};

/// What the digits of the check behind the number come to.
const CHECK: u64 = 1_000_000;
/// What the milliseconds come to.
const MILLIS: u64 = 1_000;
/// How far a clock may have been set back before anchors look as if they came from the future.
const MAX_AHEAD_SECONDS: i64 = 24 * 60 * 60;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_AHEAD_SECONDS in "s": "How far an anchor may lie in the future" => "the server starts from nothing",
];

// not a limit: MILLIS: a unit

/// What an anchor of ours says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// The change number up to which everything was told.
    pub(crate) change: u64,
    /// The second at which it was made.
    pub(crate) second: i64,
}

fn time_text(at: Timestamp) -> String {
    Offset::UTC.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The check of an anchor with a mark, below [`CHECK`] times [`MILLIS`].
fn check(sealer: &Sealer, place: &Place, time: &str) -> u64 {
    let mut text = b"anchor".to_vec();
    text.extend_from_slice(&place.change.to_le_bytes());
    text.extend_from_slice(&place.mark.to_le_bytes());
    text.extend_from_slice(time.as_bytes());
    u64::from(sealer.check_number(&text, 1_000_000_000))
}

/// The check of an anchor without one, below [`MILLIS`].
fn old_check(sealer: &Sealer, number: u64, time: &str) -> u64 {
    u64::from(sealer.check_number(format!("{number},{time}").as_bytes(), 1_000))
}

impl Anchor {
    /// The text for what was told up to `change` at a time. `place` is where the store stood then, as far as it knows:
    /// of what lies before its first mark it knows no place.
    pub(crate) fn write(sealer: &Sealer, change: u64, place: &Place, at: Timestamp) -> String {
        let (number, time) = (change.saturating_add(1), time_text(at));
        if place.change != change {
            return format!("{number},{time}.{:03}", old_check(sealer, number, &time));
        }
        let check = check(sealer, place, &time);
        format!("{number}{:06},{time}.{:03}", check / MILLIS, check % MILLIS)
    }
}

/// A text in the form of an anchor, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    number: u64,
    time: String,
    second: i64,
    millis: u64,
}

impl Shown {
    /// Reads the form; `None` for every other text.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (head, millis) = text.rsplit_once('.')?;
        let (number, time) = head.split_once(',')?;
        let at = DateTime::strptime("%Y-%m-%d %H:%M:%S", time).ok()?;
        let at = Offset::UTC.to_timestamp(at).ok()?;
        let shown = Self {
            number: number.parse().ok()?,
            time: time_text(at),
            second: at.as_second(),
            millis: millis.parse().ok()?,
        };
        // one text for one anchor: no leading zeros, no plus
        let same = format!("{},{}.{:03}", shown.number, shown.time, shown.millis) == text;
        (same && shown.millis < MILLIS).then_some(shown)
    }

    /// What it says, when this store wrote it and it is not ahead of `now`. `place` gives the place of a change number
    /// in the store's history, `gave` says whether the store was at a place.
    pub(super) fn verify(
        &self,
        sealer: &Sealer,
        now: Timestamp,
        place: impl Fn(u64) -> Place,
        gave: impl Fn(&Place) -> bool,
    ) -> Option<Anchor> {
        let marked = (self.number / CHECK).checked_sub(1).filter(|change| {
            let place = place(*change);
            let shown = self.number % CHECK * MILLIS + self.millis;
            place.change == *change && check(sealer, &place, &self.time) == shown
        });
        let unmarked = || {
            // three digits are little: what seems to come from the future is not ours
            let ahead = self.second > now.as_second() + MAX_AHEAD_SECONDS;
            let change = self.number.checked_sub(1)?;
            let ours = old_check(sealer, self.number, &self.time) == self.millis;
            (ours && !ahead && gave(&Place { change, mark: 0 })).then_some(change)
        };
        let change = marked.or_else(unmarked)?;
        // of one that was made by a clock that was ahead the mark tells that it is ours
        Some(Anchor { change, second: self.second.min(now.as_second()) })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use tailwater_catalog::SEAL_KEY;

    const NOW: i64 = 1_791_131_606;

    fn sealer(server: u128) -> Sealer {
        Sealer::fixed([7; SEAL_KEY], Uuid::from_u128(server))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The place of a change number in a branch that stands at `last` and began to make marks at 3.
    fn place(branch: u64, last: u64) -> impl Fn(u64) -> Place {
        move |change| {
            let change = change.clamp(3, last);
            Place { change, mark: branch * 1_000 + change }
        }
    }

    fn read(text: &str, branch: u64, last: u64, now: i64) -> Option<u64> {
        let old = |place: &Place| place.change <= 3;
        Shown::read(text)?.verify(&sealer(1), at(now), place(branch, last), old).map(|anchor| anchor.change)
    }

    fn write(change: u64, branch: u64) -> String {
        Anchor::write(&sealer(1), change, &place(branch, u64::MAX)(change), at(NOW))
    }

    #[test]
    fn an_anchor_is_read_back_and_has_the_form_of_wsus() {
        let text = write(9_437, 1);
        let (number, rest) = text.split_once(',').unwrap();
        assert!(number.len() == 10 && number.starts_with("9438"), "{text}");
        assert!(rest.starts_with("2026-10-04 16:33:26.") && rest.len() == 23, "{text}");
        assert_eq!(read(&text, 1, 9_437, NOW), Some(9_437));
        assert_eq!(read(&text, 1, 9_999, NOW), Some(9_437), "older than what is there now");
    }

    #[test]
    fn another_branch_and_what_is_ahead_are_not_ours() {
        let ours = write(5, 1);
        assert_eq!(read(&ours, 1, 5, NOW), Some(5));
        assert_eq!(read(&ours, 1, 4, NOW), None, "ahead by number");
        assert_eq!(read(&ours, 1, 5, 1_700_000_000), Some(5), "ahead by time alone: the clock was set back");
        // of many anchors of other branches none passes
        for branch in 2..2_000 {
            assert_eq!(read(&write(5, branch), 1, 9, NOW), None);
            let foreign = Anchor::write(&sealer(2), 5, &place(1, 9)(5), at(NOW));
            assert_eq!(read(&foreign, 1, 9, NOW), None);
        }
    }

    #[test]
    fn anchors_without_a_mark_count_up_to_where_marks_begin() {
        let sealer = sealer(1);
        let old = |change: u64| {
            let (number, time) = (change + 1, time_text(at(NOW)));
            format!("{number},{time}.{:03}", old_check(&sealer, number, &time))
        };
        for change in 0..=3 {
            assert_eq!(read(&old(change), 1, 9, NOW), Some(change));
        }
        assert_eq!(read(&old(4), 1, 9, NOW), None);
        // what was told up to before the first mark is written as it was then
        assert_eq!(write(2, 1), old(2));
    }

    #[test]
    fn the_form_is_strict() {
        let ours = write(5, 1);
        for text in [
            format!("0{ours}"),
            format!("{ours}0"),
            String::new(),
            "garbage".to_owned(),
            "0,2024-01-01 00:00:00.000x".to_owned(),
            "1,2024-99-01 00:00:00.000".to_owned(),
            "1,.000".to_owned(),
            "6".to_owned(),
            "+6,2024-01-01 00:00:00.000".to_owned(),
        ] {
            assert_eq!(Shown::read(&text), None, "{text}");
        }
    }
}
