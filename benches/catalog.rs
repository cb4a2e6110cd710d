//! What the catalog costs: loading, disk, opening, memory, scans.
//!
//! Budgets: 20,000 revisions a second stored durably (the store alone); disk at most 1.35 times the compressed
//! texts; 15,000 revisions open within 2 s and 150 MB; 1,000,000 within 10 s and 1 GB; a scan page within
//! 50 ms (p99) with 100 agents at once; 1,500 pages a second for agents of one image; 6,000 answers a second
//! and core for agents with nothing new.
//! `cargo bench --bench catalog [-- REVISIONS…]` (by default 15000 and 1000000)
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench that cannot go on ends, prints, and rounds"
)]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tailwater::catalog::{Activated, Activation, Catalog, Config, NewPart, NewRevision, PartKind, ScanQuery};
use tailwater::domain::{
    BundleClause, CategoryKind, Facts, FileDeclaration, PrerequisiteClause, PublicationState, RevisionId,
    Sha1Digest, Sha256Digest, Title, UpdateId, UpdateIdentity, UpdateType,
};
use tailwater::runtime::Clock;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PRODUCTS: u32 = 40;
const DETECTOIDS: u32 = 360;
/// A bundle and its children.
const FAMILY: u32 = 8;

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit)).unwrap()
    }
}

fn update(number: u32) -> UpdateId {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ (u64::from(number) << 20 | 1));
    for _ in 0..4 {
        numbers.next();
    }
    UpdateId(Uuid::from_u64_pair(numbers.next(), numbers.next()))
}

fn any_of(numbers: &[u32]) -> PrerequisiteClause {
    PrerequisiteClause { any_of: numbers.iter().map(|number| update(*number)).collect(), is_category: false }
}

