//! A computer costs less than 1 KB of a slow link a day, through two levels: on the first day with everything it has,
//! and on the days after.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tailwater::bandwidth::{Limiter, LinkClient, LinkConfig, Meter, ProxySetting};
use tailwater::catalog::{self, Caller, Catalog, Event};
use tailwater::domain::{ByteCount, ComputerFacts, ComputerId, Rate};
use tailwater::runtime::{Clock, Tasks};
use tailwater::simulate::upstream as office;
use tailwater::upstream::{
    Config, ContentFrom, Mode, PeerUse, RollupReport, Schedule, SyncOptions, Upstream,
};
use uuid::Uuid;

use crate::head_offices_see_every_computer::json;
use crate::server::Server;

/// Computers: a twenty-fifth of what is asked for.
const COMPUTERS: u128 = 200;
/// Updates that a computer tells of: what a Windows 11 with Defender and Office does.
const STATES: u128 = 60;
/// Of these, how many change in a day.
const CHANGES: u128 = 2;
/// Bytes of a computer and day.
const BUDGET: u64 = 1_000;

/// A server without listeners, whose clock is the test's.
struct Branch {
    catalog: Catalog,
    upstream: Upstream,
    clock: Clock,
    tasks: Tasks,
    /// The updates that its computers report.
    updates: Vec<String>,
}

/// A head office with updates, all of them known at the servers below once they synchronised.
fn head(runtime: &tokio::runtime::Runtime, tasks: &Tasks) -> (Server, Vec<String>) {
    let config = office::Config { updates: 100, mean_size: ByteCount(20_000), ..office::Config::default() };
    let office = runtime.block_on(office::start(config, &Clock::system(), tasks)).unwrap();
    let below = format!(
        "[upstream]\nurl = \"{}\"\nschedule = []\nclassifications = []\nproxy = \"none\"\n",
        office.url()
    );
    let head = Server::started(&below);
    json(&head, &["sync"]);
    let listed = head.api("GET", "/updates?limit=1000", None).json();
    let rows = listed["updates"].as_array().unwrap().iter();
    let updates: Vec<String> = rows.map(|row| row["update_id"].as_str().unwrap().to_uppercase()).collect();
    assert!(updates.len() as u128 >= STATES, "{}", updates.len());
    (head, updates)
}

impl Branch {
    fn open(dir: &Path, url: &str, clock: &Clock, updates: &[String]) -> Self {
        let tasks = Tasks::new();
        let catalog = Catalog::open(catalog::Config::new(dir.join("catalog")), clock.clone()).unwrap();
        let limiter = Limiter::new(Rate::Unlimited, clock, &tasks);
        let link_config = LinkConfig { proxy: ProxySetting::Direct, ..LinkConfig::default() };
        let link = LinkClient::new(link_config.clone(), &limiter, &Meter::new(clock), clock, &tasks).unwrap();
        let config = Config {
            url: url.to_owned(),
            products: Vec::new(),
            classifications: Vec::new(),
            languages: vec!["en".to_owned()],
            schedule: Schedule::on_demand(),
            account_name: Some("branch.example".to_owned()),
            token: None,
            mode: Mode::Autonomous,
            peer: PeerUse::Off,
            content_from: ContentFrom::Upstream,
            cost: tailwater::upstream::USUAL_COST,
            sources: Vec::new(),
            dir: dir.join("tmp"),
            link: link_config,
        };
        let upstream = Upstream::new(config, catalog.clone(), link, clock.clone(), tasks.clone()).unwrap();
        Self { catalog, upstream, clock: clock.clone(), tasks, updates: updates.to_vec() }
    }

    async fn sync(&self) {
        self.upstream.sync(SyncOptions::default()).await.unwrap();
    }

    /// Every computer scans and tells what it has.
    fn day(&self, day: u128) {
        for number in 0..COMPUTERS {
            let id = ComputerId(Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()).to_string());
            let name = format!("pc-{number:05}.branch.example");
            self.catalog.introduce(&Caller::default(), &id, &name, None).unwrap();
            self.catalog.register(&Caller::default(), &id, info(&name)).unwrap();
            self.catalog.contacted(&Caller::default(), &id, None).unwrap();
            self.catalog
                .report(
                    &Caller::default(),
                    &id,
                    vec![status_report(&self.updates, number, day, self.clock.now())],
                )
                .unwrap();
        }
    }

    async fn tell(&self) -> RollupReport {
        // some time passes between the scans and the roll-up
        self.clock.advance(Duration::from_hours(1));
        self.upstream.roll_up().await.unwrap()
    }
}

fn info(name: &str) -> ComputerFacts {
    ComputerFacts {
        dns_name: name.to_owned(),
        os_major: 10,
        os_build: 26_200,
        locale: "en-US".to_owned(),
        manufacturer: "Contoso".to_owned(),
        model: "Desktop 4000".to_owned(),
        bios_version: "1.23".to_owned(),
        bios_name: "Default System BIOS".to_owned(),
        bios_date: "2022-02-02T00:00:00Z".to_owned(),
        architecture: "AMD64".to_owned(),
        client_version: "1507.2601.30012.0".to_owned(),
        os_description: "Windows 11 Pro".to_owned(),
        ..ComputerFacts::default()
    }
}

