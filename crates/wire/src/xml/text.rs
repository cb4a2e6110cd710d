//! Texts too long to hold: update documents that stand, escaped, inside an answer. Invariant: memory stays
//! at one window of the input whatever the length. It never checks that the bytes are UTF-8; whoever reads
//! the document in them does.

use std::io::{self, BufRead, Read};

use memchr::memchr2;

use super::decode::{Decoder, Token, entity};
use super::limits::XmlError;
use tailwater_domain::{Limit, limits};

/// Longest reference that can mean something: `&#x10FFFF;` with room for leading zeros.
const REFERENCE_BYTES: usize = 16;

pub(super) const LIMITS: &[Limit] = limits![
    REFERENCE_BYTES in "bytes": "A character reference" => "the message is refused",
];

/// The text of one element, unescaped, as a reader. Dropping it early leaves the rest of the element to
/// [`TextReader::finish`]'s caller: call `finish` always.
pub struct TextReader<'d, R> {
    decoder: &'d mut Decoder<R>,
    /// Unescaped bytes that were not handed out yet.
    pending: Vec<u8>,
    handed: usize,
    /// The element was left.
    ended: bool,
}

impl<R: BufRead> Decoder<R> {
    /// The text of the element entered last as a reader; [`TextReader::finish`] leaves the element.
    pub fn text_reader(&mut self) -> TextReader<'_, R> {
        TextReader { decoder: self, pending: Vec::new(), handed: 0, ended: false }
    }
}

impl<R: BufRead> TextReader<'_, R> {
    /// Passes over what was not read and leaves the element.
    pub fn finish(mut self) -> Result<(), XmlError> {
        io::copy(&mut self, &mut io::sink()).map_err(into_xml_error)?;
        Ok(())
    }

    /// Copies plain text from the input's window; 0 when a reference or markup comes next.
    fn plain(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.decoder.is_empty() {
            return Ok(0);
        }
        let source = self.decoder.source();
        let window = source.fill_buf()?;
        let window = &window[..window.len().min(out.len())];
        let plain = memchr2(b'<', b'&', window).unwrap_or(window.len());
        out[..plain].copy_from_slice(&window[..plain]);
        source.consume(plain);
        Ok(plain)
    }

    /// Reads one reference, the input standing at its `&`.
    fn reference(&mut self) -> io::Result<()> {
        let source = self.decoder.source();
        let mut name = Vec::with_capacity(REFERENCE_BYTES);
        source.take(REFERENCE_BYTES as u64).read_until(b';', &mut name)?;
        let name = String::from_utf8_lossy(&name).into_owned();
        let inner = name.strip_prefix('&').and_then(|rest| rest.strip_suffix(';')).unwrap_or_default();
        let character = match inner.strip_prefix('#') {
            Some(number) => match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            }
            .ok()
            .and_then(char::from_u32),
            None => entity(inner),
        };
        let character = character.ok_or_else(|| io::Error::other(XmlError::Entity(name)))?;
        self.pending.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// Handles whatever is not plain text: a reference, a comment, a CDATA section, the end.
    fn markup(&mut self) -> io::Result<()> {
        if !self.decoder.is_empty() && self.decoder.source().fill_buf()?.first() == Some(&b'&') {
            return self.reference();
        }
        let mut text = String::new();
        match self.decoder.token(Some(&mut text)).map_err(io::Error::other)? {
            Token::Text => self.pending.extend_from_slice(text.as_bytes()),
            Token::End => self.ended = true,
            Token::Start => {
                let element = self.decoder.name().to_owned();
                return Err(io::Error::other(XmlError::NotText { element }));
            }
            Token::Eof => return Err(io::Error::other(XmlError::UnexpectedEnd)),
        }
        Ok(())
    }
}

impl<R: BufRead> Read for TextReader<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.handed < self.pending.len() {
                let count = (&self.pending[self.handed..]).read(out)?;
                self.handed += count;
                return Ok(count);
            }
            self.pending.clear();
            self.handed = 0;
            if self.ended || out.is_empty() {
                return Ok(0);
            }
            let mut filled = 0;
            while filled < out.len() {
                match self.plain(&mut out[filled..])? {
                    0 => break,
                    count => filled += count,
                }
            }
            if filled > 0 {
                return Ok(filled);
            }
            self.markup()?;
        }
    }
}

/// What went wrong while a text was read, out of the reader's error.
pub(super) fn into_xml_error(error: io::Error) -> XmlError {
    match error.downcast::<XmlError>() {
        Ok(error) => error,
        Err(error) => XmlError::Read(error),
    }
}
