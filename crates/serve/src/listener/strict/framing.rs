//! Where requests begin and end on a connection, by the strict grammar of RFC 9112.
//!
//! Refused: lines that end otherwise than with CR LF, control characters, space before a colon, folded lines, versions
//! but 1.0 and 1.1; no `Host` or several (1.1), several anyhow (1.0), one that is no host; a length that is not one
//! number, or given twice; any coding but `chunked`, one beside a length, with 1.0, or of a GET or HEAD; chunk sizes that
//! are not hexadecimal digits alone.
//!
//! **Invariant:** after bytes that passed, the next request begins where every reader sees it begin. It keeps no byte of
//! a request but the first of each header's name.

use tailwater_domain::{Limit, limits};

/// What the bytes that come next belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expects {
    /// The next request, of which nothing came yet; not so for the first, for which one waits like for any header.
    Request,
    /// The rest of a header.
    Header,
    /// The rest of a body.
    Body,
}

/// The longest name that matters: `transfer-encoding`.
const NAME: usize = 17;
/// Digits of a chunk's size: as many as a 64-bit number has.
const MAX_CHUNK_DIGITS: u8 = 16;
/// Bytes of a chunk's extension: nobody sends any.
const MAX_EXTENSION: u16 = 256;
/// Bytes of the trailer behind a chunked body.
const MAX_TRAILER: u16 = 8 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_CHUNK_DIGITS in "digits": "The size of a chunk, in hexadecimal digits" => "400",
    MAX_EXTENSION in "bytes": "The extension of a chunk" => "400",
    MAX_TRAILER in "bytes": "The trailer behind a chunked body" => "400",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a request; with `true` one empty line came, which is passed over (RFC 9112 2.2).
    Start(bool),
    StartEnd,
    Method,
    Target(bool),
    Version(u8),
    LineEnd,
    /// At the begin of a header line.
    Line,
    Name,
    Value,
    ValueEnd,
    HeadEnd,
    Body(u64),
    Size,
    Extension(u16),
    SizeEnd,
    Data(u64),
    DataEnd,
    DataLine,
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLineEnd,
    TrailerEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Other,
    Host,
    Length,
    Coding,
}

/// What was seen of the value of a field that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// In it.
    Some,
    /// Space came behind it.
    Over,
}

const CHUNKED: &[u8] = b"chunked";
const VERSION: &[u8] = b"HTTP/1.";

/// The state of a connection's requests.
#[derive(Debug)]
pub(super) struct Framing {
    at: At,
    first: bool,
    /// The method as far as it matters: GET and HEAD have no chunked body.
    method: [u8; 5],
    method_len: u8,
    is_11: bool,
    name: [u8; NAME],
    name_len: u8,
    field: Field,
    seen: Seen,
    hosts: u8,
    length: Option<u64>,
    chunked: bool,
    matched: u8,
    size: u64,
    digits: u8,
    trailer: u16,
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a value may have in it: no control character but the tabulator.
fn is_text(byte: u8) -> bool {
    byte >= 0x20 && byte != 0x7f || byte == b'\t'
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%:[]".contains(&byte)
}

impl Framing {
    pub(super) fn new() -> Self {
        Self {
            at: At::Start(false),
            first: true,
            method: [0; 5],
            method_len: 0,
            is_11: false,
            name: [0; NAME],
            name_len: 0,
            field: Field::Other,
            seen: Seen::Nothing,
            hosts: 0,
            length: None,
            chunked: false,
            matched: 0,
            size: 0,
            digits: 0,
            trailer: 0,
        }
    }

    pub(super) fn expects(&self) -> Expects {
        match self.at {
            At::Start(_) | At::StartEnd if !self.first => Expects::Request,
            At::Start(_)
            | At::StartEnd
            | At::Method
            | At::Target(_)
            | At::Version(_)
            | At::LineEnd
            | At::Line
            | At::Name
            | At::Value
            | At::ValueEnd
            | At::HeadEnd => Expects::Header,
            _ => Expects::Body,
        }
    }

