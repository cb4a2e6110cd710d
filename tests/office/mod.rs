//! A head office in memory: an upstream that speaks MS-WSUSSS on loopback, as far as synchronisation needs,
//! with documents made here. It counts what is asked and can be told to hold its answers back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tailwater::domain::{UpdateId, UpdateIdentity};
use tailwater::runtime::Tasks;
use tailwater::wire::soap::{self, Blame, Fault, Style, Version};
use tailwater::wire::xml::{Limits, escape};
use tokio::net::TcpListener;
use tokio::sync::watch;
use uuid::Uuid;

/// The well-known identities that the documents here refer to.
pub(crate) const PRODUCT: u128 = 0x10;
pub(crate) const CLASSIFICATION: u128 = 0x20;
pub(crate) const DETECTOID: u128 = 0x30;

pub(crate) fn id(number: u128) -> UpdateId {
    UpdateId(Uuid::from_u128(number))
}

pub(crate) fn revision(number: u128, revision: u32) -> UpdateIdentity {
    UpdateIdentity { update: id(number), revision }
}

/// A document as the office hands it out.
#[derive(Clone)]
pub(crate) struct Document {
    pub(crate) identity: UpdateIdentity,
    /// Listed with categories and detectoids.
    pub(crate) config: bool,
    /// Listed at all; children of bundles may not be.
    pub(crate) listed: bool,
    pub(crate) text: String,
    /// Travels as a cabinet.
    pub(crate) cabinet: bool,
}

const UPDATE: &str = "xmlns:upd=\"http://schemas.microsoft.com/msus/2002/12/Update\" \
    xmlns:bar=\"http://schemas.microsoft.com/msus/2002/12/BaseApplicabilityRules\" \
    xmlns:lar=\"http://schemas.microsoft.com/msus/2002/12/LogicalApplicabilityRules\" \
    xmlns:cat=\"http://schemas.microsoft.com/msus/2002/12/UpdateHandlers/Category\" \
    xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";

/// Writes a document.
pub(crate) fn document(
    identity: UpdateIdentity,
    kind: &str,
    title: &str,
    relationships: &str,
    rest: &str,
) -> Document {
    let text = format!(
        "<upd:Update {UPDATE}><upd:UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"{}\" />\
         <upd:Properties DefaultPropertiesLanguage=\"en\" UpdateType=\"{kind}\" ExplicitlyDeployable=\"true\" \
         PublicationState=\"Published\" CreationDate=\"2026-10-04T12:00:58.287Z\" \
         PublisherID=\"395392a0-19c0-48b7-a927-f7c15066d905\" />\
         <upd:LocalizedPropertiesCollection><upd:LocalizedProperties><upd:Language>en</upd:Language>\
         <upd:Title>{title}</upd:Title><upd:Description>What {title} is for.</upd:Description>\
         </upd:LocalizedProperties></upd:LocalizedPropertiesCollection>\
         <upd:Relationships>{relationships}</upd:Relationships>{rest}</upd:Update>",
        identity.update, identity.revision
    );
    Document {
        identity,
        config: kind == "Category" || kind == "Detectoid",
        listed: true,
        text,
        cabinet: false,
    }
}

pub(crate) fn prerequisites(clauses: &[(u128, bool)]) -> String {
    let clause = |&(number, category): &(u128, bool)| {
        let identity = format!("<upd:UpdateIdentity UpdateID=\"{}\" />", id(number));
        if category {
            format!("<upd:AtLeastOne IsCategory=\"true\">{identity}</upd:AtLeastOne>")
        } else {
            identity
        }
    };
    format!("<upd:Prerequisites>{}</upd:Prerequisites>", clauses.iter().map(clause).collect::<String>())
}

pub(crate) fn bundles(children: &[UpdateIdentity]) -> String {
    let child = |child: &UpdateIdentity| {
        format!("<upd:UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"{}\" />", child.update, child.revision)
    };
    format!("<upd:BundledUpdates>{}</upd:BundledUpdates>", children.iter().map(child).collect::<String>())
}

