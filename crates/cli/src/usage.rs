//! What was typed and cannot be meant, and who typed it.
//!
//! **Invariant:** wrong usage ends with 2. Nothing is decided here.

/// What was typed cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(String);

/// Wrong usage, in words.
pub(super) fn wrong(text: impl Into<String>) -> anyhow::Error {
    Usage(text.into()).into()
}

/// Who this is, for decisions.
pub(super) fn user() -> String {
    let named = std::env::var("USER").or_else(|_e| std::env::var("LOGNAME"));
    named.ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "command line".to_owned())
}
