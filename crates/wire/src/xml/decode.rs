//! The pull decoder that all message types read with. Invariant: [`Decoder::child`] enters exactly one
//! element, and each entered element is left by exactly one of `child` (returning `None`), `text`, `value`,
//! `skip` and their kin. It never holds more of the input than one tag or one text.

use std::io::BufRead;
use std::str::FromStr;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::limits::{Limits, Metered, XmlError};

/// A namespace declaration that was seen near the root.
struct Declared {
    depth: usize,
    prefix: String,
    uri: String,
}

/// Declarations are remembered down to this depth: envelope, body, operation. Deeper elements are known by
/// their local name alone.
const NAMESPACE_DEPTH: usize = 3;

// not a limit: NAMESPACE_DEPTH: deeper elements are known by their local name

/// Where in the document the decoder stands.
struct Position {
    limits: Limits,
    depth: usize,
    elements: usize,
    name: String,
    prefix: String,
    nil: bool,
    /// The element just entered was written `<name/>`: its end is due without an event.
    empty: bool,
    declared: Vec<Declared>,
    /// Attributes of the element entered last, when somebody wants them.
    wanted: Option<Vec<(String, String)>>,
}

impl Position {
    fn enter(&mut self, tag: &BytesStart<'_>, empty: bool) -> Result<(), XmlError> {
        if self.depth == self.limits.depth {
            return Err(XmlError::TooDeep { limit: self.limits.depth });
        }
        if self.elements == self.limits.elements {
            return Err(XmlError::TooManyElements { limit: self.limits.elements });
        }
        self.depth += 1;
        self.elements += 1;
        self.empty = empty;
        self.nil = false;
        let name = tag.name();
        let (prefix, local) = name.as_ref().split_once(':').unwrap_or(("", name.as_ref()));
        self.name.clear();
        self.name.push_str(local);
        self.prefix.clear();
        self.prefix.push_str(prefix);
        if let Some(kept) = &mut self.wanted {
            kept.clear();
        }
        if tag.attributes_raw().is_empty() { Ok(()) } else { self.attributes(tag) }
    }

    fn attributes(&mut self, tag: &BytesStart<'_>) -> Result<(), XmlError> {
        for (count, attribute) in tag.attributes().enumerate() {
            if count == self.limits.attributes {
                return Err(XmlError::TooManyAttributes { limit: self.limits.attributes });
            }
            let attribute = attribute.map_err(|error| XmlError::Syntax(error.into()))?;
            let key = attribute.key.as_ref();
            let value = attribute.value.as_ref();
            if key == "nil" || key.ends_with(":nil") {
                self.nil = matches!(value, "true" | "1");
            } else if let Some(kept) = self.wanted.as_mut().filter(|_| !key.starts_with("xmlns")) {
                let plain = quick_xml::escape::unescape(value)
                    .map_err(|_e| XmlError::Entity(value.chars().take(80).collect()))?;
                let local = key.rsplit(':').next().unwrap_or(key);
                kept.push((local.to_owned(), plain.into_owned()));
            } else if self.depth <= NAMESPACE_DEPTH {
                let prefix = if key == "xmlns" { Some("") } else { key.strip_prefix("xmlns:") };
                if let Some(prefix) = prefix {
                    let (prefix, uri) = (prefix.to_owned(), value.to_owned());
                    self.declared.push(Declared { depth: self.depth, prefix, uri });
                }
            }
        }
        Ok(())
    }

    fn leave(&mut self) {
        while self.declared.last().is_some_and(|declared| declared.depth == self.depth) {
            self.declared.pop();
        }
        self.depth = self.depth.saturating_sub(1);
        self.empty = false;
    }
}

/// Reads one document from start to end.
pub struct Decoder<R> {
    reader: Reader<Metered<R>>,
    buffer: Vec<u8>,
    place: Position,
}

pub(super) enum Token {
    Start,
    End,
    Text,
    Eof,
}

impl<R: BufRead> Decoder<R> {
    /// Reads `input`, which must be UTF-8; a byte order mark is passed over.
    pub fn new(input: R, limits: Limits) -> Self {
        let metered = Metered::new(input, limits.token_bytes);
        let place = Position {
            limits,
            depth: 0,
            elements: 0,
            name: String::new(),
            prefix: String::new(),
            nil: false,
            empty: false,
            declared: Vec::new(),
            wanted: None,
        };
        Self { reader: Reader::from_reader(metered), buffer: Vec::with_capacity(256), place }
    }

