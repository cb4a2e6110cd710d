//! The handshake of a downstream server ([MS-WSUSSS] 3.1.4.1 to 3.1.4.4), and what every later request is checked for.
//!
//! **Invariant:** identities come from sealed cookies only, and pass the [`Gate`](super::Gate) each time. This protocol
//! has no fault for an expired cookie: it is an invalid one.

use jiff::{SignedDuration, Timestamp};

use super::anchor::{Anchor, Shown};
use super::config::Languages;
use super::gate::{Denied, Proof};
use super::{Asked, Config, Service};
use crate::catalog::{Catalog, CatalogError, Place};
use crate::domain::{ServerId, ServerName};
use crate::runtime::Clock;
use crate::serve::cookie::{
    CookieError, Kind, MAX_NAME, PLACE_LEN, Sealer, is_in_force, push_name, push_place,
};
use crate::serve::fault::Refusal;
use crate::serve::since::since;
use crate::wire::server_sync::served;

/// How long both cookies are good, as on Windows (note 29).
const LIFETIME: SignedDuration = SignedDuration::from_mins(240);
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
    authorization_since: Timestamp,
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
pub(in crate::serve) struct Claims {
    /// When it was made.
    pub(in crate::serve) issued: Timestamp,
    /// Until when it is good.
    pub(in crate::serve) expires: Timestamp,
    /// Where this store stood when it was made.
    pub(in crate::serve) given: Place,
    /// Major and minor version of the protocol that the server speaks; 0.0 in an authorization.
    pub(in crate::serve) version: (u16, u16),
    /// Whose it is.
    pub(in crate::serve) server: ServerId,
    /// What that server calls itself.
    pub(in crate::serve) name: String,
}

impl Claims {
    fn seal(&self, sealer: &Sealer, kind: Kind) -> Vec<u8> {
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
fn server_id(text: &str) -> Option<ServerId> {
    const HYPHENATED: usize = 36;
    let id = text.parse::<ServerId>().ok().filter(|_| text.len() == HYPHENATED)?;
    (!id.0.is_nil()).then_some(id)
}

/// `x.y`, both decimal.
fn version_of(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    let (major, minor) = text.split_once('.')?;
    Some((number(major)?, number(minor)?))
}

impl Service {
    /// [MS-WSUSSS] 3.1.4.1
    pub(super) fn get_auth_config(&self) -> String {
        served::auth_config_answer(self.0.session.authorization_since)
    }

    /// [MS-WSUSSS] 3.1.4.2
    pub(super) async fn get_authorization(&self, asked: &mut Asked<'_>) -> Result<String, Refusal> {
        let request = served::authorization_request(asked.decoder)?;
        // a cookie has a byte for the length of the name
        let name = ServerName::parse(request.account_name.as_deref().unwrap_or_default()).ok();
        let name = name.filter(|name| name.as_str().len() <= MAX_NAME);
        let name = name.ok_or(Refusal::Parameter("accountName"))?.into_string();
        let id = request.account_id.as_deref().map(str::trim).and_then(server_id);
        let id = id.ok_or(Refusal::Parameter("accountGuid"))?;
        let (service, proof, told) = (self.clone(), asked.proof.clone(), name.clone());
        let admit = move || service.0.gate.admit(&id, &told, &proof);
        tokio::task::spawn_blocking(admit).await?.map_err(Denied::at_authorization)?;
        let now = self.0.clock.now();
        let claims = Claims {
            issued: now,
            expires: now.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX),
            given: Place::default(),
            version: (0, 0),
            server: id,
            name,
        };
        let sealed = claims.seal(&self.0.session.sealer, Kind::ServerAuthorization);
        Ok(served::authorization_answer(&sealed))
    }

    /// [MS-WSUSSS] 3.1.4.3
    pub(super) fn get_cookie(&self, asked: &mut Asked<'_>) -> Result<String, Refusal> {
        let request = served::cookie_request(asked.decoder)?;
        let [authorization] = &request.authorizations[..] else {
            return Err(Refusal::Parameter("authCookies"));
        };
        let text = request.protocol_version.as_deref().unwrap_or_default().trim();
        let version = version_of(text).ok_or(Refusal::Parameter("protocolVersion"))?;
        if version.0 != 1 {
            return Err(Refusal::IncompatibleProtocolVersion(text.to_owned()));
        }
        let sealer = &self.0.session.sealer;
        let now = self.0.clock.now();
        let shown = authorization.as_deref().unwrap_or_default();
        let authorized = Claims::open(sealer, Kind::ServerAuthorization, shown)
            .ok()
            .filter(|claims| is_in_force(claims.issued, claims.expires, now))
            .ok_or(Refusal::InvalidAuthorizationCookie)?;
        self.0.gate.check(&authorized.server, &asked.proof).map_err(Denied::at_cookie)?;
        let expires = now.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX).min(authorized.expires);
        let expires = Timestamp::from_millisecond(expires.as_millisecond()).unwrap_or(expires);
        let given = self.0.catalog.place(self.0.catalog.snapshot().change_number());
        let claims = Claims { issued: now, expires, given, version, ..authorized };
        Ok(served::cookie_answer(expires, &claims.seal(sealer, Kind::ServerService)))
    }

