//! What stands around the root of a document: white space and byte order marks.
//!
//! **Invariant:** white space stays only between two tokens that stay; before the first and behind the last it is no
//! part of the document, because some readers take nothing but `<` at the beginning. It never holds more than a
//! megabyte.

use super::error::MetadataError;
use tailwater_domain::{Limit, limits};

/// Stands before a text to tell its encoding.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// White space in a row outside the root.
const MAX_BETWEEN: usize = 1 << 20;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_BETWEEN in "bytes": "White space outside the root of a document" => "that document is refused",
];

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

/// A stored document on its way out, in pieces: what was stored with white space or marks around it leaves without.
#[derive(Debug, Default)]
pub struct Trim {
    begun: bool,
    held: Vec<u8>,
}

/// How many bytes of white space or of a byte order mark a text begins with.
fn blank(text: &[u8]) -> usize {
    match text {
        [0xEF, 0xBB, 0xBF, ..] => 3,
        [first, ..] if first.is_ascii_whitespace() => 1,
        _ => 0,
    }
}

/// How many bytes at the end of a text may be white space or a byte order mark, the beginning of one included.
fn blank_end(text: &[u8]) -> usize {
    match text {
        [.., 0xEF, 0xBB, 0xBF] => 3,
        [.., 0xEF, 0xBB] => 2,
        [.., 0xEF] => 1,
        [.., last] if last.is_ascii_whitespace() => 1,
        _ => 0,
    }
}

impl Trim {
    /// The next piece: what was held back of those before, and what of this one is sure to stay.
    pub fn pass<'p>(&mut self, piece: &'p [u8]) -> (Vec<u8>, &'p [u8]) {
        if self.held.is_empty() {
            let (start, end) = self.bounds(piece);
            self.held = piece[end..].to_vec();
            return (Vec::new(), &piece[start..end]);
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(piece);
        let (start, end) = self.bounds(&joined);
        self.held = joined.split_off(end);
        joined.drain(..start);
        (joined, &[])
    }

    /// Where in a text what is sure to stay begins and ends.
    fn bounds(&mut self, text: &[u8]) -> (usize, usize) {
        let (mut start, mut end) = (0, text.len());
        while !self.begun && blank(&text[start..]) > 0 {
            start += blank(&text[start..]);
        }
        while end > start && blank_end(&text[start..end]) > 0 {
            end -= blank_end(&text[start..end]);
        }
        self.begun |= end > start;
        (start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_in_pieces_leaves_without_what_is_around_it() {
        let body = "<a> \n\u{feff}<b/>\n </a>";
        for (before, after) in
            [("", ""), ("\n ", "\r\n"), ("\u{feff}", "\n\u{feff}\n"), ("\r\n\u{feff} ", " ")]
        {
            let whole = format!("{before}{body}{after}");
            for size in 1..=whole.len() {
                let (mut trim, mut out) = (Trim::default(), Vec::new());
                for piece in whole.as_bytes().chunks(size) {
                    let (held, piece) = trim.pass(piece);
                    out.extend(held);
                    out.extend_from_slice(piece);
                }
                assert_eq!(String::from_utf8_lossy(&out), body, "{before:?} {after:?} by {size}");
            }
        }
    }
}
