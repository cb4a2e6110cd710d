//! Many documents in one zstd frame, compressed against documents that the other side holds already.
//!
//! A pack begins with two sets of bits: which of the order's context it was compressed against, and which of
//! the order's items it has, in the order's order. The frame follows: for each item the document, then the
//! addresses of its payloads. What both sides know (the context, and the identities of the items) lies before
//! the window, so that a GUID that the list named costs next to nothing here.
//!
//! **Invariant:** the frame carries a checksum, and a pack counts only when it was read to its end. A reader
//! never holds more than the window, the context and what it was given of one document.

use std::io::{self, BufRead, BufReader, Read, Write};

use zstd::stream::raw::CParameter;

use super::field::{Reader, Writer};
use super::{MAX_CONTEXT_BYTES, MOST_CONTEXT, MOST_ITEMS, MessageError};
use tailwater_domain::{Limit, Sha1Digest, UpdateIdentity, limits};

/// Addresses of payloads that one document has.
pub const MAX_ADDRESSES: usize = 10_000;
/// The longest address.
const LONGEST_ADDRESS: usize = 4_096;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_ADDRESSES in "addresses": "Addresses of the payloads of one document" => "the pack is refused",
    LONGEST_ADDRESS in "bytes": "The address of a payload" => "the pack is refused",
];

/// What a reader takes for a window: 8 MiB hold a whole context and a usual pack.
const WINDOW_LOG: u32 = 23;
const LEAST_WINDOW_LOG: u32 = 17;
/// Stands in an address for the payload's SHA-1 in lower case, which most addresses end with.
const LOWER: char = '\u{1}';
/// The same in upper case.
const UPPER: char = '\u{2}';

/// Where a payload is available: the number of its declaration in the document, and the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Place among the document's payloads.
    pub file: usize,
    /// The address, with the SHA-1 taken out; see [`Address::of`] and [`Address::text`].
    short: String,
}

impl Address {
    /// Takes the payload's own SHA-1 out of the address: the document says it.
    pub fn of(file: usize, url: &str, sha1: &Sha1Digest) -> Self {
        let upper = sha1.hex();
        let short = url.replace(&upper.to_ascii_lowercase(), &LOWER.to_string());
        Self { file, short: short.replace(&upper, &UPPER.to_string()) }
    }

    /// The address again.
    pub fn text(&self, sha1: &Sha1Digest) -> String {
        let upper = sha1.hex();
        self.short.replace(LOWER, &upper.to_ascii_lowercase()).replace(UPPER, &upper)
    }
}

/// One document of a pack; `D` is what was made of it.
#[derive(Debug)]
pub struct Record<D> {
    /// Which revision was asked for. What the document says of itself is for the caller to compare.
    pub identity: UpdateIdentity,
    /// What was made of it.
    pub document: D,
    /// Where its payloads are available.
    pub addresses: Vec<Address>,
}

/// What lies before the window.
fn prefix<'a>(
    context: impl Iterator<Item = &'a [u8]>,
    items: impl Iterator<Item = UpdateIdentity>,
) -> Vec<u8> {
    let mut before = Vec::new();
    for item in items {
        before.extend_from_slice(item.update.to_string().as_bytes());
        before.push(b'\n');
    }
    // what is nearest to the window costs least to point at
    for document in context {
        before.extend_from_slice(document);
    }
    before
}

fn window_log(bytes: u64) -> u32 {
    let needed = u64::BITS - bytes.saturating_sub(1).leading_zeros();
    needed.clamp(LEAST_WINDOW_LOG, WINDOW_LOG)
}

fn bits(set: &[bool]) -> Vec<u8> {
    set.chunks(8)
        .map(|eight| eight.iter().enumerate().map(|(place, bit)| u8::from(*bit) << place).sum())
        .collect()
}

