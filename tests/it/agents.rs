//! A catalog of documents written for a test, the agents' services over it, and an agent that talks to them in memory.
#![expect(clippy::format_collect, reason = "a few short texts for a test")]

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use tailwater::catalog::{Activation, Catalog, NewPart, NewRevision, PartKind};
use tailwater::domain::{Action, ByteCount, GroupId, UpdateId};
use tailwater::runtime::Clock;
use tailwater::serve::client::{self, Config};
use tailwater::serve::{Intake, Peer};
use tailwater::wire::client_update as wusp;
use tailwater::wire::update_metadata::{Languages, Spool, cut};
use tailwater::wire::{soap, xpress};

/// The services over a catalog, with a clock that stands still.
pub(crate) struct Server {
    pub(crate) service: client::Service,
    pub(crate) catalog: Catalog,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    dir: Arc<tempfile::TempDir>,
}

/// An answer, decoded.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    /// The texts of all elements of a name, in order; not for elements that hold their own kind.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        all(&self.text, name)
    }

    pub(crate) fn one(&self, name: &str) -> &str {
        match self.all(name)[..] {
            [one] => one,
            ref many => panic!("{} times {name} in {}", many.len(), self.text),
        }
    }

    pub(crate) fn code(&self) -> &str {
        assert_eq!(self.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", self.text);
        self.one("ErrorCode")
    }

    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self
    }
}

pub(crate) fn all<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    text.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).collect()
}

fn part(kind: PartKind, spool: Spool) -> NewPart {
    NewPart { kind, len: spool.len(), text: Box::new(spool.into_reader().unwrap()) }
}

/// Cuts documents and makes them visible.
pub(crate) fn ingest<D: AsRef<[u8]>>(catalog: &Catalog, documents: impl IntoIterator<Item = D>) {
    let staging = catalog.staging().unwrap();
    let revisions: Vec<NewRevision> = documents
        .into_iter()
        .map(|document| {
            let cut = cut(document.as_ref(), &Languages::of(["en", "de"])).unwrap();
            let mut parts = vec![
                part(PartKind::Document, cut.document),
                part(PartKind::Core, cut.core),
                part(PartKind::Extended, cut.extended),
            ];
            let small = |kind, text: Vec<u8>| NewPart {
                kind,
                len: text.len() as u64,
                text: Box::new(std::io::Cursor::new(text)),
            };
            parts.extend(
                cut.localized.into_iter().map(|row| small(PartKind::Localized(row.language), row.text)),
            );
            parts.extend(cut.eulas.into_iter().map(|row| small(PartKind::Eula(row.language), row.text)));
            NewRevision { facts: cut.facts, parts, file_urls: Vec::new() }
        })
        .collect();
    let mut rest = revisions.into_iter().peekable();
    while rest.peek().is_some() {
        staging.store(rest.by_ref().take(100).collect()).unwrap();
    }
    staging.activate(Activation { force: true, ..Activation::default() }).unwrap();
}

/// The memory for requests, as an installation has it.
pub(crate) fn intake(clock: &Clock) -> Intake {
    Intake::new(ByteCount(64_000_000), clock)
}

impl Server {
    pub(crate) fn over<D: AsRef<[u8]>>(documents: impl IntoIterator<Item = D>) -> Self {
        Self::configured(Config::default(), documents)
    }

    pub(crate) fn configured<D: AsRef<[u8]>>(config: Config, documents: impl IntoIterator<Item = D>) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let clock = Clock::manual(Timestamp::from_second(1_791_126_000).unwrap());
        let catalog = Catalog::open(tailwater::catalog::Config::new(dir.path()), clock.clone()).unwrap();
        ingest(&catalog, documents);
        let service = client::Service::new(
            config.clone(),
            catalog.clone(),
            clock.clone(),
            Arc::new(()),
            intake(&clock),
        )
        .unwrap();
        Self { service, catalog, clock, config, dir }
    }

    /// The same store, served by a new process so to speak.
    pub(crate) fn restarted(self) -> Self {
        let Self { service, catalog, clock, config, dir } = self;
        drop((service, catalog));
        let catalog = Catalog::open(tailwater::catalog::Config::new(dir.path()), clock.clone()).unwrap();
        let service = client::Service::new(
            config.clone(),
            catalog.clone(),
            clock.clone(),
            Arc::new(()),
            intake(&clock),
        )
        .unwrap();
        Self { service, catalog, clock, config, dir }
    }

    pub(crate) fn approve(&self, update: &str, action: Action) {
        let update: UpdateId = update.parse().unwrap();
        self.catalog.approve(&update, &GroupId::ALL_COMPUTERS, action, None, "test").unwrap();
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let mut request = Request::post(path).header("Host", "updates.example:8530");
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

    /// Asks a service for an operation the way Windows does; `content` is the inside of the operation's element.
    pub(crate) async fn ask(&self, service: wusp::Service, operation: &str, content: &str) -> Reply {
        let body = soap::request(service.namespace(), operation, content);
        let action = format!("\"{}/{operation}\"", service.namespace());
        let headers = [("SOAPAction", action.as_str()), ("Accept-Encoding", "xpress")];
        self.send(service.path(), &headers, body).await
    }

    pub(crate) async fn client(&self, operation: &str, content: &str) -> Reply {
        self.ask(wusp::Service::Client, operation, content).await
    }
}

