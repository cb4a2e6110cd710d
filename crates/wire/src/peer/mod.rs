//! What two tailwaters say to each other below `/tailwater/v1/`, beside MS-WSUSSS: lists and documents in a
//! small fraction of the bytes. docs/protocol-v1.md says how the messages follow each other.
//!
//! **Invariant:** every message has a limit, and a message that is cut off or altered anywhere is refused or
//! read as what it says, never more. What comes out of here is trusted no more than an answer over SOAP. It
//! does no input or output of its own.

mod error;
mod field;
mod hello;
mod list;
mod order;
mod pack;
mod pieces;
mod question;
mod squeeze;
#[cfg(test)]
mod tests;

pub use error::MessageError;
pub use hello::{Hello, MAX_HELLO};
pub use list::{List, ListEntry, MOST_WITHDRAWN};
pub use order::{Context, Item, Order, short_hash};
pub use pack::{Address, MAX_ADDRESSES, Opened, Pack, PackReader, Record};
pub use pieces::{PieceHash, decode_hashes, encode_hashes};
pub use question::{Numbers, Question};
pub use squeeze::{squeeze, unsqueeze};
use tailwater_domain::{Limit, joined_limits, limits};

/// Where everything of this protocol lies.
pub const BASE: &str = "/tailwater/v1";
/// The header that carries the cookie of MS-WSUSSS (`EncryptedData`, Base64).
pub const COOKIE_HEADER: &str = "tailwater-cookie";
/// The header of an answer with a range of a payload: the hashes of its pieces, Base64.
pub const PIECES_HEADER: &str = "tailwater-pieces";
/// The media type of messages.
pub const MEDIA_TYPE: &str = "application/x-tailwater";

/// Entries of one page of a list; what a page cut off costs to ask again is 20 bytes each.
pub const MOST_ENTRIES: usize = 2_048;
/// Documents that one request asks for.
pub const MOST_ITEMS: usize = 512;
/// Documents that the two sides agree to compress against.
pub const MOST_CONTEXT: usize = 512;
/// Bytes of these together.
pub const MAX_CONTEXT_BYTES: usize = 4 << 20;
/// The longest request of any kind: a filter of 25,000 categories.
pub const MAX_REQUEST: usize = 1 << 20;
/// The longest list. A page has 40 KB; the rest is for decisions.
pub const MAX_LIST: usize = 64 << 20;

const OWN_LIMITS: &[Limit] = limits![
    MOST_ENTRIES in "entries": "Entries in a page of a list" => "they come with the next page",
    MOST_ITEMS in "documents": "Documents in one order" => "the order is refused: 400",
    MOST_CONTEXT in "documents": "Documents that an order is compressed against" => "the order is refused: 400",
    MAX_CONTEXT_BYTES in "bytes": "The same, together" => "they are left out",
    MAX_REQUEST in "bytes": "A request between tailwaters" => "400",
    MAX_LIST in "bytes": "A list between tailwaters" => "the list is refused",
];

pub(super) const LIMITS: &[Limit] = joined_limits![
    OWN_LIMITS,
    field::LIMITS,
    hello::LIMITS,
    list::LIMITS,
    order::LIMITS,
    pack::LIMITS,
    pieces::LIMITS,
    question::LIMITS,
    squeeze::LIMITS,
];
