//! How fast are agents answered? Budget on 2 cores: at least 1,500 `SyncUpdates` pages a second for agents of one
//! image; at least 6,000 answers a second and core for an agent with nothing new (20 kB of identities in); p99 under
//! 50 ms with 100 agents scanning at once; update documents cut at 60 MB/s on one core at least.
//!
//! `cargo bench --bench scan [-- pages] [-- nothing-new] [-- agents] [-- cut]`; answers are made by the real service
//! over the real catalog. `agents` goes through real sockets.
#![expect(clippy::print_stdout, reason = "figures are what a bench is for")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on ends")]

use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tailwater::catalog::{Activation, Catalog, NewPart, NewRevision, PartKind};
use tailwater::runtime::{Clock, Tasks};
use tailwater::serve::client::{Config, Service};
use tailwater::serve::{Answer, Listener, ListenerConfig, Peer, Request, Response};
use tailwater::wire::client_update as wusp;
use tailwater::wire::update_metadata::{Cut, Languages, Spool, cut};
use tailwater::wire::{soap, xpress};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Revisions in the catalog: those of a site with a few products.
const UPDATES: u32 = 15_000;
/// Products, all installed on every machine of the image.
const PRODUCTS: u32 = 60;
/// How long each figure is measured.
const MEASURE: Duration = Duration::from_secs(5);

fn id(number: u32) -> String {
    uuid::Uuid::from_u128(u128::from(number) + (1 << 100)).to_string()
}

/// A document of about 3 kB, as the median of real ones.
fn document(number: u32) -> String {
    let kind = if number < PRODUCTS { "Category" } else { "Software" };
    let needs = if number < PRODUCTS {
        String::new()
    } else {
        format!(
            "<upd:Relationships><upd:Prerequisites><upd:AtLeastOne IsCategory=\"true\"><upd:UpdateIdentity UpdateID=\"{}\"/></upd:AtLeastOne></upd:Prerequisites></upd:Relationships>",
            id(number % PRODUCTS)
        )
    };
    let rule = format!(
        "<bar:RegDword Key=\"HKEY_LOCAL_MACHINE\" Subkey=\"SOFTWARE\\Vendor\\Product {number}\" Value=\"Level\" Comparison=\"GreaterThanOrEqualTo\" Data=\"{number}\"/>"
    );
    let rules = if number < PRODUCTS { "<lar:True/>".to_owned() } else { rule.repeat(8) };
    let handler = if number < PRODUCTS {
        "<upd:CategoryInformation CategoryType=\"Product\"/>"
    } else {
        "<cmd:InstallCommand Program=\"setup.exe\"/>"
    };
    format!(
        "<upd:Update xmlns:upd=\"http://schemas.microsoft.com/msus/2002/12/Update\" xmlns:bar=\"http://schemas.microsoft.com/msus/2002/12/BaseApplicabilityRules\" \
         xmlns:lar=\"http://schemas.microsoft.com/msus/2002/12/LogicalApplicabilityRules\" xmlns:cmd=\"http://schemas.microsoft.com/msus/2002/12/UpdateHandlers/CommandLineInstallation\">\
         <upd:UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"200\"/><upd:Properties UpdateType=\"{kind}\" DefaultPropertiesLanguage=\"en\" ExplicitlyDeployable=\"true\" PublicationState=\"Published\" CreationDate=\"2026-01-01T00:00:00Z\"/>\
         <upd:LocalizedPropertiesCollection><upd:LocalizedProperties><upd:Language>en</upd:Language><upd:Title>Update {number} for a product</upd:Title>\
         <upd:Description>Install this update to resolve issues in a product. &amp; more.</upd:Description></upd:LocalizedProperties></upd:LocalizedPropertiesCollection>\
         {needs}<upd:ApplicabilityRules><upd:IsInstalled><lar:And>{rules}</lar:And></upd:IsInstalled></upd:ApplicabilityRules>\
         <upd:HandlerSpecificData>{handler}</upd:HandlerSpecificData></upd:Update>",
        id(number)
    )
}

