//! Why an update document was refused.
//!
//! **Invariant:** every variant names what was wrong and where; nothing of a refused document is kept.

use tailwater_domain::Exceeded;
use tailwater_runtime::Panicked;

/// An update document that cannot be used. The revision is left out and reported; other revisions are not
/// touched by it.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The document could not be read, or a fragment could not be spooled.
    #[error("could not read or spool the update document; check the space in the data directory")]
    Spool(#[from] std::io::Error),
    /// Reading it hit a fault of the program or of a library.
    #[error("the update document could not be read")]
    Fault(#[source] Panicked),
    /// The text is no well-formed XML.
    #[error("the update document is no well-formed XML near byte {position}; fetch it again")]
    NotXml {
        /// Bytes read when it was noticed.
        position: u64,
        /// What the reader says.
        #[source]
        source: quick_xml::Error,
    },
    /// A tag, reference or character that XML does not allow.
    #[error("the update document breaks the rules of XML near byte {position}: {what}")]
    Malformed {
        /// Bytes read when it was noticed.
        position: u64,
        /// The rule.
        what: &'static str,
    },
    /// A document type definition: never read.
    #[error("the update document carries a DTD, which is never accepted")]
    Dtd,
    /// More than is accepted of something.
    #[error("the update document has more than {limit} {what}; it is refused")]
    TooMuch {
        /// What there is too much of, with its unit.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A prefix that no declaration in scope binds.
    #[error("the namespace prefix {prefix:?} is not declared")]
    UnboundPrefix {
        /// The prefix.
        prefix: String,
    },
    /// Two attributes of one element have the same name once prefixes are gone ([MS-WUSP] 3.1.1.1).
    #[error("element {element:?} has two attributes {attribute:?} once their prefixes are removed")]
    AttributeCollision {
        /// The element.
        element: String,
        /// The name both would have.
        attribute: String,
    },
    /// The root is not `Update`.
    #[error("the document is no update: its root is {root:?}")]
    NotAnUpdate {
        /// The root's name.
        root: String,
    },
    /// Something every update has is not there.
    #[error("the update document has no {what}")]
    Missing {
        /// Element or attribute.
        what: &'static str,
    },
    /// A section that may occur once occurs twice.
    #[error("the update document has two {section} sections")]
    Twice {
        /// The section.
        section: &'static str,
    },
    /// A value that is not what its place asks for.
    #[error("{what} cannot be {value:?}")]
    BadValue {
        /// Element or attribute.
        what: &'static str,
        /// What was there, cut to 80 characters.
        value: String,
    },
}

impl From<Exceeded> for MetadataError {
    fn from(Exceeded { what, limit }: Exceeded) -> Self {
        Self::TooMuch { what, limit }
    }
}

impl MetadataError {
    pub(super) fn bad(what: &'static str, value: &str) -> Self {
        Self::BadValue { what, value: value.chars().take(80).collect() }
    }
}