fn facts(number: u32, numbers: &mut Numbers) -> Facts {
    let update_type = match number {
        _ if number <= PRODUCTS => UpdateType::Category,
        _ if number <= PRODUCTS + DETECTOIDS => UpdateType::Detectoid,
        _ => UpdateType::Software,
    };
    let software = update_type == UpdateType::Software;
    let parent = software && number.is_multiple_of(FAMILY);
    let child = software && !parent;
    let detectoid = |numbers: &mut Numbers| PRODUCTS + 1 + numbers.below(DETECTOIDS);
    let prerequisites = match update_type {
        UpdateType::Category if number > 5 => vec![any_of(&[1 + number % 5])],
        UpdateType::Category => vec![],
        UpdateType::Detectoid => vec![any_of(&[6 + number % (PRODUCTS - 5)])],
        _ => vec![
            any_of(&[6 + number / FAMILY % (PRODUCTS - 5)]),
            any_of(&[detectoid(numbers), detectoid(numbers)]),
            any_of(&[detectoid(numbers)]),
        ],
    };
    let mut file = |name: String| {
        let mut digest = [0; 52];
        digest
            .chunks_mut(8)
            .for_each(|eight| eight.copy_from_slice(&numbers.next().to_le_bytes()[..eight.len()]));
        FileDeclaration {
            sha1: Sha1Digest(*digest.first_chunk().unwrap()),
            sha256: Some(Sha256Digest(*digest.last_chunk().unwrap())),
            size: numbers.next() % (200 << 20),
            name,
            patching: Some("SelfContained".to_owned()),
        }
    };
    Facts {
        identity: UpdateIdentity { update: update(number), revision: 200 },
        update_type,
        explicitly_deployable: parent,
        publication_state: PublicationState::Published,
        eula_id: None,
        creation_date: Some(format!("2026-{:02}-{:02}T10:00:00Z", 1 + number % 12, 1 + number % 28)),
        default_language: "en".to_owned(),
        category: (update_type == UpdateType::Category).then_some(CategoryKind::Product),
        prerequisites,
        bundled: (1..FAMILY)
            .filter(|_| parent)
            .map(|step| BundleClause {
                any_of: vec![UpdateIdentity { update: update(number - step), revision: 200 }],
            })
            .collect(),
        supersedes: Vec::new(),
        files: if child { vec![file(format!("windows10.0-kb{number}-x64.cab"))] } else { Vec::new() },
        titles: vec![Title {
            language: "en".to_owned(),
            text: format!(
                "2026-{:02} Cumulative Update for Windows (KB{})",
                1 + number % 12,
                5_000_000 + number
            ),
        }],
        kb_articles: if parent { vec![(5_000_000 + number).to_string()] } else { Vec::new() },
        bulletins: Vec::new(),
        severity: Some("Critical".to_owned()),
        drivers: Vec::new(),
        uninstallable: true,
        languages: Vec::new(),
        encryption: tailwater::domain::Encryption::None,
        kept: None,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn part(kind: PartKind, text: String) -> NewPart {
    NewPart { kind, len: text.len() as u64, text: Box::new(std::io::Cursor::new(text)) }
}

/// Texts of the size and kind of real ones: a document of about 4 KB.
fn revision(number: u32, numbers: &mut Numbers) -> NewRevision {
    let facts = facts(number, numbers);
    let mut core = format!(
        "<UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"200\" /><Properties UpdateType=\"{}\" /><Relationships><Prerequisites>",
        facts.identity.update,
        facts.update_type.as_str()
    );
    for clause in &facts.prerequisites {
        core.push_str("<AtLeastOne>");
        for id in &clause.any_of {
            write!(core, "<UpdateIdentity UpdateID=\"{id}\" />").unwrap();
        }
        core.push_str("</AtLeastOne>");
    }
    core.push_str("</Prerequisites></Relationships><ApplicabilityRules><IsInstalled>");
    for _ in 0..3 {
        let (value, build) = (numbers.below(u32::MAX), numbers.below(20_000));
        write!(core, "<b.FileVersion Csidl=\"37\" Path=\"drivers\\f{value:x}.sys\" Comparison=\"GreaterThanOrEqualTo\" Version=\"10.0.{build}.{}\" /><b.RegDword Key=\"HKEY_LOCAL_MACHINE\" Subkey=\"SOFTWARE\\Contoso\\{value}\" Value=\"Build\" Comparison=\"EqualTo\" Data=\"{build}\" />", numbers.below(5_000)).unwrap();
    }
    core.push_str("</IsInstalled></ApplicabilityRules>");
    let mut extended = "<ExtendedProperties DefaultPropertiesLanguage=\"en\" Handler=\"http://schemas.microsoft.com/msus/2002/12/UpdateHandlers/Cbs\" MaxDownloadSize=\"123456\" /><Files>".to_owned();
    for file in &facts.files {
        let sha256 = file.sha256.map(|digest| digest.base64()).unwrap_or_default();
        write!(extended, "<File Digest=\"{}\" DigestAlgorithm=\"SHA1\" FileName=\"{}\" Size=\"{}\" Modified=\"2026-10-01T00:00:00Z\"><AdditionalDigest Algorithm=\"SHA256\">{sha256}</AdditionalDigest></File>", file.sha1.base64(), file.name, file.size).unwrap();
    }
    extended.push_str("</Files>");
    let localized = format!(
        "<LocalizedProperties><Language>en</Language><Title>{}</Title><Description>Install this update to resolve issue {} in Windows. For a complete listing of the issues that are included in this update, see the associated article. After you install this item, you may have to restart your computer.</Description></LocalizedProperties>",
        facts.titles[0].text,
        numbers.next()
    );
    let document = format!(
        "<upd:Update xmlns:pub=\"http://schemas.microsoft.com/msus/2002/12/Publishing\" xmlns:upd=\"http://schemas.microsoft.com/msus/2002/12/Update\">{core}{extended}<upd:LocalizedPropertiesCollection>{localized}</upd:LocalizedPropertiesCollection></upd:Update>"
    );
    NewRevision {
        parts: vec![
            part(PartKind::Document, document),
            part(PartKind::Core, escaped(&core)),
            part(PartKind::Extended, escaped(&extended)),
            part(PartKind::Localized("en".to_owned()), escaped(&localized)),
        ],
        facts,
        file_urls: Vec::new(),
    }
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Seconds of processor time that this process has used: on a busy machine a better measure than the clock.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                disk(&entry.path())
            } else {
                std::os::unix::fs::MetadataExt::blocks(&meta) * 512
            }
        })
        .sum()
}

