//! Keys that payloads are encrypted with ([MS-WSUSSS] 3.1.4.18.3.5, [MS-WUSP] 2.2.2.2.10).
//!
//! **Invariant:** a key leaves a [`DecryptionKey`] only through [`DecryptionKey::bytes`]: it has no text form, its
//! debug output shows nothing of it, and it is not serialised with anything around it. It never judges a key.

use std::fmt;

use crate::{Limit, limits};

/// The longest key that is kept, in bytes. AES has 16 to 32; what wraps a key is a few hundred.
const LONGEST: usize = 4_096;

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST in "bytes": "The key of an encrypted payload" => "it is refused",
];

/// The key of one payload.
#[derive(Clone, PartialEq, Eq)]
pub struct DecryptionKey(Box<[u8]>);

impl DecryptionKey {
    /// Takes the bytes of a key; none when there are none, or more than 4,096.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (1..=LONGEST).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    /// The key itself, for the answers and the store that need it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecryptionKey(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_bounds_and_shows_nothing_of_itself() {
        assert!(DecryptionKey::new(Vec::new()).is_none());
        assert!(DecryptionKey::new(vec![7; LONGEST + 1]).is_none());
        let key = DecryptionKey::new(b"secret bytes".to_vec()).unwrap();
        assert_eq!(key.bytes(), b"secret bytes");
        let other = DecryptionKey::new(vec![0; 32]).unwrap();
        assert_eq!(format!("{key:?}"), format!("{other:?}"));
    }
}
