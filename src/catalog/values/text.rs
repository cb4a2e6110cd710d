//! What of a text that a client sends is kept.
//!
//! **Invariant:** nothing that cannot be shown, and at most as many characters as were asked for.

use crate::domain::ClientText;

/// What of a text is kept: without what cannot be shown, at most so many characters.
pub(in crate::catalog) fn cut(text: &str, limit: usize) -> String {
    ClientText::of(text, limit).into_string()
}
