//! Where a payload is available: at the upstream, and at Microsoft's own addresses.
//!
//! Invariant: an address is only ever that of a configured server or one that the upstream's metadata named. It never
//! fetches.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::addresses::Address;
use super::config::{ContentFrom, PricedSource, SourceKind};
use super::error::SyncError;
use super::handle::Upstream;
use super::session::SessionError;
use tailwater_domain::{FileDeclaration, Limit, Sha1Digest, limits};
use tailwater_wire::peer::{BASE, COOKIE_HEADER};
use tailwater_wire::server_sync::download_files;

/// How long a payload waits for a cookie before it goes without.
const COOKIE_TIME: Duration = Duration::from_secs(10);
pub(super) const LIMITS: &[Limit] = limits![
    COOKIE_TIME: "The time a payload waits for a cookie" => "it is asked for without",
];

/// What decides where a payload is looked for.
struct Choice<'a> {
    upstream: &'a str,
    /// What the upstream costs.
    cost: u32,
    prefer: ContentFrom,
    /// The upstream hands out only its catalog.
    catalog_only: bool,
    others: &'a [PricedSource],
}

/// The addresses of a payload with what they cost, the one to try first first.
fn addresses(
    choice: &Choice<'_>,
    file: &FileDeclaration,
    mu_url: Option<&str>,
    uss_url: Option<&str>,
) -> Vec<(String, u32)> {
    let Choice { upstream, cost, prefer, catalog_only, others } = *choice;
    let own = format!("{upstream}{}", file.content_path());
    let mu_url = mu_url.filter(|url| is_web(url)).map(str::to_owned);
    let uss_url = uss_url.map(|url| {
        if is_web(url) { url.to_owned() } else { format!("{upstream}/{}", url.trim_start_matches('/')) }
    });
    let microsoft_first = catalog_only || prefer == ContentFrom::Microsoft;
    let mut found = Vec::with_capacity(3 + others.len());
    if microsoft_first {
        found.extend(mu_url.clone().map(|url| (url, cost)));
        found.extend(uss_url.map(|url| (url, cost)));
        // an upstream that only hands out its catalog holds no payloads
        if !catalog_only || found.is_empty() {
            found.push((own, cost));
        }
    } else {
        found.extend(uss_url.map(|url| (url, cost)));
        found.push((own, cost));
    }
    for other in others {
        let url = match &other.kind {
            SourceKind::Server(server) => Some(format!("{server}{}", file.content_path())),
            SourceKind::Microsoft => mu_url.clone(),
        };
        match url.map(|url| (found.iter().position(|(known, _)| *known == url), url)) {
            Some((Some(known), _)) => found[known].1 = found[known].1.min(other.cost),
            Some((None, url)) => found.push((url, other.cost)),
            None => {}
        }
    }
    found.sort_by_key(|(_, cost)| *cost);
    found
}

fn is_web(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https"))
}

impl Upstream {
    /// The addresses of a payload, the one to try first first: by what they cost, and at the same cost the upstream's
    /// before the others. Microsoft's addresses stand in the upstream's place when it hands out only its catalog, or
    /// when the site prefers them; where none is known then, because it carried a token that is not stored, the
    /// upstream is asked for it first.
    pub async fn sources(&self, file: &FileDeclaration) -> Vec<Address> {
        let microsoft = self.0.addresses.capabilities().catalog_only
            || self.0.config.content_from == ContentFrom::Microsoft;
        if microsoft && self.addresses_of(file.sha1).await.0.is_none() {
            self.ask_anew(file.sha1).await;
        }
        self.known_sources(file).await
    }

    /// Where clients get a payload themselves that this server does not fetch: at Microsoft's address as it was told, token
    /// included, and where none is known, at an address of the upstream. The upstream is asked first when no address at
    /// Microsoft is known, or when that may have ended.
    pub async fn origin(&self, file: &FileDeclaration) -> Option<String> {
        let (sha1, now) = (file.sha1, self.0.clock.now());
        let has_ended = self.0.addresses.renewals().may_have_ended(&sha1, now);
        if has_ended || self.addresses_of(sha1).await.0.is_none() {
            self.ask_anew(sha1).await;
        }
        if let (Some(url), _) = self.addresses_of(sha1).await
            && is_web(&url)
        {
            return Some(url);
        }
        let known = self.known_sources(file).await;
        known.into_iter().find(|address| address.headers.is_empty()).map(|address| address.url)
    }

    /// `MUUrl` and `UssUrl` of a payload: as stored, and before that what was told since.
    async fn addresses_of(&self, sha1: Sha1Digest) -> (Option<String>, Option<String>) {
        let catalog = self.0.catalog.clone();
        let known = tokio::task::spawn_blocking(move || catalog.file(&sha1)).await;
        let known = known.ok().and_then(Result::ok).flatten();
        let (mut mu_url, mut uss_url) = known.map_or((None, None), |known| (known.mu_url, known.uss_url));
        if let Some(fresh) = self.0.addresses.renewals().of(&sha1) {
            mu_url = fresh.mu_url.clone().or(mu_url);
            uss_url = fresh.uss_url.clone().or(uss_url);
        }
        (mu_url, uss_url)
    }

