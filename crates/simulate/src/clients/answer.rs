//! What an agent reads of the server's answers ([MS-WUSP] 2.2.2).
//!
//! Fragments make up nearly all of an answer and are the same for all machines of a fleet. They are cut out
//! as they stand, so that a thousand agents need not read them a thousand times; whoever wants one unescapes
//! it with [`unescaped`].

use std::borrow::Cow;

use super::message::Cookie;
use tailwater_domain::Sha1Digest;
use tailwater_wire::soap::{SoapError, open_answer};
use tailwater_wire::xml::{Decoder, Limits, XmlError};

type Input<'a> = Decoder<&'a [u8]>;

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
    /// The Core fragment, still escaped; empty for a change of what is known.
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
    /// Revision and fragment, still escaped: Extended ones and localized ones.
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

const OPEN: &str = "<Xml>";
const CLOSE: &str = "</Xml>";

/// An answer without its fragments, and the fragments in order, escaped. A fragment holds no tag, so the next
/// closing tag ends it.
fn cut(text: &[u8]) -> (Cow<'_, [u8]>, Vec<&str>) {
    let Ok(text) = std::str::from_utf8(text) else { return (Cow::Borrowed(text), Vec::new()) };
    let (mut rest, mut out, mut fragments) = (text, String::new(), Vec::new());
    while let Some(start) = memchr::memmem::find(rest.as_bytes(), OPEN.as_bytes()) {
        let begin = start + OPEN.len();
        let Some(length) = memchr::memmem::find(&rest.as_bytes()[begin..], CLOSE.as_bytes()) else { break };
        out.push_str(&rest[..begin]);
        fragments.push(&rest[begin..begin + length]);
        rest = &rest[begin + length..];
    }
    out.push_str(rest);
    (Cow::Owned(out.into_bytes()), fragments)
}

/// A fragment as the XML that it is.
pub(super) fn unescaped(fragment: &str) -> Result<Cow<'_, str>, quick_xml::Error> {
    Ok(quick_xml::escape::unescape(fragment)?)
}

/// The fragments that were cut out, in the order of their elements.
type Fragments<'a> = std::vec::IntoIter<&'a str>;

fn offer(input: &mut Input<'_>, fragments: &mut Fragments<'_>) -> Result<Offer, XmlError> {
    let mut offer = Offer { id: 0, action: String::new(), is_leaf: true, core: String::new() };
    while let Some(element) = input.child()? {
        match element {
            "ID" => offer.id = input.value()?,
            "IsLeaf" => offer.is_leaf = input.boolean()?,
            "Xml" => {
                input.skip()?;
                fragments.next().unwrap_or_default().clone_into(&mut offer.core);
            }
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

fn offers(input: &mut Input<'_>, fragments: &mut Fragments<'_>) -> Result<Vec<Offer>, XmlError> {
    let mut list = Vec::new();
    while input.child()?.is_some() {
        list.push(offer(input, fragments)?);
    }
    Ok(list)
}

pub(super) fn round(text: &[u8]) -> Result<Round, SoapError> {
    let (text, fragments) = cut(text);
    let (mut input, mut fragments) = (result(&text, "SyncUpdates")?, fragments.into_iter());
    let mut round = Round::default();
    while let Some(element) = input.child()? {
        match element {
            "NewUpdates" => round.new = offers(&mut input, &mut fragments)?,
            "ChangedUpdates" => round.changed = offers(&mut input, &mut fragments)?,
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
    let (text, fragments) = cut(text);
    let (mut input, mut fragments) = (result(&text, "GetExtendedUpdateInfo")?, fragments.into_iter());
    let mut extended = Extended::default();
    while let Some(element) = input.child()? {
        match element {
            "Updates" => {
                while input.child()?.is_some() {
                    let Offer { id, core, .. } = offer(&mut input, &mut fragments)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_cut_out_and_come_back_in_order() {
        let text = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>\
            <SyncUpdatesResponse xmlns=\"urn:x\"><SyncUpdatesResult><NewUpdates><UpdateInfo><ID>7</ID><Deployment>\
            <ID>1</ID><Action>Evaluate</Action></Deployment><IsLeaf>false</IsLeaf><Xml>&lt;True /&gt;</Xml>\
            </UpdateInfo><UpdateInfo><ID>8</ID><Xml>&lt;a b=&quot;&amp;amp;&quot; /&gt;</Xml></UpdateInfo></NewUpdates>\
            <Truncated>true</Truncated></SyncUpdatesResult></SyncUpdatesResponse></s:Body></s:Envelope>";
        let round = round(text.as_bytes()).unwrap();
        assert!(round.truncated && !round.new[0].is_leaf && round.new[0].action == "Evaluate");
        let cores: Vec<_> = round.new.iter().map(|offer| unescaped(&offer.core).unwrap()).collect();
        assert_eq!(cores, ["<True />", "<a b=\"&amp;\" />"]);
    }
}
