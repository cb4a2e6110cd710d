//! Where a payload can be had: at the upstream, and at Microsoft's own addresses.
//!
//! Invariant: an address is only ever that of the configured upstream or one that the upstream's metadata
//! named. It never fetches.

use std::sync::Arc;

use super::session::SessionError;
use super::{ContentFrom, SyncError, Upstream};
use crate::catalog::KnownFile;
use crate::domain::{FileDeclaration, Sha1Digest};
use crate::wire::server_sync::download_files;

/// The addresses of a payload, the one to try first first.
fn addresses(
    upstream: &str,
    file: &FileDeclaration,
    known: Option<&KnownFile>,
    catalog_only: bool,
    prefer: ContentFrom,
) -> Vec<String> {
    let own = format!("{upstream}{}", file.content_path());
    let mu_url = known.and_then(|known| known.mu_url.clone()).filter(|url| is_web(url));
    let uss_url = known.and_then(|known| known.uss_url.as_deref()).map(|url| {
        if is_web(url) { url.to_owned() } else { format!("{upstream}/{}", url.trim_start_matches('/')) }
    });
    let microsoft_first = catalog_only || prefer == ContentFrom::Microsoft;
    let mut found = Vec::with_capacity(3);
    if microsoft_first {
        found.extend(mu_url);
        found.extend(uss_url);
        // an upstream that only hands out its catalog holds no payloads
        if !catalog_only || found.is_empty() {
            found.push(own);
        }
    } else {
        found.extend(uss_url);
        found.push(own);
    }
    found
}

fn is_web(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https"))
}

impl Upstream {
    /// The addresses of a payload, the one to try first first. Microsoft's addresses come first, or at all,
    /// when the upstream hands out only its catalog, or when the site prefers them.
    pub async fn sources(&self, file: &FileDeclaration) -> Vec<String> {
        let (catalog, sha1) = (self.0.catalog.clone(), file.sha1);
        let known = tokio::task::spawn_blocking(move || catalog.file(&sha1)).await;
        let known = known.ok().and_then(Result::ok).flatten();
        let manner = self.0.manner();
        addresses(&self.0.config.url, file, known.as_ref(), manner.catalog_only, self.0.config.content_from)
    }

    /// Asks an upstream that fetches payloads only when needed to fetch these ([MS-WSUSSS] 3.1.4.11); at
    /// most 100. They can be had some time later. Does nothing with other upstreams.
    ///
    /// # Errors
    /// When the upstream cannot be reached, or does not know the payloads.
    pub async fn ask_for_files(&self, digests: &[Sha1Digest]) -> Result<(), SyncError> {
        if !self.0.manner().lazy || digests.is_empty() {
            return Ok(());
        }
        let session = self.0.session().await?;
        let digests: Arc<[Sha1Digest]> = digests.into();
        let asked = session.call(|cookie| download_files(cookie, &digests), |_answer| Ok(())).await;
        asked.map_err(SessionError::into_sync_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microsofts_addresses_come_first_only_where_they_should() {
        let file = FileDeclaration {
            sha1: "a379d5526fb3a7a0423da1cd7fc3182a8d448449".parse().unwrap(),
            sha256: None,
            size: 1,
            name: "x.cab".to_owned(),
            patching: None,
        };
        let known = KnownFile {
            declaration: file.clone(),
            mu_url: Some("http://download.example.invalid/x.cab".to_owned()),
            uss_url: None,
        };
        let own = "http://wsus:8530/Content/49/A379D5526FB3A7A0423DA1CD7FC3182A8D448449.cab";
        let theirs = "http://download.example.invalid/x.cab";
        let table: [(Option<&KnownFile>, bool, ContentFrom, &[&str]); 5] = [
            (Some(&known), false, ContentFrom::Upstream, &[own]),
            (Some(&known), false, ContentFrom::Microsoft, &[theirs, own]),
            (Some(&known), true, ContentFrom::Upstream, &[theirs]),
            (None, true, ContentFrom::Upstream, &[own]),
            (None, false, ContentFrom::Microsoft, &[own]),
        ];
        for (known, catalog_only, prefer, wanted) in table {
            assert_eq!(addresses("http://wsus:8530", &file, known, catalog_only, prefer), wanted);
        }
        let hostile = KnownFile { mu_url: Some("file:///etc/passwd".to_owned()), ..known };
        assert_eq!(addresses("http://wsus:8530", &file, Some(&hostile), true, ContentFrom::Upstream), [own]);
    }
}
