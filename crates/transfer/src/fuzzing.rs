//! What `fuzz/` reaches of this room: heads of answers. **Invariant:** it is never part of the product.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;

/// Reads lines as the head of an answer to a request for a range.
pub fn head(data: &[u8]) {
    let Some((status, rest)) = data.split_first_chunk::<2>() else { return };
    let Ok(status) = StatusCode::from_u16(100 + u16::from_le_bytes(*status) % 500) else { return };
    let mut headers = HeaderMap::new();
    for line in rest.split(|byte| *byte == b'\n').take(16) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    for size in [1_000, 1 << 40] {
        let _ = super::answer::read(status, &headers, (100, 200), size, Timestamp::UNIX_EPOCH);
    }
}