    /// Enters the next child of the current element and returns its local name, or leaves the current
    /// element and returns `None`. At the top it enters the root, and returns `None` at the end.
    pub fn child(&mut self) -> Result<Option<&str>, XmlError> {
        loop {
            match self.token(None)? {
                Token::Start => return Ok(Some(&self.place.name)),
                Token::End => return Ok(None),
                Token::Text => {}
                Token::Eof if self.place.depth == 0 => return Ok(None),
                Token::Eof => return Err(XmlError::UnexpectedEnd),
            }
        }
    }

    /// The local name of the element entered last.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// The namespace of the element entered last, as far as it was declared on it or on the two outermost
    /// elements.
    pub fn namespace(&self) -> Option<&str> {
        self.place
            .declared
            .iter()
            .rev()
            .find(|declared| declared.prefix == self.place.prefix)
            .map(|d| d.uri.as_str())
    }

    /// Whether the element entered last says `xsi:nil`: it stands for an absent one. It must be left all
    /// the same.
    pub fn is_nil(&self) -> bool {
        self.place.nil
    }

    /// From now on attributes are kept: hardly any message has any, so that the others do not pay for it.
    pub fn keep_attributes(&mut self) {
        self.place.wanted = Some(Vec::new());
    }

    /// The attributes of the element entered last, by local name; none unless they are kept.
    pub fn take_attributes(&mut self) -> Vec<(String, String)> {
        self.place.wanted.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Leaves the element entered last and everything in it.
    pub fn skip(&mut self) -> Result<(), XmlError> {
        let outside = self.place.depth - 1;
        while self.place.depth > outside {
            self.child()?;
        }
        Ok(())
    }

    /// The text of the element entered last; leaves it. Empty when the element is nil.
    pub fn text(&mut self) -> Result<String, XmlError> {
        let mut text = String::new();
        loop {
            match self.token(Some(&mut text))? {
                Token::Text => {}
                Token::End => return Ok(text),
                Token::Start => return Err(XmlError::NotText { element: self.place.name.clone() }),
                Token::Eof => return Err(XmlError::UnexpectedEnd),
            }
        }
    }

    /// Like [`Decoder::text`], `None` when the element is nil.
    pub fn optional_text(&mut self) -> Result<Option<String>, XmlError> {
        let nil = self.place.nil;
        let text = self.text()?;
        Ok((!nil).then_some(text))
    }

    /// The value of the element entered last, white space around it ignored; leaves it.
    pub fn value<T: FromStr>(&mut self) -> Result<T, XmlError> {
        let element = self.place.name.clone();
        let text = self.text()?;
        text.trim()
            .parse()
            .map_err(|_error| XmlError::Value { element, text: text.chars().take(80).collect() })
    }

    /// Like [`Decoder::value`], `None` when the element is nil or empty.
    pub fn optional_value<T: FromStr>(&mut self) -> Result<Option<T>, XmlError> {
        let (nil, element) = (self.place.nil, self.place.name.clone());
        let text = self.text()?;
        if nil || text.trim().is_empty() {
            return Ok(None);
        }
        match text.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(XmlError::Value { element, text: text.chars().take(80).collect() }),
        }
    }

