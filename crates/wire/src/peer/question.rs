//! The question "what is new for me": `POST /tailwater/v1/list`.
//!
//! **Invariant:** what it selects is what `GetRevisionIdList` selects with the same filter ([MS-WSUSSS]
//! 3.1.4.5); a number of another server counts as none. It never says what the asker holds.

use uuid::Uuid;

use super::field::{Reader, Writer};
use super::{MOST_ENTRIES, MessageError};
use crate::server_sync::IdAndDelta;
use tailwater_domain::{Limit, UpdateId, limits};

const SERVER: u64 = 1;
const SINCE: u64 = 2;
const AFTER: u64 = 3;
const CONFIG: u64 = 4;
const PRODUCTS: u64 = 5;
const CLASSIFICATIONS: u64 = 6;
const NAMED: u64 = 7;
const DECISIONS: u64 = 8;
const LANGUAGES: u64 = 9;
const SINCE_MARK: u64 = 10;
const DECISIONS_MARK: u64 = 11;

/// Languages in a filter, and bytes of one.
const MOST_LANGUAGES: usize = 256;
const LONGEST_LANGUAGE: usize = 32;
/// Categories in a filter.
const MOST_CATEGORIES: usize = 25_000;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_LANGUAGES in "languages": "Languages in a filter" => "the question is refused: 400",
    LONGEST_LANGUAGE in "bytes": "The name of a language in a filter" => "the question is refused: 400",
    MOST_CATEGORIES in "categories": "Categories in a filter" => "the question is refused: 400",
];

/// How far a server's catalog and its administrators' decisions have come. Only what a server says itself can
/// be compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Numbers {
    /// Change number of the last activation.
    pub updates: u64,
    /// Change number of the last decision.
    pub decisions: u64,
    /// The mark that `updates` has in the server's history, by which another branch of its store is known. 0 where the
    /// server has none.
    #[serde(default)]
    pub updates_mark: u64,
    /// The mark of `decisions`.
    #[serde(default)]
    pub decisions_mark: u64,
}

/// The question. As in a filter of MS-WSUSSS, products and classifications are both empty or neither is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// Whose numbers `since` and `decisions` are.
    pub server: Option<Uuid>,
    /// Only what came after this number of [`Numbers::updates`]; 0 for everything.
    pub since: u64,
    /// The mark that came with it; 0 for none.
    pub since_mark: u64,
    /// The next page: only entries with greater numbers.
    pub after: u32,
    /// Categories and detectoids instead of what is to be installed.
    pub config: bool,
    /// Products, each with whether `since` counts for it.
    pub products: Vec<IdAndDelta>,
    /// Classifications, the same.
    pub classifications: Vec<IdAndDelta>,
    /// Languages as tags, each with whether `since` counts for it; empty for all.
    pub languages: Vec<(String, bool)>,
    /// The newest revisions of these and nothing else; at most [`MOST_ENTRIES`].
    pub named: Vec<UpdateId>,
    /// The asker is a replica and knows decisions up to here.
    pub decisions: Option<u64>,
    /// The mark that came with that number; 0 for none.
    pub decisions_mark: u64,
}

impl Question {
    /// As a request's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Writer::new();
        if let Some(server) = self.server {
            let mut field = Writer::new();
            field.raw(server.as_bytes());
            message.field(SERVER, &field);
        }
        message.number_field(SINCE, self.since).number_field(AFTER, u64::from(self.after));
        message.number_field(CONFIG, u64::from(self.config));
        for (tag, list) in [(PRODUCTS, &self.products), (CLASSIFICATIONS, &self.classifications)] {
            let mut field = Writer::new();
            for entry in list {
                field.raw(entry.id.0.as_bytes()).number(u64::from(entry.delta));
            }
            message.field(tag, &field);
        }
        let mut field = Writer::new();
        for (tag, delta) in &self.languages {
            field.block(tag.as_bytes()).number(u64::from(*delta));
        }
        message.field(LANGUAGES, &field);
        let mut field = Writer::new();
        for id in &self.named {
            field.raw(id.0.as_bytes());
        }
        message.field(NAMED, &field);
        // present even when nothing is known: it says that decisions are wanted
        message.number_field(DECISIONS, self.decisions.map_or(0, |known| known.saturating_add(1)));
        for (tag, mark) in [(SINCE_MARK, self.since_mark), (DECISIONS_MARK, self.decisions_mark)] {
            if mark != 0 {
                message.number_field(tag, mark);
            }
        }
        message.into_bytes()
    }

    /// Reads a request's body.
    ///
    /// # Errors
    /// When it is none, or breaks a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut question = Self::default();
        let mut message = Reader::new(bytes);
        while let Some((tag, mut field)) = message.field()? {
            match tag {
                SERVER => question.server = Some(Uuid::from_bytes(field.array()?)),
                SINCE => question.since = field.number()?,
                AFTER => question.after = field.small()?,
                CONFIG => question.config = field.number()? != 0,
                PRODUCTS => question.products = categories(field)?,
                CLASSIFICATIONS => question.classifications = categories(field)?,
                NAMED => {
                    let read = |field: &mut Reader<'_>| Ok(UpdateId(Uuid::from_bytes(field.array()?)));
                    question.named = field.each("the names", MOST_ENTRIES, read)?;
                }
                SINCE_MARK => question.since_mark = field.number()?,
                DECISIONS_MARK => question.decisions_mark = field.number()?,
                DECISIONS => question.decisions = field.number()?.checked_sub(1),
                LANGUAGES => {
                    question.languages = field.each("the languages", MOST_LANGUAGES, |field| {
                        let tag = field.text("a language", LONGEST_LANGUAGE)?.to_owned();
                        Ok((tag, field.number()? != 0))
                    })?;
                }
                _ => {}
            }
        }
        if question.products.is_empty() != question.classifications.is_empty() {
            return Err(MessageError::Value { what: "the filter" });
        }
        Ok(question)
    }
}

fn categories(field: Reader<'_>) -> Result<Vec<IdAndDelta>, MessageError> {
    field.each("the filter", MOST_CATEGORIES, |field| {
        let id = UpdateId(Uuid::from_bytes(field.array()?));
        Ok(IdAndDelta { id, delta: field.number()? != 0 })
    })
}