    /// Takes bytes in.
    ///
    /// # Errors
    /// How many of them may be passed on: up to the begin of the request that is not well formed where that is among
    /// them, else up to the byte that is wrong.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let (mut index, mut begin) = (0, None);
        while index < bytes.len() {
            match &mut self.at {
                At::Body(left) | At::Data(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - index);
                    *left -= here as u64;
                    index += here;
                    if *left == 0 {
                        self.at = if matches!(self.at, At::Body(_)) { At::Start(false) } else { At::DataEnd };
                    }
                }
                // most of a header is text that means nothing here
                At::Value if self.field == Field::Other => {
                    let run = bytes[index..].iter().take_while(|byte| is_text(**byte)).count();
                    index += run;
                    if let Some(byte) = bytes.get(index) {
                        self.step(*byte).map_err(|_wrong| begin.unwrap_or(index))?;
                        index += 1;
                    }
                }
                at => {
                    if *at == At::Start(false) {
                        begin = Some(index);
                    }
                    self.step(bytes[index]).map_err(|_wrong| begin.unwrap_or(index))?;
                    index += 1;
                }
            }
        }
        Ok(())
    }

    /// Takes one byte in; `Err` when it is wrong.
    fn step(&mut self, byte: u8) -> Result<(), ()> {
        self.at = match (self.at, byte) {
            (At::Start(false), b'\r') => At::StartEnd,
            (At::StartEnd, b'\n') => At::Start(true),
            (At::Start(_), _) if is_token(byte) => {
                self.begin(byte);
                At::Method
            }
            (At::Method, b' ') => At::Target(false),
            (At::Method, _) if is_token(byte) => {
                self.add_to_method(byte);
                At::Method
            }
            (At::Target(true), b' ') => At::Version(0),
            (At::Target(_), _) if byte > b' ' && byte != 0x7f => At::Target(true),
            (At::Version(at), _) if VERSION.get(usize::from(at)) == Some(&byte) => At::Version(at + 1),
            (At::Version(7), b'0' | b'1') => {
                self.is_11 = byte == b'1';
                At::Version(8)
            }
            (At::Version(8), b'\r') => At::LineEnd,
            (At::LineEnd | At::ValueEnd, b'\n') => At::Line,
            (At::Line, b'\r') => At::HeadEnd,
            (At::Line | At::Name, _) if is_token(byte) => {
                self.add_to_name(byte);
                At::Name
            }
            (At::Name, b':') => {
                self.begin_value()?;
                At::Value
            }
            (At::Value, b'\r') => {
                self.end_value()?;
                At::ValueEnd
            }
            (At::Value, _) if is_text(byte) => {
                self.add_to_value(byte)?;
                At::Value
            }
            (At::HeadEnd, b'\n') => self.end_head()?,
            (at, _) => self.step_body(at, byte)?,
        };
        Ok(())
    }

    fn step_body(&mut self, at: At, byte: u8) -> Result<At, ()> {
        Ok(match (at, byte) {
            (At::Size, b'\r') if self.digits > 0 => At::SizeEnd,
            (At::Size, b';') if self.digits > 0 => At::Extension(0),
            (At::Size, _) if byte.is_ascii_hexdigit() && self.digits < MAX_CHUNK_DIGITS => {
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                self.size = self.size << 4 | u64::from(digit);
                self.digits += 1;
                At::Size
            }
            (At::Extension(_), b'\r') => At::SizeEnd,
            (At::Extension(length), _) if is_text(byte) && length < MAX_EXTENSION => {
                At::Extension(length + 1)
            }
            (At::SizeEnd, b'\n') => {
                let size = std::mem::take(&mut self.size);
                self.digits = 0;
                if size == 0 { At::Trailer } else { At::Data(size) }
            }
            (At::DataEnd, b'\r') => At::DataLine,
            (At::DataLine, b'\n') => At::Size,
            (At::Trailer, b'\r') => At::TrailerEnd,
            (At::Trailer | At::TrailerName, _) if is_token(byte) => self.trailer(At::TrailerName)?,
            (At::TrailerName, b':') => At::TrailerValue,
            (At::TrailerValue, b'\r') => At::TrailerLineEnd,
            (At::TrailerValue, _) if is_text(byte) => self.trailer(At::TrailerValue)?,
            (At::TrailerLineEnd, b'\n') => At::Trailer,
            (At::TrailerEnd, b'\n') => At::Start(false),
            _ => return Err(()),
        })
    }

    fn begin(&mut self, byte: u8) {
        *self = Self { first: false, ..Self::new() };
        self.add_to_method(byte);
    }

    fn add_to_method(&mut self, byte: u8) {
        if let Some(place) = self.method.get_mut(usize::from(self.method_len)) {
            *place = byte;
            self.method_len += 1;
        }
    }

    fn add_to_name(&mut self, byte: u8) {
        if let Some(place) = self.name.get_mut(usize::from(self.name_len)) {
            *place = byte.to_ascii_lowercase();
        }
        // a longer name is none that matters
        self.name_len = self.name_len.saturating_add(1);
    }

    fn begin_value(&mut self) -> Result<(), ()> {
        self.field = match self.name.get(..usize::from(self.name_len)) {
            Some(b"host") => Field::Host,
            Some(b"content-length") => Field::Length,
            Some(b"transfer-encoding") => Field::Coding,
            _ => Field::Other,
        };
        (self.name_len, self.seen, self.matched) = (0, Seen::Nothing, 0);
        match self.field {
            Field::Host if self.hosts > 0 => return Err(()),
            Field::Host => self.hosts = 1,
            Field::Length | Field::Coding if self.length.is_some() || self.chunked => return Err(()),
            _ => {}
        }
        Ok(())
    }

    /// One more byte of a value; space around it does not count.
    fn add_to_value(&mut self, byte: u8) -> Result<(), ()> {
        if self.field == Field::Other {
            return Ok(());
        }
        if matches!(byte, b' ' | b'\t') {
            if self.seen == Seen::Some {
                self.seen = Seen::Over;
            }
            return Ok(());
        }
        if self.seen == Seen::Over {
            return Err(());
        }
        self.seen = Seen::Some;
        match self.field {
            Field::Host if is_host(byte) => Ok(()),
            Field::Length if byte.is_ascii_digit() => {
                let length = self.length.unwrap_or(0).checked_mul(10);
                self.length = length.and_then(|length| length.checked_add(u64::from(byte - b'0')));
                self.length.map(|_| ()).ok_or(())
            }
            Field::Coding if CHUNKED.get(usize::from(self.matched)) == Some(&byte.to_ascii_lowercase()) => {
                self.matched += 1;
                Ok(())
            }
            _ => Err(()),
        }
    }

    fn end_value(&mut self) -> Result<(), ()> {
        match self.field {
            Field::Length if self.length.is_none() => Err(()),
            Field::Coding if usize::from(self.matched) != CHUNKED.len() => Err(()),
            Field::Coding => {
                self.chunked = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn end_head(&self) -> Result<At, ()> {
        let method = &self.method[..usize::from(self.method_len)];
        if self.is_11 && self.hosts != 1 {
            return Err(());
        }
        if self.chunked && (!self.is_11 || matches!(method, b"GET" | b"HEAD")) {
            return Err(());
        }
        Ok(match self.length {
            _ if self.chunked => At::Size,
            Some(length) if length > 0 => At::Body(length),
            _ => At::Start(false),
        })
    }

    fn trailer(&mut self, at: At) -> Result<At, ()> {
        self.trailer += 1;
        if self.trailer > MAX_TRAILER { Err(()) } else { Ok(at) }
    }
}

#[cfg(test)]
mod tests;
