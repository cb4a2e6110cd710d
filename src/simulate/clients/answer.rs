//! What an agent reads of the server's answers ([MS-WUSP] 2.2.2).

use std::io::Read as _;

use super::message::Cookie;
use crate::domain::Sha1Digest;
use crate::wire::soap::{SoapError, open_answer};
use crate::wire::xml::{Decoder, Limits, XmlError};

type Input<'a> = Decoder<&'a [u8]>;

/// Bytes of one fragment; real ones reach 47 MB.
const MAX_FRAGMENT: u64 = 128 << 20;

/// `GetConfigResult`.
pub(super) struct ServerConfig {
    pub(super) last_change: String,
    pub(super) needs_registration: bool,
    /// `MaxExtendedUpdatesPerRequest`.
    pub(super) batch: usize,
}

/// An update that the server told of.
pub(super) struct Offer {
    pub(super) id: u32,
    pub(super) action: String,
    pub(super) is_leaf: bool,
    /// The Core fragment; empty for a change of what is known.
    pub(super) core: String,
}

/// `SyncUpdatesResult`.
#[derive(Default)]
pub(super) struct Round {
    pub(super) new: Vec<Offer>,
    pub(super) changed: Vec<Offer>,
    pub(super) out_of_scope: Vec<u32>,
    pub(super) truncated: bool,
    pub(super) cookie: Option<Cookie>,
}

/// `GetExtendedUpdateInfoResult`.
#[derive(Default)]
pub(super) struct Extended {
    /// Revision and fragment: Extended ones and localized ones.
    pub(super) fragments: Vec<(u32, String)>,
    pub(super) locations: Vec<(Sha1Digest, String)>,
}

fn result<'a>(text: &'a [u8], operation: &str) -> Result<Input<'a>, SoapError> {
    let mut input = open_answer(text, Limits::ANSWER, operation)?;
    let expected = format!("{operation}Result");
    match input.child()? {
        Some(name) if name == expected => Ok(input),
        _ => Err(XmlError::Missing { element: "Result" }.into()),
    }
}

pub(super) fn config(text: &[u8]) -> Result<ServerConfig, SoapError> {
    let mut input = result(text, "GetConfig")?;
    let mut config = ServerConfig { last_change: String::new(), needs_registration: false, batch: 50 };
    while let Some(element) = input.child()? {
        match element {
            "LastChange" => config.last_change = input.text()?,
            "IsRegistrationRequired" => config.needs_registration = input.boolean()?,
            "Properties" => {
                while input.child()?.is_some() {
                    let (mut name, mut value) = (String::new(), String::new());
                    while let Some(element) = input.child()? {
                        match element {
                            "Name" => name = input.text()?,
                            "Value" => value = input.text()?,
                            _ => input.skip()?,
                        }
                    }
                    if name == "MaxExtendedUpdatesPerRequest" {
                        config.batch = value.parse().unwrap_or(config.batch).max(1);
                    }
                }
            }
            _ => input.skip()?,
        }
    }
    Ok(config)
}

/// Plug-in and data.
pub(super) fn authorization(text: &[u8]) -> Result<(String, String), SoapError> {
    let mut input = result(text, "GetAuthorizationCookie")?;
    let (mut plug_in, mut data) = (String::new(), String::new());
    while let Some(element) = input.child()? {
        match element {
            "PlugInId" => plug_in = input.text()?,
            "CookieData" => data = input.text()?,
            _ => input.skip()?,
        }
    }
    Ok((plug_in, data))
}

fn read_cookie(input: &mut Input<'_>) -> Result<Cookie, XmlError> {
    let mut cookie = Cookie::default();
    while let Some(element) = input.child()? {
        match element {
            "Expiration" => cookie.expiration = input.text()?,
            "EncryptedData" => cookie.data = input.text()?,
            _ => input.skip()?,
        }
    }
    Ok(cookie)
}

pub(super) fn cookie(text: &[u8]) -> Result<Cookie, SoapError> {
    let mut input = result(text, "GetCookie")?;
    Ok(read_cookie(&mut input)?)
}

/// An answer of which only the name matters.
pub(super) fn nothing(text: &[u8], operation: &str) -> Result<(), SoapError> {
    open_answer(text, Limits::ANSWER, operation).map(|_| ())
}

/// A text of any length.
fn fragment(input: &mut Input<'_>) -> Result<String, XmlError> {
    let mut text = String::new();
    let mut reader = input.text_reader();
    (&mut reader).take(MAX_FRAGMENT).read_to_string(&mut text).map_err(XmlError::Read)?;
    reader.finish()?;
    Ok(text)
}

fn offer(input: &mut Input<'_>) -> Result<Offer, XmlError> {
    let mut offer = Offer { id: 0, action: String::new(), is_leaf: true, core: String::new() };
    while let Some(element) = input.child()? {
        match element {
            "ID" => offer.id = input.value()?,
            "IsLeaf" => offer.is_leaf = input.boolean()?,
            "Xml" => offer.core = fragment(input)?,
            "Deployment" => {
                while let Some(element) = input.child()? {
                    if element == "Action" { offer.action = input.text()? } else { input.skip()? }
                }
            }
            _ => input.skip()?,
        }
    }
    Ok(offer)
}

fn offers(input: &mut Input<'_>) -> Result<Vec<Offer>, XmlError> {
    let mut list = Vec::new();
    while input.child()?.is_some() {
        list.push(offer(input)?);
    }
    Ok(list)
}

pub(super) fn round(text: &[u8]) -> Result<Round, SoapError> {
    let mut input = result(text, "SyncUpdates")?;
    let mut round = Round::default();
    while let Some(element) = input.child()? {
        match element {
            "NewUpdates" => round.new = offers(&mut input)?,
            "ChangedUpdates" => round.changed = offers(&mut input)?,
            "OutOfScopeRevisionIDs" => {
                while input.child()?.is_some() {
                    round.out_of_scope.push(input.value()?);
                }
            }
            "Truncated" => round.truncated = input.boolean()?,
            "NewCookie" => round.cookie = Some(read_cookie(&mut input)?),
            _ => input.skip()?,
        }
    }
    Ok(round)
}

pub(super) fn extended(text: &[u8]) -> Result<Extended, SoapError> {
    let mut input = result(text, "GetExtendedUpdateInfo")?;
    let mut extended = Extended::default();
    while let Some(element) = input.child()? {
        match element {
            "Updates" => {
                while input.child()?.is_some() {
                    let Offer { id, core, .. } = offer(&mut input)?;
                    extended.fragments.push((id, core));
                }
            }
            "FileLocations" => {
                while input.child()?.is_some() {
                    let (mut digest, mut url) = (String::new(), String::new());
                    while let Some(element) = input.child()? {
                        match element {
                            "FileDigest" => digest = input.text()?,
                            "Url" => url = input.text()?,
                            _ => input.skip()?,
                        }
                    }
                    if let Ok(sha1) = Sha1Digest::from_base64(&digest) {
                        extended.locations.push((sha1, url));
                    }
                }
            }
            _ => input.skip()?,
        }
    }
    Ok(extended)
}
