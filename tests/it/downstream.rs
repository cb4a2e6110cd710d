//! The upstream role over a catalog of documents written for a test, and a downstream server that asks it in memory.

#![expect(clippy::format_collect, reason = "a few short texts for a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use tailwater::catalog::Catalog;
use tailwater::domain::{FileDeclaration, ServerId};
use tailwater::runtime::Clock;
use tailwater::serve::Peer;
use tailwater::serve::downstream::{Config, Gate, Parts, Policy, Service, WantedFiles};
use tailwater::wire::server_sync::served;
use tailwater::wire::{soap, xpress};
use uuid::Uuid;

use crate::agents::{Reply, ingest};

/// Counts what is to be fetched, and takes so much and no more.
pub(crate) struct Fetches {
    pub(crate) begun: AtomicUsize,
    pub(crate) room: usize,
}

impl WantedFiles for Fetches {
    fn hosts_psf(&self) -> bool {
        false
    }

    fn fetch(&self, _file: &FileDeclaration) -> bool {
        self.begun.fetch_add(1, Ordering::Relaxed) < self.room
    }
}

/// An upstream server whose clock stands still.
pub(crate) struct Upper {
    pub(crate) service: Service,
    pub(crate) catalog: Catalog,
    pub(crate) clock: Clock,
    pub(crate) fetches: Arc<Fetches>,
    pub(crate) dir: Arc<tempfile::TempDir>,
    id: u128,
}

impl Upper {
    pub(crate) fn over<D: AsRef<[u8]>>(id: u128, documents: impl IntoIterator<Item = D>) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let clock = Clock::manual(Timestamp::from_second(1_791_126_000).unwrap());
        let catalog = Catalog::open(tailwater::catalog::Config::new(dir.path()), clock.clone()).unwrap();
        ingest(&catalog, documents);
        Self::carried(id, catalog, clock, dir)
    }

    /// A server that keeps these languages.
    pub(crate) fn keeping<D: AsRef<[u8]>>(
        languages: &[&str],
        documents: impl IntoIterator<Item = D>,
    ) -> Self {
        let Self { service, catalog, clock, dir, id, .. } = Self::over(1, documents);
        drop(service);
        Self::speaking(id, languages, catalog, clock, dir)
    }

    /// A store that may come from elsewhere.
    pub(crate) fn carried(id: u128, catalog: Catalog, clock: Clock, dir: Arc<tempfile::TempDir>) -> Self {
        Self::speaking(id, &["en", "de"], catalog, clock, dir)
    }

    fn speaking(
        id: u128,
        languages: &[&str],
        catalog: Catalog,
        clock: Clock,
        dir: Arc<tempfile::TempDir>,
    ) -> Self {
        let fetches = Arc::new(Fetches { begun: AtomicUsize::new(0), room: 150 });
        let service = Service::new(Parts {
            config: Config {
                languages: languages.iter().map(|&tag| tag.to_owned()).collect(),
                ..Config::default()
            },
            server: ServerId(Uuid::from_u128(id)),
            catalog: catalog.clone(),
            clock: clock.clone(),
            gate: Gate::new(Policy::Open, catalog.clone()),
            files: fetches.clone(),
            intake: crate::agents::intake(&clock),
        })
        .unwrap();
        Self { service, catalog, clock, fetches, dir, id }
    }

    /// The same store, served by a new process so to speak.
    pub(crate) fn restarted(self) -> Self {
        let Self { service, catalog, clock, dir, id, .. } = self;
        drop((service, catalog));
        let catalog = Catalog::open(tailwater::catalog::Config::new(dir.path()), clock.clone()).unwrap();
        Self::carried(id, catalog, clock, dir)
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let mut request = Request::post(path).header("Host", "upper.example:8530");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let from = Peer {
            address: "192.0.2.9:50000".parse().unwrap(),
            local: "192.0.2.7:8530".parse().unwrap(),
            tls: false,
            certificate: None,
        };
        let (parts, body) = self.service.answer_message(&parts, body.into(), from).await.into_parts();
        let length = http_body::Body::size_hint(&body).exact().unwrap();
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len() as u64, length, "the length is known beforehand");
        let coded = parts.headers.get("Content-Encoding").is_some_and(|coding| coding == "xpress");
        let bytes = if coded { xpress::decode(&bytes, 1 << 30).unwrap() } else { bytes.to_vec() };
        Reply { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes).unwrap() }
    }

    pub(crate) async fn ask_in(&self, service: served::Service, operation: &str, content: &str) -> Reply {
        let body = soap::request(service.namespace(), operation, content);
        let action = format!("\"{}/{operation}\"", service.namespace());
        let headers = [("SOAPAction", action.as_str()), ("Accept-Encoding", "xpress")];
        self.send(service.path(), &headers, body).await
    }

    pub(crate) async fn ask(&self, operation: &str, content: &str) -> Reply {
        self.ask_in(served::Service::Sync, operation, content).await
    }

    pub(crate) async fn authorize(&self, name: &str, id: &str) -> Reply {
        let content = format!("<accountName>{name}</accountName><accountGuid>{id}</accountGuid>");
        self.ask_in(served::Service::Authorization, "GetAuthorizationCookie", &content).await
    }
}

