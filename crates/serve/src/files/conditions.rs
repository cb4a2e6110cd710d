//! Conditions and ranges of a request, against a file that is named by its digest. Pure.
//!
//! **Invariant:** the order of RFC 9110 13.2.2. A range that cannot be read is as if it were not there. It
//! never looks at which bytes are held.

use http::{HeaderMap, HeaderName, Method, header};

use tailwater_domain::{ByteRange, Limit, limits};

/// Ranges that are answered as they were asked for; real agents send one. More are joined where they meet.
const MAX_AS_ASKED: usize = 32;

/// Parts of one answer; a request that needs more is answered 416. Each costs about 130 bytes beside its own.
const MAX_PARTS: usize = 1_024;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_AS_ASKED in "ranges": "Ranges answered as they were asked for" => "they are joined where they meet",
    MAX_PARTS in "parts": "Parts of one answer" => "416",
];

/// Ranges that are joined may be so far apart: the head of another part would be longer (RFC 9110 15.3.7.2).
const GAP: u64 = 128;

/// When the first version of every payload was last modified, in seconds since 1970 (1 January 2000): content that is
/// named by its digest never is, and a fixed date stays the same over restarts and refetches, which BITS
/// (`If-Unmodified-Since`) needs.
const LAST_MODIFIED: u64 = 946_684_800;

/// When a version of a payload ([`SparseFile::version`](tailwater_content::SparseFile::version)) was last modified, in seconds
/// since 1970: another second for each, so that conditions with a date tell versions apart as well.
pub(super) fn last_modified(version: u32) -> u64 {
    LAST_MODIFIED + u64::from(version)
}

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

/// Decides for a payload of `size` bytes whose first version has this strong entity tag (with its quotes).
#[cfg(any(test, fuzzing))]
pub(super) fn decide(method: &Method, headers: &HeaderMap, size: u64, etag: &str) -> Wanted {
    decide_for(method, headers, size, (etag, LAST_MODIFIED))
}

/// Decides for a file of `size` bytes with this entity tag, last modified so many seconds after 1970.
pub(super) fn decide_for(
    method: &Method,
    headers: &HeaderMap,
    size: u64,
    (etag, modified): (&str, u64),
) -> Wanted {
    if let Some(list) = text(headers, header::IF_MATCH) {
        if !lists(list, etag, false) {
            return Wanted::Failed;
        }
    } else if let Some(since) = text(headers, header::IF_UNMODIFIED_SINCE).and_then(date)
        && modified > since
    {
        return Wanted::Failed;
    }
    if let Some(list) = text(headers, header::IF_NONE_MATCH) {
        if lists(list, etag, true) {
            return Wanted::NotModified;
        }
    } else if let Some(since) = text(headers, header::IF_MODIFIED_SINCE).and_then(date)
        && modified <= since
    {
        return Wanted::NotModified;
    }
    if method != Method::GET {
        return Wanted::Whole;
    }
    match text(headers, header::RANGE) {
        Some(range) if same_version(headers, etag, modified) => ranges(range, size),
        _ => Wanted::Whole,
    }
}

