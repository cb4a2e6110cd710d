//! Cookies: what this server tells itself through whoever asks it ([MS-WUSP] 3.1.5.3, [MS-WSUSSS] 2.2.4.7).
//!
//! A cookie is bytes of a fixed layout and an HMAC-SHA256 over them. What it says is no secret (the other side sent
//! most of it), but nobody else can make or change one.
//!
//! The newest key of a ring seals; those before it open what they sealed.
//!
//! **Invariant:** nothing of a cookie is interpreted before its seal was checked; a cookie of one kind never passes
//! for another. The clear-text expiration beside a cookie is never read.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;
use uuid::Uuid;

use tailwater_catalog::{Catalog, CatalogError, Keyring, Place, SEAL_KEY};
use tailwater_domain::{Limit, limits};

const SEAL_LEN: usize = 32;
const MAGIC: &[u8; 3] = b"twk";
/// Layout version: the second says up to where its bearer was given numbers. Older ones are read for ever.
const VERSION: u8 = 2;
/// The bytes before what a cookie says.
const HEAD_LEN: usize = 3 + 1 + 1 + 16;
/// The bytes of a place.
pub(super) const PLACE_LEN: usize = 8 + 8;
/// The longest name in a cookie: its length is one byte.
pub(super) const MAX_NAME: usize = 255;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_NAME in "bytes": "A name in a cookie" => "it is cut",
];

// not a limit: HEAD_LEN: the layout of a cookie

/// What a cookie is for. Numbers are part of the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// From an agent's `GetAuthorizationCookie`, good for its `GetCookie` only.
    Authorization = 1,
    /// From an agent's `GetCookie`, good for everything else it asks.
    Service = 2,
    /// From a downstream server's `GetAuthorizationCookie`, good for its `GetCookie` only.
    ServerAuthorization = 3,
    /// From a downstream server's `GetCookie`, good for everything else it asks.
    ServerService = 4,
}

/// Why a cookie is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CookieError {
    /// Not sealed with this key, or not of this kind.
    #[error("the seal is not ours")]
    Forged,
    /// Sealed by an earlier identity of this server.
    #[error("made before the server's identity changed")]
    OtherServer,
}

/// Seals cookies and opens them.
#[derive(Clone)]
pub(super) struct Sealer {
    ring: Keyring,
    /// Of numbers that outlive every cookie, such as those in anchors.
    lasting: Hmac<Sha256>,
    server: Uuid,
}

/// A fixed-size key cannot have a wrong length.
fn keyed(key: &[u8; SEAL_KEY]) -> Hmac<Sha256> {
    Hmac::new(key.into())
}

impl Sealer {
    /// Seals with the keys of a ring, as a server; `lasting` is for what is checked after years.
    pub(super) fn new(ring: Keyring, lasting: &[u8; SEAL_KEY], server: Uuid) -> Self {
        Self { ring, lasting: keyed(lasting), server }
    }

    /// Seals with one key that is never replaced.
    #[cfg(any(test, fuzzing))]
    pub(super) fn fixed(key: [u8; SEAL_KEY], server: Uuid) -> Self {
        Self::new(Keyring::fixed(key), &key, server)
    }

    /// The sealed cookie.
    pub(super) fn seal(&self, kind: Kind, says: &[u8]) -> Vec<u8> {
        self.seal_as(VERSION, kind, says)
    }

    /// A cookie in a layout of a version.
    pub(super) fn seal_as(&self, version: u8, kind: Kind, says: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_LEN + says.len() + SEAL_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[version, kind as u8]);
        bytes.extend_from_slice(self.server.as_bytes());
        bytes.extend_from_slice(says);
        let seal = keyed(&self.ring.newest()).chain_update(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&seal);
        bytes
    }

    /// What a cookie of this kind says, given to `read` once its seal is known to be ours. Whether its time is over
    /// is for the caller to ask.
    ///
    /// # Errors
    /// When this server did not seal it.
    pub(super) fn open<T>(
        &self,
        kind: Kind,
        sealed: &[u8],
        read: impl FnOnce(Says<'_>) -> Result<T, CookieError>,
    ) -> Result<T, CookieError> {
        let split = sealed.len().checked_sub(SEAL_LEN).ok_or(CookieError::Forged)?;
        let (bytes, seal) = sealed.split_at(split);
        let opens = |key: &[u8; SEAL_KEY]| keyed(key).chain_update(bytes).verify_slice(seal).is_ok();
        if !self.ring.all().iter().any(opens) {
            return Err(CookieError::Forged);
        }
        let (version, says) =
            bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first()).ok_or(CookieError::Forged)?;
        if !(1..=VERSION).contains(version) {
            return Err(CookieError::Forged);
        }
        let mut says = Says { rest: says, version: *version };
        if says.bytes()? != [kind as u8] {
            return Err(CookieError::Forged);
        }
        let server = says.id()?;
        let claims = read(says)?;
        if server == self.server { Ok(claims) } else { Err(CookieError::OtherServer) }
    }

    /// A number below `limit` that only this server can tell for `text`, the same whatever keys are replaced.
    pub(super) fn check_number(&self, text: &[u8], limit: u32) -> u32 {
        let keyed = self.lasting.clone().chain_update(self.server.as_bytes()).chain_update(text);
        let bytes = keyed.finalize().into_bytes();
        bytes.first_chunk().map_or(0, |first| u32::from_le_bytes(*first)) % limit.max(1)
    }
}

