//! What a child asks to be packed: `POST /tailwater/v1/pack`.
//!
//! **Invariant:** a document that is compressed against is named with a hash of the bytes that the asker
//! holds, so that two sites that keep other languages never mistake one text for the other. It never asks for
//! more than [`MOST_ITEMS`] documents.

use super::field::{Reader, Writer};
use super::list::{read_identity, write_identity};
use super::{MOST_CONTEXT, MOST_ITEMS, MessageError};
use tailwater_domain::{Limit, UpdateIdentity, limits};

const LANGUAGES: u64 = 1;
const NUMBERED: u64 = 2;
const IDENTITIES: u64 = 3;
const CONTEXT: u64 = 4;

/// Languages that a site keeps, and bytes of one.
const MOST_LANGUAGES: usize = 256;
const LONGEST_LANGUAGE: usize = 32;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_LANGUAGES in "languages": "Languages in an order" => "the order is refused: 400",
    LONGEST_LANGUAGE in "bytes": "The name of a language in an order" => "the order is refused: 400",
];

/// A document that is wanted, by the server's number where a list gave it, else by its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// The server's number.
    Number(u32),
    /// Which revision.
    Identity(UpdateIdentity),
}

/// A document that the asker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Which revision.
    pub identity: UpdateIdentity,
    /// [`short_hash`] of the document as the asker keeps it.
    pub hash: u64,
}

/// The order. Its items are sorted: those by number first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// The languages to leave in the documents; empty for all of them.
    pub languages: Vec<String>,
    /// What is wanted.
    pub items: Vec<Item>,
    /// What it may be compressed against.
    pub context: Vec<Context>,
}

/// What names the bytes of a document between two who both hold it: the beginning of its BLAKE3.
pub fn short_hash(document: &[u8]) -> u64 {
    blake3::hash(document).as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

impl Order {
    /// As a request's body; the items must be sorted.
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Writer::new();
        let mut field = Writer::new();
        for language in &self.languages {
            field.block(language.as_bytes());
        }
        message.field(LANGUAGES, &field);
        let (mut numbered, mut identities, mut before) = (Writer::new(), Writer::new(), 0);
        for item in &self.items {
            match item {
                Item::Number(number) => {
                    numbered.number(u64::from(number.wrapping_sub(before)));
                    before = *number;
                }
                Item::Identity(identity) => write_identity(&mut identities, identity),
            }
        }
        message.field(NUMBERED, &numbered).field(IDENTITIES, &identities);
        let mut field = Writer::new();
        for context in &self.context {
            write_identity(&mut field, &context.identity);
            field.raw(&context.hash.to_le_bytes());
        }
        message.field(CONTEXT, &field);
        message.into_bytes()
    }

    /// Reads a request's body.
    ///
    /// # Errors
    /// When it is none, or breaks a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut order = Self::default();
        let (mut numbered, mut identities) = (Vec::new(), Vec::new());
        let mut message = Reader::new(bytes);
        while let Some((tag, field)) = message.field()? {
            match tag {
                LANGUAGES => {
                    order.languages = field.each("the languages", MOST_LANGUAGES, |field| {
                        field.text("a language", LONGEST_LANGUAGE).map(str::to_owned)
                    })?;
                }
                NUMBERED => {
                    let mut number = 0_u32;
                    numbered = field.each("the order", MOST_ITEMS, |field| {
                        number = number.checked_add(field.small()?).ok_or(MessageError::Number)?;
                        Ok(Item::Number(number))
                    })?;
                }
                IDENTITIES => {
                    let read = |field: &mut Reader<'_>| read_identity(field).map(Item::Identity);
                    identities = field.each("the order", MOST_ITEMS, read)?;
                }
                CONTEXT => {
                    order.context = field.each("the context", MOST_CONTEXT, |field| {
                        let identity = read_identity(field)?;
                        Ok(Context { identity, hash: u64::from_le_bytes(field.array()?) })
                    })?;
                }
                _ => {}
            }
        }
        order.items = numbered;
        order.items.append(&mut identities);
        if order.items.len() > MOST_ITEMS {
            return Err(MessageError::TooLong { what: "the order", limit: MOST_ITEMS });
        }
        Ok(order)
    }
}
