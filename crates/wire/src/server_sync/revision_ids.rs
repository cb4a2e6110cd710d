//! `GetRevisionIdList` ([MS-WSUSSS] 3.1.4.5). Invariant: the filter says exactly what its fields say; a list
//! without entries is left out, for an empty one would select nothing. It never looks into an anchor.

use std::io::BufRead;

use super::authorization::{Cookie, result};
use super::message::{NAMESPACE, Request};
use crate::soap::SoapError;
use crate::xml::{Decoder, Encoder, XmlError, once};
use tailwater_domain::{UpdateId, UpdateIdentity};

/// What to list (`ServerSyncFilter`). Products and classifications select what has one of each; both must
/// have entries, or both be empty, which selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only what changed since.
    pub anchor: Option<String>,
    /// Categories and detectoids (`true`) or what is to be installed (`false`).
    pub get_config: bool,
    /// Products (`Categories` on the wire).
    pub products: Vec<IdAndDelta>,
    /// Classifications.
    pub classifications: Vec<IdAndDelta>,
    /// Languages; empty means all.
    pub languages: Vec<LanguageAndDelta>,
}

/// A category, and whether only what changed since the anchor is wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdAndDelta {
    /// The category.
    pub id: UpdateId,
    /// `false` lists everything in it, whatever the anchor.
    pub delta: bool,
}

/// A language, and whether only what changed since the anchor is wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LanguageAndDelta {
    /// The locale number.
    pub id: i32,
    /// `false` lists everything in it, whatever the anchor.
    pub delta: bool,
}

/// What there is (`RevisionIdList`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevisionIds {
    /// What to send next time.
    pub anchor: String,
    /// Revisions, in the server's order; some updates with several.
    pub revisions: Vec<UpdateIdentity>,
}

/// Asks what there is.
pub fn get_revision_id_list(cookie: &Cookie, filter: &Filter) -> Request {
    let mut xml = Encoder::with_capacity(1024 + 110 * (filter.products.len() + filter.classifications.len()));
    cookie.encode(&mut xml);
    xml.open("filter");
    if let Some(anchor) = &filter.anchor {
        xml.text("Anchor", anchor);
    }
    xml.value("GetConfig", filter.get_config).value("Get63LanguageOnly", false);
    for (name, list) in [("Categories", &filter.products), ("Classifications", &filter.classifications)] {
        if list.is_empty() {
            continue;
        }
        xml.open(name);
        for entry in list {
            xml.open("IdAndDelta").value("Id", entry.id).value("Delta", entry.delta).close("IdAndDelta");
        }
        xml.close(name);
    }
    if !filter.languages.is_empty() {
        xml.open("Languages");
        for entry in &filter.languages {
            xml.open("LanguageAndDelta").value("Id", entry.id).value("Delta", entry.delta);
            xml.close("LanguageAndDelta");
        }
        xml.close("Languages");
    }
    xml.close("filter");
    Request::new(NAMESPACE, "GetRevisionIdList", xml.as_str())
}

/// Reads the answer to [`get_revision_id_list`], however long.
///
/// # Errors
/// When it is a fault or no such answer.
pub fn read_revision_ids<R: BufRead>(input: R) -> Result<RevisionIds, SoapError> {
    let mut decoder = result(input, "GetRevisionIdList", "GetRevisionIdListResult")?;
    let (mut anchor, mut revisions) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "Anchor" => once(&mut anchor, "Anchor", decoder.text()?)?,
            "NewRevisions" => once(&mut revisions, "NewRevisions", read_identities(&mut decoder)?)?,
            _ => decoder.skip()?,
        }
    }
    // the list must be there, even empty: an answer that was cut short must not look like no news
    let revisions = revisions.ok_or(XmlError::Missing { element: "NewRevisions" })?;
    let anchor = anchor.ok_or(XmlError::Missing { element: "Anchor" })?;
    Ok(RevisionIds { anchor, revisions })
}

fn read_identities<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Vec<UpdateIdentity>, XmlError> {
    let mut identities = Vec::new();
    while let Some(name) = decoder.child()? {
        if name == "UpdateIdentity" && !decoder.is_nil() {
            identities.push(read_identity(decoder)?);
        } else {
            decoder.skip()?;
        }
    }
    Ok(identities)
}

/// Reads `UpdateID` and `RevisionNumber`; leaves the element.
pub(super) fn read_identity<R: BufRead>(decoder: &mut Decoder<R>) -> Result<UpdateIdentity, XmlError> {
    let (mut update, mut revision) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "UpdateID" => once(&mut update, "UpdateID", decoder.value()?)?,
            "RevisionNumber" => once(&mut revision, "RevisionNumber", decoder.value()?)?,
            _ => decoder.skip()?,
        }
    }
    Ok(UpdateIdentity {
        update: update.ok_or(XmlError::Missing { element: "UpdateID" })?,
        revision: revision.ok_or(XmlError::Missing { element: "RevisionNumber" })?,
    })
}
