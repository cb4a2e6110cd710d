//! The full name of a computer, in any script (`dnsName`, `DnsName`, `FullDomainName`).
//!
//! Windows takes letters of all scripts in a name, and scripts need marks and joiners to be written. **Invariant:** a
//! name has letters, marks, digits, hyphens, underscores, dots, and the joining characters that names are written
//! with; nothing that controls, marks up, separates, is invisible where it stands, or turns the direction of text. It
//! never says whether a resolver knows the name.

use std::fmt;

use crate::{Limit, limits};
use serde::{Deserialize, Serialize};
use unicode_normalization::char::is_combining_mark;

/// The longest name, in characters. The DNS allows 255 octets of a form that is longer than the name.
const MAX_CHARS: usize = 255;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_CHARS in "characters": "The name of a computer" => "the request is refused: InvalidParameters",
];

/// Characters that are neither letters, digits nor marks and belong into words of their scripts: those that
/// internationalized domain names allow ([RFC5892] 2.6, appendix A).
const IN_WORDS: [char; 9] = [
    '\u{b7}',   // middle dot, as in Catalan
    '\u{375}',  // Greek numeral sign
    '\u{5f3}',  // Hebrew geresh
    '\u{5f4}',  // Hebrew gershayim
    '\u{6fd}',  // Sindhi ampersand
    '\u{6fe}',  // Sindhi postposition
    '\u{f0b}',  // Tibetan mark between syllables
    '\u{3007}', // ideographic zero
    '\u{30fb}', // Katakana middle dot
];

/// Letters that nobody sees: the fillers of Hangul.
const INVISIBLE: [char; 4] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];

/// A name that may be kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ComputerName(String);

/// A text that is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ComputerNameError {
    /// There is none.
    #[error("the name is empty")]
    Empty,
    /// It is too long.
    #[error("the name is longer than {MAX_CHARS} characters")]
    TooLong,
    /// It has a character that no name has.
    #[error("a name cannot have the character U+{:04X}", u32::from(*.0))]
    Character(char),
}

fn is_joiner(character: char) -> bool {
    matches!(character, '\u{200c}' | '\u{200d}')
}

fn is_letter(character: char) -> bool {
    (character.is_alphanumeric() && !INVISIBLE.contains(&character)) || is_combining_mark(character)
}

