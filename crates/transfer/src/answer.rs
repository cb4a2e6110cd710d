//! What a source's answer to a ranged GET means. Pure.
//!
//! **Invariant:** bytes are taken only when the answer says which bytes of a file of the declared length they are; what
//! else it says decides nothing, because the digests do. It never trusts a status alone.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;

use super::health::Blame;

/// How long a busy source is left alone when it does not say.
const BUSY: Duration = Duration::from_secs(5);

/// Codings that change the bytes (RFC 9110 8.4.1 and its registry). Everything else that servers write there, from
/// `identity` to `binary` or nothing at all, is a label.
const CODINGS: [&str; 14] = [
    "gzip",
    "x-gzip",
    "deflate",
    "compress",
    "x-compress",
    "br",
    "zstd",
    "dcb",
    "dcz",
    "exi",
    "pack200-gzip",
    "bzip2",
    "xz",
    "lzma",
];

/// What an answer brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brings {
    /// These bytes, some of those that were asked for among them.
    Range {
        /// The first byte.
        first: u64,
        /// One past the last byte.
        end: u64,
    },
    /// The whole file, whatever was asked.
    Whole {
        /// Whether the answer says that it is as long as the file.
        sized: bool,
    },
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

/// `bytes a-b/n` as (a, b + 1, n), however it is spaced and whatever letters `bytes` has; n is `None` for `*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64, Option<u64>)> {
    let mut all = headers.get_all(header::CONTENT_RANGE).iter();
    let value = all.next()?;
    if all.any(|other| other != value) {
        return None;
    }
    let value = value.to_str().ok()?.trim();
    let value = match value.get(..5) {
        Some(unit) if unit.eq_ignore_ascii_case("bytes") => &value[5..],
        _ => value,
    };
    let value = value.trim_start_matches([' ', '\t', '=', ':']);
    let (range, total) = value.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total.trim() == "*" { None } else { Some(total.trim().parse().ok()?) };
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse::<u64>().ok()?);
    (last >= first).then_some((first, last.checked_add(1)?, total))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    text(headers, header::CONTENT_LENGTH)?.parse().ok()
}

/// Whether the bytes are coded, by what each line and each part of it says.
fn is_coded(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let codings = lines.flat_map(|line| line.split(',')).map(str::trim);
    codings.into_iter().any(|coding| CODINGS.iter().any(|known| known.eq_ignore_ascii_case(coding)))
}

