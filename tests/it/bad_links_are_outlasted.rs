//! Three days of a bad link: everything arrives, verified, and hardly a byte crosses twice.

#![expect(clippy::cast_precision_loss, reason = "counts of a test fit a double")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tailwater::bandwidth::{Limiter, LinkClient, LinkConfig, Meter, ProxySetting};
use tailwater::content::{self, FileState, Store};
use tailwater::domain::{ByteCount, ByteRange, Class, FileDeclaration, Rate, Requester};
use tailwater::runtime::{Clock, Tasks};
use tailwater::transfer::{self, Handle, TransferError};
use tokio::time::Instant;

use crate::support::bad_link::{BadLink, Random, Weather, epoch};

const HOUR: Duration = Duration::from_hours(1);

/// The hours at which something changes.
const WEATHER: [(u64, Weather); 15] = [
    (0, Weather::Fair),
    (4, Weather::Outage),
    (7, Weather::Fair),
    (10, Weather::NoRanges),
    (12, Weather::Resets),
    (18, Weather::Busy),
    (19, Weather::Fair),
    (22, Weather::Outage),
    (39, Weather::Fair),
    (42, Weather::Resets),
    (50, Weather::Outage),
    (51, Weather::Resets),
    (58, Weather::NoRanges),
    (60, Weather::Outage),
    (68, Weather::Fair),
];

/// A site that can be stopped as a power cut stops it.
struct Site {
    store: Store,
    transfer: Handle,
    tasks: Tasks,
}

impl Site {
    fn start(dir: &Path, link: &BadLink) -> Self {
        let (clock, tasks) = (Clock::manual(epoch()), Tasks::new());
        let config = content::Config { dir: dir.to_owned(), max_size: None, min_free: ByteCount(0) };
        let store = Store::open(config, clock.clone()).unwrap();
        let limiter = Limiter::new(Rate::Unlimited, &clock, &tasks);
        let config = LinkConfig { proxy: ProxySetting::Direct, ..LinkConfig::default() };
        let client = LinkClient::new(config, &limiter, &Meter::new(&clock), &clock, &tasks).unwrap();
        let config = transfer::Config::default();
        let sources = Arc::new(link.clone());
        let transfer = Handle::new(config, store.clone(), client, sources, clock, tasks.clone());
        Self { store, transfer, tasks }
    }

    /// Nothing is closed in order.
    async fn cut_power(self) {
        assert!(self.tasks.shut_down(Duration::from_mins(15)).await, "{:?}", self.tasks.status());
    }

    fn is_verified(&self, file: &FileDeclaration) -> bool {
        self.store.status(&file.sha1).is_some_and(|status| status.state == FileState::Verified)
    }
}

