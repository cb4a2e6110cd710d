//! What `fuzz/` reaches of this room: journals. **Invariant:** it is never part of the product.

use super::journal::replayed;

/// Replays bytes as a journal, and each half of them as a record whose checksum is right.
pub fn journal(data: &[u8]) {
    let _ = replayed(data);
    let mut file = Vec::with_capacity(data.len() + 16);
    let (first, second) = data.split_at(data.len() / 2);
    for body in [first, second] {
        file.extend(u32::try_from(body.len()).unwrap_or_default().to_le_bytes());
        file.extend(crc32fast::hash(body).to_le_bytes());
        file.extend(body);
    }
    let _ = replayed(&file);
}
