//! The trust root of Microsoft's own service, which is in no system's list outside Windows.
//!
//! Invariant: whatever the way it came, the certificate is used only when its SHA-256 is the known one. It
//! is fetched once, over plain HTTP, because that fingerprint is all the trust it needs. It never replaces a
//! `ca_file` that an administrator gave.

use std::path::Path;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt as _, Full, Limited};
use sha2::{Digest as _, Sha256};

use super::error::SyncError;
use tailwater_bandwidth::LinkClient;
use tailwater_domain::{Class, Limit, Sha256Digest, limits};
use tailwater_durable::{Mode, Trouble, replace};

/// Where Microsoft publishes it.
pub(super) const PUBLISHED_AT: &str = "http://www.microsoft.com/pki/certs/MicRooCerAut2011_2011_03_22.crt";
/// Its SHA-256. Valid to 2036-03-22.
const FINGERPRINT: &str = "847df6a78497943f27fc72eb93f9a637320a02b561d0a91b09e87a7807ed7c61";
const FILE_NAME: &str = "microsoft-root-2011.der";
/// It has 1,521 bytes.
const LONGEST: usize = 64 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    LONGEST in "bytes": "The published root certificate" => "it is not used",
];

/// Whether an upstream's certificate chains to that root.
pub(super) fn is_needed(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    uri.scheme_str() == Some("https") && (host == "microsoft.com" || host.ends_with(".microsoft.com"))
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(certificate).into();
    Sha256Digest(digest).hex().to_ascii_lowercase()
}

/// The certificate (DER): from `dir`, or from where it is published, then kept in `dir`.
pub(super) async fn certificate(link: &LinkClient, dir: &Path) -> Result<Vec<u8>, SyncError> {
    let path = dir.join(FILE_NAME);
    if let Ok(kept) = tokio::fs::read(&path).await
        && fingerprint(&kept) == FINGERPRINT
    {
        return Ok(kept);
    }
    let fetched = fetch(link, PUBLISHED_AT).await?;
    check(&fetched)?;
    let (kept, place) = (fetched.clone(), path.clone());
    let write = move || replace(&place, Mode::Usual, |file| std::io::Write::write_all(file, &kept));
    match tokio::task::spawn_blocking(write).await.map_err(|_e| SyncError::Worker)? {
        // fetched again the next time
        Err(error) if Trouble::of(&error).is_some() => {
            tracing::warn!(%error, path = %path.display(), "the trust root cannot be kept");
        }
        other => other.map_err(|source| SyncError::File { path, source })?,
    }
    tracing::info!(from = PUBLISHED_AT, "fetched the trust root of Microsoft's service");
    Ok(fetched)
}

fn check(certificate: &[u8]) -> Result<(), SyncError> {
    match fingerprint(certificate) {
        found if found == FINGERPRINT => Ok(()),
        found => Err(SyncError::RootFingerprint { url: PUBLISHED_AT, found }),
    }
}

async fn fetch(link: &LinkClient, url: &'static str) -> Result<Vec<u8>, SyncError> {
    let operation = "fetching the trust root";
    let request = http::Request::get(url)
        .body(Full::new(Bytes::new()))
        .map_err(|_e| SyncError::Url { url: url.to_owned() })?;
    let link_failed = |source| SyncError::Link { operation, source };
    let response = link.send(request, Class::Metadata).await.map_err(link_failed)?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(SyncError::RootStatus { url, status });
    }
    match Limited::new(response.into_body(), LONGEST).collect().await {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) => match error.downcast() {
            Ok(source) => Err(link_failed(*source)),
            Err(_) => Err(SyncError::AnswerTooLong { operation, limit: LONGEST as u64 }),
        },
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn only_microsofts_service_needs_it() {
        for (url, needed) in [
            ("https://sws.update.microsoft.com", true),
            ("https://SWS.Update.Microsoft.com:443/x", true),
            ("http://sws.update.microsoft.com", false),
            ("https://wsus.example", false),
            ("https://microsoft.com.example", false),
            ("https://notmicrosoft.com", false),
        ] {
            assert_eq!(is_needed(url), needed, "{url}");
        }
    }

    #[test]
    fn another_certificate_is_refused_by_its_fingerprint() {
        let error = check(b"something else").unwrap_err();
        assert!(matches!(error, SyncError::RootFingerprint { found, .. } if found.len() == 64));
    }

    #[test]
    fn the_recorded_root_is_the_known_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../../shared/captures/microsoft-update/root-2011.pem");
        let Ok(pem) = std::fs::read_to_string(&path) else {
            println!("skipped: no recording at {}", path.display());
            return;
        };
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        check(&base64::engine::general_purpose::STANDARD.decode(body).unwrap()).unwrap();
    }
}
