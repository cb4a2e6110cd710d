//! Tokens of downstream servers.
//!
//! **Invariant:** of a token only its hash is kept, and it is compared in a time that does not tell how much of it is right.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::CatalogError;
use crate::values::server::Server;

/// Bytes of chance in a token.
const TOKEN_BYTES: usize = 24;

// not a limit: TOKEN_BYTES: how long a token is

/// BLAKE3 of a token.
pub(crate) fn hash(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}

pub(super) fn is_token(known: &[u8; 32], shown: &str) -> bool {
    // compared in constant time by its own type
    blake3::Hash::from_bytes(*known) == blake3::hash(shown.as_bytes())
}

pub(super) fn new_token() -> Result<String, CatalogError> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(CatalogError::Chance)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

impl Server {
    /// Whether this is the token that was made for it.
    pub fn has_token(&self, shown: &str) -> bool {
        self.token.is_some_and(|known| is_token(&known, shown))
    }
}
