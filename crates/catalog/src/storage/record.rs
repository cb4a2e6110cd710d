//! Records of the index: their keys, and values that carry a version.
//!
//! **Invariant:** a value begins with its version, so that a later program can tell how to read it; keys of
//! one kind share their first byte and sort in the order in which they are read. It never holds a text.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::CatalogError;

/// Version that records are written with, but for those that say otherwise. Postcard is not self-describing:
/// any change of a record's shape needs a new number and a reader for the old one.
pub(crate) const VERSION: u8 = 1;

// not a limit: VERSION: a version of a record

/// Format of the whole store; see [`key::META`].
pub(crate) const FORMAT: u8 = 1;

/// Keys. The first byte tells the kind.
pub(crate) mod key {
    use tailwater_domain::{ComputerId, GroupId, RevisionId, ServerId, Sha1Digest, UpdateId};
    use uuid::Uuid;

    /// The store itself: [`super::Meta`].
    pub(crate) const META: &[u8] = b"v";
    /// What is active: [`super::Active`].
    pub(crate) const ACTIVE: &[u8] = b"a";
    /// Up to where segments are committed: [`super::Committed`].
    pub(crate) const COMMITTED: &[u8] = b"l";
    /// The activation that waits: [`super::super::Held`].
    pub(crate) const HELD: &[u8] = b"h";
    /// The last deployment number given to an approval: u32.
    pub(crate) const DEPLOYMENT: &[u8] = b"n";
    /// The newest change number of a decision or of a computer that moved: u64.
    pub(crate) const CHANGE: &[u8] = b"N";
    /// A change of many entries that has begun: where its journal lies, [`super::Location`]s.
    pub(crate) const BEGUN: &[u8] = b"j";
    /// Where marks of change numbers begin; the entries with the marks begin with the same byte.
    pub(crate) const LINEAGE: &[u8] = b"L";
    /// What all identities of computers that were replaced begin with.
    pub(crate) const FORMER: &[u8] = b"f";
    /// What is missing because of damage: [`super::super::lost`].
    pub(crate) const LOST: &[u8] = b"x";
    /// Identities of license terms that were accepted upstream.
    pub(crate) const EULAS: &[u8] = b"E";

    fn with(kind: u8, rest: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + rest.len());
        key.push(kind);
        key.extend_from_slice(rest);
        key
    }

    /// A block of manifests: [`super::Location`], and how many are in it.
    pub(crate) fn block(number: u64) -> Vec<u8> {
        with(b'm', &number.to_be_bytes())
    }
    /// Revisions withdrawn when everything below this block became active: numbers.
    pub(crate) fn withdrawn(watermark: u64) -> Vec<u8> {
        with(b'w', &watermark.to_be_bytes())
    }
    /// A generation: [`super::Generation`].
    pub(crate) fn generation(number: u64) -> Vec<u8> {
        with(b'g', &number.to_be_bytes())
    }
    /// A dictionary: [`super::Location`].
    pub(crate) fn dictionary(number: u8) -> Vec<u8> {
        vec![b'z', number]
    }
    /// The bytes of a dictionary once more: everything that was compressed with it depends on them.
    pub(crate) fn dictionary_copy(number: u8) -> Vec<u8> {
        vec![b'Z', number]
    }
    /// A revision whose texts are damaged: its identity.
    pub(crate) fn damaged(id: RevisionId) -> Vec<u8> {
        with(b'q', &id.0.to_be_bytes())
    }
    /// What was decided of an update: [`super::super::decision::Decision`].
    pub(crate) fn decision(update: &UpdateId) -> Vec<u8> {
        with(b'd', update.0.as_bytes())
    }
    /// A group of computers.
    pub(crate) fn group(group: &GroupId) -> Vec<u8> {
        with(b'G', group.0.as_bytes())
    }
    /// License terms that were accepted here: [`super::super::Acceptance`].
    pub(crate) fn terms(id: &Uuid) -> Vec<u8> {
        with(b'y', id.as_bytes())
    }
    /// A computer.
    pub(crate) fn computer(id: &ComputerId) -> Vec<u8> {
        with(b'c', id.0.as_bytes())
    }
    /// What a computer reported.
    pub(crate) fn status(id: &ComputerId) -> Vec<u8> {
        with(b't', id.0.as_bytes())
    }
    /// The events of a computer: its name with a length before it, so that no name begins another's keys.
    pub(crate) fn events(id: &ComputerId) -> Vec<u8> {
        // no identity that is let in has more than 255 bytes
        let mut key = vec![b'e', u8::try_from(id.0.len()).unwrap_or(u8::MAX)];
        key.extend_from_slice(id.0.as_bytes());
        key
    }
    /// One event.
    pub(crate) fn event(id: &ComputerId, row: &Uuid) -> Vec<u8> {
        let mut key = events(id);
        key.extend_from_slice(row.as_bytes());
        key
    }
    /// An identity of a computer that another one replaced: which one did.
    pub(crate) fn former(id: &ComputerId) -> Vec<u8> {
        with(b'f', id.0.as_bytes())
    }
    /// What changed about the identity of a computer: [`super::super::IdentityChange`]s.
    pub(crate) fn identity(id: &ComputerId) -> Vec<u8> {
        with(b'i', id.0.as_bytes())
    }
    /// A downstream server.
    pub(crate) fn server(id: &ServerId) -> Vec<u8> {
        with(b'S', id.0.as_bytes())
    }
    /// A permission for a server that did not come yet: its name in lower case.
    pub(crate) fn invitation(name: &str) -> Vec<u8> {
        with(b'I', name.to_lowercase().as_bytes())
    }
    /// A computer of a server below.
    pub(crate) fn descendant(id: &ComputerId) -> Vec<u8> {
        with(b'r', id.0.as_bytes())
    }
    /// What a computer of a server below says of updates.
    pub(crate) fn states(id: &ComputerId) -> Vec<u8> {
        with(b'R', id.0.as_bytes())
    }
    /// What the upstream was told of a computer.
    pub(crate) fn told(id: &ComputerId) -> Vec<u8> {
        with(b'u', id.0.as_bytes())
    }
    /// What computers with one operating system installed since the upstream was told: of which server, and a digest
    /// of the operating system.
    pub(crate) fn activity(server: &ServerId, os: &[u8]) -> Vec<u8> {
        let mut key = activities(server);
        key.extend_from_slice(os);
        key
    }
    /// All of one server's.
    pub(crate) fn activities(server: &ServerId) -> Vec<u8> {
        with(b'A', server.0.as_bytes())
    }
    /// Marks of consecutive change numbers; see [`super::super::lineage`].
    pub(crate) fn marks(number: u64) -> Vec<u8> {
        with(b'L', &number.to_be_bytes())
    }
    /// What another room must keep for the life of the store: journaled.
    pub(crate) fn kept(name: &str) -> Vec<u8> {
        with(b'k', name.as_bytes())
    }
    /// The key of an encrypted payload: [`super::super::keys`].
    pub(crate) fn payload_key(sha1: &Sha1Digest) -> Vec<u8> {
        with(b'K', &sha1.0)
    }
    /// A setting of another room.
    pub(crate) fn setting(name: &str) -> Vec<u8> {
        with(b's', name.as_bytes())
    }
}

