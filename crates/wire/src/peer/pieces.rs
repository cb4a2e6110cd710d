//! The hashes of a payload's pieces: 16 bytes of BLAKE3 for each 64 KiB.
//!
//! They only tell early that a piece was damaged on its way; what a payload is, its digests decide.
//! **Invariant:** hashes are read whole or not at all. It never says which payload they belong to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tailwater_domain::{Limit, limits};

/// The first 16 bytes of the BLAKE3 of a piece.
pub type PieceHash = [u8; 16];

/// Hashes that one header carries: a range of 16 MiB.
const MOST: usize = 256;

pub(super) const LIMITS: &[Limit] = limits![
    MOST in "hashes": "Hashes of pieces in one header" => "the header is passed over",
];

/// As the value of a header; `None` when there are too many for one.
pub fn encode_hashes(hashes: &[PieceHash]) -> Option<String> {
    (hashes.len() <= MOST).then(|| STANDARD_NO_PAD.encode(hashes.as_flattened()))
}

/// Reads the value of a header; `None` when it is none.
pub fn decode_hashes(text: &str) -> Option<Vec<PieceHash>> {
    if text.len() > MOST * 22 {
        return None;
    }
    let bytes = STANDARD_NO_PAD.decode(text.trim()).ok()?;
    let (hashes, rest) = bytes.as_chunks::<16>();
    rest.is_empty().then(|| hashes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_whole_or_not_at_all() {
        for count in [0, 1, 16, MOST] {
            let hashes: Vec<PieceHash> = (0..count).map(|n| [u8::try_from(n).unwrap(); 16]).collect();
            let text = encode_hashes(&hashes).unwrap();
            assert_eq!(decode_hashes(&text), Some(hashes));
        }
        assert_eq!(encode_hashes(&vec![[0; 16]; MOST + 1]), None);
        for wrong in ["AAAA", "ä", "A", &"A".repeat(MOST * 22 + 1)] {
            assert_eq!(decode_hashes(wrong), None, "{wrong:.20}");
        }
    }
}