/// `If-Range`: the same strong entity tag or the very same date; true without the header.
fn same_version(headers: &HeaderMap, etag: &str, modified: u64) -> bool {
    match text(headers, header::IF_RANGE) {
        None => true,
        Some(tag) if tag.starts_with('"') => tag.eq_ignore_ascii_case(etag),
        Some(tag) if tag.starts_with("W/") => false,
        Some(when) => date(when) == Some(modified),
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

/// A set of ranges costs what it names, or nothing: one that is damaged or needs too many parts is refused, because the
/// whole file for it would be what nobody asked for (RFC 9110 14.2 allows that). One damaged range is passed over.
fn ranges(header: &str, size: u64) -> Wanted {
    let Some((unit, set)) = header.split_once('=') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let unreadable = if set.contains(',') { Wanted::Unsatisfiable } else { Wanted::Whole };
    let specs = set.split(',').map(str::trim).filter(|spec| !spec.is_empty());
    let Ok(read) = specs.map(|one| spec(one, size)).collect::<Result<Vec<_>, ()>>() else {
        return unreadable;
    };
    if read.is_empty() {
        return unreadable;
    }
    let found: Vec<_> = read.into_iter().flatten().collect();
    let sum = found.iter().map(ByteRange::len).fold(0, u64::saturating_add);
    if !found.is_empty() && found.len() <= MAX_AS_ASKED && sum <= size {
        return Wanted::Ranges(found);
    }
    let joined = joined(found);
    match joined[..] {
        [all] if all.len() == size => Wanted::Whole,
        [] => Wanted::Unsatisfiable,
        _ if joined.len() > MAX_PARTS => Wanted::Unsatisfiable,
        _ => Wanted::Ranges(joined),
    }
}

/// Ranges that overlap or nearly meet as one, in the order in which the first of each was asked for.
fn joined(ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    let mut ordered: Vec<(ByteRange, usize)> = ranges.into_iter().zip(0..).collect();
    ordered.sort_unstable_by_key(|(range, _)| range.start);
    let mut joined: Vec<(ByteRange, usize)> = Vec::new();
    for (range, place) in ordered {
        match joined.last_mut() {
            Some((last, first)) if range.start <= last.end.saturating_add(GAP) => {
                last.end = last.end.max(range.end);
                *first = (*first).min(place);
            }
            _ => joined.push((range, place)),
        }
    }
    joined.sort_unstable_by_key(|(_, place)| *place);
    joined.into_iter().map(|(range, _)| range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "\"ABC\"";
    const DATE: &str = "Sat, 01 Jan 2000 00:00:00 GMT";

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
    }

    #[test]
    fn a_set_of_ranges_is_what_it_names_or_nothing() {
        let list = |specs: &[String]| format!("bytes={}", specs.join(","));
        let some = |ranges: &[(u64, u64)]| some(ranges);
        let apart = |count: u64| (0..count).map(|n| format!("{}-{}", n * 300, n * 300)).collect::<Vec<_>>();
        let parts = |count: u64| (0..count).map(|n| (n * 300, n * 300 + 1)).collect::<Vec<_>>();
        let big = 10_000_000;
        let table = [
            (list(&vec!["0-0".to_owned(); 33]), some(&[(0, 1)])),
            (list(&vec!["-1".to_owned(); 5_000]), some(&[(big - 1, big)])),
            (list(&apart(33)), some(&parts(33))),
            (list(&apart(1_024)), some(&parts(1_024))),
            (list(&apart(1_025)), Wanted::Unsatisfiable),
            (list(&apart(8_000)), Wanted::Unsatisfiable),
            // in the order in which they were asked for
            (list(&apart(33).into_iter().rev().collect::<Vec<_>>()), {
                some(&parts(33).into_iter().rev().collect::<Vec<_>>())
            }),
            // that meet, or nearly
            (list(&(0..40).map(|n| format!("{}-{}", n * 100, n * 100 + 99)).collect::<Vec<_>>()), {
                some(&[(0, 4_000)])
            }),
            (list(&(0..40).map(|n| format!("{}-{}", n * 100, n * 100 + 9)).collect::<Vec<_>>()), {
                some(&[(0, 3_910)])
            }),
            // that overlap until they are longer than the file
            ("bytes=0-8999999,1-8999999".to_owned(), some(&[(0, 9_000_000)])),
            ("bytes=5-,4-,3-".to_owned(), some(&[(3, big)])),
            ("bytes=0-,0-".to_owned(), Wanted::Whole),
            ("bytes=-20000000,0-0".to_owned(), Wanted::Whole),
            // of which some are beyond the end, or all
            (format!("bytes={}", vec!["10000000-"; 40].join(",")), Wanted::Unsatisfiable),
            (format!("bytes={},7-7", vec!["10000000-"; 40].join(",")), some(&[(7, 8)])),
            // that cannot be read
            ("bytes=0-9,9-2".to_owned(), Wanted::Unsatisfiable),
            ("bytes=0-9,x".to_owned(), Wanted::Unsatisfiable),
            ("bytes=,,".to_owned(), Wanted::Unsatisfiable),
            ("bytes=0-9,0-99999999999999999999999".to_owned(), Wanted::Whole),
        ];
        for (header, expected) in table {
            let shown = header.get(..60).unwrap_or(&header);
            assert_eq!(ranges(&header, big), expected, "{shown}");
        }
    }

    #[test]
    fn joining_loses_no_byte_and_adds_no_piece() {
        let mut dice = 99_u64;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        for _ in 0..300 {
            let size = 1 + roll(60_000);
            let asked: Vec<_> = (0..=roll(200))
                .map(|_| (roll(size), roll(900)))
                .map(|(start, len)| ByteRange { start, end: (start + 1 + len).min(size) })
                .collect();
            let joined = joined(asked.clone());
            let within = |list: &[ByteRange], at: u64| list.iter().any(|r| (r.start..r.end).contains(&at));
            for at in 0..size {
                let was = within(&asked, at);
                assert!(!was || within(&joined, at), "{at} of {asked:?} is lost");
                let near = |at: u64| (at.saturating_sub(GAP)..at + GAP).any(|at| within(&asked, at));
                assert!(was || !within(&joined, at) || near(at), "{at} of {asked:?}");
            }
            assert!(joined.iter().map(ByteRange::len).sum::<u64>() <= size, "each byte once");
        }
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
            (("if-unmodified-since", DATE), part.clone()),
            (("if-unmodified-since", older), Wanted::Failed),
            (("if-unmodified-since", "yesterday"), part.clone()),
            (("if-none-match", "\"x\", W/\"ABC\""), Wanted::NotModified),
            (("if-none-match", "\"x\""), part.clone()),
            (("if-modified-since", DATE), Wanted::NotModified),
            (("if-modified-since", older), part.clone()),
            (("if-range", ETAG), part.clone()),
            (("if-range", "W/\"ABC\""), Wanted::Whole),
            (("if-range", "\"other\""), Wanted::Whole),
            (("if-range", DATE), part),
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
        assert_eq!((date(DATE), last_modified(1)), (Some(LAST_MODIFIED), LAST_MODIFIED + 1));
    }
}