/// Whether the body is ranges between boundaries, where one was asked for.
fn has_parts(headers: &HeaderMap) -> bool {
    let value = text(headers, header::CONTENT_TYPE).and_then(|kind| kind.get(..10));
    value.is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

/// What an answer brings that says where its bytes belong. The end of the line is the more certain the less is odd:
/// where it begins elsewhere, or could be something else, its length must fit.
fn range(
    (first, last, total): (u64, u64, Option<u64>),
    headers: &HeaderMap,
    (start, end): (u64, u64),
    size: u64,
) -> Result<Brings, Refusal> {
    if total.is_some_and(|total| total != size) || last > size {
        return Err(Refusal::OtherLength);
    }
    let length = length(headers);
    let odd = first != start || has_parts(headers);
    let fits = length == Some(last - first) || (length.is_none() && !has_parts(headers));
    if first >= end || last <= start || (odd && !fits) {
        return Err(Refusal::OtherRange);
    }
    // all of it, where less was asked for, is what a source without ranges sends
    let unasked = (first, last) == (0, size) && (start, end) != (0, size);
    Ok(if unasked { Brings::Whole { sized: true } } else { Brings::Range { first, end: last } })
}

/// What an answer brings that does not say where its bytes belong.
fn whole(headers: &HeaderMap, size: u64) -> Result<Brings, Refusal> {
    match text(headers, header::CONTENT_LENGTH) {
        // without a length the digest decides
        None => Ok(Brings::Whole { sized: false }),
        Some(_) if length(headers) == Some(size) => Ok(Brings::Whole { sized: true }),
        Some(_) => Err(Refusal::OtherLength),
    }
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
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT if is_coded(headers) => Err(Refusal::Encoded),
        StatusCode::PARTIAL_CONTENT => match content_range(headers) {
            Some(found) => range(found, headers, (start, end), size),
            None if length(headers) == Some(size) && !has_parts(headers) => whole(headers, size),
            None => Err(Refusal::OtherRange),
        },
        StatusCode::OK => match content_range(headers) {
            // a part all the same, by its length
            Some((first, last, Some(total)))
                if total == size && last - first < size && length(headers) == Some(last - first) =>
            {
                range((first, last, Some(total)), headers, (start, end), size)
            }
            _ => whole(headers, size),
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
        let part = |first, end| Ok(Brings::Range { first, end });
        let whole = Ok(Brings::Whole { sized: true });
        let (other, length) = (Err(Refusal::OtherRange), Err(Refusal::OtherLength));
        let table: [Row; 71] = [
            (206, &[("content-range", "bytes 100-199/1000")], part(100, 200)),
            (206, &[("content-range", "bytes 100-199/*")], part(100, 200)),
            // however it is written
            (206, &[("content-range", "Bytes 100-199/1000")], part(100, 200)),
            (206, &[("content-range", "BYTES  100 - 199 / 1000 ")], part(100, 200)),
            (206, &[("content-range", "bytes=100-199/1000")], part(100, 200)),
            (206, &[("content-range", "bytes: 100-199/ *")], part(100, 200)),
            (206, &[("content-range", "bytes\t100-199/1000")], part(100, 200)),
            (206, &[("content-range", "100-199/1000")], part(100, 200)),
            (206, &[("content-range", "lines 100-199/1000")], other),
            (206, &[("content-range", "bytes 100-199")], other),
            (206, &[("content-range", "bytes */1000")], other),
            (206, &[("content-range", "bytes 199-100/1000")], other),
            (206, &[("content-range", "bytes 100-99999999999999999999/1000")], other),
            (206, &[("content-range", "bytes 100-18446744073709551615/*")], other),
            (
                206,
                &[("content-range", "bytes 100-199/1000"), ("content-range", "bytes 100-199/1000")],
                part(100, 200),
            ),
            (206, &[("content-range", "bytes 100-199/1000"), ("content-range", "bytes 0-99/1000")], other),
            // less, more, earlier, later, elsewhere
            (206, &[("content-range", "bytes 100-149/1000")], part(100, 150)),
            (206, &[("content-range", "bytes 100-299/1000")], part(100, 300)),
            (206, &[("content-range", "bytes 100-999/1000")], part(100, 1000)),
            (206, &[("content-range", "bytes 100-1000/1000")], length),
            (206, &[("content-range", "bytes 100-1000/*")], length),
            (206, &[("content-range", "bytes 50-199/1000")], part(50, 200)),
            (206, &[("content-range", "bytes 50-199/1000"), ("content-length", "150")], part(50, 200)),
            (206, &[("content-range", "bytes 50-199/1000"), ("content-length", "100")], other),
            (206, &[("content-range", "bytes 0-499/1000")], part(0, 500)),
            (206, &[("content-range", "bytes 0-999/1000")], whole),
            (206, &[("content-range", "bytes 150-199/1000"), ("content-length", "50")], part(150, 200)),
            (206, &[("content-range", "bytes 101-199/1000"), ("content-length", "100")], other),
            (206, &[("content-range", "bytes 0-99/1000")], other),
            (206, &[("content-range", "bytes 200-299/1000")], other),
            (206, &[("content-range", "bytes 100-199/1001")], length),
            (206, &[], other),
            (206, &[("content-length", "100")], other),
            (206, &[("content-length", "1000")], whole),
            // parts between boundaries
            (206, &[("content-type", "multipart/byteranges; boundary=x")], other),
            (206, &[("content-type", "Multipart/x"), ("content-range", "bytes 100-199/1000")], other),
            (
                206,
                &[
                    ("content-type", "multipart/x"),
                    ("content-range", "bytes 100-199/1000"),
                    ("content-length", "100"),
                ],
                part(100, 200),
            ),
            // a part under the status of the whole
            (200, &[("content-range", "bytes 100-199/1000"), ("content-length", "100")], part(100, 200)),
            (200, &[("content-range", "bytes 100-199/1000")], Ok(Brings::Whole { sized: false })),
            (200, &[("content-range", "bytes 100-199/*"), ("content-length", "100")], length),
            (200, &[("content-range", "bytes 0-999/1000"), ("content-length", "1000")], whole),
            (200, &[("content-length", "1000")], whole),
            (200, &[], Ok(Brings::Whole { sized: false })),
            (200, &[("content-length", "532"), ("content-type", "text/html")], length),
            // what else it says decides nothing
            (200, &[("content-length", "1000"), ("content-type", "text/html; junk\u{fc}")], whole),
            (200, &[("content-length", "1000"), ("etag", "W/\"x\"")], whole),
            (200, &[("content-length", "1000"), ("content-encoding", "identity")], whole),
            (200, &[("content-length", "1000"), ("content-encoding", "Identity")], whole),
            (200, &[("content-length", "1000"), ("content-encoding", "")], whole),
            (200, &[("content-length", "1000"), ("content-encoding", " , none,BINARY")], whole),
            (200, &[("content-length", "1000"), ("content-encoding", "utf-8")], whole),
            // coded bytes are others
            (200, &[("content-length", "1000"), ("content-encoding", "gzip")], Err(Refusal::Encoded)),
            (
                200,
                &[("content-length", "1000"), ("content-encoding", "identity, GZip")],
                Err(Refusal::Encoded),
            ),
            (
                206,
                &[
                    ("content-range", "bytes 100-199/1000"),
                    ("content-encoding", "none"),
                    ("content-encoding", "Br"),
                ],
                Err(Refusal::Encoded),
            ),
            (
                206,
                &[("content-range", "bytes 100-199/1000"), ("content-encoding", "zstd")],
                Err(Refusal::Encoded),
            ),
            (206, &[("content-range", "bytes 100-199/*"), ("content-encoding", "None")], part(100, 200)),
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
            (416, &[("content-range", "bytes */1000")], length),
        ];
        for (status, headers, expected) in table {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap());
            }
            let got = read(StatusCode::from_u16(status).unwrap(), &map, (100, 200), 1000, now);
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