/// An agent with the cookies it was given.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) last_change: String,
    pub(crate) authorization: String,
    pub(crate) cookie: String,
}

impl Agent {
    /// Asks for everything up to the cookie.
    pub(crate) async fn introduced(server: &Server, id: &str, version: &str) -> Self {
        let config = server.client("GetConfig", "<protocolVersion>2.90</protocolVersion>").await.ok();
        let content = format!("<clientId>{id}</clientId><dnsName>pc-{id}.example</dnsName>");
        let authorization =
            server.ask(wusp::Service::SimpleAuth, "GetAuthorizationCookie", &content).await.ok();
        let mut agent = Self {
            last_change: config.one("LastChange").to_owned(),
            authorization: authorization.one("CookieData").to_owned(),
            cookie: String::new(),
        };
        let content =
            agent.get_cookie("<oldCookie><Expiration>2026-10-04T15:03:36Z</Expiration></oldCookie>", version);
        let reply = server.client("GetCookie", &content).await.ok();
        reply.one("GetCookieResult").clone_into(&mut agent.cookie);
        agent
    }

    /// As [`Agent::introduced`], and registers.
    pub(crate) async fn registered(server: &Server, id: &str) -> Self {
        let agent = Self::introduced(server, id, "2.90").await;
        let info = "<computerInfo><DnsName>pc</DnsName><OSMajorVersion>10</OSMajorVersion></computerInfo>";
        server.client("RegisterComputer", &agent.with(info)).await.ok();
        agent
    }

    pub(crate) fn get_cookie(&self, old: &str, version: &str) -> String {
        format!(
            "<authCookies><AuthorizationCookie><PlugInId>SimpleTargeting</PlugInId><CookieData>{}</CookieData></AuthorizationCookie></authCookies>\
             {old}<lastChange>{}</lastChange><currentTime>2026-10-04T15:03:36Z</currentTime><protocolVersion>{version}</protocolVersion>",
            self.authorization, self.last_change
        )
    }

    /// The agent's cookie, then `content`.
    pub(crate) fn with(&self, content: &str) -> String {
        format!("<cookie>{}</cookie>{content}", self.cookie)
    }

    /// The sealed bytes of its cookie.
    pub(crate) fn sealed(&self) -> Vec<u8> {
        STANDARD.decode(all(&self.cookie, "EncryptedData")[0]).unwrap()
    }

    pub(crate) fn set_sealed(&mut self, sealed: &[u8]) {
        self.cookie = format!(
            "<Expiration>2099-01-01T00:00:00Z</Expiration><EncryptedData>{}</EncryptedData>",
            STANDARD.encode(sealed)
        );
    }

    /// One software call; the cookie becomes the one that came back.
    pub(crate) async fn sync(&mut self, server: &Server, installed: &[u32], other: &[u32]) -> Reply {
        self.sync_with(server, installed, other, "<SkipSoftwareSync>false</SkipSoftwareSync>").await
    }

    pub(crate) async fn sync_with(
        &mut self,
        server: &Server,
        installed: &[u32],
        other: &[u32],
        more: &str,
    ) -> Reply {
        let ints = |ids: &[u32]| ids.iter().map(|id| format!("<int>{id}</int>")).collect::<String>();
        let parameters = format!(
            "<parameters><ExpressQuery>false</ExpressQuery><InstalledNonLeafUpdateIDs>{}</InstalledNonLeafUpdateIDs>\
             <OtherCachedUpdateIDs>{}</OtherCachedUpdateIDs>{more}</parameters>",
            ints(installed),
            ints(other)
        );
        let reply = server.client("SyncUpdates", &self.with(&parameters)).await.ok();
        reply.one("NewCookie").clone_into(&mut self.cookie);
        reply
    }
}

/// An update document of a few words.
pub(crate) struct Document {
    id: String,
    revision: u32,
    kind: &'static str,
    properties: String,
    made_for: String,
    prerequisites: String,
    bundled: String,
    rules: String,
    files: String,
    handler: String,
    titles: String,
}

/// An identity that is told from others by its number.
pub(crate) fn id(number: u128) -> String {
    uuid::Uuid::from_u128(number).to_string()
}

