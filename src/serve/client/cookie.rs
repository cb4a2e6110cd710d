//! Cookies: what this server tells itself through an agent ([MS-WUSP] 3.1.5.3, 3.1.5.4).
//!
//! A cookie is bytes of a fixed layout and an HMAC-SHA256 over them. What it says is no secret (the agent sent most of
//! it), but nobody else can make or change one.
//!
//! **Invariant:** nothing of a cookie is interpreted before its seal was checked; a cookie of one kind never passes
//! for another. The clear-text expiration beside a cookie is never read.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;
use uuid::Uuid;

use crate::domain::ComputerId;
use crate::wire::client_update::ProtocolVersion;

/// Bytes of the key: a block of SHA-256.
pub(super) const KEY_LEN: usize = 64;
const SEAL_LEN: usize = 32;
/// Layout version and the bytes before the computer's identity.
const MAGIC: &[u8; 4] = b"twk\x01";
const FIXED_LEN: usize = 4 + 1 + 16 + 8 + 8 + 8 + 8 + 2 + 2 + 1;

/// What a cookie is for. Numbers are part of the layout; 3 and 4 are kept for the services between servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// From `GetAuthorizationCookie`, good for `GetCookie` only.
    Authorization = 1,
    /// From `GetCookie`, good for everything else.
    Service = 2,
}

/// What a cookie says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    /// When it was made.
    pub(super) issued: Timestamp,
    /// Until when it is good. Use does not move it.
    pub(super) expires: Timestamp,
    /// `LastChange` of the configuration the agent knows.
    pub(super) config: Timestamp,
    /// How much of the decisions the agent has seen.
    pub(super) change_number: u64,
    /// What the agent speaks.
    pub(super) version: ProtocolVersion,
    /// Whose it is.
    pub(super) computer: ComputerId,
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

/// Seals and opens cookies.
#[derive(Clone)]
pub(super) struct Sealer {
    keyed: Hmac<Sha256>,
    server: Uuid,
}

impl Sealer {
    /// Seals with a key, as a server.
    pub(super) fn new(key: &[u8; KEY_LEN], server: Uuid) -> Self {
        // a fixed-size key cannot have a wrong length
        let keyed = Hmac::new(key.into());
        Self { keyed, server }
    }

    /// The sealed cookie.
    pub(super) fn seal(&self, kind: Kind, claims: &Claims) -> Vec<u8> {
        let computer = claims.computer.0.as_bytes();
        let computer = &computer[..computer.len().min(255)];
        let mut bytes = Vec::with_capacity(FIXED_LEN + computer.len() + SEAL_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.push(kind as u8);
        bytes.extend_from_slice(self.server.as_bytes());
        for time in [claims.issued, claims.expires, claims.config] {
            bytes.extend_from_slice(&time.as_millisecond().to_le_bytes());
        }
        bytes.extend_from_slice(&claims.change_number.to_le_bytes());
        bytes.extend_from_slice(&claims.version.major.to_le_bytes());
        bytes.extend_from_slice(&claims.version.minor.to_le_bytes());
        bytes.push(u8::try_from(computer.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(computer);
        let seal = self.keyed.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&seal);
        bytes
    }

    /// What a cookie of this kind says. Whether its time is over is for the caller to ask.
    ///
    /// # Errors
    /// When this server did not seal it.
    pub(super) fn open(&self, kind: Kind, sealed: &[u8]) -> Result<Claims, CookieError> {
        let split = sealed.len().checked_sub(SEAL_LEN).ok_or(CookieError::Forged)?;
        let (bytes, seal) = sealed.split_at(split);
        self.keyed.clone().chain_update(bytes).verify_slice(seal).map_err(|_mismatch| CookieError::Forged)?;
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(CookieError::Forged)?;
        let [found] = take(&mut rest)?;
        if found != kind as u8 {
            return Err(CookieError::Forged);
        }
        let server = Uuid::from_bytes(take(&mut rest)?);
        let mut time = || -> Result<Timestamp, CookieError> {
            Timestamp::from_millisecond(i64::from_le_bytes(take(&mut rest)?))
                .map_err(|_range| CookieError::Forged)
        };
        let (issued, expires, config) = (time()?, time()?, time()?);
        let change_number = u64::from_le_bytes(take(&mut rest)?);
        let version = ProtocolVersion {
            major: u16::from_le_bytes(take(&mut rest)?),
            minor: u16::from_le_bytes(take(&mut rest)?),
        };
        let [len] = take(&mut rest)?;
        let computer = std::str::from_utf8(rest).map_err(|_text| CookieError::Forged)?;
        if computer.len() != usize::from(len) {
            return Err(CookieError::Forged);
        }
        if server != self.server {
            return Err(CookieError::OtherServer);
        }
        let computer = ComputerId(computer.to_owned());
        Ok(Claims { issued, expires, config, change_number, version, computer })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], CookieError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(CookieError::Forged)?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            issued: Timestamp::from_second(1_000).unwrap(),
            expires: Timestamp::from_second(4_600).unwrap(),
            config: Timestamp::from_millisecond(77_123).unwrap(),
            change_number: 42,
            version: ProtocolVersion { major: 2, minor: 90 },
            computer: ComputerId("e1da06a3-5601-43c9-bac3-52d5db701494".to_owned()),
        }
    }

    fn sealer(key: u8, server: u128) -> Sealer {
        Sealer::new(&[key; KEY_LEN], Uuid::from_u128(server))
    }

    #[test]
    fn what_was_sealed_is_read_back() {
        let sealed = sealer(1, 1).seal(Kind::Service, &claims());
        assert_eq!(sealer(1, 1).open(Kind::Service, &sealed), Ok(claims()));
    }

    #[test]
    fn no_bit_can_be_changed_and_no_byte_left_out() {
        let ours = sealer(1, 1);
        let sealed = ours.seal(Kind::Service, &claims());
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ours.open(Kind::Service, &changed), Err(CookieError::Forged), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(ours.open(Kind::Service, &sealed[..len]), Err(CookieError::Forged), "length {len}");
        }
    }

    #[test]
    fn kinds_keys_and_servers_are_kept_apart() {
        let sealed = sealer(1, 1).seal(Kind::Service, &claims());
        assert_eq!(sealer(1, 1).open(Kind::Authorization, &sealed), Err(CookieError::Forged));
        assert_eq!(sealer(2, 1).open(Kind::Service, &sealed), Err(CookieError::Forged));
        assert_eq!(sealer(1, 2).open(Kind::Service, &sealed), Err(CookieError::OtherServer));
    }
}
