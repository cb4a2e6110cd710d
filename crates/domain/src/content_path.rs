//! The address of a payload below `/Content/`, written and read by one rule ([MS-WUSP] note 56).
//!
//! **Invariant:** what is written for a file is read back as its digest, whatever the file is called. Nothing of a name
//! but its extension reaches an address, and no path of the file system is ever made of one.

use std::fmt::Write as _;

use super::Sha1Digest;
use crate::{Limit, limits};

/// The longest extension that reaches an address, in bytes of UTF-8; a longer one is left out, because addresses are
/// bounded and the digest alone names the file.
const MAX_EXTENSION: usize = 128;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_EXTENSION in "bytes": "The extension in a payload's address" => "it is left out",
];

/// What a path below `/Content/` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentPath<'a> {
    /// The payload.
    pub sha1: Sha1Digest,
    /// With its dot; empty when there is none. It decides nothing but the media type.
    pub extension: &'a str,
}

/// The extension of a file name with its dot (`.cab`), as Windows sees it: from the last dot of the last component on.
/// Empty when there is none that an address can carry.
fn extension(name: &str) -> &str {
    let name = name.rsplit(is_separator).next().unwrap_or_default();
    name.rfind('.').map(|dot| &name[dot..]).filter(|extension| is_extension(extension)).unwrap_or_default()
}

/// What ends the search for an extension on Windows.
fn is_separator(c: char) -> bool {
    matches!(c, '/' | '\\' | ':')
}

/// A dot, and something behind it that has no other.
fn is_extension(text: &str) -> bool {
    let legal = |c: char| c != '.' && !is_separator(c) && !c.is_control();
    text.strip_prefix('.')
        .is_some_and(|rest| !rest.is_empty() && rest.len() <= MAX_EXTENSION && rest.chars().all(legal))
}

impl<'a> ContentPath<'a> {
    /// The address of a file that is called `name`.
    pub fn of(sha1: Sha1Digest, name: &'a str) -> Self {
        Self { sha1, extension: extension(name) }
    }

    /// Reads `/Content/<last byte>/<SHA-1>[.ext]`, hex and `Content` in either letter case. The path is decoded already.
    /// `None` for everything else, a wrong folder included.
    pub fn read(path: &'a str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.split('/');
        let (content, folder, name) = (segments.next()?, segments.next()?, segments.next()?);
        if segments.next().is_some() || !content.eq_ignore_ascii_case("Content") {
            return None;
        }
        let (digest, extension) = name.split_at(name.find('.').unwrap_or(name.len()));
        let sha1 = digest.parse::<Sha1Digest>().ok()?;
        let plain = extension.is_empty() || is_extension(extension);
        (plain && folder.eq_ignore_ascii_case(&digest[38..])).then_some(Self { sha1, extension })
    }

    /// The path as it stands in addresses: `/Content/<last byte>/<SHA-1><extension>`, hex in upper case; what is not
    /// unreserved of the extension is percent-encoded (RFC 3986 2.3).
    pub fn encoded(&self) -> String {
        let hex = self.sha1.hex();
        let mut path = format!("/Content/{}/{hex}", &hex[38..]);
        for byte in self.extension.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                path.push(char::from(byte));
            } else {
                // a String takes everything
                let _ = write!(path, "%{byte:02X}");
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "A379D5526FB3A7A0423DA1CD7FC3182A8D448449";

    #[test]
    fn an_extension_is_what_windows_takes_for_one() {
        let long = format!("x.{}", "e".repeat(MAX_EXTENSION));
        let table = [
            ("AM_Delta.exe", ".exe"),
            ("a.tar.gz", ".gz"),
            (".htaccess", ".htaccess"),
            ("a.very-long_extension0123456789", ".very-long_extension0123456789"),
            ("a.e xe", ".e xe"),
            ("a.\u{e9}\u{4e2d}", ".\u{e9}\u{4e2d}"),
            ("a.%41", ".%41"),
            ("a.~1", ".~1"),
            (&long, &long[1..]),
            ("x", ""),
            ("", ""),
            ("x.", ""),
            ("x..", ""),
            ("a.b/../../c", ""),
            ("a.b\\c", ""),
            ("a.b/c.d", ".d"),
            ("a.b\u{0}", ""),
            ("a.b\r\nHost: c", ""),
        ];
        for (name, expected) in table {
            assert_eq!(extension(name), expected, "{name:?}");
        }
        assert_eq!(extension(&format!("{long}e")), "", "longer than an address carries");
    }

    #[test]
    fn letter_case_does_not_matter_and_a_wrong_folder_does() {
        for path in [
            format!("/Content/49/{HEX}.exe"),
            format!("/content/49/{HEX}.exe").to_lowercase(),
            format!("/CONTENT/49/{HEX}.EXE"),
        ] {
            let address = ContentPath::read(&path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(address.sha1.hex(), HEX);
            assert!(address.extension.eq_ignore_ascii_case(".exe"));
        }
        assert_eq!(ContentPath::read(&format!("/Content/49/{HEX}")).unwrap().extension, "");
        for path in [
            format!("/Content/48/{HEX}.exe"),
            format!("/Content/{HEX}.exe"),
            format!("/Content/49/49/{HEX}.exe"),
            format!("/Content/49/{HEX}.exe/"),
            format!("/Content/49/{HEX}.e\u{0}"),
            format!("/Content/49/{HEX}.e\\..\\x"),
            format!("/Content/49/{HEX}...exe"),
            format!("/Content/49/{HEX}."),
            format!("/Content/49/{HEX}0.exe"),
            "/Content/49/\u{e9}379D5526FB3A7A0423DA1CD7FC3182A8D44844".to_owned(),
            "/Content/".to_owned(),
            "Content/49".to_owned(),
        ] {
            assert_eq!(ContentPath::read(&path), None, "{path}");
        }
    }
}
