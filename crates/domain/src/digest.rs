//! Digests by which payloads are named and verified. Metadata carries them in Base64; addresses and people
//! use upper-case hex.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is no digest of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind} digest")]
pub struct ParseDigestError {
    /// `SHA-1` or `SHA-256`.
    pub kind: &'static str,
    /// What was given, cut to 80 characters.
    pub text: String,
}

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $kind:literal) => {
        $(#[$doc])*
        ///
        /// Serialised as hex for people, as its bytes for machines.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; $bytes]>::deserialize(deserializer).map(Self)
                }
            }
        }

        impl $name {
            /// Upper-case hex, as in addresses.
            pub fn hex(&self) -> String {
                self.to_string()
            }

            /// Base64 with padding, as in metadata.
            pub fn base64(&self) -> String {
                STANDARD.encode(self.0)
            }

            /// Reads the Base64 of metadata; white space around it is ignored.
            ///
            /// # Errors
            /// When the text is no Base64 or has another length.
            pub fn from_base64(text: &str) -> Result<Self, ParseDigestError> {
                STANDARD
                    .decode(text.trim())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| Self::refuse(text))
            }

            fn refuse(text: &str) -> ParseDigestError {
                ParseDigestError { kind: $kind, text: text.chars().take(80).collect() }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            /// Reads hex of either letter case.
            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                let digits = text.as_bytes();
                if digits.len() != 2 * $bytes {
                    return Err(Self::refuse(text));
                }
                let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
                let mut bytes = [0; $bytes];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    match (nibble(pair[0]), nibble(pair[1])) {
                        (Some(high), Some(low)) => *byte = high << 4 | low,
                        _ => return Err(Self::refuse(text)),
                    }
                }
                Ok(Self(bytes))
            }
        }
    };
}

digest_type! {
    /// The SHA-1 by which metadata and `/Content/` addresses name a payload ([MS-WUSP] 2.2.2.2.6, note 56).
    Sha1Digest, 20, "SHA-1"
}

digest_type! {
    /// The SHA-256 that newer metadata adds (`AdditionalDigest`, [MS-WUSP] note 26).
    Sha256Digest, 32, "SHA-256"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_base64_name_the_same_bytes() {
        let digest = Sha1Digest::from_base64("vXidQqLgJwCO4+fE++5nIN1txMk=").unwrap();
        assert_eq!(digest.hex(), "BD789D42A2E027008EE3E7C4FBEE6720DD6DC4C9");
        assert_eq!(digest.hex().to_lowercase().parse::<Sha1Digest>().unwrap(), digest);
        assert_eq!(digest.base64(), "vXidQqLgJwCO4+fE++5nIN1txMk=");
    }

    #[test]
    fn people_read_hex_and_machines_bytes() {
        let digest = Sha1Digest([0xAB; 20]);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(text, format!("\"{}\"", digest.hex()));
        assert_eq!(serde_json::from_str::<Sha1Digest>(&text).unwrap(), digest);
        let bytes = postcard::to_stdvec(&digest).unwrap();
        assert_eq!(bytes, digest.0);
        assert_eq!(postcard::from_bytes::<Sha1Digest>(&bytes).unwrap(), digest);
    }

    #[test]
    fn another_length_is_refused() {
        assert!(Sha1Digest::from_base64("AAAA").is_err());
        assert!("BD78".parse::<Sha1Digest>().is_err());
        assert!("GG789D42A2E027008EE3E7C4FBEE6720DD6DC4C9".parse::<Sha1Digest>().is_err());
    }
}
