//! Times of roll-ups.
//!
//! **Invariant:** "never" is written 1753-01-01 as the text says, and read as 0001-01-01 too, as its examples write
//! it. A time without a zone is UTC.

use jiff::Timestamp;

use crate::client_update::{date_time, parse_date_time};
use crate::xml::XmlError;

/// As it is written for a time that never was.
const NEVER: &str = "1753-01-01T00:00:00";
/// 1753-01-02: everything before is never, whatever zone it was written in.
const NEVER_BEFORE: i64 = -6_847_718_400;

// not a limit: NEVER_BEFORE: a date that means never

/// A time for the wire, to the second: finer says nothing and costs eight bytes each.
pub(super) fn written(time: Option<Timestamp>) -> String {
    match time.and_then(|time| Timestamp::from_second(time.as_second()).ok()) {
        Some(time) if time.as_second() >= NEVER_BEFORE => date_time(time),
        _ => NEVER.to_owned(),
    }
}

/// A time from the wire; `None` when it is never.
pub(super) fn read(element: &str, text: &str) -> Result<Option<Timestamp>, XmlError> {
    let value = || XmlError::Value { element: element.to_owned(), text: text.chars().take(80).collect() };
    let time = parse_date_time(text).ok_or_else(value)?;
    Ok((time.as_second() >= NEVER_BEFORE).then_some(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_read_in_both_spellings_and_written_in_one() {
        for never in
            ["1753-01-01T00:00:00", "0001-01-01T00:00:00", "1753-01-01T00:00:00Z", "0001-01-01T00:00:00Z"]
        {
            assert_eq!(read("x", never).unwrap(), None, "{never}");
        }
        assert_eq!(written(None), NEVER);
        let time = read("x", "2026-11-22T03:28:01.894503Z").unwrap();
        assert_eq!(written(time), "2026-11-22T03:28:01Z");
        assert!(read("x", "yesterday").is_err());
    }
}