fn category(number: u128, kind: &str, title: &str) -> Document {
    category_revision(revision(number, 1), kind, title)
}

/// A revision of a category.
pub(crate) fn category_revision(identity: UpdateIdentity, kind: &str, title: &str) -> Document {
    let handler = format!(
        "<upd:HandlerSpecificData xsi:type=\"cat:Category\"><cat:CategoryInformation CategoryType=\"{kind}\" \
         ProhibitsSubcategories=\"true\" ProhibitsUpdates=\"false\" DisplayOrder=\"1\" ExcludedByDefault=\"false\" />\
         </upd:HandlerSpecificData>"
    );
    document(identity, "Category", title, "", &handler)
}

/// Product, classification and detectoid.
pub(crate) fn categories() -> Vec<Document> {
    vec![
        category(PRODUCT, "Product", "Windows 11"),
        category(CLASSIFICATION, "UpdateClassification", "Security Updates"),
        document(revision(DETECTOID, 1), "Detectoid", "A machine", "", ""),
    ]
}

/// An update of the well-known product and classification, with about `filler` bytes of rules.
pub(crate) fn update(number: u128, revision_number: u32, filler: usize) -> Document {
    let needs = prerequisites(&[(DETECTOID, false), (PRODUCT, true), (CLASSIFICATION, true)]);
    let mut rules = String::from("<upd:ApplicabilityRules><upd:IsInstalled><lar:And>");
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    while rules.len() < filler {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (a, b) = ((state >> 40) & 0xffff_ffff, (state >> 72) & 0xffff);
        let _ = write!(
            rules,
            "<bar:RegSz Key=\"HKEY_LOCAL_MACHINE\" Subkey=\"SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\{a:08x}\" \
             Value=\"Version{b}\" Comparison=\"GreaterThanOrEqualTo\" Data=\"10.0.{b}.{}\" />",
            a % 977
        );
    }
    rules.push_str("</lar:And></upd:IsInstalled></upd:ApplicabilityRules>");
    let identity = revision(number, revision_number);
    document(identity, "Software", &format!("Update {number} for Windows 11"), &needs, &rules)
}

/// What was asked of the office.
#[derive(Default, Debug, Clone)]
pub(crate) struct Counters {
    pub(crate) operations: BTreeMap<String, usize>,
    /// Revisions handed out, each time.
    pub(crate) handed_out: Vec<UpdateIdentity>,
    /// Most revisions that were asked for and not answered at once.
    pub(crate) most_in_flight: usize,
    pub(crate) bytes_sent: usize,
    in_flight: usize,
}

struct Entry {
    document: Document,
    seq: u64,
    /// `ServerSyncUpdateData`, ready.
    element: String,
}

/// Everything published, in that order.
#[derive(Default)]
struct Shelf {
    entries: Vec<Entry>,
    places: HashMap<UpdateIdentity, usize>,
}

impl Shelf {
    fn add(&mut self, document: Document) {
        self.places.insert(document.identity, self.entries.len());
        let seq = self.entries.len() as u64 + 1;
        self.entries.push(Entry { seq, element: element(&document), document });
    }
}

struct Shared {
    shelf: Mutex<Shelf>,
    counters: Mutex<Counters>,
    batch: usize,
    /// `GetUpdateData` waits while this is false.
    open: watch::Sender<bool>,
    /// Revisions for which the whole request is refused.
    refused: Mutex<BTreeSet<UpdateIdentity>>,
    /// It hands out its catalog only; and `MUUrl`s by payload, both in Base64 and text.
    catalog_only: Mutex<bool>,
    mu_urls: Mutex<BTreeMap<String, String>>,
    /// Revisions for which a whole request for keys is refused.
    refused_keys: Mutex<BTreeSet<UpdateIdentity>>,
    /// Keys of encrypted payloads, by revision; none stands for `NULL`. With how many revisions one request may name.
    keys: Mutex<(HashMap<UpdateIdentity, FileKeys>, usize)>,
    /// Faults to answer the next requests of an operation with.
    faults: Mutex<Vec<(String, String)>>,
    generation: Mutex<u32>,
}

