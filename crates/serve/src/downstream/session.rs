//! What handshakes of downstream servers share: the keys of their cookies, and what a cookie says.
//!
//! **Invariant:** what a cookie says is sealed whole, and its kind is part of the seal. It never decides who may come.

use jiff::{SignedDuration, Timestamp};

use super::config::{Config, Languages};
use crate::cookie::{CookieError, Kind, PLACE_LEN, Sealer, push_name, push_place};
use crate::since::since;
use tailwater_catalog::{Catalog, CatalogError, Place};
use tailwater_domain::ServerId;
use tailwater_runtime::Clock;
use tailwater_wire::server_sync::served;

/// How long both cookies are good, as on Windows (note 29).
pub(super) const LIFETIME: SignedDuration = SignedDuration::from_mins(240);
/// Bytes of what a cookie says before the name.
const FIXED_LEN: usize = 8 + 8 + PLACE_LEN + 2 + 2 + 16 + 1;

// not a limit: FIXED_LEN: the layout of a cookie
/// How long a key opens cookies after it was replaced: longer than any is good.
const KEYS_OPEN: std::time::Duration = std::time::Duration::from_hours(24);
/// The value of earlier versions that held the only key.
const FORMER_KEY: &str = "downstream.cookie_key";

/// What all handshakes share.
pub(super) struct Session {
    pub(super) sealer: Sealer,
    /// Since when `GetAuthConfig` is answered as it is.
    pub(super) authorization_since: Timestamp,
}

impl Session {
    pub(super) fn open(
        config: &Config,
        server: ServerId,
        catalog: &Catalog,
        clock: &Clock,
    ) -> Result<Self, CatalogError> {
        // anchors are shown again after months: their checks outlive the keys of cookies
        let lasting = catalog.lasting_secret("anchors", Some(FORMER_KEY))?;
        let ring = catalog.keyring("downstream", KEYS_OPEN, Some(FORMER_KEY))?;
        // what the configuration says counts from now on
        Languages::open(&config.languages, catalog, clock.now())?;
        let told = served::auth_config_answer(Timestamp::UNIX_EPOCH);
        let authorization_since = since(catalog, "downstream.auth_config", &told, clock.now())?;
        Ok(Self { sealer: Sealer::new(ring, &lasting, server.0), authorization_since })
    }
}

/// What a downstream server's cookie says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    /// When it was made.
    pub(crate) issued: Timestamp,
    /// Until when it is good.
    pub(crate) expires: Timestamp,
    /// Where this store stood when it was made.
    pub(crate) given: Place,
    /// Major and minor version of the protocol that the server speaks; 0.0 in an authorization.
    pub(crate) version: (u16, u16),
    /// Whose it is.
    pub(crate) server: ServerId,
    /// What that server calls itself.
    pub(crate) name: String,
}

impl Claims {
    pub(super) fn seal(&self, sealer: &Sealer, kind: Kind) -> Vec<u8> {
        let mut says = Vec::with_capacity(FIXED_LEN + self.name.len());
        for time in [self.issued, self.expires] {
            says.extend_from_slice(&time.as_millisecond().to_le_bytes());
        }
        push_place(&mut says, &self.given);
        says.extend_from_slice(&self.version.0.to_le_bytes());
        says.extend_from_slice(&self.version.1.to_le_bytes());
        says.extend_from_slice(self.server.0.as_bytes());
        push_name(&mut says, &self.name);
        sealer.seal(kind, &says)
    }

    pub(super) fn open(sealer: &Sealer, kind: Kind, cookie: &[u8]) -> Result<Self, CookieError> {
        sealer.open(kind, cookie, |mut says| {
            let (issued, expires) = (says.time()?, says.time()?);
            let given = says.place(0)?;
            let version = (u16::from_le_bytes(says.bytes()?), u16::from_le_bytes(says.bytes()?));
            let server = ServerId(says.id()?);
            Ok(Self { issued, expires, given, version, server, name: says.name()? })
        })
    }
}

/// The identity of a server: a GUID in the form of [MS-WSUSSS] 2.2.5.1 that is not all zero.
pub(super) fn server_id(text: &str) -> Option<ServerId> {
    const HYPHENATED: usize = 36;
    let id = text.parse::<ServerId>().ok().filter(|_| text.len() == HYPHENATED)?;
    (!id.0.is_nil()).then_some(id)
}

/// `x.y`, both decimal.
pub(super) fn version_of(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    let (major, minor) = text.split_once('.')?;
    Some((number(major)?, number(minor)?))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use tailwater_catalog::SEAL_KEY;

    #[test]
    fn cookies_of_servers_are_no_cookies_of_agents_and_kinds_stay_apart() {
        let ours = Sealer::fixed([3; SEAL_KEY], Uuid::from_u128(1));
        let claims = Claims {
            issued: Timestamp::from_second(10).unwrap(),
            expires: Timestamp::from_second(20).unwrap(),
            given: Place { change: 7, mark: 8 },
            version: (1, 20),
            server: ServerId(Uuid::from_u128(5)),
            name: "branch.example".to_owned(),
        };
        let sealed = claims.seal(&ours, Kind::ServerService);
        assert_eq!(Claims::open(&ours, Kind::ServerService, &sealed), Ok(claims));
        for kind in [Kind::ServerAuthorization, Kind::Service, Kind::Authorization] {
            assert_eq!(Claims::open(&ours, kind, &sealed), Err(CookieError::Forged));
        }
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Claims::open(&ours, Kind::ServerService, &changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn identities_and_versions_have_a_form() {
        assert!(server_id("6f1c2f6e-3f0b-4d3a-9b1e-0d2f6a1c5e12").is_some());
        for text in ["1234", "6f1c2f6e3f0b4d3a9b1e0d2f6a1c5e12", "00000000-0000-0000-0000-000000000000", ""] {
            assert_eq!(server_id(text), None, "{text}");
        }
        for (text, version) in [("1.20", Some((1, 20))), ("2.0", Some((2, 0))), ("1.x", None), ("1", None)] {
            assert_eq!(version_of(text), version, "{text}");
        }
        for text in ["", "abc", "1.", ".1", "1.2.3", "+1.2", "1.99999"] {
            assert_eq!(version_of(text), None, "{text}");
        }
    }
}
