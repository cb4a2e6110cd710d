//! Reading the body of a request. The decoder stands inside the operation's element.
//!
//! **Invariant:** an element that is not known is passed over with everything in it. Lists are bounded by the named
//! limits, far above what clients send.

mod details;
mod handshake;
mod report;
mod scan;

use std::io::BufRead;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::Service;
use super::request::{Cookie, Request, RevisionIdentity};
use crate::domain::{Limit, joined_limits, limits};
use crate::wire::xml::{Decoder, XmlError};

/// Revision ids in one list; the largest real catalogs have 25,000 revisions.
const MAX_IDS: usize = 200_000;
/// Identities, digests, devices, events in one list.
const MAX_ROWS: usize = 20_000;
/// Devices that are kept of a scan; no machine has as many.
const MAX_DEVICES: usize = 2_000;
/// Texts inside one row: identities of a device, misc data of an event.
const MAX_TEXTS: usize = 1_000;
/// Authorization cookies; one is right.
const MAX_COOKIES: usize = 8;

const OWN_LIMITS: &[Limit] = limits![
    MAX_IDS in "ids": "Revision ids in one list of an agent" => "the request is refused: InvalidParameters",
    MAX_ROWS in "rows": "Identities, digests, devices or events in one list of an agent" => "the request is refused: InvalidParameters",
    MAX_DEVICES in "devices": "Devices that are kept of an agent's scan" => "they are passed over",
    MAX_TEXTS in "texts": "Texts in one row of an agent's list" => "the request is refused: InvalidParameters",
    MAX_COOKIES in "cookies": "Authorization cookies in a request" => "the request is refused: InvalidParameters",
];

pub(super) const LIMITS: &[Limit] = joined_limits![OWN_LIMITS,];

type Outcome<T> = Result<T, XmlError>;

impl Request {
    /// Reads the request `operation` of a service; `None` when the service has no such operation.
    ///
    /// # Errors
    /// When the body is no such request.
    pub fn decode<R: BufRead>(
        service: Service,
        operation: &str,
        decoder: &mut Decoder<R>,
    ) -> Outcome<Option<Self>> {
        Ok(Some(match (service, operation) {
            (Service::Client, "GetConfig") => Self::GetConfig(handshake::get_config(decoder)?),
            (Service::Client, "GetCookie") => Self::GetCookie(handshake::get_cookie(decoder)?),
            (Service::Client, "RegisterComputer") => {
                Self::RegisterComputer(handshake::register_computer(decoder)?)
            }
            (Service::Client, "StartCategoryScan") => {
                Self::StartCategoryScan(scan::start_category_scan(decoder)?)
            }
            (Service::Client, "SyncUpdates") => Self::SyncUpdates(scan::sync_updates(decoder)?),
            (Service::Client, "SyncPrinterCatalog") => {
                Self::SyncPrinterCatalog(scan::sync_printers(decoder)?)
            }
            (Service::Client, "RefreshCache") => Self::RefreshCache(details::refresh_cache(decoder)?),
            (Service::Client, "GetExtendedUpdateInfo") => {
                Self::GetExtendedUpdateInfo(details::get_extended(decoder)?)
            }
            (Service::Client, "GetExtendedUpdateInfo2") => {
                Self::GetExtendedUpdateInfo2(details::get_extended2(decoder)?)
            }
            (Service::Client, "GetFileLocations") => {
                let (cookie, digests) = details::get_file_locations(decoder)?;
                Self::GetFileLocations(cookie, digests)
            }
            (Service::SimpleAuth, "GetAuthorizationCookie") => {
                Self::GetAuthorizationCookie(handshake::get_authorization(decoder)?)
            }
            (Service::Reporting, "ReportEventBatch") => Self::ReportEventBatch(report::report(decoder)?),
            (Service::Reporting, "ReportEventBatch2") => Self::ReportEventBatch2(report::report(decoder)?),
            _ => return Ok(None),
        }))
    }
}

