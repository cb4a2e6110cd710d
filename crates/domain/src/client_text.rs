//! Texts that clients say of themselves and that are kept, shown and logged: makers, models, firmware, groups, programs.
//!
//! A real computer's firmware says anything, so such a text is never a reason to refuse its owner: what cannot be shown
//! safely is replaced. **Invariant:** a [`ClientText`] has no control character, nothing that turns the direction of text,
//! nothing invisible, no line break, no white space at its ends, and at most the characters that its maker allowed. It
//! never says whether the text is true.

use std::fmt;

/// What stands for a character that is not shown.
const REPLACEMENT: char = '\u{fffd}';

/// A text that may be kept, shown and logged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientText(String);

/// Whether a character cannot be shown as it is: controls, format characters (directions, joiners, invisible operators,
/// tags), line and paragraph separators, and what is no character.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(u32::from(character),
            0xad | 0x61c | 0x180e | 0x115f | 0x1160 | 0x3164 | 0xffa0
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff0..=0xfffb
            | 0xe0000..=0xe0fff | 0xfdd0..=0xfdef)
        || u32::from(character) & 0xfffe == 0xfffe
}

impl ClientText {
    /// What of a text may be kept: at most `limit` characters. White space inside becomes plain spaces.
    pub fn of(text: &str, limit: usize) -> Self {
        let shown = |character: char| match character {
            '\t' | '\r' | '\n' => ' ',
            character if is_hidden(character) => REPLACEMENT,
            character => character,
        };
        // never more is looked at than is kept, but for what is trimmed away
        let kept: String = text.trim().trim_end_matches('\0').chars().take(limit).map(shown).collect();
        Self(kept.trim().to_owned())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for ClientText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_firmware_really_says_stays_and_what_hides_or_turns_text_does_not() {
        let table = [
            ("Dell Inc.", "Dell Inc."),
            ("  LENOVO  ", "LENOVO"),
            ("To Be Filled By O.E.M.\0\0", "To Be Filled By O.E.M."),
            ("Gigabyte® X570 <AORUS> & \"ELITE\"", "Gigabyte® X570 <AORUS> & \"ELITE\""),
            ("富士通", "富士通"),
            ("two\r\nlines", "two  lines"),
            ("a\u{1b}[2Jb", "a\u{fffd}[2Jb"),
            ("a\u{202e}b", "a\u{fffd}b"),
            ("a\u{200b}b\u{feff}", "a\u{fffd}b\u{fffd}"),
            ("a\u{e0041}b", "a\u{fffd}b"),
            ("\u{7f}", "\u{fffd}"),
            ("", ""),
        ];
        for (said, kept) in table {
            assert_eq!(ClientText::of(said, 100).as_str(), kept, "{said:?}");
        }
    }

    #[test]
    fn every_character_is_harmless_afterwards_and_the_length_is_kept() {
        for code in (0..0x11_0000).filter_map(char::from_u32) {
            let text = ClientText::of(&format!("a{code}b"), 3);
            assert!(!text.as_str().contains(is_hidden), "U+{:04X}", u32::from(code));
            assert!(text.as_str().chars().count() <= 3);
        }
        assert_eq!(ClientText::of(&"é".repeat(1_000), 256).as_str().chars().count(), 256);
    }
}
