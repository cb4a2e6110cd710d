//! Writes elements the way fragments have them ([MS-WUSP] 3.1.1.1; where it is silent, as real servers write):
//! names without prefixes, no white space between elements, `<X />` for what is empty, everything XML-escaped once
//! more for its place in an answer.
//!
//! **Invariant:** what comes out is the content of the document in its order. It never adds anything.

use super::escape::escape_into;
use super::tag::{Attribute, Space, Tag};

/// The elements that are open in the fragment being written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// The dotted letter of each open element, 0 for none.
    letters: Vec<u8>,
    /// The last start tag has no end yet: it may become `<X />`.
    unfinished: bool,
    /// Text stands directly before the next token, so that white space is text too.
    after_text: bool,
    /// White space that is dropped when a tag follows.
    pending_space: String,
}

impl Writer {
    /// Begins an element under its own name.
    pub(super) fn start(&mut self, out: &mut Vec<u8>, tag: &Tag<'_>) {
        self.start_as(out, tag.space, tag.local, tag.attributes());
    }

    /// Begins an element with a given name and attributes.
    pub(super) fn start_as<'a>(
        &mut self,
        out: &mut Vec<u8>,
        space: Space,
        name: &str,
        attributes: impl Iterator<Item = Attribute<'a>>,
    ) {
        self.finish_start(out);
        self.forget_space();
        let letter = if let Space::Dotted(letter) = space { letter } else { 0 };
        out.extend_from_slice(b"&lt;");
        push_name(out, letter, name);
        for attribute in attributes {
            out.extend_from_slice(b" ");
            out.extend_from_slice(attribute.name.as_bytes());
            out.extend_from_slice(b"=\"");
            if attribute.raw.contains('"') {
                escape_into(&attribute.raw.replace('"', "&quot;"), out);
            } else {
                escape_into(attribute.raw, out);
            }
            out.extend_from_slice(b"\"");
        }
        self.letters.push(letter);
        self.unfinished = true;
    }

    /// Ends the element begun last; `name` without prefix.
    pub(super) fn end(&mut self, out: &mut Vec<u8>, name: &str) {
        let letter = self.letters.pop().unwrap_or(0);
        self.forget_space();
        if std::mem::take(&mut self.unfinished) {
            out.extend_from_slice(b" /&gt;");
            return;
        }
        out.extend_from_slice(b"&lt;/");
        push_name(out, letter, name);
        out.extend_from_slice(b"&gt;");
    }

    /// Text as the document writes it, references still in it.
    pub(super) fn text(&mut self, out: &mut Vec<u8>, raw: &str) {
        if !self.after_text && raw.bytes().all(|byte| byte.is_ascii_whitespace()) {
            self.pending_space.push_str(raw);
            return;
        }
        self.finish_start(out);
        if !self.pending_space.is_empty() {
            escape_into(&self.pending_space, out);
            self.pending_space.clear();
        }
        self.after_text = true;
        escape_into(raw, out);
    }

    /// Text, or the content of a CDATA section.
    pub(super) fn any_text(&mut self, out: &mut Vec<u8>, text: &str, cdata: bool) {
        if cdata {
            self.cdata(out, text);
        } else {
            self.text(out, text);
        }
    }

    /// A CDATA section's content: becomes text.
    fn cdata(&mut self, out: &mut Vec<u8>, content: &str) {
        let mut escaped = Vec::with_capacity(content.len());
        escape_into(content, &mut escaped);
        self.text(out, &String::from_utf8_lossy(&escaped));
    }

    fn finish_start(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.unfinished) {
            out.extend_from_slice(b"&gt;");
        }
    }

    fn forget_space(&mut self) {
        self.after_text = false;
        self.pending_space.clear();
    }
}

fn push_name(out: &mut Vec<u8>, letter: u8, name: &str) {
    if letter != 0 {
        out.extend_from_slice(&[letter, b'.']);
    }
    out.extend_from_slice(name.as_bytes());
}
