//! XML-escaping of fragments, so that they can be embedded in answers byte for byte.
//!
//! **Invariant:** escapes what real servers escape in element text (`&`, `<`, `>`, and the carriage return that a
//! reader would swallow), nothing else. It never looks at what the text means.

/// Escapes `text` for use as element text.
pub(super) fn escape_into(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let replacement: &[u8] = match byte {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'\r' => b"&#xD;",
            _ => continue,
        };
        out.extend_from_slice(&bytes[done..at]);
        out.extend_from_slice(replacement);
        done = at + 1;
    }
    out.extend_from_slice(&bytes[done..]);
}

/// Replaces references by what they stand for. `None` when one is unknown or stands for no XML character.
pub(super) fn unescape(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    if !text.contains('&') {
        return Some(text.into());
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let end = rest[at..].find(';')? + at;
        out.push(referenced(&rest[at + 1..end])?);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Some(out.into())
}

/// What `&name;` stands for.
pub(super) fn referenced(name: &str) -> Option<char> {
    let digits = match name {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => name.strip_prefix('#')?,
    };
    let (digits, radix) = digits.strip_prefix('x').map_or((digits, 10), |hex| (hex, 16));
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    char::from_u32(u32::from_str_radix(digits, radix).ok()?).filter(|&character| is_xml(character))
}

/// `Char` of XML 1.0.
fn is_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}

/// Whether a text holds only characters that XML 1.0 allows.
pub(super) fn is_xml_text(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r'));
    // U+FFFE and U+FFFF are EF BF BE and EF BF BF in UTF-8
    plain && (text.is_ascii() || !text.contains(['\u{FFFE}', '\u{FFFF}']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_the_five_and_characters() {
        let table = [
            ("a &amp; b &lt;&gt;&quot;&apos;", Some("a & b <>\"'")),
            ("&#65;&#x1F600;", Some("A\u{1F600}")),
            ("&nbsp;", None),
            ("&#0;", None),
            ("&#xD800;", None),
            ("&#+5;", None),
            ("&amp", None),
            ("&;", None),
        ];
        for (text, plain) in table {
            assert_eq!(unescape(text).as_deref(), plain, "{text}");
        }
    }

    #[test]
    fn escaping_is_that_of_real_servers() {
        let mut out = Vec::new();
        escape_into("<a b=\"c\">d &amp; e\r\n</a>", &mut out);
        assert_eq!(out, b"&lt;a b=\"c\"&gt;d &amp;amp; e&#xD;\n&lt;/a&gt;");
    }
}