/// The store itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub format: u8,
}

/// What is active: every block below the watermark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Active {
    pub generation: u64,
    pub watermark: u64,
    pub change: u64,
}

/// When blocks became active: those from the previous generation's watermark up to this one's.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Generation {
    pub watermark: u64,
    pub change: u64,
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Location {
    pub segment: u32,
    pub offset: u32,
    /// Bytes of the record, its header included.
    pub stored: u32,
}

/// Up to where segments are committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub segment: u32,
    pub len: u64,
    /// No revision may get a number below this any more.
    pub next_id: u32,
}

/// The one way from a value to a record. What cannot be written is an error: an empty record would remove what
/// the entry said before.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CatalogError> {
    encode_as(VERSION, value)
}

/// Writes a record whose shape has a version of its own.
pub(crate) fn encode_as<T: Serialize>(version: u8, value: &T) -> Result<Vec<u8>, CatalogError> {
    postcard::to_extend(value, vec![version]).map_err(CatalogError::Unwritable)
}

/// Reads a record; `kind` names it in the error.
pub(crate) fn decode<T: DeserializeOwned>(kind: char, bytes: &[u8]) -> Result<T, CatalogError> {
    let fail = |source| CatalogError::Record { kind, source };
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(fail),
        Some((&newer, _)) if newer > VERSION => Err(CatalogError::Newer { found: newer, known: VERSION }),
        _ => Err(fail(postcard::Error::DeserializeUnexpectedEnd)),
    }
}

/// Changes of the index that are journaled in the segments too, because nothing else could bring them back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub ops: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Version of a journal record that another one of the same change follows.
const UNFINISHED: u8 = 2;

impl Journal {
    /// A record; `last` when no other one of the same change follows.
    pub(crate) fn encode(&self, last: bool) -> Result<Vec<u8>, CatalogError> {
        encode_as(if last { VERSION } else { UNFINISHED }, self)
    }

    /// Reads a record, and whether it is the last one of its change.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, bool), CatalogError> {
        match bytes.split_first() {
            Some((&UNFINISHED, rest)) => {
                let fail = |source| CatalogError::Record { kind: 'j', source };
                Ok((postcard::from_bytes(rest).map_err(fail)?, false))
            }
            _ => Ok((decode('j', bytes)?, true)),
        }
    }
}

/// An activation as the segments tell it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ActivationRecord {
    pub active: Active,
    pub withdrawn: Vec<u32>,
}
