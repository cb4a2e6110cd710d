//! `GetUpdateDecryptionData` ([MS-WSUSSS] 3.1.4.18): the keys of encrypted payloads. Invariant: a key that is empty,
//! too long or no Base64 counts as none and touches no other. It never shows a key: errors name elements only.

use std::io::BufRead;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::authorization::{Cookie, result};
use super::message::Request;
use super::revision_ids::read_identity;
use super::update_data::about_revisions;
use crate::soap::SoapError;
use crate::xml::{Decoder, XmlError, once};
use tailwater_domain::{DecryptionKey, Limit, Sha1Digest, UpdateIdentity, limits};

/// Updates in one answer; the largest real batch is 500.
const MOST_UPDATES: usize = 10_000;
/// Payloads of one update; the largest known has some hundreds.
const MOST_FILES: usize = 100_000;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_UPDATES in "updates": "Updates in an answer with keys" => "the answer is refused",
    MOST_FILES in "files": "Files of one update in an answer with keys" => "the answer is refused",
];

/// A payload, with its key where there is one (`ServerSyncFileDecryption`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadKey {
    /// Which payload.
    pub sha1: Sha1Digest,
    /// Its key; `NULL` is allowed.
    pub key: Option<DecryptionKey>,
}

/// What is said of one revision (`ServerSyncUpdateFileDecryption`). An answer may have several of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateKeys {
    /// Which revision.
    pub id: UpdateIdentity,
    /// Its payloads.
    pub files: Vec<PayloadKey>,
}

/// Asks for keys: of at most as many revisions as `GetConfigData` allows.
pub fn get_update_decryption_data(cookie: &Cookie, revisions: &[UpdateIdentity]) -> Request {
    about_revisions("GetUpdateDecryptionData", cookie, revisions)
}

/// Reads the answer to [`get_update_decryption_data`].
///
/// # Errors
/// When it is a fault or no such answer.
pub fn read_update_decryption_data<R: BufRead>(input: R) -> Result<Vec<UpdateKeys>, SoapError> {
    let mut decoder = result(input, "GetUpdateDecryptionData", "GetUpdateDecryptionDataResult")?;
    let mut updates = None;
    while let Some(name) = decoder.child()? {
        match name {
            "UpdateFileDecryptionData" => {
                let read = list(&mut decoder, "ServerSyncUpdateFileDecryption", MOST_UPDATES, read_update)?;
                once(&mut updates, "UpdateFileDecryptionData", read)?;
            }
            _ => decoder.skip()?,
        }
    }
    Ok(updates.unwrap_or_default())
}

fn list<R: BufRead, T>(
    decoder: &mut Decoder<R>,
    item: &str,
    limit: usize,
    read: impl Fn(&mut Decoder<R>) -> Result<T, XmlError>,
) -> Result<Vec<T>, XmlError> {
    let mut found = Vec::new();
    while let Some(name) = decoder.child()? {
        if name != item || decoder.is_nil() {
            decoder.skip()?;
            continue;
        }
        if found.len() == limit {
            return Err(XmlError::TooManyElements { limit });
        }
        found.push(read(decoder)?);
    }
    Ok(found)
}

fn read_update<R: BufRead>(decoder: &mut Decoder<R>) -> Result<UpdateKeys, XmlError> {
    let (mut id, mut files) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "UpdateId" => once(&mut id, "UpdateId", read_identity(decoder)?)?,
            "FileDecryptionData" => {
                let read = list(decoder, "ServerSyncFileDecryption", MOST_FILES, read_file)?;
                once(&mut files, "FileDecryptionData", read)?;
            }
            _ => decoder.skip()?,
        }
    }
    let id = id.ok_or(XmlError::Missing { element: "UpdateId" })?;
    Ok(UpdateKeys { id, files: files.unwrap_or_default().into_iter().flatten().collect() })
}

/// One payload; none when it is named by something that is no SHA-1.
fn read_file<R: BufRead>(decoder: &mut Decoder<R>) -> Result<Option<PayloadKey>, XmlError> {
    let (mut sha1, mut key) = (None, None);
    while let Some(name) = decoder.child()? {
        match name {
            "FileDigest" => once(&mut sha1, "FileDigest", Sha1Digest::from_base64(&decoder.text()?).ok())?,
            "DecryptionKey" => once(&mut key, "DecryptionKey", read_key(&decoder.text()?))?,
            _ => decoder.skip()?,
        }
    }
    Ok(sha1.flatten().map(|sha1| PayloadKey { sha1, key: key.flatten() }))
}