/// A cookie element; `None` when nil.
fn cookie<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<Cookie>> {
    let nil = decoder.is_nil();
    let mut cookie = Cookie::default();
    while let Some(name) = decoder.child()? {
        match name {
            "EncryptedData" => cookie.sealed = sealed(decoder)?,
            // what the seal says counts, not what is written beside it
            _ => decoder.skip()?,
        }
    }
    Ok((!nil).then_some(cookie))
}

fn sealed<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<Vec<u8>>> {
    let mut text = decoder.text()?;
    text.retain(|c| !c.is_ascii_whitespace());
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(STANDARD.decode(&text).unwrap_or_else(|_no_base64| text.into_bytes())))
}

fn identity<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<RevisionIdentity> {
    let (mut update, mut revision) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "UpdateID" => update = Some(guid(decoder)?),
            "RevisionNumber" => revision = Some(decoder.value()?),
            _ => decoder.skip()?,
        }
    }
    Ok(RevisionIdentity {
        update: update.ok_or(XmlError::Missing { element: "UpdateID" })?,
        revision: revision.ok_or(XmlError::Missing { element: "RevisionNumber" })?,
    })
}

/// A number that is only shown or compared: 0 when it is none.
fn lenient<R: BufRead, N: FromStr + Default>(decoder: &mut Decoder<R>) -> Outcome<N> {
    Ok(decoder.text()?.trim().parse().unwrap_or_default())
}

fn guid<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Uuid> {
    let element = decoder.name().to_owned();
    let text = decoder.text()?;
    Uuid::try_parse(text.trim())
        .map_err(|_error| XmlError::Value { element, text: text.chars().take(80).collect() })
}

/// The children called `item`, each read by `read`; nil ones are left out.
fn rows<R: BufRead, T>(
    decoder: &mut Decoder<R>,
    item: &str,
    limit: usize,
    read: impl Fn(&mut Decoder<R>) -> Outcome<T>,
) -> Outcome<Vec<T>> {
    let mut rows = Vec::new();
    while let Some(name) = decoder.child()? {
        if name != item || decoder.is_nil() {
            decoder.skip()?;
            continue;
        }
        if rows.len() == limit {
            return Err(XmlError::TooManyElements { limit });
        }
        rows.push(read(decoder)?);
    }
    Ok(rows)
}

/// What `read` reads, `None` when the element is nil.
fn present<R: BufRead, T>(
    decoder: &mut Decoder<R>,
    read: impl FnOnce(&mut Decoder<R>) -> Outcome<T>,
) -> Outcome<Option<T>> {
    if decoder.is_nil() {
        decoder.skip()?;
        return Ok(None);
    }
    read(decoder).map(Some)
}

/// As [`rows`], `None` when the list itself is nil.
fn optional_rows<R: BufRead, T>(
    decoder: &mut Decoder<R>,
    item: &str,
    limit: usize,
    read: impl Fn(&mut Decoder<R>) -> Outcome<T>,
) -> Outcome<Option<Vec<T>>> {
    let nil = decoder.is_nil();
    let rows = rows(decoder, item, limit, read)?;
    Ok((!nil).then_some(rows))
}

/// The children called `item` that are worth keeping, at most `most` of them; `None` when the list itself is nil.
/// Rows beyond that and rows that say nothing are read and forgotten, so that they take no memory.
fn worth_keeping<R: BufRead, T>(
    decoder: &mut Decoder<R>,
    item: &str,
    most: usize,
    read: impl Fn(&mut Decoder<R>) -> Outcome<Option<T>>,
) -> Outcome<Option<Vec<T>>> {
    let nil = decoder.is_nil();
    let (mut kept, mut seen) = (Vec::new(), 0);
    while let Some(name) = decoder.child()? {
        if name != item || decoder.is_nil() {
            decoder.skip()?;
            continue;
        }
        if seen == MAX_ROWS {
            return Err(XmlError::TooManyElements { limit: MAX_ROWS });
        }
        seen += 1;
        let row = read(decoder)?;
        kept.extend(row.filter(|_| kept.len() < most));
    }
    Ok((!nil).then_some(kept))
}
