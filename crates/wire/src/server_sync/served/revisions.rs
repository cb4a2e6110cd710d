//! `GetRevisionIdList`, `GetDriverIdList`, `GetDriverSetData`, `GetRelatedRevisionsForUpdates` ([MS-WSUSSS] 3.1.4.5,
//! 3.1.4.7 to 3.1.4.9). Invariant: an absent filter, an absent list and an empty one stay apart. It never looks into
//! an anchor.

use std::fmt::Write as _;
use std::io::BufRead;

use super::{cookie, handshake, response, rows};
use crate::server_sync::{IdAndDelta, LanguageAndDelta, NAMESPACE};
use crate::xml::{Decoder, XmlError, escape, once};
use tailwater_domain::UpdateIdentity;

/// What to list (`ServerSyncFilter`). Unlike the asking side's [`super::super::Filter`] it tells an absent `GetConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterRequest {
    /// As it came; `None` when absent or empty.
    pub anchor: Option<String>,
    /// Categories and detectoids, or what is to be installed.
    pub get_config: Option<bool>,
    /// `Categories`.
    pub categories: Vec<IdAndDelta>,
    /// `Classifications`.
    pub classifications: Vec<IdAndDelta>,
    /// `Languages`.
    pub languages: Vec<LanguageAndDelta>,
}

/// `GetRevisionIdList`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevisionIdsRequest {
    /// The sealed cookie.
    pub cookie: Option<Vec<u8>>,
    /// `filter`.
    pub filter: Option<FilterRequest>,
}

/// Reads `GetRevisionIdList`.
///
/// # Errors
/// When the body is no such request.
pub fn revision_ids_request<R: BufRead>(decoder: &mut Decoder<R>) -> Result<RevisionIdsRequest, XmlError> {
    let (mut sealed, mut wanted) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => once(&mut sealed, "cookie", cookie(decoder)?)?,
            "filter" => once(&mut wanted, "filter", filter(decoder)?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(RevisionIdsRequest { cookie: sealed.flatten(), filter: wanted.flatten() })
}

fn filter<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Option<FilterRequest>, XmlError> {
    let nil = decoder.is_nil();
    let (mut anchor, mut get_config) = (None, None);
    let (mut categories, mut classifications, mut languages) = (None, None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "Anchor" => once(&mut anchor, "Anchor", decoder.optional_text()?)?,
            "GetConfig" => once(&mut get_config, "GetConfig", decoder.boolean()?)?,
            "Categories" => {
                once(&mut categories, "Categories", rows(decoder, "IdAndDelta", id_and_delta)?)?;
            }
            "Classifications" => {
                once(&mut classifications, "Classifications", rows(decoder, "IdAndDelta", id_and_delta)?)?;
            }
            "Languages" => {
                once(&mut languages, "Languages", rows(decoder, "LanguageAndDelta", language)?)?;
            }
            _ => decoder.skip()?,
        }
    }
    Ok((!nil).then(|| FilterRequest {
        anchor: anchor.flatten().filter(|anchor| !anchor.is_empty()),
        get_config,
        categories: categories.flatten().unwrap_or_default(),
        classifications: classifications.flatten().unwrap_or_default(),
        languages: languages.flatten().unwrap_or_default(),
    }))
}

