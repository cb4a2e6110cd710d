//! `xs:dateTime` and `xs:date` as clients write them and servers answer them.
//!
//! **Invariant:** a time without a zone is UTC, because clients leave the Z out now and then ([MS-WUSP] 4).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// Reads a time; `None` when it is none.
pub fn parse_date_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(timestamp) = text.parse() {
        return Some(timestamp);
    }
    let civil: DateTime = text.parse().ok()?;
    Offset::UTC.to_timestamp(civil).ok()
}

/// A time as real servers write it: UTC, no more digits than needed.
pub fn date_time(time: Timestamp) -> String {
    time.to_string()
}

/// Its date in UTC.
pub fn date(time: Timestamp) -> String {
    Offset::UTC.to_datetime(time).date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        let table = [
            ("2026-10-04T13:17:07.59Z", Some("2026-10-04T13:17:07.59Z")),
            ("2026-10-04T16:03:35.9967236Z", Some("2026-10-04T16:03:35.9967236Z")),
            ("2026-10-04T13:17:07", Some("2026-10-04T13:17:07Z")),
            (" 2026-10-04T13:17:07+02:00 ", Some("2026-10-04T11:17:07Z")),
            ("yesterday", None),
            ("", None),
        ];
        for (text, time) in table {
            assert_eq!(parse_date_time(text).map(date_time).as_deref(), time, "{text}");
        }
        assert_eq!(date(parse_date_time("2026-10-04T23:59:59Z").unwrap()), "2026-10-04");
    }
}
