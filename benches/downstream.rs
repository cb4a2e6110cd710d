//! How fast are downstream servers answered? Budget on 2 cores: `GetRevisionIdList` of 100,000 revisions in under
//! 300 ms, compressed or not; `GetUpdateData` at least 10,000 revisions a second from a warm store.
//!
//! `cargo bench --bench downstream [-- REVISIONS]`; answers are made by the real service over the real catalog, from
//! the request's envelope to the last byte of the answer.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on ends, and prints")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use tailwater::catalog::{Activation, Catalog, NewPart, NewRevision, PartKind};
use tailwater::domain::{FileDeclaration, ServerId};
use tailwater::runtime::{Clock, Tasks};
use tailwater::serve::Peer;
use tailwater::serve::downstream::{Config, Gate, Parts, Policy, Service, WantedFiles};
use tailwater::wire::server_sync::served;
use tailwater::wire::soap;
use tailwater::wire::update_metadata::{Languages, Spool, cut};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Revisions in one `GetUpdateData`.
const BATCH: usize = 100;
/// Downstream servers that ask for documents at once.
const SERVERS: usize = 4;

struct NoFiles;

impl WantedFiles for NoFiles {
    fn hosts_psf(&self) -> bool {
        false
    }

    fn fetch(&self, _file: &FileDeclaration) -> bool {
        false
    }
}

fn id(number: usize) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_le_bytes())
}

/// Documents of 1.5 to 12 kB, one in four short enough to travel plain.
fn document(number: usize) -> String {
    let rule = |step: usize| {
        let value = number.wrapping_mul(2_654_435_761).wrapping_add(step.wrapping_mul(40_503)) & 0xffff_ffff;
        format!(
            "<bar:FileVersion Csidl=\"37\" Path=\"drivers\\f{value:x}.sys\" Comparison=\"GreaterThanOrEqualTo\" Version=\"10.0.{}.{}\"/>",
            value % 26_000,
            step + value % 999
        )
    };
    let rules: String = (0..[5, 18, 30, 80][number % 4]).map(rule).collect();
    format!(
        "<upd:Update xmlns:upd=\"http://schemas.microsoft.com/msus/2002/12/Update\" xmlns:bar=\"http://schemas.microsoft.com/msus/2002/12/BaseApplicabilityRules\" \
         xmlns:lar=\"http://schemas.microsoft.com/msus/2002/12/LogicalApplicabilityRules\"><upd:UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"200\"/>\
         <upd:Properties UpdateType=\"Software\" DefaultPropertiesLanguage=\"en\" ExplicitlyDeployable=\"true\" PublicationState=\"Published\" CreationDate=\"2026-10-04T12:00:58.287Z\"/>\
         <upd:LocalizedPropertiesCollection><upd:LocalizedProperties><upd:Language>en</upd:Language><upd:Title>Update {number}</upd:Title>\
         <upd:Description>Install this update to resolve issues in Windows.</upd:Description></upd:LocalizedProperties></upd:LocalizedPropertiesCollection>\
         <upd:ApplicabilityRules><upd:IsInstalled><lar:And>{rules}</lar:And></upd:IsInstalled></upd:ApplicabilityRules></upd:Update>",
        id(number)
    )
}

fn revision(number: usize) -> NewRevision {
    let cut = cut(document(number).as_bytes(), &Languages::all()).unwrap();
    let part =
        |kind, spool: Spool| NewPart { kind, len: spool.len(), text: Box::new(spool.into_reader().unwrap()) };
    let parts = vec![
        part(PartKind::Document, cut.document),
        part(PartKind::Core, cut.core),
        part(PartKind::Extended, cut.extended),
    ];
    NewRevision { facts: cut.facts, parts, file_urls: Vec::new() }
}

fn filled(catalog: &Catalog, count: usize) {
    let started = Instant::now();
    let staging = catalog.staging().unwrap();
    for first in (0..count).step_by(2_000) {
        staging.store((first..count.min(first + 2_000)).map(revision).collect()).unwrap();
    }
    staging.activate(Activation { force: true, ..Activation::default() }).unwrap();
    println!("{count} revisions stored in {:.1?}", started.elapsed());
}