/// Event 156: half is installed, half is needed; each day a few of the needed are installed.
fn status_report(updates: &[String], number: u128, day: u128, at: Timestamp) -> Event {
    let list = |range: std::ops::Range<u128>| {
        let number = |number| usize::try_from(number).unwrap();
        updates[number(range.start)..number(range.end)].join(";")
    };
    let installed = STATES / 2 + day * CHANGES;
    Event {
        instance: Uuid::from_u128(1 + number * 1_000 + day),
        id: 156,
        namespace: 1,
        source: 101,
        at,
        update: None,
        result: 0,
        app: String::new(),
        replacements: Vec::new(),
        misc: vec![format!("U={}", list(installed..STATES)), format!("V={}", list(0..installed))],
    }
}

fn told_by(server: &Server, after: &serde_json::Value) -> serde_json::Value {
    server.api("POST", "/sync", Some(&serde_json::json!({})));
    let began = std::time::Instant::now();
    loop {
        let told = server.api("GET", "/status", None).json()["last_rollup"].clone();
        // the first synchronisation told of the server alone
        if told["computers"].as_u64() > Some(0) && told["at"] != after["at"] {
            return told;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "nothing was told: {}", server.log());
        std::thread::yield_now();
    }
}

#[test]
fn a_computer_and_day_cost_less_than_1_kb_through_two_levels() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let below = |url: &str| {
        format!("[upstream]\nurl = \"{url}\"\nschedule = []\nclassifications = []\nproxy = \"none\"\n")
    };
    let tasks = Tasks::new();
    let (head, updates) = head(&runtime, &tasks);
    let region = Server::started(&below(&format!("http://{}", head.agents())));
    json(&region, &["sync"]);
    let dir = tempfile::tempdir().unwrap();
    // behind the others' clocks by days, so that its second day is not in their future
    let start = Clock::system().now() - jiff::SignedDuration::from_hours(100);
    let clock = Clock::manual(start);
    let branch = Branch::open(dir.path(), &format!("http://{}", region.agents()), &clock, &updates);
    runtime.block_on(branch.sync());
    let computers = u64::try_from(COMPUTERS).unwrap();
    let mut told = serde_json::Value::Null;
    for (day, statuses) in [(0, computers), (1, computers), (2, computers)] {
        branch.day(day);
        let first = runtime.block_on(branch.tell());
        assert_eq!((first.computers as u64, first.statuses as u64), (computers, statuses), "day {day}");
        told = told_by(&region, &told);
        assert_eq!(
            (told["computers"].as_u64(), told["statuses"].as_u64()),
            (Some(computers), Some(statuses))
        );
        let second = told["sent"].as_u64().unwrap();
        println!(
            "day {day}: {} and {} bytes a computer, on the two hops",
            first.sent / computers,
            second / computers
        );
        assert!(
            first.sent / computers < BUDGET && second / computers < BUDGET,
            "day {day}: {first:?} {told}"
        );
        clock.advance(Duration::from_hours(23));
    }
    let shown = head.api("GET", "/computers?whose=below", None).json();
    assert_eq!(shown["total"], computers);
    let installed = STATES / 2 + 2 * CHANGES;
    let row = &shown["computers"][0];
    assert_eq!(row["installed"].as_u64(), Some(u64::try_from(installed).unwrap()), "{row}");
    assert_eq!(row["needed"].as_u64(), Some(u64::try_from(STATES - installed).unwrap()), "{row}");
    runtime.block_on(branch.tasks.shut_down(Duration::from_secs(10)));
}

#[test]
fn a_server_that_lost_its_memory_tells_everything_again_and_no_state_is_lost() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let tasks = Tasks::new();
    let (head, updates) = head(&runtime, &tasks);
    let url = format!("http://{}", head.agents());
    let clock = Clock::manual(Clock::system().now() - jiff::SignedDuration::from_hours(100));
    let (dir, older) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let branch = Branch::open(dir.path(), &url, &clock, &updates);
    runtime.block_on(branch.sync());
    branch.day(0);
    runtime.block_on(branch.tell());
    runtime.block_on(branch.tasks.shut_down(Duration::from_secs(10)));
    drop(branch);
    copy(dir.path(), older.path());

    let branch = Branch::open(dir.path(), &url, &clock, &updates);
    branch.day(1);
    assert_eq!(runtime.block_on(branch.tell()).statuses as u128, COMPUTERS);
    runtime.block_on(branch.tasks.shut_down(Duration::from_secs(10)));
    drop(branch);

    // yesterday's copy takes its place: the head office notices that the numbers do not fit
    let branch = Branch::open(older.path(), &url, &clock, &updates);
    clock.advance(Duration::from_hours(1));
    branch.day(2);
    assert_eq!(runtime.block_on(branch.tell()).statuses as u128, COMPUTERS);
    let row = &head.api("GET", "/computers?whose=below", None).json()["computers"][0];
    let installed = STATES / 2 + 2 * CHANGES;
    assert_eq!(row["installed"].as_u64(), Some(u64::try_from(installed).unwrap()), "{row}");
    assert_eq!(row["needed"].as_u64(), Some(u64::try_from(STATES - installed).unwrap()), "{row}");
    runtime.block_on(branch.tasks.shut_down(Duration::from_secs(10)));
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
