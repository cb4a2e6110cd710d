//! The elements that requests of agents are made of: cookies, identities, lists, and how long lists may be.
//!
//! **Invariant:** a list that is longer than its limit is an error before it is in memory. It never knows which operation
//! it reads for.

use std::io::BufRead;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use crate::client_update::request::{Cookie, RevisionIdentity};
use crate::xml::{Decoder, XmlError};
use tailwater_domain::{Limit, limits};

/// Revision ids in one list; the largest real catalogs have 25,000 revisions.
pub(super) const MAX_IDS: usize = 200_000;
/// Identities, digests, devices, events in one list.
pub(super) const MAX_ROWS: usize = 20_000;
/// Devices that are kept of a scan; no machine has as many.
pub(super) const MAX_DEVICES: usize = 2_000;
/// Texts inside one row: identities of a device, misc data of an event.
pub(super) const MAX_TEXTS: usize = 1_000;
/// Authorization cookies; one is right.
pub(super) const MAX_COOKIES: usize = 8;

pub(in crate::client_update) const LIMITS: &[Limit] = limits![
    MAX_IDS in "ids": "Revision ids in one list of an agent" => "the request is refused: InvalidParameters",
    MAX_ROWS in "rows": "Identities, digests, devices or events in one list of an agent" => "the request is refused: InvalidParameters",
    MAX_DEVICES in "devices": "Devices that are kept of an agent's scan" => "they are passed over",
    MAX_TEXTS in "texts": "Texts in one row of an agent's list" => "the request is refused: InvalidParameters",
    MAX_COOKIES in "cookies": "Authorization cookies in a request" => "the request is refused: InvalidParameters",
];

/// What reading gives.
pub(super) type Outcome<T> = Result<T, XmlError>;

/// A cookie element; `None` when nil.
pub(super) fn cookie<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<Cookie>> {
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

/// What a server sealed; what is no Base64 comes as its text. `None` when empty.
pub(super) fn sealed<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<Vec<u8>>> {
    let mut text = decoder.text()?;
    text.retain(|c| !c.is_ascii_whitespace());
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(STANDARD.decode(&text).unwrap_or_else(|_no_base64| text.into_bytes())))
}

/// `UpdateIdentity`.
pub(super) fn identity<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<RevisionIdentity> {
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
pub(super) fn lenient<R: BufRead, N: FromStr + Default>(decoder: &mut Decoder<R>) -> Outcome<N> {
    Ok(decoder.text()?.trim().parse().unwrap_or_default())
}

/// A GUID in any of its forms.
pub(super) fn guid<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Uuid> {
    let element = decoder.name().to_owned();
    let text = decoder.text()?;
    Uuid::try_parse(text.trim())
        .map_err(|_error| XmlError::Value { element, text: text.chars().take(80).collect() })
}

/// The children called `item`, each read by `read`; nil ones are left out.
pub(super) fn rows<R: BufRead, T>(
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
pub(super) fn present<R: BufRead, T>(
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
pub(super) fn optional_rows<R: BufRead, T>(
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
pub(super) fn worth_keeping<R: BufRead, T>(
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
