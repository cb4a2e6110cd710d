//! What a document may cost, and why one is refused. Invariant: no tag or text, however long it claims to be,
//! takes more memory than its limit. It never looks at what the text says.

use std::io::{self, BufRead};

/// What one document may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Elements inside each other.
    pub depth: usize,
    /// Attributes of one element.
    pub attributes: usize,
    /// Elements in all.
    pub elements: usize,
    /// Bytes of one tag, comment or text.
    pub token_bytes: usize,
}

impl Limits {
    /// For requests of agents and downstream servers, whose bodies the listener holds to 4 MiB.
    pub const REQUEST: Self = Self { depth: 32, attributes: 64, elements: 400_000, token_bytes: 4 << 20 };
    /// For roll-ups of downstream servers: the status of 500 computers is up to some hundred thousand elements.
    pub const ROLLUP: Self = Self { depth: 32, attributes: 64, elements: 4_000_000, token_bytes: 1 << 20 };
    /// For answers of an upstream: lists of millions of revisions, texts of 16 MiB (longer ones are read
    /// with [`Decoder::text_reader`], which has no use for this limit).
    pub const ANSWER: Self = Self { depth: 32, attributes: 64, elements: 50_000_000, token_bytes: 16 << 20 };
}

/// Why a text could not be read as the message it should be.
#[derive(Debug, thiserror::Error)]
pub enum XmlError {
    /// It is not well-formed.
    #[error("the text is not well-formed XML")]
    Syntax(#[source] quick_xml::Error),
    /// It could not be read to its end.
    #[error("the text could not be read")]
    Read(#[source] io::Error),
    /// It has a document type, which no message has.
    #[error("a document type declaration is not allowed")]
    Doctype,
    /// It refers to an entity that is not predefined.
    #[error("the entity &{0}; is not allowed")]
    Entity(String),
    /// It ended too early.
    #[error("the text ends inside an element")]
    UnexpectedEnd,
    /// It nests too deep.
    #[error("elements are nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// An element has too many attributes.
    #[error("an element has more than {limit} attributes")]
    TooManyAttributes {
        /// The limit.
        limit: usize,
    },
    /// It has too many elements.
    #[error("there are more than {limit} elements")]
    TooManyElements {
        /// The limit.
        limit: usize,
    },
    /// A tag or text is too long.
    #[error("a tag or text is longer than {limit} bytes")]
    TokenTooLong {
        /// The limit.
        limit: usize,
    },
    /// An element that holds text holds an element.
    #[error("the element {element} holds an element where text was expected")]
    NotText {
        /// Its name.
        element: String,
    },
    /// An element occurs twice where once is allowed.
    #[error("the element {element} occurs twice")]
    Duplicate {
        /// Its name.
        element: &'static str,
    },
    /// An element that must be there is not.
    #[error("the element {element} is missing")]
    Missing {
        /// Its name.
        element: &'static str,
    },
    /// A text has the wrong form.
    #[error("the value {text:?} of the element {element} is not understood")]
    Value {
        /// The element's name.
        element: String,
        /// The text, cut to 80 characters.
        text: String,
    },
}

impl From<quick_xml::Error> for XmlError {
    fn from(error: quick_xml::Error) -> Self {
        match error {
            quick_xml::Error::Io(cause) => {
                if let Some(limit) = cause.get_ref().and_then(|inner| inner.downcast_ref::<TokenLimit>()) {
                    return Self::TokenTooLong { limit: limit.0 };
                }
                Self::Read(io::Error::new(cause.kind(), cause))
            }
            quick_xml::Error::IllFormed(quick_xml::errors::IllFormedError::MissingEndTag(_)) => {
                Self::UnexpectedEnd
            }
            error => Self::Syntax(error),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a tag or text is longer than {0} bytes")]
struct TokenLimit(usize);

/// Counts what one event takes from the input, so that a tag without end cannot fill the memory.
pub(super) struct Metered<R> {
    pub(super) inner: R,
    taken: usize,
    limit: usize,
}

impl<R: io::Read> io::Read for Metered<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.inner.read(out)
    }
}

impl<R: BufRead> BufRead for Metered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.taken > self.limit {
            return Err(io::Error::other(TokenLimit(self.limit)));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.taken += amount;
        self.inner.consume(amount);
    }
}

impl<R> Metered<R> {
    pub(super) fn new(inner: R, limit: usize) -> Self {
        Self { inner, taken: 0, limit }
    }

    pub(super) fn reset(&mut self) {
        self.taken = 0;
    }
}
