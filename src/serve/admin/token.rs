//! The administrator's token: one secret in a file that only this user can read.
//!
//! **Invariant:** the token is compared in constant time and never logged, shown or sent. It never expires by
//! itself: removing the file and starting again makes a new one.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::{Limit, limits};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The file's name below the data directory.
pub const TOKEN_FILE: &str = "admin-token";

/// Bytes of randomness.
const TOKEN_BYTES: usize = 32;

/// A token file is one short line.
const MAX_TOKEN_FILE: u64 = 1024;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_TOKEN_FILE in "bytes": "The token file" => "it is refused",
];

/// The secret that the admin API asks for.
#[derive(Clone)]
pub struct Token(blake3::Hash, String);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or made.
    #[error("the token file {path} cannot be {action}; check who owns the data directory", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Read or made.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds no token.
    #[error("the token file {path} holds no token; remove it and start the server again", path = path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// The machine has no randomness.
    #[error("no randomness for a token: {0}")]
    Random(getrandom::Error),
}

impl Token {
    /// Reads the token of a data directory, as commands do.
    pub fn read(data_dir: &Path) -> Result<Self, TokenError> {
        let path = data_dir.join(TOKEN_FILE);
        let failed = |source| TokenError::File { path: path.clone(), action: "read", source };
        let mut text = String::new();
        let file = std::fs::File::open(&path).map_err(failed)?;
        file.take(MAX_TOKEN_FILE).read_to_string(&mut text).map_err(failed)?;
        let text = text.trim();
        if text.len() < 16 {
            return Err(TokenError::Empty { path });
        }
        Ok(Self(blake3::hash(text.as_bytes()), text.to_owned()))
    }

    /// Reads the token, or makes one with mode 0600; a file that others can read is closed to them.
    pub fn open(data_dir: &Path) -> Result<Self, TokenError> {
        let path = data_dir.join(TOKEN_FILE);
        let failed = |source| TokenError::File { path: path.clone(), action: "made", source };
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                let mut secret = [0; TOKEN_BYTES];
                getrandom::fill(&mut secret).map_err(TokenError::Random)?;
                writeln!(file, "{}", URL_SAFE_NO_PAD.encode(secret)).map_err(failed)?;
                file.sync_all().map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mode = std::fs::metadata(&path).map_err(failed)?.permissions().mode();
                if mode & 0o077 != 0 {
                    tracing::warn!(path = %path.display(), "the token file was readable by others; closing it");
                    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
                        .map_err(failed)?;
                }
            }
            Err(error) => return Err(failed(error)),
        }
        Self::read(data_dir)
    }

    /// The secret itself, for a command's own request.
    pub fn secret(&self) -> &str {
        &self.1
    }

    /// Whether an `Authorization` header carries it.
    pub fn allows(&self, header: Option<&http::HeaderValue>) -> bool {
        header
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            // blake3's comparison takes the same time wherever the two differ
            .is_some_and(|(_, given)| blake3::hash(given.trim().as_bytes()) == self.0)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_token_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Token::open(dir.path()).unwrap();
        let path = dir.path().join(TOKEN_FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let second = Token::open(dir.path()).unwrap();
        assert_eq!(first.secret(), second.secret());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(first.secret().len() >= 43);
    }

    #[test]
    fn only_the_whole_token_opens() {
        let dir = tempfile::tempdir().unwrap();
        let token = Token::open(dir.path()).unwrap();
        let header = |text: &str| HeaderValue::from_str(text).unwrap();
        assert!(token.allows(Some(&header(&format!("Bearer {}", token.secret())))));
        assert!(token.allows(Some(&header(&format!("bearer {}", token.secret())))));
        let short = &token.secret()[..20];
        for wrong in [format!("Bearer {short}"), "Bearer ".to_owned(), format!("Basic {}", token.secret())] {
            assert!(!token.allows(Some(&header(&wrong))), "{wrong}");
        }
        assert!(!token.allows(None));
    }
}
