//! `RefreshCache`, `GetExtendedUpdateInfo`, `GetExtendedUpdateInfo2`, `GetFileLocations`.
//!
//! **Invariant:** digests keep the length they came with, so that a wrong one can be refused by name.

use std::io::BufRead;

use super::element::{
    MAX_IDS, MAX_ROWS, MAX_TEXTS, Outcome, cookie, identity, optional_rows, present, sealed,
};
use crate::client_update::request::{Cookie, FragmentType, GetExtended, GetExtended2, RefreshCache};
use crate::xml::Decoder;

pub(super) fn refresh_cache<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<RefreshCache> {
    let mut request = RefreshCache::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "globalIDs" => request.identities = optional_rows(decoder, "UpdateIdentity", MAX_ROWS, identity)?,
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

fn fragment_types<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Option<Vec<FragmentType>>> {
    let nil = decoder.is_nil();
    let names = decoder.texts("XmlUpdateFragmentType", MAX_TEXTS)?;
    let types = names.iter().map(|name| match name.trim() {
        "Core" => FragmentType::Core,
        "Extended" => FragmentType::Extended,
        "LocalizedProperties" => FragmentType::LocalizedProperties,
        "Eula" => FragmentType::Eula,
        "FileUrl" => FragmentType::FileUrl,
        "FileDecryption" => FragmentType::FileDecryption,
        _ => FragmentType::Other,
    });
    Ok((!nil).then(|| types.collect()))
}

fn locales<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<Vec<String>> {
    decoder.texts("string", MAX_TEXTS)
}

pub(super) fn get_extended<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<GetExtended> {
    let mut request = GetExtended::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "revisionIDs" => request.revisions = present(decoder, |decoder| decoder.ints(MAX_IDS))?,
            "infoTypes" => request.types = fragment_types(decoder)?,
            "locales" => request.locales = present(decoder, locales)?,
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

pub(super) fn get_extended2<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<GetExtended2> {
    let mut request = GetExtended2::default();
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => request.cookie = cookie(decoder)?,
            "updateIDs" => request.identities = optional_rows(decoder, "UpdateIdentity", MAX_ROWS, identity)?,
            "infoTypes" => request.types = fragment_types(decoder)?,
            "locales" => request.locales = present(decoder, locales)?,
            _ => decoder.skip()?,
        }
    }
    Ok(request)
}

type FileLocations = (Option<Cookie>, Option<Vec<Vec<u8>>>);

pub(super) fn get_file_locations<R: BufRead>(decoder: &mut Decoder<R>) -> Outcome<FileLocations> {
    let (mut sealed_by, mut digests) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "cookie" => sealed_by = cookie(decoder)?,
            "fileDigests" => {
                digests = optional_rows(decoder, "base64Binary", MAX_ROWS, |decoder| {
                    Ok(sealed(decoder)?.unwrap_or_default())
                })?;
            }
            _ => decoder.skip()?,
        }
    }
    Ok((sealed_by, digests))
}
