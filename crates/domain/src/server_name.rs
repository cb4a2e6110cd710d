//! The full name of a server, in any script (`accountName` [MS-WSUSSS] 3.1.4.2, `FullDomainName` 3.1.4.14, and what an
//! administrator names).
//!
//! **Invariant:** one rule at the handshake, in roll-ups, in commands and in the API: the characters of a
//! [`ComputerName`], in labels of at most 63 characters that are not empty and neither begin nor end with a hyphen. It
//! never says whether a resolver knows the name.

use std::fmt;

use super::{ComputerName, ComputerNameError, Limit, limits};

/// The longest label of a DNS name.
const MAX_LABEL: usize = 63;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_LABEL in "characters": "A label of a server's name" => "the request is refused",
];

/// A name that may be kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(ComputerName);

/// A text that is no name of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServerNameError {
    /// It has a character that no name has, or is empty or too long.
    #[error(transparent)]
    Name(#[from] ComputerNameError),
    /// A part between dots is no label.
    #[error(
        "each part between dots must have 1 to {MAX_LABEL} characters and neither begin nor end with a hyphen"
    )]
    Label,
}

impl ServerName {
    /// Reads a name; white space around it is not part of it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, ServerNameError> {
        let name = ComputerName::parse(text)?;
        let is_label = |label: &str| {
            !label.is_empty()
                && label.chars().count() <= MAX_LABEL
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // a name may be written with its final dot
        let labels = name.as_str().strip_suffix('.').unwrap_or(name.as_str());
        if labels.split('.').all(is_label) { Ok(Self(name)) } else { Err(ServerNameError::Label) }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.0.into_string()
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_labels() {
        let long = "a".repeat(64);
        let table = [
            ("branch.example.com", true),
            ("BRANCH", true),
            ("3com.example", true),
            ("branch_1", true),
            ("filiale-münchen.example", true),
            ("a.example.", true),
            ("", false),
            (".", false),
            ("a..b", false),
            ("-a.b", false),
            ("a-.b", false),
            ("a b", false),
            ("a\u{202e}b", false),
            ("a<b>", false),
            ("a\nb", false),
            (long.as_str(), false),
        ];
        for (text, is_name) in table {
            assert_eq!(ServerName::parse(text).is_ok(), is_name, "{text:?}");
        }
    }
}
