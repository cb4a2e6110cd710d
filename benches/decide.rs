//! What it costs to decide, to move a computer, and to look at details.
//!
//! Budgets, with 15,000 revisions, 20,000 computers and 4,000 states each: 1,000 approvals as one decision within 1 s; the
//! visit of a computer that moves at most 1.3 times a plain one, in processor time, and no snapshot made; each page of
//! details within 50 ms.
//! `cargo bench --bench decide [-- REVISIONS COMPUTERS STATES]` (by default 15000 20000 4000; the last two take about
//! 1.5 GB of disk)
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on ends, prints, and rounds"
)]

use std::fmt::Write as _;
use std::time::Instant;

use jiff::Timestamp;
use tailwater::catalog::{
    Activation, Caller, Catalog, ComputerQuery, Config, Event, NewPart, NewRevision, PartKind, ScanQuery,
    Verdict,
};
use tailwater::domain::{
    Action, ComputerId, Facts, GroupId, PublicationState, Title, UpdateId, UpdateIdentity, UpdateType,
};
use tailwater::runtime::Clock;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Approved together.
const APPROVED: u32 = 1_000;
/// Visits of each kind.
const VISITS: u32 = 2_000;
/// Rows of a page.
const PAGE: usize = 100;

fn update(number: u32) -> UpdateId {
    UpdateId(Uuid::from_u128(0x5f2a_0000_0000_4000_8000_0000_0000_0000 + u128::from(number)))
}

fn pc(number: u32) -> ComputerId {
    ComputerId(format!("{:032x}", u128::from(number) << 64 | 0x77))
}

fn revision(number: u32) -> NewRevision {
    let text = format!("2026-{:02} Cumulative Update (KB{})", 1 + number % 12, 5_000_000 + number);
    let core = format!("&lt;UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"1\" /&gt;", update(number));
    let part = |kind, text: String| NewPart {
        kind,
        len: text.len() as u64,
        text: Box::new(std::io::Cursor::new(text)),
    };
    NewRevision {
        parts: vec![part(PartKind::Document, core.repeat(40)), part(PartKind::Core, core)],
        facts: Facts {
            identity: UpdateIdentity { update: update(number), revision: 1 },
            update_type: UpdateType::Software,
            explicitly_deployable: true,
            publication_state: PublicationState::Published,
            eula_id: None,
            creation_date: None,
            default_language: "en".to_owned(),
            category: None,
            prerequisites: Vec::new(),
            bundled: Vec::new(),
            supersedes: Vec::new(),
            files: Vec::new(),
            titles: vec![Title { language: "en".to_owned(), text }],
            kb_articles: vec![(5_000_000 + number).to_string()],
            bulletins: Vec::new(),
            severity: None,
            drivers: Vec::new(),
            uninstallable: false,
            languages: Vec::new(),
            encryption: tailwater::domain::Encryption::None,
            kept: None,
        },
        file_urls: Vec::new(),
    }
}

/// Event 156 of a computer that has every third update from another beginning on, and needs a few; the last update is
/// needed by one computer only.
fn report(number: u32, revisions: u32, states: u32) -> Event {
    let mut installed = String::from("V=");
    for step in 0..states.saturating_sub(10) {
        let _ = write!(installed, "{};", update(1 + (number * 7 + step * 3) % (revisions - 1)));
    }
    let mut needed = String::from("U=");
    for step in 0..10 {
        let _ = write!(needed, "{};", update(1 + (number * 11 + step * 3 + 1) % (revisions - 1)));
    }
    if number == 1 {
        let _ = write!(needed, "{}", update(revisions));
    }
    Event {
        instance: Uuid::from_u128(u128::from(number) + 1),
        id: 156,
        namespace: 1,
        source: 1,
        at: Timestamp::from_second(1_790_000_000).unwrap(),
        update: None,
        result: 0,
        app: String::new(),
        replacements: Vec::new(),
        misc: vec![installed, needed],
    }
}

/// Seconds of processor time that this process has used: on a busy machine a better measure than the clock.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn timed<T>(what: &str, budget_ms: f64, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = work();
    let took = started.elapsed().as_secs_f64() * 1e3;
    println!("  {what:<52} {took:9.2} ms   budget {budget_ms} ms");
    done
}

fn decide(catalog: &Catalog) {
    let all = GroupId::ALL_COMPUTERS;
    let named: Vec<UpdateId> = (1..=APPROVED).map(update).collect();
    let install = Verdict::Approve { group: all, action: Action::Install, deadline: None };
    timed("1,000 approvals as one decision", 1_000.0, || catalog.decide(&named, &install, "bench").unwrap());
    timed("1,000 declines as one decision", 1_000.0, || {
        catalog.decide(&named, &Verdict::Decline, "bench").unwrap();
    });
    let started = Instant::now();
    for number in 1..=20 {
        catalog.approve(&update(number), &all, Action::Install, None, "bench").unwrap();
    }
    let one = started.elapsed().as_secs_f64() * 1e3 / 20.0;
    println!("  {:<52} {one:9.2} ms   each; 1,000 would take {:.1} s", "approvals one by one", one);
}

/// A computer that says who it is and scans.
fn enrol(
    catalog: &Catalog,
    id: &ComputerId,
    name: &str,
    group: Option<&str>,
) -> std::sync::Arc<tailwater::catalog::Computer> {
    let caller = Caller::default();
    let computer = catalog.introduce(&caller, id, name, group).unwrap();
    catalog.contacted(&caller, id, None).unwrap();
    computer
}