fn unbits(bytes: &[u8], count: usize) -> Result<Vec<bool>, MessageError> {
    if bytes.len() != count.div_ceil(8) {
        return Err(MessageError::Value { what: "a set of the pack" });
    }
    Ok((0..count).map(|place| bytes[place / 8] >> (place % 8) & 1 == 1).collect())
}

fn compression(error: &io::Error) -> MessageError {
    MessageError::Compression(error.to_string())
}

/// Writes a pack.
pub struct Pack {
    head: Vec<u8>,
    prefix: Vec<u8>,
    level: i32,
}

impl Pack {
    /// A pack of `included` out of an order's items, compressed against `context`: for each of the order's
    /// context, its document where it is used.
    pub fn new(included: &[(UpdateIdentity, bool)], context: &[Option<Vec<u8>>], level: i32) -> Self {
        let used: Vec<bool> = context.iter().map(Option::is_some).collect();
        let items: Vec<bool> = included.iter().map(|(_, included)| *included).collect();
        let mut head = Writer::new();
        head.block(&bits(&used)).block(&bits(&items));
        let identities = included.iter().filter(|(_, included)| *included).map(|(identity, _)| *identity);
        let prefix = prefix(context.iter().flatten().map(Vec::as_slice), identities);
        Self { head: head.into_bytes(), prefix, level }
    }

    /// Begins to write; `raw` is about how many bytes will be written.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn begin<W: Write>(&self, mut out: W, raw: u64) -> Result<Opened<'_, W>, MessageError> {
        out.write_all(&self.head).map_err(|error| compression(&error))?;
        let made = zstd::stream::write::Encoder::with_ref_prefix(out, self.level, &self.prefix);
        let mut encoder = made.map_err(|error| compression(&error))?;
        let log = window_log(raw + self.prefix.len() as u64);
        for parameter in [CParameter::ChecksumFlag(true), CParameter::WindowLog(log)] {
            encoder.set_parameter(parameter).map_err(|error| compression(&error))?;
        }
        Ok(Opened { encoder })
    }
}

/// A pack that is being written.
pub struct Opened<'a, W: Write> {
    encoder: zstd::stream::write::Encoder<'a, W>,
}

impl<W: Write> Opened<'_, W> {
    /// Adds a document of `len` bytes.
    ///
    /// # Errors
    /// When it cannot be read or written, or has another length.
    pub fn record(
        &mut self,
        len: u64,
        document: &mut dyn Read,
        addresses: &[Address],
    ) -> Result<(), MessageError> {
        let mut head = Writer::new();
        head.number(len);
        self.write(&head.into_bytes())?;
        let copied = io::copy(&mut document.take(len), &mut self.encoder);
        if copied.map_err(|error| compression(&error))? != len {
            return Err(MessageError::Short);
        }
        let mut tail = Writer::new();
        tail.number(addresses.len() as u64);
        for address in addresses {
            tail.number(address.file as u64).block(address.short.as_bytes());
        }
        self.write(&tail.into_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), MessageError> {
        self.encoder.write_all(bytes).map_err(|error| compression(&error))
    }

    /// Ends it and gives back what it was written to.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<W, MessageError> {
        self.encoder.finish().map_err(|error| compression(&error))
    }
}

/// Reads a pack.
pub struct PackReader<R> {
    body: R,
    included: Vec<UpdateIdentity>,
    prefix: Vec<u8>,
}

impl<R: BufRead> PackReader<R> {
    /// Reads the beginning of the answer to an order of `items`, for which `context` was named; both as the
    /// order had them.
    ///
    /// # Errors
    /// When it is no such answer.
    pub fn open(mut body: R, items: &[UpdateIdentity], context: &[&[u8]]) -> Result<Self, MessageError> {
        let used = unbits(&head_block(&mut body, MOST_CONTEXT)?, context.len())?;
        let included = unbits(&head_block(&mut body, MOST_ITEMS)?, items.len())?;
        let chosen = |set: &[bool], place: usize| set.get(place).copied().unwrap_or(false);
        let documents: Vec<&[u8]> = context
            .iter()
            .enumerate()
            .filter(|(place, _)| chosen(&used, *place))
            .map(|(_, it)| *it)
            .collect();
        if documents.iter().map(|document| document.len()).sum::<usize>() > MAX_CONTEXT_BYTES {
            return Err(MessageError::TooLong { what: "the context", limit: MAX_CONTEXT_BYTES });
        }
        let included: Vec<UpdateIdentity> = items
            .iter()
            .enumerate()
            .filter(|(place, _)| chosen(&included, *place))
            .map(|(_, it)| *it)
            .collect();
        let prefix = prefix(documents.into_iter(), included.iter().copied());
        Ok(Self { body, included, prefix })
    }

