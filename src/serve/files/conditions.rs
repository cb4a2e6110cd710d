//! Conditions and ranges of a request, against a file that is named by its digest. Pure.
//!
//! **Invariant:** the order of RFC 9110 13.2.2. A range that cannot be read is as if it were not there. It
//! never looks at which bytes are held.

use http::{HeaderMap, HeaderName, Method, header};

use crate::domain::ByteRange;

/// Ranges in one request; real agents send one. With more the whole file is the answer.
const MAX_RANGES: usize = 32;

/// When every payload was last modified: content that is named by its digest never is, and a fixed date
/// stays the same over restarts and refetches, which BITS (`If-Unmodified-Since`) needs.
pub(super) const LAST_MODIFIED: &str = "Sat, 01 Jan 2000 00:00:00 GMT";

/// `LAST_MODIFIED` in seconds since 1970.
const LAST_MODIFIED_S: u64 = 946_684_800;

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// 200.
    Whole,
    /// 206; one or more ranges, none empty.
    Ranges(Vec<ByteRange>),
    /// 304.
    NotModified,
    /// 412.
    Failed,
    /// 416.
    Unsatisfiable,
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// Seconds since 1970 of an HTTP date.
fn date(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(std::time::SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// Whether a list of entity tags has ours; `weak` comparison ignores `W/`.
fn lists(list: &str, etag: &str, weak: bool) -> bool {
    list == "*"
        || list.split(',').map(str::trim).any(|tag| {
            let tag = if weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
            tag.eq_ignore_ascii_case(etag)
        })
}

/// Decides for a file of `size` bytes whose strong entity tag (with its quotes) is `etag`.
pub(super) fn decide(method: &Method, headers: &HeaderMap, size: u64, etag: &str) -> Wanted {
    if let Some(list) = text(headers, header::IF_MATCH) {
        if !lists(list, etag, false) {
            return Wanted::Failed;
        }
    } else if let Some(since) = text(headers, header::IF_UNMODIFIED_SINCE).and_then(date)
        && LAST_MODIFIED_S > since
    {
        return Wanted::Failed;
    }
    if let Some(list) = text(headers, header::IF_NONE_MATCH) {
        if lists(list, etag, true) {
            return Wanted::NotModified;
        }
    } else if let Some(since) = text(headers, header::IF_MODIFIED_SINCE).and_then(date)
        && LAST_MODIFIED_S <= since
    {
        return Wanted::NotModified;
    }
    if method != Method::GET {
        return Wanted::Whole;
    }
    match text(headers, header::RANGE) {
        Some(range) if same_version(headers, etag) => ranges(range, size),
        _ => Wanted::Whole,
    }
}

/// `If-Range`: the same strong entity tag or the very same date; true without the header.
fn same_version(headers: &HeaderMap, etag: &str) -> bool {
    match text(headers, header::IF_RANGE) {
        None => true,
        Some(tag) if tag.starts_with('"') => tag.eq_ignore_ascii_case(etag),
        Some(tag) if tag.starts_with("W/") => false,
        Some(when) => date(when) == Some(LAST_MODIFIED_S),
    }
}

/// One `a-b`, `a-` or `-n`: `Err` when it is no range, `Ok(None)` when the file has none of it.
fn spec(spec: &str, size: u64) -> Result<Option<ByteRange>, ()> {
    let number = |digits: &str| {
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        // beyond what fits, all numbers are beyond the end
        Ok(digits.parse::<u64>().unwrap_or(u64::MAX))
    };
    let (first, last) = spec.split_once('-').ok_or(())?;
    if first.is_empty() {
        let suffix = number(last)?;
        return Ok(ByteRange::new(size.saturating_sub(suffix), if suffix == 0 { 0 } else { size }));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return Err(());
    }
    Ok(ByteRange::new(first, last.saturating_add(1).min(size)))
}

fn ranges(header: &str, size: u64) -> Wanted {
    let Some((unit, set)) = header.split_once('=') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let specs: Vec<_> = set.split(',').map(str::trim).filter(|spec| !spec.is_empty()).collect();
    if specs.is_empty() || specs.len() > MAX_RANGES {
        return Wanted::Whole;
    }
    let Ok(found) = specs.iter().map(|one| spec(one, size)).collect::<Result<Vec<_>, ()>>() else {
        return Wanted::Whole;
    };
    let found: Vec<_> = found.into_iter().flatten().collect();
    if found.is_empty() {
        return Wanted::Unsatisfiable;
    }
    // ranges that overlap so much that the whole is shorter are not worth their parts
    if found.len() > 1 && found.iter().map(ByteRange::len).sum::<u64>() > size {
        return Wanted::Whole;
    }
    Wanted::Ranges(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "\"ABC\"";

    fn decided(headers: &[(&str, &str)]) -> Wanted {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        decide(&Method::GET, &headers.collect(), 1000, ETAG)
    }

    fn some(ranges: &[(u64, u64)]) -> Wanted {
        Wanted::Ranges(ranges.iter().map(|&(start, end)| ByteRange { start, end }).collect())
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let table = [
            ("bytes=0-99", some(&[(0, 100)])),
            ("bytes=0-", some(&[(0, 1000)])),
            ("Bytes = 5-6", some(&[(5, 7)])),
            ("bytes=-10", some(&[(990, 1000)])),
            ("bytes=-5000", some(&[(0, 1000)])),
            ("bytes=995-2000", some(&[(995, 1000)])),
            ("bytes=0-3,10-13", some(&[(0, 4), (10, 14)])),
            ("bytes=0-3, ,5000-", some(&[(0, 4)])),
            ("bytes=0-99999999999999999999999", some(&[(0, 1000)])),
            ("bytes=1000-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=0-700,300-999", Wanted::Whole),
            ("Range", Wanted::Whole),
            ("bytes=9-2", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=abc", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
        ];
        for (header, expected) in table {
            assert_eq!(decided(&[("range", header)]), expected, "{header}");
        }
        let many = format!("bytes={}", vec!["0-0"; MAX_RANGES + 1].join(","));
        assert_eq!(decided(&[("range", &many)]), Wanted::Whole);
    }

    #[test]
    fn conditions_come_before_ranges() {
        let (range, part) = (("range", "bytes=0-9"), some(&[(0, 10)]));
        let older = "Fri, 31 Dec 1999 00:00:00 GMT";
        let table: [((&str, &str), Wanted); 16] = [
            (("if-match", "\"abc\""), part.clone()),
            (("if-match", "*"), part.clone()),
            (("if-match", "\"nothing\""), Wanted::Failed),
            (("if-match", "W/\"ABC\""), Wanted::Failed),
            (("if-unmodified-since", LAST_MODIFIED), part.clone()),
            (("if-unmodified-since", older), Wanted::Failed),
            (("if-unmodified-since", "yesterday"), part.clone()),
            (("if-none-match", "\"x\", W/\"ABC\""), Wanted::NotModified),
            (("if-none-match", "\"x\""), part.clone()),
            (("if-modified-since", LAST_MODIFIED), Wanted::NotModified),
            (("if-modified-since", older), part.clone()),
            (("if-range", ETAG), part.clone()),
            (("if-range", "W/\"ABC\""), Wanted::Whole),
            (("if-range", "\"other\""), Wanted::Whole),
            (("if-range", LAST_MODIFIED), part),
            (("if-range", older), Wanted::Whole),
        ];
        for (condition, expected) in table {
            assert_eq!(decided(&[range, condition]), expected, "{condition:?}");
        }
    }

    #[test]
    fn a_head_has_no_ranges() {
        let headers = [(header::RANGE, "bytes=0-9".parse().unwrap())].into_iter().collect();
        assert_eq!(decide(&Method::HEAD, &headers, 1000, ETAG), Wanted::Whole);
    }

    #[test]
    fn the_fixed_date_is_the_fixed_number() {
        assert_eq!(date(LAST_MODIFIED), Some(LAST_MODIFIED_S));
    }
}
