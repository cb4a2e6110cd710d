//! The answer to a [`super::Question`]: which revisions, which are gone, and what was decided.
//!
//! **Invariant:** entries stand in the order of their numbers, so that a page ends where the next begins. An
//! entry costs 18 bytes, of which 16 are the GUID. It never carries a document.

use uuid::Uuid;

use super::field::{Reader, Writer};
use super::{MAX_LIST, MOST_CONTEXT, MOST_ENTRIES, MessageError, Numbers};
use tailwater_domain::{Limit, UpdateId, UpdateIdentity, limits};

const SERVER: u64 = 1;
const UPDATES: u64 = 2;
const DECISIONS_NUMBER: u64 = 3;
const ENTRIES: u64 = 4;
const MORE: u64 = 5;
const WITHDRAWN: u64 = 6;
const KIN: u64 = 7;
const DECISIONS: u64 = 8;
const UPDATES_MARK: u64 = 9;
const DECISIONS_MARK: u64 = 10;

/// Revisions withdrawn that one answer names.
pub const MOST_WITHDRAWN: usize = 100_000;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_WITHDRAWN in "revisions": "Withdrawn revisions in one list" => "the list is refused",
];

/// One revision and the server's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListEntry {
    /// The server's number, good for its life.
    pub number: u32,
    /// Which revision.
    pub identity: UpdateIdentity,
}

/// One page of the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Who answers.
    pub server: Uuid,
    /// How far it has come.
    pub numbers: Numbers,
    /// At most [`MOST_ENTRIES`], by number.
    pub entries: Vec<ListEntry>,
    /// Whether there is another page, after the last entry's number.
    pub more: bool,
    /// Revisions that the server no longer has.
    pub withdrawn: Vec<UpdateIdentity>,
    /// Revisions that are much like the listed ones and that the asker may hold: good to compress against.
    pub kin: Vec<UpdateIdentity>,
    /// What was decided, for a replica that knows less; how is for others to say.
    pub decisions: Option<Vec<u8>>,
}

pub(super) fn write_identity(field: &mut Writer, identity: &UpdateIdentity) {
    field.raw(identity.update.0.as_bytes()).number(u64::from(identity.revision));
}

pub(super) fn read_identity(field: &mut Reader<'_>) -> Result<UpdateIdentity, MessageError> {
    let update = UpdateId(Uuid::from_bytes(field.array()?));
    Ok(UpdateIdentity { update, revision: field.small()? })
}

impl List {
    /// As an answer's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Writer::new();
        let mut field = Writer::new();
        field.raw(self.server.as_bytes());
        message.field(SERVER, &field);
        message.number_field(UPDATES, self.numbers.updates);
        message.number_field(DECISIONS_NUMBER, self.numbers.decisions);
        message.number_field(UPDATES_MARK, self.numbers.updates_mark);
        message.number_field(DECISIONS_MARK, self.numbers.decisions_mark);
        let (mut field, mut before) = (Writer::new(), 0);
        for entry in &self.entries {
            field.number(u64::from(entry.number.wrapping_sub(before)));
            write_identity(&mut field, &entry.identity);
            before = entry.number;
        }
        message.field(ENTRIES, &field).number_field(MORE, u64::from(self.more));
        for (tag, list) in [(WITHDRAWN, &self.withdrawn), (KIN, &self.kin)] {
            let mut field = Writer::new();
            for identity in list {
                write_identity(&mut field, identity);
            }
            message.field(tag, &field);
        }
        if let Some(decisions) = &self.decisions {
            let mut field = Writer::new();
            field.block(decisions);
            message.field(DECISIONS, &field);
        }
        message.into_bytes()
    }

    /// Reads an answer's body.
    ///
    /// # Errors
    /// When it is none, or breaks a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_LIST {
            return Err(MessageError::TooLong { what: "the list", limit: MAX_LIST });
        }
        let (mut list, mut server) = (Self::default(), None);
        let mut message = Reader::new(bytes);
        while let Some((tag, mut field)) = message.field()? {
            match tag {
                SERVER => server = Some(Uuid::from_bytes(field.array()?)),
                UPDATES => list.numbers.updates = field.number()?,
                DECISIONS_NUMBER => list.numbers.decisions = field.number()?,
                UPDATES_MARK => list.numbers.updates_mark = field.number()?,
                DECISIONS_MARK => list.numbers.decisions_mark = field.number()?,
                ENTRIES => list.entries = entries(field)?,
                MORE => list.more = field.number()? != 0,
                WITHDRAWN => list.withdrawn = field.each("the withdrawn", MOST_WITHDRAWN, read_identity)?,
                KIN => list.kin = field.each("the kin", MOST_CONTEXT, read_identity)?,
                DECISIONS => list.decisions = Some(field.block()?.to_vec()),
                _ => {}
            }
        }
        list.server = server.ok_or(MessageError::Missing { what: "the server" })?;
        if list.more && list.entries.is_empty() {
            return Err(MessageError::Value { what: "the next page" });
        }
        Ok(list)
    }
}

fn entries(field: Reader<'_>) -> Result<Vec<ListEntry>, MessageError> {
    let mut number = 0_u32;
    field.each("the list", MOST_ENTRIES, |field| {
        let step = field.small()?;
        // numbers only grow: a page that leads back would never end
        if step == 0 {
            return Err(MessageError::Value { what: "the order of the list" });
        }
        number = number.checked_add(step).ok_or(MessageError::Number)?;
        Ok(ListEntry { number, identity: read_identity(field)? })
    })
}