    /// [`Upstream::sources`] without asking anybody.
    pub(super) async fn known_sources(&self, file: &FileDeclaration) -> Vec<Address> {
        let sha1 = file.sha1;
        let capabilities = self.0.addresses.capabilities();
        self.remind(capabilities.lazy && !capabilities.catalog_only, sha1);
        let config = &self.0.config;
        let choice = Choice {
            upstream: &config.url,
            cost: config.cost,
            prefer: config.content_from,
            catalog_only: capabilities.catalog_only,
            others: &config.sources,
        };
        let (mu_url, uss_url) = self.addresses_of(sha1).await;
        let plain = addresses(&choice, file, mu_url.as_deref(), uss_url.as_deref());
        let own = format!("{}{}", config.url, file.content_path());
        let wants_own = plain.iter().any(|(url, _)| *url == own);
        let peer = if wants_own { self.peer_address(file).await } else { None };
        let mut found = Vec::with_capacity(plain.len() + 1);
        for (url, cost) in plain {
            // the same bytes without a turn: only when it does not give turns
            let is_own = url == own && peer.is_some();
            if is_own {
                found.extend(peer.clone().map(|peer| Address { cost, ..peer }));
            }
            found.push(Address { url, cost, last_resort: is_own, ..Address::default() });
        }
        found
    }

    /// Where an upstream that is a tailwater gives turns, and says what pieces are.
    async fn peer_address(&self, file: &FileDeclaration) -> Option<Address> {
        if !self.0.is_peer() {
            return None;
        }
        let standing = tokio::time::timeout(COOKIE_TIME, async {
            let session = self.0.session().await.ok()?;
            let cookie = session.cookie().await.ok()?;
            Some((cookie.encrypted_data, session.client().token.clone()))
        });
        let (cookie, token) = standing.await.ok()??;
        let mut cookie = HeaderValue::from_str(&cookie).ok()?;
        cookie.set_sensitive(true);
        let mut headers = HeaderMap::from_iter([(HeaderName::from_static(COOKIE_HEADER), cookie)]);
        headers.extend(token.map(|token| (AUTHORIZATION, token)));
        let url = format!("{}{BASE}/content/{}", self.0.config.url, file.sha1.hex());
        Some(Address { url, headers, ..Address::default() })
    }

    /// Tells a lazy upstream of a payload that it does not seem to hold, beside everything else.
    fn remind(&self, lazy: bool, sha1: Sha1Digest) {
        if lazy && self.0.addresses.is_repeated(sha1, self.0.clock.now()) {
            let upstream = self.clone();
            self.0.tasks.spawn("reminder to the upstream", async move {
                if let Err(error) = upstream.ask_for_files(&[sha1]).await {
                    tracing::debug!(%sha1, %error, "the upstream did not accept the request to fetch a payload");
                }
            });
        }
    }

    /// Asks an upstream that fetches payloads only when needed to fetch these ([MS-WSUSSS] 3.1.4.11); at
    /// most 100. They are available some time later. Does nothing with other upstreams.
    ///
    /// # Errors
    /// When the upstream cannot be reached, or does not know the payloads.
    pub async fn ask_for_files(&self, digests: &[Sha1Digest]) -> Result<(), SyncError> {
        if !self.0.addresses.capabilities().lazy || digests.is_empty() {
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
        let own = "http://wsus:8530/Content/49/A379D5526FB3A7A0423DA1CD7FC3182A8D448449.cab";
        let theirs = "http://download.example.invalid/x.cab";
        let table: [(Option<&str>, bool, ContentFrom, &[&str]); 5] = [
            (Some(theirs), false, ContentFrom::Upstream, &[own]),
            (Some(theirs), false, ContentFrom::Microsoft, &[theirs, own]),
            (Some(theirs), true, ContentFrom::Upstream, &[theirs]),
            (None, true, ContentFrom::Upstream, &[own]),
            (None, false, ContentFrom::Microsoft, &[own]),
        ];
        let choice = |catalog_only, prefer| Choice {
            upstream: "http://wsus:8530",
            cost: 10,
            prefer,
            catalog_only,
            others: &[],
        };
        let urls = |choice: &Choice<'_>, mu_url| -> Vec<String> {
            addresses(choice, &file, mu_url, None).into_iter().map(|(url, _)| url).collect()
        };
        for (mu_url, catalog_only, prefer, wanted) in table {
            assert_eq!(urls(&choice(catalog_only, prefer), mu_url), wanted);
        }
        assert_eq!(urls(&choice(true, ContentFrom::Upstream), Some("file:///etc/passwd")), [own]);

        // a cheap server before the upstream, Microsoft behind it, and a server of the same cost behind it too
        let others = [
            PricedSource { kind: SourceKind::Microsoft, cost: 50 },
            PricedSource { kind: SourceKind::Server("http://same:8530".to_owned()), cost: 10 },
            PricedSource { kind: SourceKind::Server("http://near:8530".to_owned()), cost: 1 },
        ];
        let choice = Choice { others: &others, ..choice(false, ContentFrom::Upstream) };
        let (near, same) = (own.replace("wsus", "near"), own.replace("wsus", "same"));
        assert_eq!(urls(&choice, Some(theirs)), [&near, own, &same, theirs]);
        assert_eq!(urls(&choice, None), [&near, own, &same]);
    }
}
