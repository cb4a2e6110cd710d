//! The handshake ([MS-WUSP] 3.1.5.2 to 3.1.5.5), and what every later request is checked for.
//!
//! **Invariant:** identities come from sealed cookies only. A cookie is refused for the first of: not ours, made by an
//! earlier server, expired, made for another configuration, computer not registered; each by its own fault.

use jiff::Timestamp;
use uuid::Uuid;

use super::address::Address;
use super::config::Config;
use super::cookie::Claims;
use super::service::Service;
use crate::cookie::{CookieError, Kind, Sealer, is_in_force, lasting};
use crate::fault::Refusal;
use tailwater_catalog::{Caller, Catalog, CatalogError, Computer, Place};
use tailwater_domain::{ComputerId, ComputerName};
use tailwater_runtime::Clock;
use tailwater_wire::client_update::{self as wusp, ProtocolVersion, SealedCookie};

/// An authorization cookie is used within the same handshake.
const AUTHORIZATION_LIFETIME: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
/// How long a key opens cookies after it was replaced. Agents show the cookie of their last scan when they ask for a new
/// one, which says what they were told; they call at least every 22 hours, and not over a weekend.
const KEYS_OPEN: std::time::Duration = std::time::Duration::from_hours(7 * 24);
/// The value of earlier versions that held the only key.
const FORMER_KEY: &str = "client.cookie_key";

/// What all handshakes share.
pub(super) struct Session {
    sealer: Sealer,
    last_change: Timestamp,
}

impl Session {
    pub(super) fn open(config: &Config, catalog: &Catalog, clock: &Clock) -> Result<Self, CatalogError> {
        let ring = catalog.keyring("client", KEYS_OPEN, Some(FORMER_KEY))?;
        let lasting_key = ring.newest();
        let server = Uuid::from_bytes(lasting(catalog, "client.server_id")?);
        let last_change = config.last_change(catalog, clock)?;
        Ok(Self { sealer: Sealer::new(ring, &lasting_key, server), last_change })
    }
}

fn opened(error: CookieError) -> Refusal {
    match error {
        CookieError::Forged => Refusal::InvalidCookie,
        CookieError::OtherServer => Refusal::ServerChanged,
    }
}

/// The identity of a computer, as it calls itself.
pub(super) fn computer_id(text: Option<&str>, parameter: &'static str) -> Result<ComputerId, Refusal> {
    ComputerId::parse(text.unwrap_or_default()).map_err(|_why| Refusal::Parameter(parameter))
}

fn version_of(text: Option<&str>) -> Result<ProtocolVersion, Refusal> {
    text.and_then(|text| text.parse().ok()).ok_or(Refusal::Parameter("protocolVersion"))
}

impl Service {
    /// [MS-WUSP] 3.1.5.2
    pub(super) fn get_config(&self, address: &Address, version: Option<&str>) -> Result<String, Refusal> {
        version_of(version)?;
        let share = format!("\\\\{}\\UpdateServicesPackages", address.host());
        let answer = wusp::ConfigAnswer {
            last_change: self.0.session.last_change,
            registration_required: self.0.config.registration_required,
            properties: &Config::properties(&share),
        };
        Ok(answer.encode())
    }

    /// [MS-WUSP] 3.1.5.3
    pub(super) async fn get_authorization(
        &self,
        request: wusp::GetAuthorization,
        from: &Caller,
    ) -> Result<String, Refusal> {
        let computer = computer_id(request.client_id.as_deref(), "clientId")?;
        let dns = ComputerName::parse(request.dns_name.as_deref().unwrap_or_default());
        let dns = dns.map_err(|_why| Refusal::Parameter("dnsName"))?.into_string();
        let now = self.0.clock.now();
        let claims = Claims {
            issued: now,
            expires: now + AUTHORIZATION_LIFETIME,
            config: Timestamp::UNIX_EPOCH,
            change_number: 0,
            reach: None,
            given: Place::default(),
            version: ProtocolVersion { major: 0, minor: 0 },
            computer: computer.clone(),
        };
        let from = from.clone();
        self.blocking(move |service| {
            service.0.catalog.introduce(&from, &computer, &dns, request.target_group.as_deref())
        })
        .await?;
        Ok(wusp::AuthorizationAnswer { sealed: claims.seal(&self.0.session.sealer, Kind::Authorization) }
            .encode())
    }