/// A downstream server with its cookies.
pub(crate) struct Child {
    pub(crate) authorization: String,
    pub(crate) cookie: String,
}

pub(crate) fn get_cookie(authorization: &str, version: &str) -> String {
    format!(
        "<authCookies><AuthorizationCookie><PlugInId>DssTargeting</PlugInId><CookieData>{authorization}</CookieData>\
         </AuthorizationCookie></authCookies><oldCookie xsi:nil=\"true\" xmlns:xsi=\"urn:x\" />\
         <protocolVersion>{version}</protocolVersion>"
    )
}

pub(crate) fn cookie(sealed: &[u8]) -> String {
    let sealed = STANDARD.encode(sealed);
    format!(
        "<cookie><Expiration>2099-01-01T00:00:00Z</Expiration><EncryptedData>{sealed}</EncryptedData></cookie>"
    )
}

impl Child {
    pub(crate) async fn of(upper: &Upper, number: u128) -> Self {
        let reply = upper
            .authorize(&format!("branch{number}.example"), &Uuid::from_u128(number).to_string())
            .await
            .ok();
        let authorization = reply.one("CookieData").to_owned();
        let reply = upper.ask("GetCookie", &get_cookie(&authorization, "1.20")).await.ok();
        Self { authorization, cookie: format!("<cookie>{}</cookie>", reply.one("GetCookieResult")) }
    }

    pub(crate) fn sealed(&self) -> Vec<u8> {
        STANDARD.decode(crate::agents::all(&self.cookie, "EncryptedData")[0]).unwrap()
    }

    /// The cookie, then `content`.
    pub(crate) fn with(&self, content: &str) -> String {
        format!("{}{content}", self.cookie)
    }

    /// The anchor and the `id/revision`s of a list, sorted.
    pub(crate) async fn list(&self, upper: &Upper, filter: &str) -> (String, Vec<String>) {
        let reply =
            upper.ask("GetRevisionIdList", &self.with(&format!("<filter>{filter}</filter>"))).await.ok();
        let ids = reply.all("UpdateID").into_iter().zip(reply.all("RevisionNumber"));
        let mut list: Vec<String> = ids.map(|(id, revision)| format!("{id}/{revision}")).collect();
        list.sort_unstable();
        (reply.one("Anchor").to_owned(), list)
    }

    pub(crate) async fn documents(&self, upper: &Upper, wanted: &[(String, u32)]) -> Reply {
        let ids: String = wanted
            .iter()
            .map(|(id, revision)| {
                format!(
                    "<UpdateIdentity><UpdateID>{id}</UpdateID><RevisionNumber>{revision}</RevisionNumber></UpdateIdentity>"
                )
            })
            .collect();
        upper.ask("GetUpdateData", &self.with(&format!("<updateIds>{ids}</updateIds>"))).await
    }

    pub(crate) async fn download(&self, upper: &Upper, digests: &[String]) -> Reply {
        let list: String =
            digests.iter().map(|text| format!("<base64Binary>{text}</base64Binary>")).collect();
        upper.ask("DownloadFiles", &self.with(&format!("<fileDigestList>{list}</fileDigestList>"))).await
    }
}
