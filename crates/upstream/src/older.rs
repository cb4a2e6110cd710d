//! Encrypted payloads of what was stored before it was noted which are: the stored documents are looked at, once.
//!
//! **Invariant:** a document is looked at once for the life of the store, and nobody is asked for it. What has encrypted
//! payloads is stored again, as it was: agents and servers hear of it as of any revision that lacks its keys.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};

use bytes::Bytes;

use super::blocking::blocking;
use super::error::SyncError;
use super::ingest::{chain, revision};
use super::languages::some;
use super::report::Phase;
use super::run::Run;
use tailwater_catalog::{Catalog, CatalogError, Chunks, NewRevision, PartKind, Staging};
use tailwater_domain::{Encryption, RevisionId};
use tailwater_wire::update_metadata::{Languages, cut};

/// Documents looked at in one go.
const BATCH: usize = 100;
// not a limit: BATCH: how work is divided

impl Run {
    /// Looks at the documents of older revisions, and stages those again whose payloads are encrypted, so that their keys
    /// are asked for.
    pub(super) async fn look_for_encrypted(&mut self) -> Result<(), SyncError> {
        let (staging, after) = (self.staging(), self.state().looked_at());
        let older = blocking(move || staging.unsaid_encryption(after)).await?;
        let Some(last) = older.last().copied() else { return Ok(()) };
        self.phase(Phase::Keys);
        let unsaid = some(self.state().unsaid_languages().unwrap_or_default()).map(<[_]>::to_vec);
        let mut found = 0;
        for batch in older.chunks(BATCH).map(<[_]>::to_vec) {
            let (catalog, staging, unsaid) = (self.catalog(), self.staging(), unsaid.clone());
            // what was kept of them stays what is kept
            let look =
                move || look(&catalog, &staging, &batch, &unsaid.map_or_else(Languages::all, Languages::of));
            found += blocking(look).await?.map_err(SyncError::Catalog)?;
        }
        tracing::info!(
            looked_at = older.len(),
            found,
            "looked for encrypted payloads of updates stored before"
        );
        self.state_mut().has_looked_at(last);
        Ok(())
    }
}

/// Stores those of these revisions again whose payloads are encrypted; how many.
fn look(
    catalog: &Catalog,
    staging: &Staging,
    revisions: &[RevisionId],
    languages: &Languages,
) -> Result<usize, CatalogError> {
    let mut encrypted = Vec::new();
    for &id in revisions {
        match anew(catalog, id, languages) {
            Ok(found) => encrypted.extend(found),
            // set aside and fetched again, where it is damaged
            Err(reason) => tracing::warn!(revision = id.0, reason, "a stored document cannot be looked at"),
        }
    }
    let found = encrypted.len();
    if found > 0 {
        for (identity, error) in staging.store_each(encrypted, true)?.refused {
            tracing::warn!(update = %identity, error = chain(&error), "it cannot be stored again with what is encrypted of it");
        }
    }
    Ok(found)
}

/// A held revision with what its document says of encrypted payloads; none where nothing is encrypted.
fn anew(catalog: &Catalog, id: RevisionId, languages: &Languages) -> Result<Option<NewRevision>, String> {
    let fail = |error: CatalogError| chain(&error);
    let Some(document) = catalog.snapshot().part(id, &PartKind::Document) else { return Ok(None) };
    let text = Text { chunks: catalog.chunks(&document), now: Bytes::new() };
    let cut = cut(BufReader::new(text), languages).map_err(|error| chain(&error))?;
    if cut.facts.encryption == Encryption::None {
        return Ok(None);
    }
    let stored = catalog.facts(id).map_err(fail)?;
    let mut made = revision(cut, &HashMap::new())?;
    made.file_urls = stored.map(|stored| stored.file_urls.clone()).unwrap_or_default();
    Ok(Some(made))
}

