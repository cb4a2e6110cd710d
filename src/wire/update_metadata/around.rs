//! What stands around the root of a document: white space and byte order marks.
//!
//! **Invariant:** white space stays only between two tokens that stay; before the first and behind the last it is no
//! part of the document, because some readers take nothing but `<` at the beginning. It never holds more than a
//! megabyte.

use super::error::MetadataError;

/// Stands before a text to tell its encoding.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// White space in a row outside the root.
const MAX_BETWEEN: usize = 1 << 20;

/// White space outside the root, until it is known whether something follows.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// A token of the document came.
    begun: bool,
    held: Vec<u8>,
}

impl Around {
    /// Text outside the root, and the bytes it was read from.
    pub(super) fn hold(&mut self, text: &str, raw: &[u8]) -> Result<(), MetadataError> {
        if !text.chars().all(|c| c.is_whitespace() || c == BYTE_ORDER_MARK) {
            return Err(MetadataError::Malformed { position: 0, what: "no text stands outside the root" });
        }
        if self.held.len() + raw.len() > MAX_BETWEEN {
            let what = "bytes of white space outside the root";
            return Err(MetadataError::TooMuch { what, limit: MAX_BETWEEN as u64 });
        }
        self.held.extend_from_slice(raw);
        Ok(())
    }

    /// A token of the document: what to copy before it, and the token.
    pub(super) fn token<'r>(&mut self, raw: &'r [u8]) -> (Vec<u8>, &'r [u8]) {
        let held = std::mem::take(&mut self.held);
        if std::mem::replace(&mut self.begun, true) {
            return (held, raw);
        }
        let mut mark = [0; 4];
        let mark = BYTE_ORDER_MARK.encode_utf8(&mut mark).as_bytes();
        (Vec::new(), raw.strip_prefix(mark).unwrap_or(raw))
    }
}
