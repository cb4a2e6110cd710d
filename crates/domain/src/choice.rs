//! Settings that have a few values, each with a word.
//!
//! **Invariant:** a value has one word, and a word one value.

/// A setting with a few values. The room that obeys it says which; configuration, API and command line use its words.
pub trait Choice: Copy + PartialEq + 'static {
    /// Each value with its word, in the order in which they are offered.
    const WORDS: &'static [(&'static str, Self)];

    /// The value that a word stands for.
    fn of(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
    }

    /// The word of this value; empty for a value that is missing in [`Choice::WORDS`].
    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, value)| *value == self);
        debug_assert!(found.is_some(), "a value without a word");
        found.map_or("", |(word, _)| word)
    }
}