/// A stored text as a reader.
struct Text {
    chunks: Chunks,
    now: Bytes,
}

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.chunks.next() {
                Some(chunk) => self.now = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let part = self.now.split_to(buffer.len().min(self.now.len()));
        buffer[..part.len()].copy_from_slice(&part);
        Ok(part.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_catalog::{Activation, Config, FileUrl};
    use tailwater_domain::{Sha1Digest, UpdateIdentity};
    use tailwater_runtime::Clock;

    fn identity(number: u128) -> UpdateIdentity {
        UpdateIdentity { update: tailwater_domain::UpdateId(uuid::Uuid::from_u128(number)), revision: 7 }
    }

    fn document(number: u128, secured: &str, encrypted: &str) -> String {
        let file = |byte: u8| Sha1Digest([byte; 20]).base64();
        format!(
            "<upd:Update xmlns:upd=\"http://schemas.microsoft.com/msus/2002/12/Update\"><upd:UpdateIdentity UpdateID=\"{}\" \
             RevisionNumber=\"7\" /><upd:Properties DefaultPropertiesLanguage=\"en\" UpdateType=\"Software\">{secured}\
             </upd:Properties><upd:LocalizedPropertiesCollection><upd:LocalizedProperties><upd:Language>de</upd:Language>\
             <upd:Title>Eins</upd:Title></upd:LocalizedProperties></upd:LocalizedPropertiesCollection><upd:Files>\
             <upd:File Digest=\"{}\" FileName=\"a.wim\" Size=\"1\"{encrypted} /><upd:File Digest=\"{}\" FileName=\"b.cab\" \
             Size=\"1\" /></upd:Files></upd:Update>",
            identity(number).update,
            file(1),
            file(2)
        )
    }

    #[test]
    fn what_is_encrypted_is_found_in_stored_documents() {
        const SECURED: &str = "<upd:SecuredFragment>FileDecryption</upd:SecuredFragment>";
        let texts = [
            document(1, "", ""),
            document(2, SECURED, " IsEncrypted=\"true\""),
            document(3, SECURED, ""),
            document(4, "<upd:SecuredFragment>FileUrl</upd:SecuredFragment>", " IsEncrypted=\"false\""),
        ];
        let languages = Languages::of(["de".to_owned()]);
        let url = FileUrl {
            sha1: Sha1Digest([2; 20]),
            mu_url: Some("http://download.example/b.cab".to_owned()),
            uss_url: None,
        };
        let stored = texts.iter().map(|text| {
            let mut made = revision(cut(text.as_bytes(), &languages).unwrap(), &HashMap::new()).unwrap();
            // it was not looked at
            made.facts.encryption = Encryption::None;
            made.file_urls = vec![url.clone()];
            made
        });
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(Config::new(dir.path()), Clock::system()).unwrap();
        let staging = catalog.staging().unwrap();
        let numbers = staging.store(stored.collect()).unwrap();
        staging.activate(Activation::default()).unwrap();
        let appeared = |id| catalog.snapshot().appeared(id);
        let before: Vec<_> = numbers.iter().map(|id| appeared(*id)).collect();
        assert!(staging.wanted_keys().is_empty());

        assert_eq!(look(&catalog, &staging, &numbers, &languages).unwrap(), 2);
        let wanted: Vec<_> = staging.wanted_keys().into_iter().map(|it| (it.identity, it.files)).collect();
        let (first, second) = (Sha1Digest([1; 20]), Sha1Digest([2; 20]));
        // where none is marked any may be
        assert_eq!(wanted, [(identity(2), vec![first]), (identity(3), vec![first, second])]);
        staging.activate(Activation::default()).unwrap();
        for ((&id, text), before) in numbers.iter().zip(&texts).zip(before) {
            let snapshot = catalog.snapshot();
            assert_eq!(appeared(id), before, "{id:?} is no news");
            let part = snapshot.part(id, &PartKind::Document).unwrap();
            assert_eq!(catalog.read(&part).unwrap(), text.as_bytes(), "{id:?}");
            assert_eq!(catalog.facts(id).unwrap().unwrap().file_urls, std::slice::from_ref(&url), "{id:?}");
            assert_eq!(snapshot.lacks_keys(id), [numbers[1], numbers[2]].contains(&id), "{id:?}");
        }
        assert_eq!(staging.wanted_keys().len(), 2, "still once they are active");
    }
}