impl Document {
    pub(crate) fn new(number: u128, kind: &'static str) -> Self {
        let deployable =
            if matches!(kind, "Software" | "Driver") { " ExplicitlyDeployable=\"true\"" } else { "" };
        Self {
            id: id(number),
            revision: 1,
            kind,
            properties: deployable.to_owned(),
            made_for: String::new(),
            prerequisites: String::new(),
            bundled: String::new(),
            rules: "<upd:IsInstalled><lar:True/></upd:IsInstalled>".to_owned(),
            files: String::new(),
            handler: String::new(),
            titles: title("en", &format!("update {number}")),
        }
    }

    pub(crate) fn category(number: u128, kind: &str) -> Self {
        let mut document = Self::new(number, "Category");
        document.handler = format!("<upd:CategoryInformation CategoryType=\"{kind}\"/>");
        document
    }

    pub(crate) fn revision(mut self, revision: u32) -> Self {
        self.revision = revision;
        self
    }

    /// A member of a bundle: not offered by itself.
    pub(crate) fn member(mut self) -> Self {
        self.properties.clear();
        self
    }

    /// Only for this language.
    pub(crate) fn made_for(mut self, language: &str) -> Self {
        write!(self.made_for, "<upd:Language>{language}</upd:Language>").unwrap();
        self
    }

    /// Withdrawn by its publisher.
    pub(crate) fn expired(mut self) -> Self {
        self.properties += " PublicationState=\"Expired\"";
        self
    }

    /// A clause that one of these satisfies.
    pub(crate) fn needs(mut self, any: &[u128], category: bool) -> Self {
        let alternatives: String =
            any.iter().map(|&number| format!("<upd:UpdateIdentity UpdateID=\"{}\"/>", id(number))).collect();
        let category = if category { " IsCategory=\"true\"" } else { "" };
        write!(self.prerequisites, "<upd:AtLeastOne{category}>{alternatives}</upd:AtLeastOne>").unwrap();
        self
    }

    pub(crate) fn bundles(mut self, number: u128) -> Self {
        write!(self.bundled, "<upd:UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"1\"/>", id(number))
            .unwrap();
        self
    }

    /// Bundles any one of these.
    pub(crate) fn bundles_any(mut self, numbers: &[u128]) -> Self {
        let one = |number: &u128| {
            format!("<upd:UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"1\"/>", id(*number))
        };
        let any: Vec<String> = numbers.iter().map(one).collect();
        write!(self.bundled, "<upd:AtLeastOne>{}</upd:AtLeastOne>", any.concat()).unwrap();
        self
    }

    pub(crate) fn rules(mut self, rules: &str) -> Self {
        rules.clone_into(&mut self.rules);
        self
    }

    pub(crate) fn file(mut self, byte: u8, name: &str) -> Self {
        write!(
            self.files,
            "<upd:File Digest=\"{}\" DigestAlgorithm=\"SHA1\" FileName=\"{name}\" Size=\"10\"/>",
            STANDARD.encode([byte; 20])
        )
        .unwrap();
        self
    }

    pub(crate) fn titled(mut self, language: &str, text: &str) -> Self {
        self.titles += &title(language, text);
        self
    }

    pub(crate) fn text(&self) -> String {
        let section = |name: &str, inner: &str| {
            if inner.is_empty() { String::new() } else { format!("<upd:{name}>{inner}</upd:{name}>") }
        };
        let relationships =
            section("Prerequisites", &self.prerequisites) + &section("BundledUpdates", &self.bundled);
        format!(
            "<upd:Update xmlns:upd=\"http://schemas.microsoft.com/msus/2002/12/Update\" \
             xmlns:lar=\"http://schemas.microsoft.com/msus/2002/12/LogicalApplicabilityRules\" \
             xmlns:drv=\"http://schemas.microsoft.com/msus/2002/12/UpdateHandlers/WindowsDriver\">\
             <upd:UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"{}\"/>\
             <upd:Properties UpdateType=\"{}\" DefaultPropertiesLanguage=\"en\" \
             CreationDate=\"2026-01-01T00:00:00Z\"{}>{}</upd:Properties>\
             <upd:LocalizedPropertiesCollection>{}</upd:LocalizedPropertiesCollection>{}{}{}{}</upd:Update>",
            self.id,
            self.revision,
            self.kind,
            self.properties,
            self.made_for,
            self.titles,
            section("Relationships", &relationships),
            section("ApplicabilityRules", &self.rules),
            section("Files", &self.files),
            section("HandlerSpecificData", &self.handler),
        )
    }
}

fn title(language: &str, text: &str) -> String {
    format!(
        "<upd:LocalizedProperties><upd:Language>{language}</upd:Language><upd:Title>{text}</upd:Title></upd:LocalizedProperties>"
    )
}
