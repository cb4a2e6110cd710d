//! What a path below `/Content/` names.
//!
//! **Invariant:** a path names a digest or nothing at all. It is never joined to a folder.

use crate::domain::Sha1Digest;

/// The longest extension that is taken; Windows' own have three letters.
const MAX_EXTENSION: usize = 16;

/// A payload's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address<'a> {
    pub(super) sha1: Sha1Digest,
    /// Without its dot; empty when there is none.
    pub(super) extension: &'a str,
}

/// Reads `/Content/<last byte>/<SHA-1>[.ext]`, hex of either letter case ([MS-WUSP] note 56). `None` for
/// everything else, a wrong folder included.
pub(super) fn read(path: &str) -> Option<Address<'_>> {
    let mut segments = path.strip_prefix('/')?.split('/');
    let (content, folder, name) = (segments.next()?, segments.next()?, segments.next()?);
    if segments.next().is_some() || !content.eq_ignore_ascii_case("Content") {
        return None;
    }
    let (digest, extension) = match name.split_once('.') {
        Some((digest, extension)) => (digest, extension),
        None => (name, ""),
    };
    let plain = extension.len() <= MAX_EXTENSION
        && extension.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let sha1 = digest.parse::<Sha1Digest>().ok().filter(|_| plain)?;
    folder.eq_ignore_ascii_case(&digest[38..]).then_some(Address { sha1, extension })
}

impl Address<'_> {
    /// The type that IIS gives it.
    pub(super) fn content_type(&self) -> &'static str {
        if self.extension.eq_ignore_ascii_case("wim") {
            "application/x-ms-wim"
        } else {
            "application/octet-stream"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "A379D5526FB3A7A0423DA1CD7FC3182A8D448449";

    #[test]
    fn letter_case_does_not_matter() {
        for path in [
            format!("/Content/49/{HEX}.exe"),
            format!("/content/49/{HEX}.exe").to_lowercase(),
            format!("/CONTENT/49/{HEX}.EXE"),
        ] {
            let address = read(&path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(address.sha1.hex(), HEX);
            assert_eq!(address.content_type(), "application/octet-stream");
        }
        assert_eq!(read(&format!("/Content/49/{HEX}.WIM")).unwrap().content_type(), "application/x-ms-wim");
        assert_eq!(read(&format!("/Content/49/{HEX}")).unwrap().extension, "");
    }

    #[test]
    fn everything_else_names_nothing() {
        for path in [
            format!("/Content/48/{HEX}.exe"),
            format!("/Content/{HEX}.exe"),
            format!("/Content/49/49/{HEX}.exe"),
            format!("/Content/49/{HEX}.exe/"),
            format!("/Content/49/../49/{HEX}.exe"),
            format!("/Content/49/{HEX}.e%00"),
            format!("/Content/49/{HEX}...exe"),
            format!("/Content/49/{HEX}0.exe"),
            "/Content/../../../../../../etc/passwd".to_owned(),
            "/Content/..%2f..%2f..%2f..%2fetc/passwd".to_owned(),
            "/Content//etc/passwd".to_owned(),
            "/Content/00/..\\..\\..\\etc\\passwd".to_owned(),
            "/Content/00/%00".to_owned(),
            "/Content/49/é379D5526FB3A7A0423DA1CD7FC3182A8D44844".to_owned(),
            "/Content/".to_owned(),
            "Content/49".to_owned(),
        ] {
            assert_eq!(read(&path), None, "{path}");
        }
    }
}