/// What a computer asks in a visit: who it is, and two scans of an agent that knows everything.
fn visit(catalog: &Catalog, number: u32, group: &str, known: &[u32]) {
    let computer = enrol(catalog, &pc(number), "pc.example", Some(group));
    let snapshot = catalog.snapshot();
    std::hint::black_box(snapshot.reach_of(&computer.groups));
    // each a different question, as agents with something of their own ask
    let mut own = known.to_vec();
    own.push(2_000_000 + number);
    for round in 0..2 {
        std::hint::black_box(snapshot.scan(&ScanQuery {
            groups: &computer.groups,
            installed: &[],
            other: &own,
            categories: &[],
            two_groups: false,
            since: snapshot.change_number(),
            // who moved hears once of what is decided for groups
            moved: round == 0 && group == "Desk",
            limit: 200,
            max_bytes: 1 << 20,
        }));
    }
}

fn moves(catalog: &Catalog, revisions: u32) {
    for name in ["Office", "Desk"] {
        catalog.create_group(name, None).unwrap();
    }
    let known: Vec<u32> = (1..=revisions.min(1_500)).collect();
    (0..VISITS).for_each(|number| visit(catalog, number, "Office", &known));
    let sequence = catalog.snapshot().sequence();
    let measure = |group: &str| {
        let before = cpu_seconds();
        (0..VISITS).for_each(|number| visit(catalog, number, group, &known));
        (cpu_seconds() - before) * 1e6 / f64::from(VISITS)
    };
    let plain = measure("Office");
    let moved = measure("Desk");
    println!(
        "  plain visit {plain:.0} us of processor, with a move {moved:.0} us: {:.2} times   budget 1.3; {} snapshots made, \
         budget 0",
        moved / plain,
        catalog.snapshot().sequence() - sequence
    );
    let office = catalog.find_group("Office").unwrap().id;
    let some: Vec<ComputerId> = (0..1_000).map(pc).collect();
    timed("1,000 computers moved as one decision", 1_000.0, || catalog.assign_all(&some, &[office]).unwrap());
}

fn details(catalog: &Catalog, revisions: u32, computers: u32) {
    let titled = |ids: &mut dyn Iterator<Item = UpdateId>| {
        ids.for_each(|id| {
            std::hint::black_box(catalog.title(&id, None).unwrap());
        });
    };
    for (what, number, offset) in [("first", 1, 0), ("last", computers - 1, 3_000)] {
        timed(&format!("page of a computer's states, {what}"), 50.0, || {
            let detail = catalog.computer_detail(&pc(number)).unwrap().unwrap();
            let page = detail.status.words(None, offset, PAGE);
            titled(&mut page.rows.iter().map(|word| word.update));
        });
    }
    for (what, id, offset) in [
        ("common, first page", update(7), 0),
        ("common, later page", update(7), 2_000),
        ("one computer's only", update(revisions), 0),
        ("unknown", update(revisions + 9), 0),
    ] {
        let page = timed(&format!("page of an update's computers, {what}"), 50.0, || {
            catalog.states_of(&id, offset, PAGE).unwrap()
        });
        println!("    {} of {}", page.rows.len(), page.total);
    }
    timed("an update", 50.0, || catalog.update(&update(9), None).unwrap());
    timed("page of the list of computers", 50.0, || {
        catalog.computers(&ComputerQuery { limit: PAGE, ..ComputerQuery::default() }).unwrap()
    });
    timed("computers of all groups", 50.0, || catalog.members_by_group());
    timed("a computer by its name", 50.0, || catalog.computers_named(&["pc-77.example".to_owned()]));
}

fn main() {
    let arguments: Vec<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let [revisions, computers, states] = match arguments.as_slice() {
        [revisions, computers, states] => [*revisions, *computers, *states],
        _ => [15_000, 20_000, 4_000],
    };
    println!("{revisions} revisions, {computers} computers with {states} states each");
    let dir = tempfile::tempdir().unwrap();
    let config = Config { client_side_targeting: true, ..Config::new(dir.path()) };
    let catalog = Catalog::open(config.clone(), Clock::system()).unwrap();
    let staging = catalog.staging().unwrap();
    for some in (1..=revisions).collect::<Vec<_>>().chunks(100) {
        staging.store(some.iter().map(|number| revision(*number)).collect()).unwrap();
    }
    staging.activate(Activation::default()).unwrap();
    decide(&catalog);
    moves(&catalog, revisions);
    let started = Instant::now();
    for number in 0..computers {
        enrol(&catalog, &pc(number), &format!("pc-{number}.example"), None);
        catalog.report(&Caller::default(), &pc(number), vec![report(number, revisions, states)]).unwrap();
    }
    println!(
        "  {computers} reports in {:.1} s; resident {:.0} MB",
        started.elapsed().as_secs_f64(),
        resident_mb()
    );
    details(&catalog, revisions, computers);
    drop((catalog, staging));
    let started = Instant::now();
    let catalog = Catalog::open(config, Clock::system()).unwrap();
    println!("  opened again in {:.1} s", started.elapsed().as_secs_f64());
    details(&catalog, revisions, computers);
}