async fn ask(
    service: &Service,
    of: served::Service,
    operation: &str,
    content: &str,
    xpress: bool,
) -> Vec<u8> {
    let mut request = http::Request::post(of.path()).header("Host", "upper.example:8530");
    if xpress {
        request = request.header("Accept-Encoding", "xpress");
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let address = "192.0.2.9:50000".parse().unwrap();
    let from = Peer { address, local: address, tls: false, certificate: None };
    let body = soap::request(of.namespace(), operation, content);
    let answer = service.answer_message(&parts, body.into(), from).await;
    assert_eq!(answer.status(), http::StatusCode::OK);
    answer.into_body().collect().await.unwrap().to_bytes().to_vec()
}

fn text<'a>(answer: &'a str, name: &str) -> &'a str {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    answer.split(&open).nth(1).and_then(|rest| rest.split(&close).next()).unwrap()
}

async fn cookie(service: &Service) -> String {
    let content =
        format!("<accountName>bench.example</accountName><accountGuid>{}</accountGuid>", Uuid::from_u128(9));
    let answer =
        ask(service, served::Service::Authorization, "GetAuthorizationCookie", &content, false).await;
    let data = text(std::str::from_utf8(&answer).unwrap(), "CookieData").to_owned();
    let content = format!(
        "<authCookies><AuthorizationCookie><CookieData>{data}</CookieData></AuthorizationCookie></authCookies><protocolVersion>1.20</protocolVersion>"
    );
    let answer = ask(service, served::Service::Sync, "GetCookie", &content, false).await;
    format!("<cookie>{}</cookie>", text(std::str::from_utf8(&answer).unwrap(), "GetCookieResult"))
}

async fn bench_lists(service: &Service, cookie: &str) {
    for (language, xpress) in [(1033, false), (1031, true)] {
        // another language is another list, so that each is made anew once
        let filter = format!(
            "{cookie}<filter><GetConfig>false</GetConfig><Languages><LanguageAndDelta><Id>{language}</Id><Delta>false</Delta></LanguageAndDelta></Languages></filter>"
        );
        for what in ["made", "remembered"] {
            let started = Instant::now();
            let answer = ask(service, served::Service::Sync, "GetRevisionIdList", &filter, xpress).await;
            let coding = if xpress { "xpress" } else { "plain" };
            println!(
                "GetRevisionIdList {coding}, {what}: {:.1?} for {:.1} MB (budget 300 ms)",
                started.elapsed(),
                answer.len() as f64 / 1e6
            );
        }
    }
}

async fn bench_documents(service: &Service, cookie: &str, count: usize, xpress: bool) {
    let (next, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let started = Instant::now();
    let tasks = Tasks::new();
    for _ in 0..SERVERS {
        let (service, cookie) = (service.clone(), cookie.to_owned());
        let (next, bytes) = (Arc::clone(&next), Arc::clone(&bytes));
        tasks.spawn("downstream", async move {
            loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= count {
                    break;
                }
                let mut content = cookie.clone() + "<updateIds>";
                for number in first..count.min(first + BATCH) {
                    write!(
                        content,
                        "<UpdateIdentity><UpdateID>{}</UpdateID><RevisionNumber>200</RevisionNumber></UpdateIdentity>",
                        id(number)
                    )
                    .unwrap();
                }
                content += "</updateIds>";
                let answer = ask(&service, served::Service::Sync, "GetUpdateData", &content, xpress).await;
                bytes.fetch_add(answer.len(), Ordering::Relaxed);
            }
        });
    }
    assert!(tasks.shut_down(Duration::from_mins(10)).await);
    let took = started.elapsed();
    let coding = if xpress { "xpress" } else { "plain" };
    println!(
        "GetUpdateData {coding}: {:.0} revisions a second, {:.1} kB each (budget 10,000 a second)",
        count as f64 / took.as_secs_f64(),
        bytes.load(Ordering::Relaxed) as f64 / 1e3 / count as f64
    );
}

fn main() {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let catalog = Catalog::open(tailwater::catalog::Config::new(dir.path()), clock.clone()).unwrap();
    filled(&catalog, count);
    let service = Service::new(Parts {
        config: Config::default(),
        server: ServerId(Uuid::from_u128(1)),
        catalog: catalog.clone(),
        intake: tailwater::serve::Intake::new(tailwater::domain::ByteCount(64_000_000), &clock),
        clock,
        gate: Gate::new(Policy::Open, catalog),
        files: Arc::new(NoFiles),
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let cookie = cookie(&service).await;
        bench_lists(&service, &cookie).await;
        for xpress in [false, true] {
            bench_documents(&service, &cookie, count, xpress).await;
        }
        // few enough to be remembered
        bench_documents(&service, &cookie, 4_000, true).await;
        bench_documents(&service, &cookie, 4_000, true).await;
    });
}
