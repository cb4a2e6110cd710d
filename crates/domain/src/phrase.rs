//! Texts that people type to find something by its title, compared as people read them: without regard to letter
//! case, to how a letter is composed, to the width of characters, or to how much white space there is.
//!
//! **Invariant:** a phrase is found where its words stand side by side, and never inside a number: `Windows 1` is not in
//! `Windows 11`, and `4.8` is not in `4.8.1`. It never guesses: no word is left out, and no order is changed.

use unicode_normalization::UnicodeNormalization as _;

/// A text folded for comparing. Words are separated by single spaces; nothing is left of a text without letters,
/// numbers or signs.
///
/// Compatibility forms are composed (Unicode NFKC), case is folded, dashes and quotation marks of all kinds are one,
/// and marks that nobody types (trade marks, soft hyphens, zero-width and direction marks) are left out.
pub fn folded(text: &str) -> String {
    let plain = text.chars().filter(|c| !is_unwritten(*c)).map(plain);
    // upper case first, so that ß is ss and both forms of sigma are one
    let folded: String =
        plain.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is printed or steers printing, and is not typed.
fn is_unwritten(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'
            ..='\u{202e}' | '\u{2060}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '®' | '™' | '℠' | '©'
    )
}

/// One sign for signs that keyboards do not tell apart; control characters separate words.
fn plain(c: char) -> char {
    match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => '-',
        '‘' | '’' | '‚' | '‛' => '\'',
        '“' | '”' | '„' | '‟' => '"',
        other if other.is_control() => ' ',
        other => other,
    }
}

/// A text to look for in titles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase(String);

impl Phrase {
    /// None when there is nothing to look for.
    pub fn new(text: &str) -> Option<Self> {
        let folded = folded(text);
        (!folded.is_empty()).then_some(Self(folded))
    }

    /// Whether this is the whole of a text.
    pub fn is(&self, text: &str) -> bool {
        folded(text) == self.0
    }

    /// Whether it is a part of a text.
    pub fn is_in(&self, text: &str) -> bool {
        let text = folded(text);
        let mut from = 0;
        while let Some(start) = text[from..].find(&self.0).map(|at| from + at) {
            let (before, after) = (&text[..start], &text[start + self.0.len()..]);
            if !(continues_number(self.0.chars(), before.chars().rev())
                || continues_number(self.0.chars().rev(), after.chars()))
            {
                return true;
            }
            // places may overlap
            from = start + self.0.chars().next().map_or(1, char::len_utf8);
        }
        false
    }
}

/// Whether a number at an edge of what was found goes on beyond it. Both are read away from the edge.
fn continues_number(mut inside: impl Iterator<Item = char>, mut outside: impl Iterator<Item = char>) -> bool {
    if !inside.next().is_some_and(char::is_numeric) {
        return false;
    }
    match outside.next() {
        Some('.') => outside.next().is_some_and(char::is_numeric),
        Some(next) => next.is_numeric(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_found_as_people_read_it() {
        let cumulative =
            "2026-11 Cumulative Update for Windows 10 Version 22H2 for x64-based Systems (KB5031356)";
        let eleven = "2026-11 Cumulative Update for Windows 11, version 24H2";
        let defender = "Security Intelligence Update for Defender - KB2267602 (Version 1.441.42.0)";
        // phrase, title, whether it is there
        let table = [
            ("Windows 11", cumulative, false),
            ("Windows 11", eleven, true),
            ("windows  10\tversion", cumulative, true),
            ("Windows 10 2026-11", cumulative, false),
            ("11 Windows", eleven, false),
            ("Windows 1", eleven, false),
            ("indows 11", eleven, true),
            ("2026-1", eleven, false),
            ("026-11", eleven, false),
            ("11", cumulative, true),
            ("22H", cumulative, true),
            ("64-based", cumulative, true),
            ("(KB5031356)", cumulative, true),
            ("KB503135", cumulative, false),
            ("b5031356", cumulative, true),
            ("5031356", cumulative, true),
            ("1.441.42.0", defender, true),
            ("1.441", defender, false),
            ("441.42.0", defender, false),
            ("4.8", ".NET Framework 3.5 and 4.8.1", false),
            ("4.8", ".NET Framework 3.5 and 4.8", true),
            ("4.8", "It needs 4.8.", true),
            ("4.8", "4.8.1 or 4.8", true),
            ("1 1", "11 1 1", true),
            ("intelligence update", "Security\u{a0}Intelligence\u{2003}Update", true),
            ("Windows 11 - 24H2", "Windows 11 – 24H2", true),
            ("user's", "The user’s guide", true),
            ("Windows 11", "Microsoft® Windows™ 11", true),
            ("update für", "Kumulatives UPDATE FU\u{308}R Windows", true),
            ("FÜR", "Kumulatives Update für Windows", true),
            ("fur", "Kumulatives Update für Windows", false),
            ("strasse", "Die Straße", true),
            ("STRASSE", "Die Straße", true),
            ("ΟΔΟΣ", "οδος", true),
            ("mise à jour", "MISE A\u{300} JOUR", true),
            ("累積更新", "2026-11 累積更新プログラム", true),
            ("ﾌﾟﾛｸﾞﾗﾑ", "累積更新プログラム", true),
            ("Windows 11", "Ｗｉｎｄｏｗｓ　１１", true),
            ("ОБНОВЛЕНИЕ", "Накопительное обновление", true),
            ("Update", "Up\u{ad}date", true),
        ];
        for (phrase, title, there) in table {
            assert_eq!(Phrase::new(phrase).unwrap().is_in(title), there, "{phrase:?} in {title:?}");
        }
    }

    #[test]
    fn nothing_is_no_phrase() {
        for text in ["", " \t\n", "\u{200b}\u{feff}", "®"] {
            assert_eq!(Phrase::new(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_whole_of_a_title_is_told_from_a_part() {
        let phrase = Phrase::new("windows  11").unwrap();
        assert!(phrase.is("Windows 11") && !phrase.is("Windows 11, version 24H2"));
    }
}
