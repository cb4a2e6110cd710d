//! XML as the two protocols use it: elements, text, hardly any attributes, prefixes that differ from peer
//! to peer.
//!
//! **Invariant:** names are compared without their prefix; a document type, an entity beyond the five
//! predefined ones, and anything past the [`Limits`] is refused before it costs memory. It never resolves
//! anything outside the text it was given.

mod decode;
mod encode;
mod limits;
mod text;

use tailwater_domain::{Limit, joined_limits};

pub use decode::{Decoder, once};
pub use encode::{Encoder, escape, escape_into, escape_text_into};
pub use limits::{Limits, XmlError};
pub use text::TextReader;

pub(super) const LIMITS: &[Limit] = joined_limits![text::LIMITS,];

#[cfg(test)]
mod tests;
