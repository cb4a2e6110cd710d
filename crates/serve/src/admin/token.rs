//! The administrator's token: one secret in a file that only this user can read.
//!
//! **Invariant:** the token is compared in constant time and never logged, shown or sent. It never expires by
//! itself: removing the file and starting again makes a new one.

use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tailwater_domain::{Limit, limits};
use tokio::sync::Semaphore;

use tailwater_runtime::{Allowance, Clock, LogThrottle, RateLimiter, RateLimits};

use tailwater_durable::{Disk, Mode, Resume, Trouble, open_private, replace, set_aside};

/// The file's name below the data directory.
pub const TOKEN_FILE: &str = "admin-token";

/// Bytes of randomness.
const TOKEN_BYTES: usize = 32;

/// A shorter text is no token.
const LEAST_TOKEN: usize = 16;

// not a limit: LEAST_TOKEN: what is shorter is half a token

/// What it is called in reports of the disk.
const WRITER: &str = "admin token";

/// A token file is one short line.
const MAX_TOKEN_FILE: u64 = 1024;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_TOKEN_FILE in "bytes": "The token file" => "it is refused",
    MAX_SLOWED in "requests": "Requests with a wrong token that wait for their answer" => "429 at once",
];

/// The secret that the admin API asks for.
#[derive(Clone)]
pub struct Token {
    hash: blake3::Hash,
    text: String,
    /// Kept until there is room for it.
    _unwritten: Option<Arc<Unwritten>>,
}

/// A token that could not be written yet.
struct Unwritten {
    path: PathBuf,
    text: String,
    disk: Disk,
}

impl Unwritten {
    fn write(&self) -> io::Result<()> {
        replace(&self.path, Mode::Private, |file| writeln!(file, "{}", self.text))
    }
}

impl Resume for Unwritten {
    fn resume(&self) {
        if self.path.exists() {
            return;
        }
        match self.write() {
            Ok(()) => self.disk.works(WRITER),
            Err(error) => self.disk.failed(WRITER, &error),
        }
    }
}

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
        if text.len() < LEAST_TOKEN {
            return Err(TokenError::Empty { path });
        }
        Ok(Self::of(text.to_owned(), None))
    }

    /// Reads the token, or makes one with mode 0600; a file that others can read is closed to them, half a one is set
    /// aside. On a disk that takes nothing a new one lasts as long as the process, and is written when there is room.
    pub fn open(data_dir: &Path, disk: &Disk) -> Result<Self, TokenError> {
        let path = data_dir.join(TOKEN_FILE);
        let failed = |source| TokenError::File { path: path.clone(), action: "made", source };
        let found = match open_private(&path, MAX_TOKEN_FILE) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Some((Vec::new(), false)),
            found => found.map_err(failed)?,
        };
        if let Some((text, was_open)) = found {
            if was_open {
                tracing::warn!(path = %path.display(),
                    "the token file was readable by others and is closed to them now; remove it and start again to have \
                     another token");
            }
            let text = String::from_utf8_lossy(&text);
            if text.trim().len() >= LEAST_TOKEN {
                return Ok(Self::of(text.trim().to_owned(), None));
            }
            // what a full disk left of one
            match set_aside(&path) {
                Ok(aside) => {
                    tracing::warn!(aside = %aside.display(), "half a token was set aside; there is a new one");
                }
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "half a token cannot be set aside");
                }
            }
        }
        let mut secret = [0; TOKEN_BYTES];
        getrandom::fill(&mut secret).map_err(TokenError::Random)?;
        let text = URL_SAFE_NO_PAD.encode(secret);
        let unwritten = Arc::new(Unwritten { path: path.clone(), text: text.clone(), disk: disk.clone() });
        match unwritten.write() {
            Ok(()) => Ok(Self::of(text, None)),
            Err(error) if Trouble::of(&error).is_some() => {
                disk.failed(WRITER, &error);
                let waits: Weak<Unwritten> = Arc::downgrade(&unwritten);
                disk.wait_for_room(waits);
                Ok(Self::of(text, Some(unwritten)))
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn of(text: String, unwritten: Option<Arc<Unwritten>>) -> Self {
        Self { hash: blake3::hash(text.as_bytes()), text, _unwritten: unwritten }
    }

    /// The secret itself, for a command's own request.
    pub fn secret(&self) -> &str {
        &self.text
    }

    /// Whether an `Authorization` header carries it.
    pub fn allows(&self, header: Option<&http::HeaderValue>) -> bool {
        header
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            // blake3's comparison takes the same time wherever the two differ
            .is_some_and(|(_, given)| blake3::hash(given.trim().as_bytes()) == self.hash)
    }
}

/// Wrong tokens that an address, and a subnet, may show before it is slowed.
const WRONG_TOKENS: RateLimits = RateLimits {
    total: None,
    per_subnet: Some(Allowance { burst: 50, interval: Duration::from_secs(1) }),
    per_address: Some(Allowance { burst: 10, interval: Duration::from_secs(6) }),
    entries: 1_000,
};
/// How long who is slowed waits for its answer.
const SLOWED: Duration = Duration::from_secs(1);
/// How many wait so at once; more are told at once to come later.
const MAX_SLOWED: usize = 16;

// not a limit: TOKEN_BYTES: how long a token is

/// What becomes of requests with a wrong token: counted, logged once a minute, slowed by address.
///
/// The right token is never slowed, wherever it comes from: it is looked at first, and has 256 bits of chance, which no
/// number of attempts finds.
pub(super) struct WrongTokens {
    rate: RateLimiter,
    log: LogThrottle,
    waiting: Semaphore,
    clock: Clock,
}

/// What who showed a wrong token is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// That the token is wrong.
    Wrong,
    /// That it came too often.
    TooOften,
}

