//! What a document is cut into.
//!
//! **Invariant:** fragments are XML-escaped text, ready to stand in an answer. Nothing here reads a document.

use super::spool::Spool;
use tailwater_domain::Facts;

/// What a document was cut into. Fragments are XML-escaped text, ready to stand in an answer.
#[derive(Debug)]
pub struct Cut {
    /// What the index keeps.
    pub facts: Facts,
    /// The document as it came, without the languages that are not kept.
    pub document: Spool,
    /// `UpdateIdentity`, `Properties`, `Relationships`, `ApplicabilityRules`.
    pub core: Spool,
    /// `ExtendedProperties`, `Files`, `HandlerSpecificData`, then sections that no rule routes.
    pub extended: Spool,
    /// `LocalizedProperties`, one for each language kept.
    pub localized: Vec<Localized>,
    /// `EulaFile` elements, by language.
    pub eulas: Vec<Localized>,
}

/// A fragment of one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Localized {
    /// As the document writes it.
    pub language: String,
    /// XML-escaped text.
    pub text: Vec<u8>,
}
