//! What a source's answer to a ranged GET means. Pure.
//!
//! **Invariant:** bytes are taken only when the answer says which bytes of a file of the declared length
//! they are. It never trusts a status alone.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;

use super::health::Blame;

/// How long a busy source is left alone when it does not say.
const BUSY: Duration = Duration::from_secs(5);

/// What an answer brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brings {
    /// The bytes from the asked offset on, up to this offset.
    Range {
        /// One past the last byte.
        end: u64,
    },
    /// The whole file, whatever was asked.
    Whole,
}

/// Why an answer brings nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the source answered {0}")]
    Status(StatusCode),
    #[error("the source is busy ({status})")]
    Busy { status: StatusCode, pause: Duration },
    #[error("the source sends another range than was asked for")]
    OtherRange,
    #[error("the source has a file of another length")]
    OtherLength,
    #[error("the source sends an encoding that was not asked for")]
    Encoded,
}

impl Refusal {
    pub(super) fn blame(self) -> Blame {
        match self {
            Self::Busy { pause, .. } => Blame::Busy(pause),
            Self::Status(status) if status.is_server_error() => Blame::Trouble,
            Self::OtherRange | Self::Status(StatusCode::REQUEST_TIMEOUT) => Blame::Trouble,
            Self::Status(StatusCode::NOT_FOUND | StatusCode::GONE) => Blame::Gone,
            Self::Status(_) | Self::OtherLength | Self::Encoded => Blame::Unfit,
        }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// `bytes a-b/n` as (a, b + 1, n); n is `None` for `*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64, Option<u64>)> {
    let value = text(headers, header::CONTENT_RANGE)?.strip_prefix("bytes")?.trim_start();
    let (range, total) = value.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.trim().parse().ok()?) };
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse::<u64>().ok()?);
    (last >= first).then_some((first, last.checked_add(1)?, total))
}

/// How long a source asks to be left alone: in seconds, or until a date in any of its three forms (RFC 9110 10.2.3,
/// 5.6.7).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = text(headers, header::RETRY_AFTER)?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // what does not fit is longer than anybody waits
        return Some(Duration::from_secs(value.parse().unwrap_or(u32::MAX.into())));
    }
    let until = Timestamp::try_from(httpdate::parse_http_date(value).ok()?).ok()?;
    // a date that is over, or a clock that is wrong
    Some(Duration::try_from(until.duration_since(now)).unwrap_or(BUSY).max(Duration::from_secs(1)))
}

/// Whether a status is about this moment, so that a source may say with it when to come again.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY)
}

/// Reads the head of the answer, come at `now`, to a GET of `start..end` of a file of `size` bytes.
pub(super) fn read(
    status: StatusCode,
    headers: &HeaderMap,
    (start, end): (u64, u64),
    size: u64,
    now: Timestamp,
) -> Result<Brings, Refusal> {
    let encoded = text(headers, header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT if encoded => Err(Refusal::Encoded),
        StatusCode::PARTIAL_CONTENT => match content_range(headers) {
            Some((_, _, Some(total))) if total != size => Err(Refusal::OtherLength),
            Some((first, last, _)) if first == start && last <= end => Ok(Brings::Range { end: last }),
            _ => Err(Refusal::OtherRange),
        },
        // without a length the digest decides
        StatusCode::OK => match text(headers, header::CONTENT_LENGTH).map(str::parse::<u64>) {
            Some(Ok(length)) if length == size => Ok(Brings::Whole),
            None => Ok(Brings::Whole),
            _ => Err(Refusal::OtherLength),
        },
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            Err(Refusal::Busy { status, pause: retry_after(headers, now).unwrap_or(BUSY) })
        }
        _ if may_pass(status) => Err(match retry_after(headers, now) {
            Some(pause) => Refusal::Busy { status, pause },
            None => Refusal::Status(status),
        }),
        StatusCode::RANGE_NOT_SATISFIABLE => Err(Refusal::OtherLength),
        _ => Err(Refusal::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (u16, &'static [(&'static str, &'static str)], Result<Brings, Refusal>);

    #[test]
    fn an_answer_is_taken_for_what_its_head_says() {
        let busy_with = |status, pause| {
            let status = StatusCode::from_u16(status).unwrap();
            Err(Refusal::Busy { status, pause: Duration::from_secs(pause) })
        };
        let busy = |pause| busy_with(503, pause);
        let now: Timestamp = "2026-10-21T07:27:00Z".parse().unwrap();
        let table: [Row; 24] = [
            (206, &[("content-range", "bytes 100-199/1000")], Ok(Brings::Range { end: 200 })),
            (206, &[("content-range", "bytes 100-149/1000")], Ok(Brings::Range { end: 150 })),
            (206, &[("content-range", "bytes 100-199/*")], Ok(Brings::Range { end: 200 })),
            (206, &[("content-range", "bytes 0-99/1000")], Err(Refusal::OtherRange)),
            (206, &[("content-range", "bytes 100-299/1000")], Err(Refusal::OtherRange)),
            (206, &[("content-range", "bytes 100-199/1001")], Err(Refusal::OtherLength)),
            (206, &[], Err(Refusal::OtherRange)),
            (200, &[("content-length", "1000")], Ok(Brings::Whole)),
            (200, &[("content-length", "532"), ("content-type", "text/html")], Err(Refusal::OtherLength)),
            (200, &[("content-length", "1000"), ("content-encoding", "gzip")], Err(Refusal::Encoded)),
            (503, &[("retry-after", "7")], busy(7)),
            (503, &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], busy(60)),
            (503, &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], busy(5)),
            (503, &[("retry-after", "Wednesday, 21-Oct-26 07:28:00 GMT")], busy(60)),
            (503, &[("retry-after", "Wed Oct 21 07:28:00 2026")], busy(60)),
            (503, &[("retry-after", "99999999999999999999")], busy(u32::MAX.into())),
            (503, &[("retry-after", "-7")], busy(5)),
            (503, &[("retry-after", "soon")], busy(5)),
            (429, &[("retry-after", "300")], busy_with(429, 300)),
            (429, &[], busy_with(429, 5)),
            (502, &[("retry-after", "9")], busy_with(502, 9)),
            (500, &[("retry-after", "soon")], Err(Refusal::Status(StatusCode::INTERNAL_SERVER_ERROR))),
            (403, &[("retry-after", "9")], Err(Refusal::Status(StatusCode::FORBIDDEN))),
            (404, &[], Err(Refusal::Status(StatusCode::NOT_FOUND))),
        ];
        for (status, headers, expected) in table {
            let map = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let got = read(StatusCode::from_u16(status).unwrap(), &map.collect(), (100, 200), 1000, now);
            assert_eq!(got, expected, "{status} {headers:?}");
        }
    }

    #[test]
    fn blame_follows_the_meaning() {
        assert_eq!(Refusal::Status(StatusCode::NOT_FOUND).blame(), Blame::Gone);
        assert_eq!(Refusal::Status(StatusCode::FORBIDDEN).blame(), Blame::Unfit);
        assert_eq!(Refusal::Status(StatusCode::BAD_GATEWAY).blame(), Blame::Trouble);
        assert_eq!(Refusal::OtherLength.blame(), Blame::Unfit);
    }
}