fn read_key(text: &str) -> Option<DecryptionKey> {
    let base64: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(base64).ok().and_then(DecryptionKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server_sync::served::{decryption_answer, update_data_request};
    use crate::soap::{Style, Version, envelope, open};
    use crate::xml::Limits;

    fn identity(revision: u32) -> UpdateIdentity {
        UpdateIdentity { update: "6f1c2f6e-3f0b-4d3a-9b1e-0d2f6a1c5e12".parse().unwrap(), revision }
    }

    fn file(byte: u8, key: Option<&[u8]>) -> PayloadKey {
        let key = key.map(|key| DecryptionKey::new(key.to_vec()).unwrap());
        PayloadKey { sha1: Sha1Digest([byte; 20]), key }
    }

    fn read(element: &str) -> Result<Vec<UpdateKeys>, SoapError> {
        read_update_decryption_data(envelope(Version::V11, Style::Server, element).as_bytes())
    }

    #[test]
    fn what_one_side_writes_the_other_reads() {
        for told in [
            Vec::new(),
            vec![UpdateKeys { id: identity(1), files: Vec::new() }],
            vec![
                UpdateKeys { id: identity(1), files: vec![file(1, Some(b"one")), file(2, None)] },
                UpdateKeys { id: identity(2), files: vec![file(3, Some(&[0xff; 64]))] },
            ],
        ] {
            assert_eq!(read(&decryption_answer(&told)).unwrap(), told);
        }
        let cookie = Cookie { expiration: String::new(), encrypted_data: "AAAA".to_owned() };
        let request = get_update_decryption_data(&cookie, &[identity(1), identity(9)]);
        assert!(request.action.ends_with("/GetUpdateDecryptionData\""));
        let mut message = open(request.body.as_bytes(), Limits::REQUEST).unwrap();
        let asked = update_data_request(&mut message.decoder).unwrap();
        assert_eq!(asked.revisions.unwrap(), [identity(1), identity(9)]);
    }

    #[test]
    fn a_key_that_cannot_be_used_touches_no_other() {
        let digest = |byte| Sha1Digest([byte; 20]).base64();
        let long = "A".repeat(8_000);
        let mut files = String::new();
        for (byte, key) in [(1, "b25l"), (2, "\n b2 5l\n"), (3, ""), (4, "no base64!"), (5, long.as_str())] {
            let file = format!(
                "<x:ServerSyncFileDecryption><x:DecryptionKey>{key}</x:DecryptionKey><x:FileDigest>{}</x:FileDigest>\
                 </x:ServerSyncFileDecryption>",
                digest(byte)
            );
            files.push_str(&file);
        }
        files += "<x:ServerSyncFileDecryption><x:FileDigest>bm8=</x:FileDigest></x:ServerSyncFileDecryption>";
        let element = format!(
            "<x:GetUpdateDecryptionDataResponse xmlns:x=\"{}\"><x:GetUpdateDecryptionDataResult>\
             <x:UpdateFileDecryptionData><x:ServerSyncUpdateFileDecryption><x:FileDecryptionData>{files}\
             </x:FileDecryptionData><x:UpdateId><x:UpdateID>6f1c2f6e-3f0b-4d3a-9b1e-0d2f6a1c5e12</x:UpdateID>\
             <x:RevisionNumber>1</x:RevisionNumber></x:UpdateId></x:ServerSyncUpdateFileDecryption>\
             </x:UpdateFileDecryptionData></x:GetUpdateDecryptionDataResult></x:GetUpdateDecryptionDataResponse>",
            crate::server_sync::NAMESPACE
        );
        let read = read(&element).unwrap();
        let expected: Vec<PayloadKey> = [Some(&b"one"[..]), Some(b"one"), None, None, None]
            .into_iter()
            .zip(1..)
            .map(|(key, byte)| file(byte, key))
            .collect();
        assert_eq!(read, [UpdateKeys { id: identity(1), files: expected }]);
    }
}