    /// What a cookie says, when it is ours, its time is not over, and its server may still come. Every operation but
    /// those of the handshake begins with it.
    ///
    /// # Errors
    /// [`Refusal::InvalidCookie`], or [`Refusal::ServerChanged`] when an earlier identity of this server or another
    /// branch of its store made it.
    pub(in crate::serve) fn admitted(&self, sealed: Option<&[u8]>, proof: &Proof) -> Result<Claims, Refusal> {
        let sealed = sealed.ok_or(Refusal::InvalidCookie)?;
        let claims =
            Claims::open(&self.0.session.sealer, Kind::ServerService, sealed).map_err(
                |error| match error {
                    CookieError::Forged => Refusal::InvalidCookie,
                    CookieError::OtherServer => Refusal::ServerChanged,
                },
            )?;
        if !is_in_force(claims.issued, claims.expires, self.0.clock.now()) {
            return Err(Refusal::InvalidCookie);
        }
        if !self.0.catalog.gave(&claims.given) {
            return Err(Refusal::ServerChanged);
        }
        self.0.gate.check(&claims.server, proof).map_err(Denied::at_operation)?;
        Ok(claims)
    }

    /// The anchor of what is told now, up to a change number of the catalog.
    pub(in crate::serve) fn anchor(&self, change: u64) -> String {
        Anchor::write(&self.0.session.sealer, change, &self.0.catalog.place(change), self.0.clock.now())
    }

    /// Reads an anchor of ours, at most as new as a change number of the catalog.
    ///
    /// # Errors
    /// A fault that names the parameter, when the text has not the form of an anchor; else
    /// [`Refusal::ServerChanged`], when another server, another branch of this store or nobody wrote it.
    pub(in crate::serve) fn read_anchor(
        &self,
        text: &str,
        change: u64,
        parameter: &'static str,
    ) -> Result<Anchor, Refusal> {
        let shown = Shown::read(text).ok_or(Refusal::Parameter(parameter))?;
        let (sealer, catalog) = (&self.0.session.sealer, &self.0.catalog);
        let ours =
            shown.verify(sealer, self.0.clock.now(), |change| catalog.place(change), |old| catalog.gave(old));
        ours.filter(|anchor| anchor.change <= change).ok_or(Refusal::ServerChanged)
    }

    /// [MS-WSUSSS] 3.1.4.4
    pub(super) fn get_config_data(&self, asked: &mut Asked<'_>) -> Result<String, Refusal> {
        let request = served::config_request(asked.decoder)?;
        self.admitted(request.cookie.as_deref(), &asked.proof)?;
        let change = self.0.catalog.snapshot().change_number();
        // no row of the specification refuses an anchor here: who has none of ours is told everything
        let known = request.anchor.and_then(|anchor| self.read_anchor(&anchor, change, "configAnchor").ok());
        let languages = Languages::open(&self.0.config.languages, &self.0.catalog, self.0.clock.now())?;
        let languages = languages.changed_since(known.map(|anchor| (anchor.second, anchor.change)));
        Ok(served::config_answer(&served::ConfigAnswer {
            catalog_only: self.0.config.catalog_only,
            lazy: true,
            hosts_psf: self.0.files.hosts_psf(),
            most_updates: served::MOST_UPDATES,
            anchor: &self.anchor(change),
            languages: &languages,
        }))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::SEAL_KEY;

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