/// Payloads of a revision with their keys, both in Base64.
pub(crate) type FileKeys = Vec<(String, Option<String>)>;

/// The office; it closes when its tasks are shut down.
pub(crate) struct Office {
    pub(crate) url: String,
    shared: Arc<Shared>,
    tasks: Tasks,
}

fn element(document: &Document) -> String {
    let identity = document.identity;
    let blob = if document.cabinet {
        let mut builder = cab::CabinetBuilder::new();
        builder.add_folder(cab::CompressionType::MsZip).add_file("blob");
        let mut writer = builder.build(std::io::Cursor::new(Vec::new())).unwrap();
        while let Some(mut file) = writer.next_file().unwrap() {
            let units: Vec<u8> = document.text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            file.write_all(&units).unwrap();
        }
        let cabinet = writer.finish().unwrap().into_inner();
        format!("<XmlUpdateBlobCompressed>{}</XmlUpdateBlobCompressed>", STANDARD.encode(cabinet))
    } else {
        format!("<XmlUpdateBlob>{}</XmlUpdateBlob>", escape(&document.text))
    };
    format!(
        "<ServerSyncUpdateData><Id><UpdateID>{}</UpdateID><RevisionNumber>{}</RevisionNumber></Id>{blob}</ServerSyncUpdateData>",
        identity.update, identity.revision
    )
}

impl Office {
    /// Opens on loopback with these documents; `batch` is what one request may ask.
    pub(crate) async fn open(documents: Vec<Document>, batch: usize) -> Self {
        let mut shelf = Shelf::default();
        for document in documents {
            shelf.add(document);
        }
        let shared = Arc::new(Shared {
            shelf: Mutex::new(shelf),
            counters: Mutex::default(),
            batch,
            open: watch::Sender::new(true),
            refused: Mutex::default(),
            catalog_only: Mutex::default(),
            mu_urls: Mutex::default(),
            refused_keys: Mutex::default(),
            keys: Mutex::new((HashMap::new(), 100)),
            faults: Mutex::default(),
            generation: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let tasks = Tasks::new();
        let (inner, inner_tasks) = (Arc::clone(&shared), tasks.clone());
        tasks.spawn("office", async move {
            let stopping = inner_tasks.stopping();
            loop {
                let socket = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = stopping.cancelled() => return,
                };
                let (shared, stopping) = (Arc::clone(&inner), inner_tasks.stopping());
                inner_tasks.spawn("office connection", async move {
                    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service);
                    tokio::select! { _ = connection => {}, () = stopping.cancelled() => {} }
                });
            }
        });
        Self { url: format!("http://{address}"), shared, tasks }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.shared.counters.lock().unwrap().clone()
    }

    pub(crate) fn forget_counters(&self) {
        *self.shared.counters.lock().unwrap() = Counters::default();
    }

    /// Holds answers with documents back, or lets them go.
    pub(crate) fn hold(&self, hold: bool) {
        self.shared.open.send_replace(!hold);
    }

    /// Publishes one more document, after everything that is there.
    pub(crate) fn publish(&self, document: Document) {
        self.shared.shelf.lock().unwrap().add(document);
    }

    /// A revision travels as these bytes instead of its cabinet.
    pub(crate) fn poison(&self, identity: UpdateIdentity, cabinet: &[u8]) {
        let mut documents = self.shared.shelf.lock().unwrap();
        let place = documents.places[&identity];
        let blob = STANDARD.encode(cabinet);
        documents.entries[place].element = format!(
            "<ServerSyncUpdateData><Id><UpdateID>{}</UpdateID><RevisionNumber>{}</RevisionNumber></Id>\
             <XmlUpdateBlobCompressed>{blob}</XmlUpdateBlobCompressed></ServerSyncUpdateData>",
            identity.update, identity.revision
        );
    }