    /// Which of the items it has.
    pub fn included(&self) -> &[UpdateIdentity] {
        &self.included
    }

    /// Gives each document to `document` while it is read; to the end of the pack.
    ///
    /// # Errors
    /// When it is damaged, ends early, or was compressed against something else: then nothing of it counts.
    pub fn read<D>(
        self,
        mut document: impl FnMut(&UpdateIdentity, &mut dyn BufRead) -> D,
    ) -> Result<Vec<Record<D>>, MessageError> {
        let made = zstd::stream::read::Decoder::with_ref_prefix(self.body, &self.prefix);
        let mut decoder = made.map_err(|error| compression(&error))?;
        decoder.window_log_max(WINDOW_LOG).map_err(|error| compression(&error))?;
        let mut text = BufReader::with_capacity(32 * 1024, decoder);
        let mut records = Vec::with_capacity(self.included.len());
        for identity in self.included {
            let len = number(&mut text)?;
            let mut one = (&mut text).take(len);
            let made = document(&identity, &mut one);
            // whoever stopped early leaves the rest
            io::copy(&mut one, &mut io::sink()).map_err(|error| compression(&error))?;
            if one.limit() > 0 {
                return Err(MessageError::Short);
            }
            records.push(Record { identity, document: made, addresses: addresses(&mut text)? });
        }
        match text.read(&mut [0]) {
            Ok(0) => Ok(records),
            Ok(_) => Err(MessageError::Value { what: "the end of the pack" }),
            Err(error) => Err(compression(&error)),
        }
    }
}

fn number(text: &mut impl Read) -> Result<u64, MessageError> {
    let mut bytes = [0; 10];
    for place in 0..bytes.len() {
        text.read_exact(&mut bytes[place..=place]).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => MessageError::Short,
            _ => compression(&error),
        })?;
        if bytes[place] & 0x80 == 0 {
            return Reader::new(&bytes[..=place]).number();
        }
    }
    Err(MessageError::Number)
}

fn block(text: &mut impl Read, what: &'static str, limit: usize) -> Result<Vec<u8>, MessageError> {
    let len = usize::try_from(number(text)?).unwrap_or(usize::MAX);
    if len > limit {
        return Err(MessageError::TooLong { what, limit });
    }
    let mut bytes = vec![0; len];
    text.read_exact(&mut bytes).map_err(|_short| MessageError::Short)?;
    Ok(bytes)
}

fn head_block(body: &mut impl Read, most: usize) -> Result<Vec<u8>, MessageError> {
    block(body, "a set of the pack", most.div_ceil(8))
}

fn addresses(text: &mut impl Read) -> Result<Vec<Address>, MessageError> {
    let count = usize::try_from(number(text)?).unwrap_or(usize::MAX);
    if count > MAX_ADDRESSES {
        return Err(MessageError::TooLong { what: "the addresses", limit: MAX_ADDRESSES });
    }
    let mut found = Vec::new();
    for _ in 0..count {
        let file = usize::try_from(number(text)?).map_err(|_range| MessageError::Number)?;
        let short = String::from_utf8(block(text, "an address", LONGEST_ADDRESS)?)
            .map_err(|_text| MessageError::Value { what: "an address" })?;
        found.push(Address { file, short });
    }
    Ok(found)
}