fn revision(cut: Cut) -> NewRevision {
    let part =
        |kind, spool: Spool| NewPart { kind, len: spool.len(), text: Box::new(spool.into_reader().unwrap()) };
    let mut parts = vec![
        part(PartKind::Document, cut.document),
        part(PartKind::Core, cut.core),
        part(PartKind::Extended, cut.extended),
    ];
    parts.extend(cut.localized.into_iter().map(|row| NewPart {
        kind: PartKind::Localized(row.language),
        len: row.text.len() as u64,
        text: Box::new(Cursor::new(row.text)),
    }));
    NewRevision { facts: cut.facts, parts, file_urls: Vec::new() }
}

fn filled(dir: &std::path::Path, clock: &Clock) -> Catalog {
    let catalog = Catalog::open(tailwater::catalog::Config::new(dir), clock.clone()).unwrap();
    let staging = catalog.staging().unwrap();
    let began = Instant::now();
    let numbers: Vec<u32> = (0..UPDATES).collect();
    for batch in numbers.chunks(100) {
        let batch = batch.iter().map(|&n| revision(cut(document(n).as_bytes(), &Languages::all()).unwrap()));
        staging.store(batch.collect()).unwrap();
    }
    staging.activate(Activation { force: true, ..Activation::default() }).unwrap();
    println!(
        "stored {UPDATES} revisions, cut, compressed and durable: {:.0} a second",
        f64::from(UPDATES) / began.elapsed().as_secs_f64()
    );
    catalog
}

/// An agent that registered, and its next requests.
#[derive(Clone)]
struct Agent {
    cookie: String,
}

async fn ask(service: &Service, of: wusp::Service, operation: &str, content: &str) -> Bytes {
    let body = soap::request(of.namespace(), operation, content);
    let request = http::Request::post(of.path()).header("Accept-Encoding", "xpress").body(()).unwrap();
    let local = "127.0.0.1:8530".parse().unwrap();
    let from = Peer { address: local, local, tls: false, certificate: None };
    let answer = service.answer_message(&request.into_parts().0, body.into(), from).await;
    assert!(answer.status().is_success(), "{operation}: {}", answer.status());
    answer.into_body().collect().await.unwrap().to_bytes()
}

async fn text(service: &Service, of: wusp::Service, operation: &str, content: &str) -> String {
    let bytes = ask(service, of, operation, content).await;
    let plain =
        if bytes.starts_with(b"<") { bytes.to_vec() } else { xpress::decode(&bytes, 1 << 28).unwrap() };
    String::from_utf8(plain).unwrap()
}

fn element<'a>(text: &'a str, name: &str) -> &'a str {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    text.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).expect(name).0
}

impl Agent {
    async fn new(service: &Service, name: &str) -> Self {
        let config =
            text(service, wusp::Service::Client, "GetConfig", "<protocolVersion>2.90</protocolVersion>")
                .await;
        let content = format!("<clientId>{name}</clientId><dnsName>{name}</dnsName>");
        let auth = text(service, wusp::Service::SimpleAuth, "GetAuthorizationCookie", &content).await;
        let content = format!(
            "<authCookies><AuthorizationCookie><CookieData>{}</CookieData></AuthorizationCookie></authCookies><lastChange>{}</lastChange><protocolVersion>2.90</protocolVersion>",
            element(&auth, "CookieData"),
            element(&config, "LastChange")
        );
        let cookie = text(service, wusp::Service::Client, "GetCookie", &content).await;
        let agent = Self { cookie: element(&cookie, "GetCookieResult").to_owned() };
        let content = format!("<cookie>{}</cookie><computerInfo/>", agent.cookie);
        text(service, wusp::Service::Client, "RegisterComputer", &content).await;
        agent
    }

    fn scan(&self, installed: &[u32], other: &[u32]) -> String {
        let ints = |ids: &[u32]| {
            let texts: Vec<String> = ids.iter().map(|id| format!("<int>{id}</int>")).collect();
            texts.concat()
        };
        format!(
            "<cookie>{}</cookie><parameters><ExpressQuery>false</ExpressQuery><InstalledNonLeafUpdateIDs>{}</InstalledNonLeafUpdateIDs>\
             <OtherCachedUpdateIDs>{}</OtherCachedUpdateIDs><SkipSoftwareSync>false</SkipSoftwareSync></parameters>",
            self.cookie,
            ints(installed),
            ints(other)
        )
    }
}

