//! The handshake of a downstream server ([MS-WSUSSS] 3.1.4.1 to 3.1.4.4), and what every later request is checked for.
//!
//! **Invariant:** identities come from sealed cookies only, and pass the [`Gate`](super::Gate) each time. This protocol
//! has no fault for an expired cookie: it is an invalid one.

use jiff::Timestamp;

use super::anchor::{Anchor, Shown};
use super::config::Languages;
use super::gate::{Denied, Proof};
use super::service::{Asked, Service};
use super::session::{Claims, LIFETIME, server_id, version_of};
use crate::cookie::{CookieError, Kind, MAX_NAME, is_in_force};
use crate::fault::Refusal;
use tailwater_catalog::Place;
use tailwater_domain::ServerName;
use tailwater_wire::server_sync::served;

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
    pub(crate) fn admitted(&self, sealed: Option<&[u8]>, proof: &Proof) -> Result<Claims, Refusal> {
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
    pub(crate) fn anchor(&self, change: u64) -> String {
        Anchor::write(&self.0.session.sealer, change, &self.0.catalog.place(change), self.0.clock.now())
    }

    /// Reads an anchor of ours, at most as new as a change number of the catalog.
    ///
    /// # Errors
    /// A fault that names the parameter, when the text has not the form of an anchor; else
    /// [`Refusal::ServerChanged`], when another server, another branch of this store or nobody wrote it.
    pub(crate) fn read_anchor(
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