    /// Refuses every request that asks for this.
    pub(crate) fn refuse(&self, identity: UpdateIdentity) {
        self.shared.refused.lock().unwrap().insert(identity);
    }

    /// Refuses it no longer.
    pub(crate) fn admit(&self, identity: UpdateIdentity) {
        self.shared.refused.lock().unwrap().remove(&identity);
    }

    /// Hands out its catalog only, and says where Microsoft has a payload.
    pub(crate) fn point_at(&self, digest: &str, url: &str) {
        *self.shared.catalog_only.lock().unwrap() = true;
        self.shared.mu_urls.lock().unwrap().insert(digest.to_owned(), url.to_owned());
    }

    /// Refuses every request that asks for keys of this.
    pub(crate) fn refuse_keys(&self, identity: UpdateIdentity) {
        self.shared.refused_keys.lock().unwrap().insert(identity);
    }

    /// Knows keys of payloads of a revision.
    pub(crate) fn keys(&self, identity: UpdateIdentity, keys: FileKeys) {
        self.shared.keys.lock().unwrap().0.insert(identity, keys);
    }

    /// How many revisions one request for keys may name; 0 says nothing of it and refuses more than 100.
    pub(crate) fn limit_keys(&self, limit: usize) {
        self.shared.keys.lock().unwrap().1 = limit;
    }

    /// Answers the next request of `operation` with a fault.
    pub(crate) fn fault(&self, operation: &str, code: &str) {
        self.shared.faults.lock().unwrap().push((operation.to_owned(), code.to_owned()));
    }

    /// Becomes another server: cookies given out so far mean `ServerChanged`.
    pub(crate) fn become_another(&self) {
        *self.shared.generation.lock().unwrap() += 1;
    }