impl WrongTokens {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            rate: RateLimiter::new(WRONG_TOKENS, clock.clone()),
            log: LogThrottle::default(),
            waiting: Semaphore::new(MAX_SLOWED),
            clock: clock.clone(),
        }
    }

    /// A wrong token was shown; ends when that may be answered.
    pub(super) async fn shown(&self, from: Option<IpAddr>) -> Told {
        if let Some(count) = self.log.note(self.clock.instant()) {
            tracing::warn!(
                from = from.map(tracing::field::display),
                since_the_last_line = count,
                "a request to the admin listener showed a wrong token"
            );
        }
        if from.is_none_or(|address| self.rate.try_take(address).is_ok()) {
            return Told::Wrong;
        }
        if let Ok(_place) = self.waiting.try_acquire() {
            self.clock.sleep(SLOWED).await;
        }
        Told::TooOften
    }

    /// How many were shown since this process began.
    pub(super) fn total(&self) -> u64 {
        self.log.total()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_token_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Token::open(dir.path(), &Disk::unwatched()).unwrap();
        let path = dir.path().join(TOKEN_FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let second = Token::open(dir.path(), &Disk::unwatched()).unwrap();
        assert_eq!(first.secret(), second.secret());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(first.secret().len() >= 43);
    }

    #[test]
    fn half_a_token_is_no_reason_not_to_start() {
        let dir = tempfile::tempdir().unwrap();
        for half in ["", "abc", "\n"] {
            std::fs::write(dir.path().join(TOKEN_FILE), half).unwrap();
            assert!(Token::open(dir.path(), &Disk::unwatched()).unwrap().secret().len() >= 43, "{half:?}");
        }
        assert!(dir.path().join("damaged-admin-token-3").exists(), "nothing is lost");
    }

    #[test]
    fn only_the_whole_token_opens() {
        let dir = tempfile::tempdir().unwrap();
        let token = Token::open(dir.path(), &Disk::unwatched()).unwrap();
        let header = |text: &str| HeaderValue::from_str(text).unwrap();
        assert!(token.allows(Some(&header(&format!("Bearer {}", token.secret())))));
        assert!(token.allows(Some(&header(&format!("bearer {}", token.secret())))));
        let short = &token.secret()[..20];
        for wrong in [format!("Bearer {short}"), "Bearer ".to_owned(), format!("Basic {}", token.secret())] {
            assert!(!token.allows(Some(&header(&wrong))), "{wrong}");
        }
        assert!(!token.allows(None));
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_tokens_are_counted_and_slowed_by_address() {
        let wrong = WrongTokens::new(&Clock::system());
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([198, 51, 100, 1]));
        let start = tokio::time::Instant::now();
        for _ in 0..10 {
            assert_eq!(wrong.shown(Some(one)).await, Told::Wrong);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..5 {
            assert_eq!(wrong.shown(Some(one)).await, Told::TooOften);
        }
        assert_eq!(start.elapsed(), 5 * SLOWED, "each waits");
        assert_eq!(wrong.shown(Some(other)).await, Told::Wrong, "nobody else does");
        assert_eq!((start.elapsed(), wrong.total()), (5 * SLOWED, 16));
    }
}
