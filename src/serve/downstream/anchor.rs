//! Anchors: up to which change a downstream server has been told everything ([MS-WSUSSS] 3.1.4.5, note 31).
//!
//! They have WSUS's form, `nnnn,yyyy-MM-dd HH:mm:ss.fff`. The number counts: it is the catalog's change number, and
//! one more, for the form wants it positive. The milliseconds are a check that only this server can make.
//!
//! **Invariant:** an anchor that another server made, that somebody changed, or that is ahead of this server is never
//! taken for one of ours (but for one in a thousand, which costs its sender an update and nobody else anything). It
//! never grows with what it stands for.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::serve::cookie::Sealer;

/// The largest number of the form.
const MAX_NUMBER: u64 = i32::MAX as u64;
/// How far a clock may have been set back before anchors look as if they came from the future.
const MAX_AHEAD_SECONDS: i64 = 24 * 60 * 60;

/// What an anchor of ours says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) struct Anchor {
    /// The change number up to which everything was told.
    pub(in crate::serve) change: u64,
    /// The second at which it was made.
    pub(in crate::serve) second: i64,
}

impl Anchor {
    /// The text for what was told up to `change` at a time.
    pub(in crate::serve) fn write(sealer: &Sealer, change: u64, at: Timestamp) -> String {
        let number = (change + 1).min(MAX_NUMBER);
        let head = format!("{number},{}", Offset::UTC.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S"));
        let check = sealer.check_number(&head);
        format!("{head}.{check:03}")
    }

    /// Reads an anchor of ours that is not ahead of `change` and `now`; `None` for every other text.
    pub(in crate::serve) fn read(sealer: &Sealer, text: &str, change: u64, now: Timestamp) -> Option<Self> {
        let (head, check) = text.rsplit_once('.')?;
        let (number, time) = head.split_once(',')?;
        let at = DateTime::strptime("%Y-%m-%d %H:%M:%S", time).ok()?;
        let at = Offset::UTC.to_timestamp(at).ok()?;
        let number: u64 = number.parse().ok()?;
        let anchor = Self { change: number.checked_sub(1)?, second: at.as_second() };
        let ours = check == format!("{:03}", sealer.check_number(head));
        let past = anchor.change <= change && anchor.second <= now.as_second() + MAX_AHEAD_SECONDS;
        // one text for one anchor: no leading zeros, no plus
        (ours && past && Self::write(sealer, anchor.change, at) == text).then_some(anchor)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::serve::cookie::KEY_LEN;

    fn sealer(server: u128) -> Sealer {
        Sealer::new(&[7; KEY_LEN], Uuid::from_u128(server))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_anchor_is_read_back_and_has_the_form_of_wsus() {
        let text = Anchor::write(&sealer(1), 9_437, at(1_791_131_606));
        assert!(text.starts_with("9438,2026-10-04 16:33:26."), "{text}");
        assert_eq!(text.len(), "9438,2026-10-04 16:33:26.670".len());
        let anchor = Anchor { change: 9_437, second: 1_791_131_606 };
        assert_eq!(Anchor::read(&sealer(1), &text, 9_437, at(1_791_131_606)), Some(anchor));
    }

    #[test]
    fn what_is_no_anchor_of_ours_or_ahead_of_us_is_refused() {
        let now = at(1_791_131_606);
        let ours = Anchor::write(&sealer(1), 5, now);
        assert_eq!(Anchor::read(&sealer(1), &ours, 4, now), None, "ahead by number");
        assert_eq!(Anchor::read(&sealer(1), &ours, 5, at(1_700_000_000)), None, "ahead by time");
        assert_eq!(Anchor::read(&sealer(1), &format!("0{ours}"), 5, now), None);
        for text in ["", "garbage", "0,2024-01-01 00:00:00.000x", "1,2024-99-01 00:00:00.000", "1,.000", "6"]
        {
            assert_eq!(Anchor::read(&sealer(1), text, u64::MAX >> 1, now), None, "{text}");
        }
        // a check of three digits: of many foreign anchors few pass
        let foreign = (0..1_000).map(|number| Anchor::write(&sealer(2), number, now));
        let passed = foreign.filter(|text| Anchor::read(&sealer(1), text, 5_000, now).is_some()).count();
        assert!(passed < 10, "{passed} of 1,000");
    }
}
