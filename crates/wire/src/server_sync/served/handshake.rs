//! `GetAuthConfig`, `GetAuthorizationCookie`, `GetCookie`, `Ping` ([MS-WSUSSS] 3.1.4.1 to 3.1.4.3, 3.1.4.12).
//! Invariant: cookies are bytes here; nothing of them is understood. It never says who may come.

use std::io::BufRead;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::{MONITOR_NAMESPACE, bytes, cookie, response, rows, time};
use crate::server_sync::{AUTH_NAMESPACE, AUTH_PATH, NAMESPACE};
use crate::xml::{Decoder, Encoder, XmlError, once};

/// The one way to authorize.
const PLUG_IN: &str = "DssTargeting";

/// Who asks for an authorization.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// `accountName`: its DNS name.
    pub account_name: Option<String>,
    /// `accountGuid`: its identity.
    pub account_id: Option<String>,
}

/// Reads `GetAuthorizationCookie`.
///
/// # Errors
/// When the body is no such request.
pub fn authorization_request<R: BufRead>(decoder: &mut Decoder<R>) -> Result<AuthorizationRequest, XmlError> {
    let (mut name, mut id) = (None, None);
    while let Some(element) = decoder.child()? {
        match element {
            "accountName" => once(&mut name, "accountName", decoder.optional_text()?)?,
            "accountGuid" => once(&mut id, "accountGuid", decoder.optional_text()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(AuthorizationRequest { account_name: name.flatten(), account_id: id.flatten() })
}

/// Who asks for a cookie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CookieRequest {
    /// `CookieData` of each `AuthorizationCookie`; one is right.
    pub authorizations: Vec<Option<Vec<u8>>>,
    /// `protocolVersion`, as it came.
    pub protocol_version: Option<String>,
}

/// Reads `GetCookie`. The old cookie has no use here.
///
/// # Errors
/// When the body is no such request.
pub fn cookie_request<R: BufRead>(decoder: &mut Decoder<R>) -> Result<CookieRequest, XmlError> {
    let (mut authorizations, mut version) = (None, None);
    while let Some(element) = decoder.child()? {
        match element {
            "authCookies" => {
                let list = rows(decoder, "AuthorizationCookie", authorization)?;
                once(&mut authorizations, "authCookies", list.unwrap_or_default())?;
            }
            "protocolVersion" => once(&mut version, "protocolVersion", decoder.optional_text()?)?,
            _ => decoder.skip()?,
        }
    }
    let authorizations = authorizations.unwrap_or_default();
    Ok(CookieRequest { authorizations, protocol_version: version.flatten() })
}

fn authorization<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Option<Vec<u8>>, XmlError> {
    let mut sealed = None;
    while let Some(name) = decoder.child()? {
        match name {
            "CookieData" => once(&mut sealed, "CookieData", bytes(decoder)?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(sealed.flatten())
}

/// Reads a request that carries nothing but a cookie, or nothing: everything else is passed over.
///
/// # Errors
/// When the body cannot be read.
pub(super) fn only_cookie<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Option<Vec<u8>>, XmlError> {
    let mut sealed = None;
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => once(&mut sealed, "cookie", cookie(decoder)?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(sealed.flatten())
}

/// The body of a `GetAuthConfig` answer.
pub fn auth_config_answer(last_change: Timestamp) -> String {
    let mut xml = Encoder::new();
    xml.open("GetAuthConfigResult").value("LastChange", time(last_change)).open("AuthInfo");
    xml.open("AuthPlugInInfo").text("PlugInID", PLUG_IN).text("ServiceUrl", &AUTH_PATH[1..]);
    // the text wants no Parameter; WSUS sends an empty one, and so do we
    xml.empty("Parameter").close("AuthPlugInInfo").close("AuthInfo").close("GetAuthConfigResult");
    response(NAMESPACE, "GetAuthConfig", xml.as_str())
}

/// The body of a `GetAuthorizationCookie` answer.
pub fn authorization_answer(sealed: &[u8]) -> String {
    let mut xml = Encoder::new();
    xml.open("GetAuthorizationCookieResult").text("PlugInId", PLUG_IN);
    xml.value("CookieData", STANDARD.encode(sealed)).close("GetAuthorizationCookieResult");
    response(AUTH_NAMESPACE, "GetAuthorizationCookie", xml.as_str())
}

/// The body of a `GetCookie` answer.
pub fn cookie_answer(expires: Timestamp, sealed: &[u8]) -> String {
    let mut xml = Encoder::new();
    xml.open("GetCookieResult").value("Expiration", time(expires));
    xml.value("EncryptedData", STANDARD.encode(sealed)).close("GetCookieResult");
    response(NAMESPACE, "GetCookie", xml.as_str())
}

/// The body of a `Ping` answer: that the service is there, and nothing of the machine behind it.
pub fn ping_answer(now: Timestamp, tls: bool) -> String {
    let mut xml = Encoder::new();
    xml.open("PingResult").value("SuccessFlag", true).value("ServicesTime", time(now));
    xml.value("IsHttps", tls).value("ConfigFileLastModifiedTime", time(Timestamp::UNIX_EPOCH));
    xml.value("ConfigFileNextExpirationTime", time(Timestamp::UNIX_EPOCH));
    // the WSDL lacks DebugMode; Microsoft's own client refuses an answer without it
    xml.value("ConfigFileExpirationModuloInMinutes", 0).value("DebugMode", false).close("PingResult");
    response(MONITOR_NAMESPACE, "Ping", xml.as_str())
}
