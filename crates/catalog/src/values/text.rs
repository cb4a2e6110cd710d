//! What of a text that a client sends is kept.
//!
//! **Invariant:** nothing that cannot be shown, and at most as many characters as were asked for.

use tailwater_domain::ClientText;

/// What of a text is kept: without what cannot be shown, at most so many characters.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    ClientText::of(text, limit).into_string()
}
