//! Values of other rooms on their way between two tailwaters: JSON in a zstd frame.
//!
//! **Invariant:** what is read never becomes larger than [`LONGEST`], whatever it claims; fields that are not known
//! are passed over. It never knows what a value means.

use std::io::Read as _;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::MessageError;
use tailwater_domain::{Limit, limits};

/// The longest value as text: the decisions of the largest site.
const LONGEST: u64 = 512 << 20;
/// Up to this length any effort pays.
const SHORT: usize = 1 << 20;

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST in "bytes": "Decisions of an upstream, decompressed" => "they are refused",
];

// not a limit: SHORT: how hard is compressed

/// As bytes.
///
/// # Errors
/// When the value cannot be told in JSON.
pub fn squeeze<T: Serialize>(value: &T) -> Result<Vec<u8>, MessageError> {
    let text = serde_json::to_vec(value).map_err(|error| MessageError::Compression(error.to_string()))?;
    let level = if text.len() <= SHORT { 19 } else { 9 };
    zstd::encode_all(text.as_slice(), level).map_err(|error| MessageError::Compression(error.to_string()))
}

/// Reads it again.
///
/// # Errors
/// When it is none.
pub fn unsqueeze<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, MessageError> {
    let decoder = zstd::stream::read::Decoder::with_buffer(bytes)
        .map_err(|error| MessageError::Compression(error.to_string()))?;
    let text = std::io::BufReader::new(decoder.take(LONGEST));
    serde_json::from_reader(text).map_err(|_json| MessageError::Value { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back_and_damage_is_noticed() {
        let value: Vec<u32> = (0..1_000).collect();
        let bytes = squeeze(&value).unwrap();
        assert_eq!(unsqueeze::<Vec<u32>>(&bytes, "it"), Ok(value));
        for len in 0..bytes.len() {
            assert!(unsqueeze::<Vec<u32>>(&bytes[..len], "it").is_err());
        }
        assert!(unsqueeze::<Vec<u32>>(b"[1]", "it").is_err());
    }
}
