//! From nothing to a cookie: `GetAuthConfig`, `GetAuthorizationCookie`, `GetCookie` ([MS-WSUSSS] 3.1.4.1 to
//! 3.1.4.3). Invariant: cookie data is passed on as the text it came as. It is never logged.

use std::fmt;
use std::io::BufRead;

use jiff::Timestamp;

use super::message::{AUTH_NAMESPACE, NAMESPACE, PROTOCOL_VERSION, Request};
use crate::soap::{SoapError, open_answer};
use crate::xml::{Decoder, Encoder, Limits, XmlError, once};
use tailwater_domain::{Limit, limits};

/// How to authorize (`GetAuthConfigResult`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// The ways, at least one.
    pub plug_ins: Vec<AuthPlugIn>,
}

/// One way to authorize (`AuthPlugInInfo`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthPlugIn {
    /// `DssTargeting`.
    pub id: String,
    /// Address of the service, relative to the server's root.
    pub service_url: String,
}

/// What the authorization service gives (`AuthorizationCookie`).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthorizationCookie {
    /// Which way it was got.
    pub plug_in_id: String,
    /// Base64, opaque.
    pub cookie_data: String,
}

impl fmt::Debug for AuthorizationCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorizationCookie({})", self.plug_in_id)
    }
}

/// What every other request must carry (`Cookie`).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cookie {
    /// As it came; sent back the same.
    pub expiration: String,
    /// Base64, opaque.
    pub encrypted_data: String,
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cookie(until {})", self.expiration)
    }
}

impl Cookie {
    /// When it ends. Servers write UTC, with or without the `Z`; `None` when the text is neither.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let text = self.expiration.trim();
        text.parse().ok().or_else(|| format!("{text}Z").parse().ok())
    }

    /// Appends `<cookie>…</cookie>`.
    pub(super) fn encode(&self, xml: &mut Encoder) {
        xml.open("cookie").text("Expiration", &self.expiration);
        xml.text("EncryptedData", &self.encrypted_data).close("cookie");
    }
}

/// Ways to authorize that are read; real servers offer one.
const MOST_PLUG_INS: usize = 16;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_PLUG_INS in "plug-ins": "Ways to authorize that an upstream offers" => "the answer is refused",
];

/// Asks how to authorize.
pub fn get_auth_config() -> Request {
    Request::new(NAMESPACE, "GetAuthConfig", "")
}

/// Authorizes as the server `name` (a DNS name) with the identity `id` (a GUID).
pub fn get_authorization_cookie(name: &str, id: &uuid::Uuid) -> Request {
    let mut xml = Encoder::new();
    xml.text("accountName", name).value("accountGuid", id);
    Request::new(AUTH_NAMESPACE, "GetAuthorizationCookie", xml.as_str())
}

/// Asks for a cookie.
pub fn get_cookie(authorization: &AuthorizationCookie) -> Request {
    let mut xml = Encoder::new();
    xml.open("authCookies").open("AuthorizationCookie");
    xml.text("PlugInId", &authorization.plug_in_id).text("CookieData", &authorization.cookie_data);
    xml.close("AuthorizationCookie").close("authCookies");
    xml.text("protocolVersion", PROTOCOL_VERSION);
    Request::new(NAMESPACE, "GetCookie", xml.as_str())
}

/// Enters the result element called `name`; faults and other answers are errors.
pub(crate) fn result<R: BufRead>(
    input: R,
    operation: &str,
    name: &'static str,
) -> Result<Decoder<R>, SoapError> {
    let mut decoder = open_answer(input, Limits::ANSWER, operation)?;
    loop {
        match decoder.child()? {
            Some(child) if child == name => return Ok(decoder),
            Some(_) => decoder.skip()?,
            None => return Err(XmlError::Missing { element: name }.into()),
        }
    }
}

/// Reads the answer to [`get_auth_config`].
///
/// # Errors
/// When it is a fault or no such answer.
pub fn read_auth_config<R: BufRead>(input: R) -> Result<AuthConfig, SoapError> {
    let mut decoder = result(input, "GetAuthConfig", "GetAuthConfigResult")?;
    let mut config = AuthConfig::default();
    while let Some(name) = decoder.child()? {
        if name != "AuthInfo" {
            decoder.skip()?;
            continue;
        }
        while let Some(name) = decoder.child()? {
            if name != "AuthPlugInInfo" {
                decoder.skip()?;
                continue;
            }
            if config.plug_ins.len() == MOST_PLUG_INS {
                return Err(XmlError::TooManyElements { limit: MOST_PLUG_INS }.into());
            }
            config.plug_ins.push(read_plug_in(&mut decoder)?);
        }
    }
    Ok(config)
}

fn read_plug_in<R: BufRead>(decoder: &mut Decoder<R>) -> Result<AuthPlugIn, XmlError> {
    let (mut id, mut service_url) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "PlugInID" => once(&mut id, "PlugInID", decoder.text()?)?,
            "ServiceUrl" => once(&mut service_url, "ServiceUrl", decoder.text()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(AuthPlugIn { id: id.unwrap_or_default(), service_url: service_url.unwrap_or_default() })
}

/// Reads the answer to [`get_authorization_cookie`].
///
/// # Errors
/// When it is a fault or no such answer.
pub fn read_authorization_cookie<R: BufRead>(input: R) -> Result<AuthorizationCookie, SoapError> {
    let mut decoder = result(input, "GetAuthorizationCookie", "GetAuthorizationCookieResult")?;
    let (mut plug_in_id, mut cookie_data) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "PlugInId" => once(&mut plug_in_id, "PlugInId", decoder.text()?)?,
            "CookieData" => once(&mut cookie_data, "CookieData", decoder.text()?)?,
            _ => decoder.skip()?,
        }
    }
    let cookie_data = cookie_data.ok_or(XmlError::Missing { element: "CookieData" })?;
    Ok(AuthorizationCookie { plug_in_id: plug_in_id.unwrap_or_default(), cookie_data })
}

/// Reads the answer to [`get_cookie`].
///
/// # Errors
/// When it is a fault or no such answer.
pub fn read_cookie<R: BufRead>(input: R) -> Result<Cookie, SoapError> {
    let mut decoder = result(input, "GetCookie", "GetCookieResult")?;
    let (mut expiration, mut encrypted_data) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "Expiration" => once(&mut expiration, "Expiration", decoder.text()?)?,
            "EncryptedData" => once(&mut encrypted_data, "EncryptedData", decoder.text()?)?,
            _ => decoder.skip()?,
        }
    }
    let encrypted_data = encrypted_data.ok_or(XmlError::Missing { element: "EncryptedData" })?;
    Ok(Cookie { expiration: expiration.unwrap_or_default(), encrypted_data })
}