    pub(crate) async fn close(self) {
        self.tasks.shut_down(std::time::Duration::from_secs(5)).await;
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut message = soap::open(&body[..], Limits::REQUEST).unwrap();
    let (operation, namespace) = (message.operation.clone(), message.namespace.clone());
    let asked = read(&mut message.decoder);
    *shared.counters.lock().unwrap().operations.entry(operation.clone()).or_default() += 1;
    let outcome = match fault(&shared, &operation, &asked) {
        Some(code) => Err(code),
        None => inside(&shared, &operation, &asked).await,
    };
    let (status, text) = match outcome {
        Ok(inside) => {
            let result = format!("<{operation}Result>{inside}</{operation}Result>");
            let body = format!("<{operation}Response xmlns=\"{namespace}\">{result}</{operation}Response>");
            (200, soap::envelope(Version::V11, Style::Server, &body))
        }
        Err(code) => {
            let id = Uuid::nil().to_string();
            let fault = Fault::new(Blame::Server, &code, "", id, format!("\"{operation}\""));
            (500, fault.encode(Version::V11, Style::Server))
        }
    };
    shared.counters.lock().unwrap().bytes_sent += text.len();
    Ok(Response::builder().status(status).body(Full::new(Bytes::from(text))).unwrap())
}

fn fault(shared: &Shared, operation: &str, asked: &Asked) -> Option<String> {
    let mut faults = shared.faults.lock().unwrap();
    if let Some(at) = faults.iter().position(|(wanted, _)| wanted == operation) {
        return Some(faults.remove(at).1);
    }
    let cookie = format!("cookie{}", *shared.generation.lock().unwrap());
    let needs_cookie = matches!(
        operation,
        "GetConfigData" | "GetRevisionIdList" | "GetUpdateData" | "GetUpdateDecryptionData"
    );
    if needs_cookie && asked.cookie != cookie {
        return Some(if asked.cookie.is_empty() { "InvalidCookie" } else { "ServerChanged" }.to_owned());
    }
    None
}

/// Everything that requests may hold, whatever the operation.
#[derive(Default)]
struct Asked {
    cookie: String,
    anchor: Option<u64>,
    get_config: bool,
    /// Ids of the filter and their `Delta`.
    ids: Vec<(UpdateId, bool)>,
    revisions: Vec<UpdateIdentity>,
}

fn read(decoder: &mut tailwater::wire::xml::Decoder<&[u8]>) -> Asked {
    let mut asked = Asked::default();
    let (mut depth, mut id) = (1, None);
    while depth > 0 {
        let Some(name) = decoder.child().unwrap().map(str::to_owned) else {
            depth -= 1;
            continue;
        };
        match name.as_str() {
            "EncryptedData" => asked.cookie = decoder.text().unwrap(),
            "Anchor" => asked.anchor = decoder.optional_value().unwrap(),
            "GetConfig" => asked.get_config = decoder.boolean().unwrap(),
            "Id" | "UpdateID" => id = decoder.optional_value::<UpdateId>().ok().flatten(),
            "Delta" => {
                let delta = decoder.boolean().unwrap();
                asked.ids.extend(id.take().map(|id| (id, delta)));
            }
            "RevisionNumber" => {
                let revision = decoder.value().unwrap();
                asked.revisions.extend(id.take().map(|update| UpdateIdentity { update, revision }));
            }
            "cookie" | "filter" | "updateIds" | "UpdateIdentity" | "IdAndDelta" | "Categories"
            | "Classifications" => depth += 1,
            _ => decoder.skip().unwrap(),
        }
    }
    asked
}

async fn inside(shared: &Shared, operation: &str, asked: &Asked) -> Result<String, String> {
    match operation {
        "GetAuthConfig" => Ok("<AuthInfo><AuthPlugInInfo><PlugInID>DssTargeting</PlugInID>\
            <ServiceUrl>DssAuthWebService/DssAuthWebService.asmx</ServiceUrl></AuthPlugInInfo></AuthInfo>"
            .to_owned()),
        "GetAuthorizationCookie" => {
            Ok("<PlugInId>DssTargeting</PlugInId><CookieData>QUJD</CookieData>".to_owned())
        }
        "GetCookie" => Ok(format!(
            "<Expiration>2999-01-01T00:00:00Z</Expiration><EncryptedData>cookie{}</EncryptedData>",
            *shared.generation.lock().unwrap()
        )),
        "GetConfigData" => Ok(format!(
            "<CatalogOnlySync>{}</CatalogOnlySync><LazySync>false</LazySync>\
             <MaxNumberOfUpdatesPerRequest>{}</MaxNumberOfUpdatesPerRequest>\
             <NewConfigAnchor>1</NewConfigAnchor><LanguageUpdateList />\
             <MaxUpdatesPerRequestInGetUpdateDecryptionData>{}</MaxUpdatesPerRequestInGetUpdateDecryptionData>",
            *shared.catalog_only.lock().unwrap(),
            shared.batch,
            shared.keys.lock().unwrap().1
        )),
        "GetUpdateDecryptionData" => decryption(shared, asked),
        "GetRevisionIdList" => Ok(list(shared, asked)),
        "GetUpdateData" => documents(shared, asked).await,
        other => Err(format!("Unknown{other}")),
    }
}

fn decryption(shared: &Shared, asked: &Asked) -> Result<String, String> {
    let keys = shared.keys.lock().unwrap();
    if asked.revisions.len() > if keys.1 == 0 { 100 } else { keys.1 } {
        return Err("InvalidParameters".to_owned());
    }
    if asked.revisions.iter().any(|identity| shared.refused_keys.lock().unwrap().contains(identity)) {
        return Err("InternalServerError".to_owned());
    }
    let mut rows = String::new();
    for identity in &asked.revisions {
        // an entry for each payload, as the text of the specification has it
        for (digest, key) in keys.0.get(identity).into_iter().flatten() {
            let key =
                key.as_ref().map(|key| format!("<DecryptionKey>{key}</DecryptionKey>")).unwrap_or_default();
            let _ = write!(
                rows,
                "<ServerSyncUpdateFileDecryption><UpdateId><UpdateID>{}</UpdateID><RevisionNumber>{}</RevisionNumber>\
                 </UpdateId><FileDecryptionData><ServerSyncFileDecryption><FileDigest>{digest}</FileDigest>{key}\
                 </ServerSyncFileDecryption></FileDecryptionData></ServerSyncUpdateFileDecryption>",
                identity.update, identity.revision
            );
        }
    }
    Ok(format!("<UpdateFileDecryptionData>{rows}</UpdateFileDecryptionData>"))
}

fn list(shared: &Shared, asked: &Asked) -> String {
    let shelf = shared.shelf.lock().unwrap();
    let entries = &shelf.entries;
    let mut newest: BTreeMap<UpdateId, &Entry> = BTreeMap::new();
    for entry in
        entries.iter().filter(|entry| entry.document.listed && entry.document.config == asked.get_config)
    {
        newest.insert(entry.document.identity.update, entry);
    }
    let since = asked.anchor.unwrap_or_default();
    let whole = asked.ids.iter().any(|(_, delta)| !delta);
    // the documents here have one product: a filter either takes them all or none
    let selects = asked.ids.is_empty() || asked.ids.iter().any(|(id, _)| *id == self::id(PRODUCT));
    let mut rows = String::new();
    let mut picked: Vec<&Entry> = newest.into_values().collect();
    picked.sort_by_key(|entry| entry.seq);
    for entry in picked.into_iter().filter(|entry| selects && (whole || entry.seq > since)) {
        let identity = entry.document.identity;
        let _ = write!(
            rows,
            "<UpdateIdentity><UpdateID>{}</UpdateID><RevisionNumber>{}</RevisionNumber></UpdateIdentity>",
            identity.update, identity.revision
        );
    }
    format!("<Anchor>{}</Anchor><NewRevisions>{rows}</NewRevisions>", entries.len())
}

async fn documents(shared: &Shared, asked: &Asked) -> Result<String, String> {
    if asked.revisions.len() > shared.batch {
        return Err("InvalidParameters".to_owned());
    }
    if asked.revisions.iter().any(|identity| shared.refused.lock().unwrap().contains(identity)) {
        return Err("InternalServerError".to_owned());
    }
    {
        let mut counters = shared.counters.lock().unwrap();
        counters.in_flight += asked.revisions.len();
        counters.most_in_flight = counters.most_in_flight.max(counters.in_flight);
    }
    let mut open = shared.open.subscribe();
    let _ = open.wait_for(|open| *open).await;
    let mut text = String::from("<updates>");
    let mut given = Vec::new();
    {
        let shelf = shared.shelf.lock().unwrap();
        for place in asked.revisions.iter().filter_map(|identity| shelf.places.get(identity)) {
            text.push_str(&shelf.entries[*place].element);
            given.push(shelf.entries[*place].document.identity);
        }
    }
    text.push_str("</updates><fileUrls>");
    for (digest, url) in shared.mu_urls.lock().unwrap().iter() {
        let _ = write!(
            text,
            "<ServerSyncUrlData><FileDigest>{digest}</FileDigest><MUUrl>{}</MUUrl><UssUrl /></ServerSyncUrlData>",
            escape(url)
        );
    }
    text.push_str("</fileUrls>");
    let mut counters = shared.counters.lock().unwrap();
    counters.in_flight -= asked.revisions.len();
    counters.handed_out.extend(given);
    Ok(text)
}