fn id_and_delta<R: BufRead>(decoder: &mut Decoder<R>) -> Result<IdAndDelta, XmlError> {
    let (mut id, mut delta) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "Id" => once(&mut id, "Id", decoder.value()?)?,
            "Delta" => once(&mut delta, "Delta", decoder.boolean()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(IdAndDelta {
        id: id.ok_or(XmlError::Missing { element: "Id" })?,
        delta: delta.ok_or(XmlError::Missing { element: "Delta" })?,
    })
}

fn language<R: BufRead>(decoder: &mut Decoder<R>) -> Result<LanguageAndDelta, XmlError> {
    let (mut id, mut delta) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "Id" => once(&mut id, "Id", decoder.value()?)?,
            "Delta" => once(&mut delta, "Delta", decoder.boolean()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(LanguageAndDelta {
        id: id.ok_or(XmlError::Missing { element: "Id" })?,
        delta: delta.ok_or(XmlError::Missing { element: "Delta" })?,
    })
}

/// Bytes of one entry of a list.
const ENTRY: usize = 130;

fn identities(name: &str, revisions: &[UpdateIdentity], out: &mut String) {
    if revisions.is_empty() {
        let _ = write!(out, "<{name} />");
        return;
    }
    out.reserve(revisions.len() * ENTRY + 128);
    let _ = write!(out, "<{name}>");
    let mut id = [0; 36];
    for revision in revisions {
        out.push_str("<UpdateIdentity><UpdateID>");
        out.push_str(revision.update.0.as_hyphenated().encode_lower(&mut id));
        // writing to a String cannot fail
        let _ =
            write!(out, "</UpdateID><RevisionNumber>{}</RevisionNumber></UpdateIdentity>", revision.revision);
    }
    let _ = write!(out, "</{name}>");
}

/// The beginning of a `GetRevisionIdList` answer's body; [`revision_ids_rest`] goes on.
pub fn revision_ids_head(anchor: &str) -> String {
    format!(
        "<GetRevisionIdListResponse xmlns=\"{NAMESPACE}\"><GetRevisionIdListResult><Anchor>{}</Anchor>",
        escape(anchor)
    )
}

/// The list, and the end of the body.
pub fn revision_ids_rest(revisions: &[UpdateIdentity]) -> String {
    let mut out = String::new();
    identities("NewRevisions", revisions, &mut out);
    out.push_str("</GetRevisionIdListResult></GetRevisionIdListResponse>");
    out
}

/// The body of a `GetRelatedRevisionsForUpdates` answer: an operation that the protocol does not use.
pub fn related_revisions_answer() -> String {
    response(NAMESPACE, "GetRelatedRevisionsForUpdates", "<GetRelatedRevisionsForUpdatesResult />")
}

/// `GetDriverIdList`, as far as it matters to a server that takes no hardware identities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverIdsRequest {
    /// The sealed cookie.
    pub cookie: Option<Vec<u8>>,
    /// Whether there was a filter.
    pub has_filter: bool,
    /// As it came; `None` when absent or empty.
    pub anchor: Option<String>,
    /// How many `ComputerIds`.
    pub computer_ids: usize,
    /// How many `PnpHardwareIds`.
    pub hardware_ids: usize,
}

/// Reads `GetDriverIdList`.
///
/// # Errors
/// When the body is no such request.
pub fn driver_ids_request<R: BufRead>(decoder: &mut Decoder<R>) -> Result<DriverIdsRequest, XmlError> {
    let mut request = DriverIdsRequest::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "filter" => {
                request.has_filter = !decoder.is_nil();
                driver_filter(decoder, &mut request)?;
            }
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

fn driver_filter<R: BufRead>(
    decoder: &mut Decoder<R>,
    request: &mut DriverIdsRequest,
) -> Result<(), XmlError> {
    while let Some(name) = decoder.child()? {
        match name {
            "Anchor" => request.anchor = decoder.optional_text()?.filter(|anchor| !anchor.is_empty()),
            "ComputerIds" => {
                request.computer_ids = rows(decoder, "IdAndDelta", Decoder::skip)?.map_or(0, |ids| ids.len());
            }
            "PnpHardwareIds" => {
                let ids = rows(decoder, "HardwareIdAndDelta", Decoder::skip)?;
                request.hardware_ids = ids.map_or(0, |ids| ids.len());
            }
            _ => decoder.skip()?,
        }
    }
    Ok(())
}

/// The body of a `GetDriverIdList` answer: no driver is listed this way, and there are no driver sets.
pub fn driver_ids_answer(anchor: &str) -> String {
    let inside = format!(
        "<GetDriverIdListResult><Anchor>{}</Anchor><NewRevisions /><NewDriverSets /><RemovedDriverSets />\
         </GetDriverIdListResult>",
        escape(anchor)
    );
    response(NAMESPACE, "GetDriverIdList", &inside)
}

/// `GetDriverSetData`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverSetsRequest {
    /// The sealed cookie.
    pub cookie: Option<Vec<u8>>,
    /// How many sets are asked for; `None` when the list is absent.
    pub sets: Option<usize>,
}

/// Reads `GetDriverSetData`.
///
/// # Errors
/// When the body is no such request.
pub fn driver_sets_request<R: BufRead>(decoder: &mut Decoder<R>) -> Result<DriverSetsRequest, XmlError> {
    let mut request = DriverSetsRequest::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "driverSets" => request.sets = rows(decoder, "guid", Decoder::skip)?.map(|sets| sets.len()),
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

/// The body of a `GetDriverSetData` answer: no sets are known.
pub fn driver_sets_answer() -> String {
    let inside = "<GetDriverSetDataResult><DriverSets /></GetDriverSetDataResult>";
    response(NAMESPACE, "GetDriverSetData", inside)
}

/// Reads a request of which only the cookie matters.
///
/// # Errors
/// When the body cannot be read.
pub fn related_revisions_request<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Option<Vec<u8>>, XmlError> {
    handshake::only_cookie(decoder)
}