impl ComputerName {
    /// Reads a name; white space around it is not part of it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, ComputerNameError> {
        let name = text.trim_matches([' ', '\t', '\r', '\n']);
        if name.is_empty() {
            return Err(ComputerNameError::Empty);
        }
        if name.chars().count() > MAX_CHARS {
            return Err(ComputerNameError::TooLong);
        }
        let mut before = None;
        for character in name.chars() {
            // a joiner shapes what stands before it, and is invisible by itself
            let good = is_letter(character)
                || "-_.".contains(character)
                || IN_WORDS.contains(&character)
                || is_joiner(character) && before.is_some_and(is_letter);
            if !good {
                return Err(ComputerNameError::Character(character));
            }
            before = Some(character);
        }
        Ok(Self(name.to_owned()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In a form that is the same for names that differ in letter case only.
    pub fn folded(text: &str) -> String {
        text.to_lowercase()
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for ComputerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_script_pass() {
        let names = [
            "pc-1.branch.example",
            "PC_LAB_07",
            "büro-münchen.example",
            "bu\u{308}ro.example", // decomposed
            "ĳ-škoda.example",
            "ΓΡΑΦΕΙΟ-3.example",
            "компьютер.пример",
            "համակարգիչ",
            "מחשב-1.example",
            "מַחְשֵׁב", // points
            "צה\u{5f4}ל",
            "كمبيوتر.مثال",
            "كُمْبيوتر",                 // vowel signs
            "می\u{200c}خواهم.example", // Persian, non-joiner
            "کامپیوتر\u{200c}ها",
            "ܡܚܫܒܐ",
            "ކޮމްޕިއުޓަރު",
            "कम्प्यूटर.उदाहरण",      // virama
            "क्\u{200d}ष.example", // Devanagari, joiner
            "শরীর-উৎ.example",
            "ব্\u{200c}ব",
            "ਕੰਪਿਊਟਰ",
            "કમ્પ્યુટર",
            "କମ୍ପ୍ୟୁଟର",
            "கணினி-௧",
            "కంప్యూటర్",
            "ಕಂಪ್ಯೂಟರ್",
            "കമ്പ്യൂട്ടര്\u{200d}", // an old chillu ends with a joiner
            "ශ්\u{200d}රී-ලංකා.example",
            "คอมพิวเตอร์-๑",
            "ຄອມພິວເຕີ້",
            "གློག་ཀླད་\u{f0b}".trim_end_matches('\u{f0b}'),
            "ကွန်ပျူတာ",
            "კომპიუტერი",
            "ኮምፒውተር",
            "ᏗᎦᏅᏙᏗ",
            "កុំព្យូទ័រ",
            "ᠺᠣᠮᠫᠢᠦ᠋ᠲ᠋ᠧᠷ", // free variation selectors
            "コンピュータ・東京",
            "ｺﾝﾋﾟｭｰﾀ",
            "葛\u{e0100}城", // ideographic variation
            "電腦-台北.example",
            "컴퓨터-서울",
            "\u{1112}\u{1161}\u{11ab}", // conjoining jamo
            "máy-tính-hà-nội",
            "Ŝ\u{301}\u{323}tack",
            "𞤀𞤣𞤢𞤥", // Adlam
            "𑀓𑀫𑁆𑀧",  // Brahmi
            "ⴰⵎⴰⵣⵉⵖ",
            "l·l.example",
        ];
        for name in names {
            assert_eq!(
                ComputerName::parse(name).map(ComputerName::into_string),
                Ok(name.to_owned()),
                "{name}"
            );
        }
        assert_eq!(ComputerName::parse(" pc \r\n").unwrap().as_str(), "pc");
        assert!(ComputerName::parse(&"ศ".repeat(255)).is_ok());
    }

    #[test]
    fn what_controls_separates_or_marks_up_is_refused_wherever_it_stands() {
        // every character of these kinds, but the two joiners
        let controls = (0..=0x1f_u32).chain(0x7f..=0x9f);
        let formats =
            [0xad, 0x61c, 0x6dd, 0x70f, 0x8e2, 0x180e, 0x200b, 0x200e, 0x200f, 0xfeff, 0x110bd, 0x110cd]
                .into_iter()
                .chain(0x600..=0x605)
                .chain(0x202a..=0x202e)
                .chain(0x2060..=0x206f)
                .chain(0xfff9..=0xfffb)
                .chain(0x1_3430..=0x1_343f)
                .chain(0x1_bca0..=0x1_bca3)
                .chain(0x1_d173..=0x1_d17a)
                .chain([0xe_0001])
                .chain(0xe_0020..=0xe_007f);
        let spaces =
            [0x20, 0xa0, 0x1680, 0x202f, 0x205f, 0x3000, 0x2028, 0x2029].into_iter().chain(0x2000..=0x200a);
        let markup = "<>&\"'`;:/\\|?*#%$@!()[]{}=+~^,".chars().map(u32::from);
        let others =
            [0x2800, 0x3164, 0xffa0, 0x115f, 0x1160, 0xfffd, 0xfffc, 0xff1c, 0x1_f4bb, 0xe000].into_iter();
        for code in controls.chain(formats).chain(spaces).chain(markup).chain(others) {
            // the ends of the text may be trimmed
            let Some(character) = char::from_u32(code) else { continue };
            for name in [format!("pc{character}1"), format!("می{character}خ"), format!("क्{character}ष")]
            {
                let expected = Err(ComputerNameError::Character(character));
                assert_eq!(ComputerName::parse(&name), expected, "U+{code:04X}");
            }
        }
        for joiner in ['\u{200c}', '\u{200d}'] {
            for name in [format!("{joiner}pc"), format!("pc-{joiner}1"), format!("می{joiner}{joiner}خ")] {
                assert_eq!(ComputerName::parse(&name), Err(ComputerNameError::Character(joiner)), "{name:?}");
            }
        }
        assert_eq!(ComputerName::parse(" \t"), Err(ComputerNameError::Empty));
        assert_eq!(ComputerName::parse(&"a".repeat(256)), Err(ComputerNameError::TooLong));
    }
}