    /// A boolean as XML Schema writes it: `true`, `false`, `1`, `0`.
    pub fn boolean(&mut self) -> Result<bool, XmlError> {
        let element = self.place.name.clone();
        let text = self.text()?;
        match text.trim() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(XmlError::Value { element, text: other.chars().take(80).collect() }),
        }
    }

    /// The texts of all children called `item`; leaves the element entered last. Other children are
    /// ignored. At most `limit` are read.
    pub fn texts(&mut self, item: &str, limit: usize) -> Result<Vec<String>, XmlError> {
        let mut texts = Vec::new();
        while let Some(name) = self.child()? {
            if name != item {
                self.skip()?;
                continue;
            }
            if texts.len() == limit {
                return Err(XmlError::TooManyElements { limit });
            }
            texts.extend(self.optional_text()?);
        }
        Ok(texts)
    }

    /// The numbers in all children called `int`; leaves the element entered last. Negative ones, which
    /// name no revision, are left out. Lists of thousands are the bulk of what agents send, so the plain
    /// form `<int>123</int>` is read without events.
    pub fn ints(&mut self, limit: usize) -> Result<Vec<u32>, XmlError> {
        let mut numbers = Vec::new();
        loop {
            if !self.place.empty {
                self.plain_ints(&mut numbers, limit)?;
            }
            match self.child()? {
                None => return Ok(numbers),
                Some("int") => {
                    if numbers.len() == limit {
                        return Err(XmlError::TooManyElements { limit });
                    }
                    numbers.extend(self.optional_value::<i64>()?.and_then(|n| u32::try_from(n).ok()));
                }
                Some(_) => self.skip()?,
            }
        }
    }

    /// Takes as many `<int>123</int>` from the input's window as stand there.
    fn plain_ints(&mut self, numbers: &mut Vec<u32>, limit: usize) -> Result<(), XmlError> {
        let source = self.reader.get_mut();
        source.reset();
        let window = source.inner.fill_buf().map_err(XmlError::Read)?;
        let mut used = 0;
        while numbers.len() < limit && self.place.elements < self.place.limits.elements {
            let Some((number, len)) = plain_int(&window[used..]) else { break };
            numbers.push(number);
            self.place.elements += 1;
            used += len;
        }
        source.inner.consume(used);
        Ok(())
    }

    /// The next event that matters. Text is appended to `text` where it is wanted.
    pub(super) fn token(&mut self, text: Option<&mut String>) -> Result<Token, XmlError> {
        if self.place.empty {
            self.place.leave();
            return Ok(Token::End);
        }
        let limit = self.place.limits.token_bytes;
        loop {
            self.buffer.clear();
            self.reader.get_mut().reset();
            match self.reader.read_event_into(&mut self.buffer)? {
                Event::Start(tag) => {
                    self.place.enter(&tag, false)?;
                    return Ok(Token::Start);
                }
                Event::Empty(tag) => {
                    self.place.enter(&tag, true)?;
                    return Ok(Token::Start);
                }
                Event::End(_) => {
                    self.place.leave();
                    return Ok(Token::End);
                }
                Event::Text(part) => return take(text, &part.xml10_content(), limit),
                Event::CData(part) => return take(text, &part.xml10_content(), limit),
                Event::GeneralRef(reference) => {
                    return take(text, resolve(&reference)?.encode_utf8(&mut [0; 4]), limit);
                }
                Event::DocType(_) => return Err(XmlError::Doctype),
                Event::Eof => return Ok(Token::Eof),
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            }
        }
    }

    /// The input itself, for the reader of long texts.
    pub(super) fn source(&mut self) -> &mut R {
        &mut self.reader.get_mut().inner
    }

    /// Whether the element entered last was written `<name/>`.
    pub(super) fn is_empty(&self) -> bool {
        self.place.empty
    }
}

fn take(text: Option<&mut String>, part: &str, limit: usize) -> Result<Token, XmlError> {
    if let Some(text) = text {
        if text.len() + part.len() > limit {
            return Err(XmlError::TokenTooLong { limit });
        }
        text.push_str(part);
    }
    Ok(Token::Text)
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    if let Some(character) = reference.resolve_char_ref()? {
        return Ok(character);
    }
    entity(reference).ok_or_else(|| XmlError::Entity(reference.chars().take(80).collect()))
}

/// What a predefined entity stands for.
pub(super) fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

/// `<int>123</int>` at the start of `window`: the number and how many bytes it took.
fn plain_int(window: &[u8]) -> Option<(u32, usize)> {
    let rest = window.strip_prefix(b"<int>")?;
    let mut number: u32 = 0;
    let mut digits = 0;
    while let Some(digit) = rest.get(digits).map(|byte| byte.wrapping_sub(b'0')).filter(|d| *d < 10) {
        number = number.checked_mul(10)?.checked_add(u32::from(digit))?;
        digits += 1;
    }
    let closed = digits > 0 && rest[digits..].starts_with(b"</int>");
    closed.then_some((number, 5 + digits + 6))
}

/// Fills a place that may be filled once.
pub fn once<T>(place: &mut Option<T>, element: &'static str, value: T) -> Result<(), XmlError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(XmlError::Duplicate { element }),
    }
}