    /// [MS-WUSP] 3.1.5.4
    pub(super) fn get_cookie(&self, request: &wusp::GetCookie) -> Result<String, Refusal> {
        let session = &self.0.session;
        let [authorization] = &request.authorizations[..] else {
            return Err(Refusal::InvalidAuthorizationCookie);
        };
        let now = self.0.clock.now();
        let sealed = authorization.sealed.as_deref().unwrap_or_default();
        let authorized = Claims::open(&session.sealer, Kind::Authorization, sealed)
            .ok()
            .filter(|claims| is_in_force(claims.issued, claims.expires, now))
            .ok_or(Refusal::InvalidAuthorizationCookie)?;
        // an old cookie with nothing but an expiration is how Windows 11 writes none
        let old = request.old.as_ref().and_then(|old| old.sealed.as_deref());
        let old = old
            .map(|sealed| Claims::open(&session.sealer, Kind::Service, sealed))
            .transpose()
            .map_err(opened)?;
        let version = version_of(request.protocol_version.as_deref())?;
        if request.last_change != Some(session.last_change) {
            return Err(Refusal::ConfigChanged);
        }
        if old.as_ref().is_some_and(|old| !self.0.catalog.gave(&old.given)) {
            return Err(Refusal::ServerChanged);
        }
        // who has no old cookie holds no number of ours yet; numbers that it will be given come with cookies
        let change =
            old.as_ref().map_or_else(|| self.0.catalog.snapshot().change_number(), |old| old.given.change);
        let old = old.filter(|old| old.computer == authorized.computer);
        let (seen, reach) = old.map_or((0, None), |old| (old.change_number, old.reach));
        let lifetime = jiff::SignedDuration::try_from(self.0.config.cookie_lifetime)
            .unwrap_or(jiff::SignedDuration::from_hours(1));
        let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        let claims = Claims {
            issued: now,
            expires: now.checked_add(lifetime).unwrap_or(Timestamp::MAX),
            config: session.last_change,
            change_number: seen,
            reach,
            given: self.0.catalog.place(change),
            version,
            computer: authorized.computer,
        };
        Ok(wusp::cookie_answer(&self.sealed(&claims)))
    }

    /// [MS-WUSP] 3.1.5.5
    pub(super) async fn register_computer(
        &self,
        request: wusp::RegisterComputer,
        from: &Caller,
    ) -> Result<String, Refusal> {
        let claims = self.bearer(request.cookie.as_ref())?;
        if !self.0.config.registration_required {
            return Err(Refusal::RegistrationNotRequired);
        }
        let mut info = request.info.ok_or(Refusal::Parameter("computerInfo"))?;
        // it may leave its name out: then the one of its handshake stays
        if !info.dns_name.trim().is_empty() {
            let name = ComputerName::parse(&info.dns_name);
            info.dns_name = name.map_err(|_why| Refusal::Parameter("DnsName"))?.into_string();
        }
        let from = from.clone();
        self.blocking(move |service| {
            let catalog = &service.0.catalog;
            if catalog.computer(&claims.computer).is_none() {
                // forgotten, by an administrator or with a restart, while its cookie was still good
                catalog.introduce(&from, &claims.computer, &info.dns_name, None)?;
            }
            catalog.register(&from, &claims.computer, info)
        })
        .await?;
        Ok(wusp::register_computer_answer())
    }

    /// What a cookie says, when it is ours, its time is not over, and this store gave the numbers that its bearer
    /// remembers.
    ///
    /// # Errors
    /// [`Refusal::ServerChanged`] when another branch of this store gave them: the agent then starts from nothing.
    pub(super) fn claims(&self, cookie: Option<&wusp::Cookie>) -> Result<Claims, Refusal> {
        let claims = self.bearer(cookie)?;
        if self.0.catalog.gave(&claims.given) { Ok(claims) } else { Err(Refusal::ServerChanged) }
    }

    /// What a cookie says, when it is ours and its time is not over; for operations in which no numbers occur.
    pub(super) fn bearer(&self, cookie: Option<&wusp::Cookie>) -> Result<Claims, Refusal> {
        let sealed = cookie.and_then(|cookie| cookie.sealed.as_deref()).ok_or(Refusal::InvalidCookie)?;
        let claims = Claims::open(&self.0.session.sealer, Kind::Service, sealed).map_err(opened)?;
        let good = is_in_force(claims.issued, claims.expires, self.0.clock.now());
        if good { Ok(claims) } else { Err(Refusal::CookieExpired) }
    }

    /// The computer of a cookie that may scan: the configuration it knows is ours, and it has registered where that
    /// is asked for. `None` when it is unknown and need not register.
    pub(super) fn scanning(&self, claims: &Claims) -> Result<Option<std::sync::Arc<Computer>>, Refusal> {
        if claims.config != self.0.session.last_change {
            return Err(Refusal::ConfigChanged);
        }
        let computer = self.0.catalog.computer(&claims.computer);
        let registered = computer.as_ref().is_some_and(|computer| computer.is_registered());
        if self.0.config.registration_required && !registered {
            return Err(Refusal::RegistrationRequired);
        }
        Ok(computer)
    }

    /// A cookie on its way out.
    pub(super) fn sealed(&self, claims: &Claims) -> SealedCookie {
        SealedCookie { expires: claims.expires, sealed: claims.seal(&self.0.session.sealer, Kind::Service) }
    }

    /// Runs work that may wait for a disk.
    pub(super) async fn blocking<T, E>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Refusal>
    where
        T: Send + 'static,
        E: Send + 'static,
        Refusal: From<E>,
    {
        let service = self.clone();
        Ok(tokio::task::spawn_blocking(move || work(&service)).await??)
    }
}
