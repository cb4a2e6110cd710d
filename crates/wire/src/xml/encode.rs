//! Writing elements and text. Invariant: text is escaped on its way in, [`Encoder::raw`] excepted. It never
//! checks names: they are constants of the message types.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

/// Writes elements one after the other, without white space, as Microsoft's servers do.
#[derive(Debug, Default)]
pub struct Encoder {
    out: String,
}

impl Encoder {
    /// Nothing written yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing written yet, with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { out: String::with_capacity(capacity) }
    }

    /// `<name>`
    pub fn open(&mut self, name: &str) -> &mut Self {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
        self
    }

    /// `<name xmlns="namespace">`
    pub fn open_in(&mut self, name: &str, namespace: &str) -> &mut Self {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str(" xmlns=\"");
        escape_into(&mut self.out, namespace);
        self.out.push_str("\">");
        self
    }

    /// `<name a="1" b="2"`, with nothing behind it; [`Encoder::end_tag`] or [`Encoder::end_empty`] ends the tag.
    pub fn begin_tag(&mut self, name: &str) -> &mut Self {
        self.out.push('<');
        self.out.push_str(name);
        self
    }

    /// ` name="value"`, the value escaped.
    pub fn attribute(&mut self, name: &str, value: &str) -> &mut Self {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        escape_into(&mut self.out, value);
        self.out.push('"');
        self
    }

    /// `>`
    pub fn end_tag(&mut self) -> &mut Self {
        self.out.push('>');
        self
    }

    /// `/>`
    pub fn end_empty(&mut self) -> &mut Self {
        self.out.push_str("/>");
        self
    }

    /// `</name>`
    pub fn close(&mut self, name: &str) -> &mut Self {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
        self
    }

    /// `<name />`
    pub fn empty(&mut self, name: &str) -> &mut Self {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str(" />");
        self
    }

    /// `<name>text</name>`, the text escaped.
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.open(name);
        escape_into(&mut self.out, text);
        self.close(name)
    }

    /// `<name>value</name>` for numbers, booleans, identities: values whose text needs no escaping.
    pub fn value(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.open(name);
        // writing to a String cannot fail
        let _ = write!(self.out, "{value}");
        self.close(name)
    }

    /// Text that is XML already.
    pub fn raw(&mut self, xml: &str) -> &mut Self {
        self.out.push_str(xml);
        self
    }

    /// What was written.
    pub fn finish(self) -> String {
        self.out
    }

    /// What was written so far.
    pub fn as_str(&self) -> &str {
        &self.out
    }
}

fn replacement(byte: u8) -> Option<&'static str> {
    match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'"' => Some("&quot;"),
        b'\r' => Some("&#xD;"),
        // XML 1.0 has no way to write these
        0..=8 | 11 | 12 | 14..=31 => Some("\u{fffd}"),
        _ => None,
    }
}

/// Appends `text` so that it can stand in text and in attribute values.
pub fn escape_into(out: &mut String, text: &str) {
    escape_with(out, text, replacement);
}

/// Appends `text` so that it can stand in text, quotation marks as they are: documents are full of them.
pub fn escape_text_into(out: &mut String, text: &str) {
    escape_with(out, text, |byte| if byte == b'"' { None } else { replacement(byte) });
}

fn escape_with(out: &mut String, text: &str, replacement: impl Fn(u8) -> Option<&'static str>) {
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        if let Some(replacement) = replacement(byte) {
            out.push_str(&text[start..at]);
            out.push_str(replacement);
            start = at + 1;
        }
    }
    out.push_str(&text[start..]);
}

/// `text` so that it can stand in text and in attribute values.
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| replacement(byte).is_none()) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    escape_into(&mut out, text);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_nothing_else_is_touched() {
        let table = [
            ("plain \u{e9}", "plain \u{e9}"),
            ("a < b & \"c\" > d", "a &lt; b &amp; &quot;c&quot; &gt; d"),
            ("\u{1}\r\n", "\u{fffd}&#xD;\n"),
        ];
        for (text, escaped) in table {
            assert_eq!(escape(text), escaped);
        }
    }

    #[test]
    fn elements_are_written_without_white_space() {
        let mut xml = Encoder::new();
        xml.open_in("a", "urn:x").text("b", "1 < 2").value("c", true).empty("d").close("a");
        assert_eq!(xml.finish(), "<a xmlns=\"urn:x\"><b>1 &lt; 2</b><c>true</c><d /></a>");
    }
}
