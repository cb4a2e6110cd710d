//! What a transfer is for.

use serde::{Deserialize, Serialize};

use crate::Choice;

/// What a transfer is for, in the order of urgency: the link serves the first that waits, and leaves the others one
/// turn in 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// An agent waits for it now.
    Interactive,
    /// What the upstream says of updates: synchronisation.
    Metadata,
    /// Approved with a deadline.
    Deadline,
    /// Security and definition updates, ahead of demand.
    Security,
    /// Other approved files, ahead of demand.
    Normal,
    /// Whatever may wait: completing partial files.
    Background,
}

impl Choice for Class {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("interactive", Self::Interactive),
        ("metadata", Self::Metadata),
        ("deadline", Self::Deadline),
        ("security", Self::Security),
        ("normal", Self::Normal),
        ("background", Self::Background),
    ];
}

impl Class {
    /// Every class, most urgent first.
    pub const ALL: [Self; 6] =
        [Self::Interactive, Self::Metadata, Self::Deadline, Self::Security, Self::Normal, Self::Background];

    /// As in metrics and status.
    pub fn as_str(self) -> &'static str {
        self.word()
    }

    /// Its place in [`Class::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_the_place_in_the_list() {
        for (place, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), place);
        }
    }
}
