//! The content coding `xpress` of [MS-WUSP] 2.1.1: blocks of plain LZ77 ([MS-XCA] 2.3, 2.4), each preceded
//! by its length before and after compression.
//!
//! **Invariant:** blocks are independent and none decodes to more than [`MAX_BLOCK`] bytes; a decoder never
//! writes past the length that a block announces, and never reads past its end.

mod decode;
mod encode;

pub use decode::{MAX_BLOCK, Reader, XpressError, decode};
pub use encode::{BLOCK, encode, encode_into};
use tailwater_domain::{Limit, joined_limits};

pub(super) const LIMITS: &[Limit] = joined_limits![decode::LIMITS];

/// Whether an `Accept-Encoding` header asks for xpress: the token itself, with a weight above 0. `*` is no
/// consent, for nobody but agents knows this coding.
pub fn accepted(accept_encoding: &str) -> bool {
    accept_encoding.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|token| token.eq_ignore_ascii_case("xpress"));
        named
            && !parts.any(|parameter| {
                parameter
                    .to_ascii_lowercase()
                    .strip_prefix("q=")
                    .is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
            })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// A deterministic text: some of it repeats near, some far, some never.
    fn sample(len: usize, variety: u32) -> Vec<u8> {
        let mut state = 0x9E37_79B9_u32;
        let mut out = Vec::with_capacity(len + 64);
        while out.len() < len {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            match state % variety {
                0 => out.extend_from_slice(&state.to_le_bytes()),
                1 => out.extend_from_slice(b"<UpdateIdentity><UpdateID>"),
                2 => out.extend(std::iter::repeat_n(b'a', (state >> 8) as usize % 900)),
                _ => out.extend_from_slice(b"</UpdateID><RevisionNumber>200</RevisionNumber>"),
            }
        }
        out.truncate(len);
        out
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        for variety in [1, 2, 3, 5, 9] {
            for len in [0, 1, 2, 3, 31, 32, 33, 64, 1_000, 16_351, 16_352, 16_353, 70_000, 300_000] {
                let raw = sample(len, variety);
                let coded = encode(&raw);
                assert_eq!(decode(&coded, raw.len()).unwrap(), raw, "variety {variety} length {len}");
                let mut streamed = Vec::new();
                Reader::new(coded.as_slice(), raw.len() as u64).read_to_end(&mut streamed).unwrap();
                assert_eq!(streamed, raw);
            }
        }
    }

    #[test]
    fn a_block_that_does_not_shrink_is_stored() {
        let raw = [1_u8, 2, 3, 4, 5];
        assert_eq!(encode(&raw), [5, 0, 0, 0, 5, 0, 0, 0, 1, 2, 3, 4, 5]);
        assert_eq!(decode(&encode(&raw), 5).unwrap(), raw);
    }

    #[test]
    fn the_published_example_decodes() {
        // [MS-XCA] 3.1: "abcdefghijklmnopqrstuvwxyz" and 300 times "abc"
        let alphabet = b"\x3f\0\0\0abcdefghijklmnopqrstuvwxyz";
        let mut coded = vec![26, 0, 0, 0, 30, 0, 0, 0];
        coded.extend_from_slice(alphabet);
        // compressed longer than plain never comes from a server, but is well-formed
        assert_eq!(decode(&coded, 26).unwrap(), b"abcdefghijklmnopqrstuvwxyz");
        let abc = [0xff, 0xff, 0xff, 0x1f, 0x61, 0x62, 0x63, 0x17, 0x00, 0x0f, 0xff, 0x26, 0x01];
        let mut coded = vec![0x2c, 0x01, 0, 0, 13, 0, 0, 0];
        coded.extend_from_slice(&abc);
        assert_eq!(decode(&coded, 300).unwrap(), b"abc".repeat(100));
        assert_eq!(encode(&b"abc".repeat(100)), coded);
    }

    #[test]
    fn a_bomb_and_a_torn_block_are_refused() {
        let coded = encode(&vec![0; 100_000]);
        assert!(matches!(decode(&coded, 99_999), Err(XpressError::TooLong { .. })));
        for cut in [1, 4, 7, 8, 9, coded.len() - 1] {
            assert!(decode(&coded[..cut], 100_000).is_err(), "{cut}");
        }
        let mut wide = coded;
        wide[..4].copy_from_slice(&65_536_u32.to_le_bytes());
        assert!(decode(&wide, 1 << 20).is_err());
    }

    #[test]
    fn any_change_of_any_byte_ends_in_bytes_or_an_error() {
        let raw = sample(400, 3);
        let coded = encode(&raw);
        for at in 0..coded.len() {
            for flip in [1, 0x80, 0xff] {
                let mut torn = coded.clone();
                torn[at] ^= flip;
                let _ = decode(&torn, 1 << 20);
            }
        }
    }

    #[test]
    fn only_the_name_itself_is_consent() {
        let table = [
            ("xpress", true),
            ("gzip, XPRESS;q=0.5", true),
            ("xpress;q=0", false),
            ("*", false),
            ("", false),
            ("gzip", false),
        ];
        for (header, wanted) in table {
            assert_eq!(accepted(header), wanted, "{header}");
        }
    }
}
