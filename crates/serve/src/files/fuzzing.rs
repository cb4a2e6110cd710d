//! What `fuzz/` reaches of this room: paths, conditions and ranges. **Invariant:** it is never part of the product.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::conditions::{Wanted, decide};

/// Reads lines as a target and headers, and decides what to send of a file.
pub fn request(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    if let Some(uri) = std::str::from_utf8(target).ok().and_then(|text| text.parse().ok()) {
        let path = crate::http::path::of(&uri);
        let _ = path.as_deref().map(tailwater_domain::ContentPath::read);
    }
    let mut headers = HeaderMap::new();
    for line in lines.take(16) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    for size in [0, 1, 100_000, u64::MAX] {
        if let Wanted::Ranges(ranges) = decide(&Method::GET, &headers, size, "\"tag\"") {
            assert!(!ranges.is_empty(), "an answer with ranges has one");
            assert!(
                ranges.iter().all(|range| range.start < range.end && range.end <= size),
                "{ranges:?} of {size}"
            );
        }
    }
}