fn load(dir: &Path, revisions: u32) {
    let catalog = Catalog::open(Config::new(dir), Clock::system()).unwrap();
    let staging = catalog.staging().unwrap();
    let mut numbers = Numbers(88_172_645_463_325_252);
    let (mut storing, mut busy, mut raw) = (Duration::ZERO, 0.0, 0);
    let all: Vec<u32> = (1..=revisions).collect();
    for some in all.chunks(400) {
        let mut batches: Vec<Vec<NewRevision>> = Vec::new();
        for batch in some.chunks(100) {
            batches.push(batch.iter().map(|number| revision(*number, &mut numbers)).collect());
        }
        raw += batches.iter().flatten().flat_map(|one| &one.parts).map(|part| part.len).sum::<u64>();
        let (started, before) = (Instant::now(), cpu_seconds());
        // four requests in flight, as a synchronisation has: they share their syncs
        std::thread::scope(|scope| {
            for batch in batches {
                scope.spawn(|| staging.store(batch).unwrap());
            }
        });
        storing += started.elapsed();
        busy += cpu_seconds() - before;
    }
    let rate = f64::from(revisions) / storing.as_secs_f64();
    println!("  store, durable, 4 x 100 at once  {rate:7.0} revisions/s   budget 20,000");
    println!("  the same a second of processor   {:7.0} revisions/s", f64::from(revisions) / busy);
    println!("  resident after storing         {:9.1} MB", resident_mb());
    let started = Instant::now();
    let Activated::Done(_) = staging.activate(Activation::default()).unwrap() else { return };
    println!("  activate                       {:9.3} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let id = update(FAMILY * 100);
    let all = tailwater::domain::GroupId::ALL_COMPUTERS;
    catalog.approve(&id, &all, tailwater::domain::Action::Install, None, "bench").unwrap();
    println!("  approve                        {:9.3} s", started.elapsed().as_secs_f64());
    let totals = catalog.totals();
    drop((catalog, staging));
    let used = disk(dir) as f64;
    let (texts, raw) = (totals.text_bytes as f64, raw as f64);
    println!("  disk over compressed texts     {:9.2}               budget 1.35", used / texts);
    println!(
        "  disk, segments, index          {:9.1} MB  {:.1} MB  {:.1} MB; texts {:.1} MB compressed, {:.1} MB raw",
        used / 1e6,
        totals.segment_bytes as f64 / 1e6,
        disk(&dir.join("index")) as f64 / 1e6,
        texts / 1e6,
        raw / 1e6
    );
}

/// Whether an agent has a category or detectoid: all categories, and three of eight detectoids, others for
/// each agent.
fn has(catalog: &Catalog, agent: u32, id: RevisionId) -> bool {
    let revision = catalog.snapshot().revision(id).unwrap();
    let low = u32::from_le_bytes(*revision.identity.update.0.as_bytes().first_chunk().unwrap());
    revision.update_type == UpdateType::Category || (low.wrapping_mul(2 * agent + 1) >> 16) % 8 < 3
}

/// What an agent with these categories and detectoids installed asks, until there is nothing new. Gives the
/// time of each page.
fn agent(catalog: &Catalog) -> (Vec<Duration>, Vec<u32>, Vec<u32>) {
    let (mut installed, mut other, mut times) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let started = Instant::now();
        let answer = page(catalog, &installed, &other);
        for offer in &answer.new {
            std::hint::black_box(catalog.read(&offer.core).unwrap());
        }
        times.push(started.elapsed());
        for offer in &answer.new {
            let list = if !offer.is_leaf && has(catalog, 0, offer.id) { &mut installed } else { &mut other };
            list.push(offer.id.0);
        }
        if !answer.truncated && answer.new.iter().all(|offer| offer.is_leaf) {
            return (times, installed, other);
        }
    }
}

fn page(
    catalog: &Catalog,
    installed: &[u32],
    other: &[u32],
) -> std::sync::Arc<tailwater::catalog::ScanAnswer> {
    catalog.snapshot().scan(&ScanQuery {
        groups: &[],
        installed,
        other,
        categories: &[],
        two_groups: false,
        since: u64::MAX,
        moved: false,
        limit: 200,
        max_bytes: 1 << 20,
    })
}