/// An agent: reads a range, asks again when told to, and compares what it gets.
async fn read(
    transfer: Handle,
    link: BadLink,
    file: FileDeclaration,
    range: ByteRange,
    told: Arc<AtomicU64>,
) {
    let (mut at, truth) = (range.start, link.bytes(&file));
    while at < range.end {
        let begun = Instant::now();
        let left = ByteRange { start: at, end: range.end };
        let agent = Requester::Agent("192.0.2.7".parse().unwrap());
        let error = match transfer.want(&file, left, Class::Interactive, agent).await {
            Ok(want) => loop {
                match want.ready(at).await {
                    Ok(end) => {
                        let mut bytes = vec![0; usize::try_from(end - at).unwrap()];
                        want.file().read_waiting(&mut bytes, at).unwrap();
                        assert!(bytes[..] == truth[usize::try_from(at).unwrap()..][..bytes.len()]);
                        at = end;
                        if at >= range.end {
                            return;
                        }
                    }
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        match error {
            TransferError::Stopping => return,
            TransferError::Unreachable { again, .. } => {
                told.fetch_add(1, Ordering::Relaxed);
                assert!(begun.elapsed() < Duration::from_mins(2), "told after {:?}", begun.elapsed());
                tokio::time::sleep(again).await;
            }
            _ => tokio::time::sleep(Duration::from_mins(1)).await,
        }
    }
}

/// What comes and goes in three days.
struct Days {
    link: BadLink,
    /// `None` while there is no power.
    site: Option<Site>,
    dir: tempfile::TempDir,
    start: Instant,
    files: Vec<FileDeclaration>,
    random: Random,
    /// How often agents were told that nothing can be reached.
    told: Arc<AtomicU64>,
    connections_in_outage: u64,
}

impl Days {
    fn site(&self) -> &Site {
        self.site.as_ref().unwrap()
    }

    async fn cut_power(&mut self) {
        self.site.take().unwrap().cut_power().await;
    }

    /// What is not there yet is asked for, as the list of approved files is after each start.
    fn ask(&self) {
        for file in self.files.iter().filter(|file| !self.site().is_verified(file)) {
            self.site().transfer.fetch(file, Class::Normal).unwrap();
        }
    }

    /// Each hour brings a file for the background, and an agent that wants some of it.
    async fn hour(&mut self, hour: u64) {
        let len = 600_000 + usize::try_from(self.random.below(1_800_000)).unwrap();
        let file = self.link.add("update.cab", len, hour);
        self.files.push(file.clone());
        self.ask();
        let first = self.random.below(file.size / 2);
        let range = ByteRange { start: first, end: first + file.size / 3 };
        let agent =
            read(self.site().transfer.clone(), self.link.clone(), file, range, Arc::clone(&self.told));
        let stopping = self.site().tasks.stopping();
        self.site().tasks.spawn("agent", async move { stopping.run_until_cancelled(agent).await });
        if hour % 9 == 5 {
            self.link.expire();
        }
        let before = self.link.counts().connections;
        let begin = self.start + HOUR * u32::try_from(hour).unwrap();
        tokio::time::sleep_until(begin + HOUR / 2).await;
        if [13, 23, 44, 59, 69].contains(&hour) {
            self.cut_power().await;
            self.site = Some(Site::start(self.dir.path(), &self.link));
            self.ask();
        }
        tokio::time::sleep_until(begin + HOUR).await;
        if (24..38).contains(&hour) {
            self.connections_in_outage += self.link.counts().connections - before;
        }
    }

    fn arrived(&self) -> usize {
        self.files.iter().filter(|file| self.site().is_verified(file)).count()
    }
}

#[tokio::test(start_paused = true)]
async fn three_days_of_outages_resets_and_expired_addresses() {
    let world = Tasks::new();
    world.spawn("pendulum", async {
        // a clock that leaps from timer to timer would leap over what waits in real sockets
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let link = BadLink::start(&world, WEATHER.to_vec(), 20_261_122).await;
    let dir = tempfile::tempdir().unwrap();
    let mut days = Days {
        site: Some(Site::start(dir.path(), &link)),
        link,
        dir,
        start: Instant::now(),
        files: Vec::new(),
        random: Random(72),
        told: Arc::default(),
        connections_in_outage: 0,
    };
    for hour in 0..72 {
        days.hour(hour).await;
    }
    let end = days.start + Duration::from_hours(78);
    while days.arrived() < days.files.len() && Instant::now() < end {
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    let (counts, distinct) = (days.link.counts(), days.files.iter().map(|file| file.size).sum::<u64>());
    let wasted = (counts.payload as f64 - distinct as f64) / distinct as f64;
    let (told, in_outage) = (days.told.load(Ordering::Relaxed), days.connections_in_outage);
    println!(
        "{} of {} files, {distinct} bytes, {:.3} % wasted; {in_outage} connections in 14 hours of outage; \
         {} renewals; agents were told {told} times; {counts:?}",
        days.arrived(),
        days.files.len(),
        wasted * 100.0,
        days.link.renewals(),
    );
    assert_eq!(days.arrived(), days.files.len(), "{:?}", days.site().transfer.list());
    assert!(wasted < 0.01, "{:.3} % wasted", wasted * 100.0);
    assert!(in_outage < 14 * 90, "{in_outage} connections in 14 hours");
    assert!(told > 0, "agents are told at once while the upstream is known to be down");
    for kind in ["no connection", "expired", "busy", "error", "no ranges", "reset", "stall", "close"] {
        assert!(counts.faults.contains_key(kind), "no {kind}: {:?}", counts.faults);
    }
    days.cut_power().await;
}