fn ids(page: &str) -> Vec<(u32, bool)> {
    page.split("<UpdateInfo><ID>")
        .skip(1)
        .map(|info| (info.split('<').next().unwrap().parse().unwrap(), element(info, "IsLeaf") == "true"))
        .collect()
}

/// Scans once to the end: the lists before each page.
async fn rounds(service: &Service, agent: &Agent) -> Vec<(Vec<u32>, Vec<u32>)> {
    let (mut installed, mut other, mut rounds) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        rounds.push((installed.clone(), other.clone()));
        let page = text(service, wusp::Service::Client, "SyncUpdates", &agent.scan(&installed, &other)).await;
        let new = ids(&page);
        if new.is_empty() {
            return rounds;
        }
        for (id, leaf) in new {
            if leaf { other.push(id) } else { installed.push(id) }
        }
    }
}

/// Calls `work` from `tasks` tasks for a while; calls a second, calls a CPU second (on a busy machine the fairer
/// figure) and the 99th percentile.
async fn measure<F>(
    tasks: usize,
    work: impl Fn(usize, usize) -> F + Send + Sync + 'static,
) -> (f64, f64, Duration)
where
    F: Future<Output = ()> + Send,
{
    let work = Arc::new(work);
    let pool = Tasks::new();
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let handles: Vec<_> = (0..tasks)
        .map(|task| {
            let work = Arc::clone(&work);
            pool.spawn("bench", async move {
                let mut times = Vec::new();
                while began.elapsed() < MEASURE {
                    let start = Instant::now();
                    work(task, times.len()).await;
                    times.push(start.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for handle in handles {
        times.extend(handle.await.unwrap());
    }
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    let per_core = times.len() as f64 / (cpu_seconds() - cpu);
    times.sort_unstable();
    (rate, per_core, times[times.len() * 99 / 100])
}

struct Only(Service);

impl Answer for Only {
    async fn answer(&self, request: Request, from: Peer) -> Response {
        self.0.answer(request, from).await
    }
}

/// One request over a kept connection; the length of the answer's body.
async fn over_socket(stream: &mut TcpStream, body: &str) -> usize {
    let head = format!(
        "POST /ClientWebService/client.asmx HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml; charset=utf-8\r\nAccept-Encoding: xpress\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await.unwrap();
    let mut read = Vec::with_capacity(64 * 1024);
    loop {
        stream.read_buf(&mut read).await.unwrap();
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let headers = std::str::from_utf8(&read[..end]).unwrap().to_ascii_lowercase();
        assert!(headers.starts_with("http/1.1 200"), "{headers}");
        let len: usize =
            headers.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        while read.len() < end + 4 + len {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0);
        }
        return len;
    }
}

/// Seconds of CPU that this process has used, from the kernel's clock of 100 Hz.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn bench_cut() {
    let documents: Vec<String> = (PRODUCTS..PRODUCTS + 2_000).map(document).collect();
    let bytes: usize = documents.iter().map(String::len).sum();
    let keep = Languages::of(["en"]);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let mut rounds = 0;
    while began.elapsed() < MEASURE {
        for document in &documents {
            cut(document.as_bytes(), &keep).unwrap();
        }
        rounds += 1;
    }
    let cut = (bytes * rounds) as f64 / 1e6;
    let (wall, busy) = (cut / began.elapsed().as_secs_f64(), cut / (cpu_seconds() - cpu));
    println!(
        "cut: {wall:.0} MB/s, {busy:.0} MB per CPU second (budget 60), documents of {} bytes",
        bytes / documents.len()
    );
}

async fn bench_pages(service: &Service) {
    let agent = Agent::new(service, "image").await;
    let rounds = rounds(service, &agent).await;
    let pages: Vec<String> =
        rounds[..rounds.len() - 1].iter().map(|(installed, other)| agent.scan(installed, other)).collect();
    let sizes: usize = {
        let mut sum = 0;
        for page in &pages {
            sum += ask(service, wusp::Service::Client, "SyncUpdates", page).await.len();
        }
        sum
    };
    println!("a first scan of the image: {} pages, {} kB compressed", pages.len(), sizes / 1000);
    let service = service.clone();
    let pages = Arc::new(pages);
    let (rate, per_core, p99) = measure(8, move |task, call| {
        let (service, pages) = (service.clone(), Arc::clone(&pages));
        async move {
            let page = &pages[(task * 7 + call) % pages.len()];
            ask(&service, wusp::Service::Client, "SyncUpdates", page).await;
        }
    })
    .await;
    println!(
        "pages for agents of one image: {rate:.0} a second (budget 1,500), {per_core:.0} a CPU second, p99 {p99:?}"
    );
}

async fn bench_nothing_new(service: &Service) {
    let agent = Agent::new(service, "current").await;
    let rounds = rounds(service, &agent).await;
    let (installed, other) = rounds.last().unwrap();
    for count in [1_250, other.len()] {
        // 1,250 identities are 20 kB; those of a whole scan leave nothing out
        let some = &other[..count.min(other.len())];
        let body = agent.scan(installed, some);
        let answer = ask(service, wusp::Service::Client, "SyncUpdates", &body).await;
        let service = service.clone();
        let kb = body.len() / 1000;
        let body = Arc::new(body);
        let (rate, per_core, p99) = measure(2, move |_, _| {
            let (service, body) = (service.clone(), Arc::clone(&body));
            async move {
                ask(&service, wusp::Service::Client, "SyncUpdates", &body).await;
            }
        })
        .await;
        println!(
            "{count} identities in ({kb} kB), {} bytes out: {rate:.0} a second, {per_core:.0} a CPU second (budget 6,000 with 20 kB), p99 {p99:?}",
            answer.len()
        );
    }
}

async fn bench_agents(service: &Service, clock: &Clock) {
    let listener = Listener::bind(ListenerConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let address = listener.address();
    let tasks = Tasks::new();
    tasks.spawn("listener", listener.run(Arc::new(Only(service.clone())), clock.clone(), tasks.clone()));
    let mut scans = Vec::new();
    for number in 0..100 {
        let agent = Agent::new(service, &format!("agent-{number}")).await;
        if number == 0 {
            scans = rounds(service, &agent).await;
        }
        let bodies: Vec<String> = scans
            .iter()
            .map(|(installed, other)| {
                soap::request(wusp::Service::Client.namespace(), "SyncUpdates", &agent.scan(installed, other))
            })
            .collect();
        if number == 0 {
            println!("100 agents, {} requests each", bodies.len());
        }
        let stream = tokio::sync::Mutex::new(TcpStream::connect(address).await.unwrap());
        AGENTS.lock().unwrap().push(Arc::new((bodies, stream)));
    }
    let agents: Vec<_> = AGENTS.lock().unwrap().clone();
    let (rate, per_core, p99) = measure(100, move |task, call| {
        let agent = Arc::clone(&agents[task]);
        async move {
            let (bodies, stream) = &*agent;
            over_socket(&mut *stream.lock().await, &bodies[call % bodies.len()]).await;
        }
    })
    .await;
    println!(
        "100 agents scanning at once over sockets: {rate:.0} answers a second, {per_core:.0} a CPU second with the clients in it, p99 {p99:?} (budget 50 ms)"
    );
}

type Scanning = Arc<(Vec<String>, tokio::sync::Mutex<TcpStream>)>;
static AGENTS: std::sync::Mutex<Vec<Scanning>> = std::sync::Mutex::new(Vec::new());

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if wants("cut") {
        bench_cut();
    }
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let catalog = filled(dir.path(), &clock);
    let intake = tailwater::serve::Intake::new(tailwater::domain::ByteCount(64_000_000), &clock);
    let service = Service::new(Config::default(), catalog, clock.clone(), Arc::new(()), intake).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        if wants("pages") {
            bench_pages(&service).await;
        }
        if wants("nothing-new") {
            bench_nothing_new(&service).await;
        }
        if wants("agents") {
            bench_agents(&service, &clock).await;
        }
    });
}