/// What a cookie says, read from its beginning.
pub(super) struct Says<'a> {
    rest: &'a [u8],
    version: u8,
}

impl Says<'_> {
    /// The next bytes.
    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], CookieError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(CookieError::Forged)?;
        self.rest = tail;
        Ok(*head)
    }

    /// A time in milliseconds.
    pub(super) fn time(&mut self) -> Result<Timestamp, CookieError> {
        let time = i64::from_le_bytes(self.bytes()?);
        Timestamp::from_millisecond(time).map_err(|_range| CookieError::Forged)
    }

    /// An identity.
    pub(super) fn id(&mut self) -> Result<Uuid, CookieError> {
        Ok(Uuid::from_bytes(self.bytes()?))
    }

    /// The place up to which numbers were given; in a cookie of the first version, that of a change number at a time
    /// when places had no marks.
    pub(super) fn place(&mut self, change: u64) -> Result<Place, CookieError> {
        if self.version == 1 {
            return Ok(Place { change, mark: 0 });
        }
        Ok(Place { change: u64::from_le_bytes(self.bytes()?), mark: u64::from_le_bytes(self.bytes()?) })
    }

    /// The rest: a text with its length in a byte before it.
    pub(super) fn name(mut self) -> Result<String, CookieError> {
        let name = self.name_before()?;
        if self.is_empty() { Ok(name) } else { Err(CookieError::Forged) }
    }

    /// A text with its length in a byte before it, and more behind.
    pub(super) fn name_before(&mut self) -> Result<String, CookieError> {
        let [len] = self.bytes()?;
        let (name, rest) = self.rest.split_at_checked(usize::from(len)).ok_or(CookieError::Forged)?;
        self.rest = rest;
        std::str::from_utf8(name).map(str::to_owned).map_err(|_text| CookieError::Forged)
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Appends a place.
pub(super) fn push_place(says: &mut Vec<u8>, place: &Place) {
    says.extend_from_slice(&place.change.to_le_bytes());
    says.extend_from_slice(&place.mark.to_le_bytes());
}

/// Appends a text with its length in a byte before it, cut to [`MAX_NAME`] bytes.
pub(super) fn push_name(says: &mut Vec<u8>, name: &str) {
    let name = &name[..name.floor_char_boundary(MAX_NAME)];
    // it was just cut to fewer than 256 bytes
    says.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    says.extend_from_slice(name.as_bytes());
}

/// Random bytes, made once for the life of the store.
pub(super) fn lasting<const N: usize>(catalog: &Catalog, key: &str) -> Result<[u8; N], CatalogError> {
    let kept: Option<[u8; N]> = catalog.kept(key)?.and_then(|bytes| bytes.try_into().ok());
    if let Some(bytes) = kept {
        // one of before such values were journaled is kept from now on
        catalog.keep(key, &bytes)?;
        return Ok(bytes);
    }
    let mut bytes = [0; N];
    for chunk in bytes.chunks_mut(16) {
        // random but for six fixed bits of sixteen bytes: 244 bits for a key
        chunk.copy_from_slice(&Uuid::new_v4().as_bytes()[..chunk.len()]);
    }
    catalog.keep(key, &bytes)?;
    Ok(bytes)
}

/// By how much the clock may have been set back before a cookie looks as if it came from the future.
const CLOCK_ERROR: SignedDuration = SignedDuration::from_mins(5);

// not a limit: CLOCK_ERROR: by how much the clock may have been set back

/// Whether a cookie's time is now. One that a clock issued which was ahead is over: else it would be good for as long as the
/// clock was wrong.
pub(super) fn is_in_force(issued: Timestamp, expires: Timestamp, now: Timestamp) -> bool {
    issued.duration_since(now) <= CLOCK_ERROR && now < expires
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_of_a_clock_that_was_ahead_is_over() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let (issued, expires) = (at(1_000_000_000), at(1_000_003_600));
        let (day, decade) = (86_400, 10 * 365 * 86_400);
        for (jump, good) in [
            (0, true),
            (3_599, true),
            (3_600, false),
            (day, false),
            (decade, false),
            (-60, true),
            (-301, false),
            (-3_600, false),
            (-day, false),
            (-decade, false),
        ] {
            assert_eq!(is_in_force(issued, expires, at(1_000_000_000 + jump)), good, "{jump}");
        }
    }
}