/// An agent in the middle of its scan.
struct Agent {
    number: u32,
    installed: Vec<u32>,
    other: Vec<u32>,
    asked: Instant,
}

/// 100 agents ask at once and again as soon as they are answered; two threads answer, as on two cores. A
/// page's time counts from when it was asked for.
fn scans(catalog: &Catalog, different: bool) {
    let started = Instant::now();
    let agents =
        (0..100).map(|number| Agent { number, installed: Vec::new(), other: Vec::new(), asked: started });
    let queue = Mutex::new(agents.collect::<VecDeque<_>>());
    let answer_all = || {
        let mut times = Vec::new();
        loop {
            let next = queue.lock().unwrap().pop_front();
            let Some(mut agent) = next else { return times };
            let answer = page(catalog, &agent.installed, &agent.other);
            for offer in &answer.new {
                std::hint::black_box(catalog.read(&offer.core).unwrap());
            }
            times.push(agent.asked.elapsed());
            for offer in &answer.new {
                let own = if different { agent.number } else { 0 };
                let installed = !offer.is_leaf && has(catalog, own, offer.id);
                if installed { &mut agent.installed } else { &mut agent.other }.push(offer.id.0);
            }
            if answer.truncated || answer.new.iter().any(|offer| !offer.is_leaf) {
                agent.asked = Instant::now();
                queue.lock().unwrap().push_back(agent);
            }
        }
    };
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let other = scope.spawn(answer_all);
        let mut times = answer_all();
        times.extend(other.join().unwrap());
        times
    });
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |hundredth: usize| times[(times.len() - 1) * hundredth / 100].as_secs_f64() * 1e3;
    let name = if different { "100 agents, each different" } else { "100 agents of one image   " };
    println!(
        "  {name}     {rate:9.0} pages/s       budget 1,500 (one image); p50 {:.2} ms, p99 {:.2} ms, budget 50 ms",
        at(50),
        at(99)
    );
}

fn open(dir: &Path, revisions: u32) {
    let started = Instant::now();
    let catalog = Catalog::open(Config::new(dir), Clock::system()).unwrap();
    let (seconds, megabytes) = if revisions > 100_000 { (10, 1_000) } else { (2, 150) };
    println!(
        "  open until ready               {:9.3} s             budget {seconds} s; processor {:.3} s",
        started.elapsed().as_secs_f64(),
        cpu_seconds()
    );
    println!("  resident after opening         {:9.1} MB            budget {megabytes} MB", resident_mb());
    let (times, installed, other) = agent(&catalog);
    println!(
        "  one agent, first scan          {:9} pages, {} revisions",
        times.len(),
        installed.len() + other.len()
    );
    if revisions <= 100_000 {
        scans(&catalog, false);
        scans(&catalog, true);
    }
    let other = &other[..other.len().min(1_250)];
    let started = cpu_seconds();
    let rounds = 20_000;
    for round in 0..rounds {
        // each a different question, as agents with something of their own ask
        let mut own = other.to_vec();
        own.push(2_000_000 + round);
        std::hint::black_box(page(&catalog, &installed, &own));
    }
    let rate = f64::from(rounds) / (cpu_seconds() - started);
    println!("  1,250 ids in, nothing remembered {rate:7.0} answers/s and core, budget 6,000");
    println!("  resident after scans           {:9.1} MB            budget 256 MB for 15,000", resident_mb());
}

/// Opens in a process of its own, so that its memory is its own.
fn in_child(dir: &Path, revisions: u32) {
    let program = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(program);
    child.arg("--open").arg(dir).arg(revisions.to_string());
    assert!(child.status().unwrap().success());
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [open_it, dir, revisions] = arguments.as_slice()
        && open_it == "--open"
    {
        open(Path::new(dir), revisions.parse().unwrap());
        return;
    }
    let sizes: Vec<u32> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    for revisions in if sizes.is_empty() { vec![15_000, 1_000_000] } else { sizes } {
        println!("{revisions} revisions");
        let dir = tempfile::tempdir().unwrap();
        load(dir.path(), revisions);
        in_child(dir.path(), revisions);
    }
}
