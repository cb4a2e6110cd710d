//! What is wrong with a message of the other tailwater. It never says what was in it.

/// Why a message cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends early.
    #[error("the message ends early")]
    Short,
    /// A number is larger than any that makes sense.
    #[error("a number in the message is too large")]
    Number,
    /// A list or a text is longer than it may be.
    #[error("{what} of the message is longer than {limit}")]
    TooLong {
        /// Which.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A value is none of its kind.
    #[error("{what} of the message is no such thing")]
    Value {
        /// Which.
        what: &'static str,
    },
    /// Something that must be there is not.
    #[error("the message lacks {what}")]
    Missing {
        /// Which.
        what: &'static str,
    },
    /// A pack cannot be compressed, or was not compressed against what we hold.
    #[error("the pack cannot be compressed or decompressed: {0}")]
    Compression(String),
}
