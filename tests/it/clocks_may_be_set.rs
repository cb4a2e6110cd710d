//! A machine's clock may be set, by years and in both directions, between two starts and while the server runs: what happens
//! by itself goes on within its usual time.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tailwater::bandwidth::{Limiter, LinkClient, LinkConfig, Meter, ProxySetting};
use tailwater::catalog::{self, Catalog};
use tailwater::domain::Rate;
use tailwater::runtime::{Clock, Tasks};
use tailwater::upstream::{Config, ContentFrom, Mode, PeerUse, Schedule, Upstream};

use crate::server::dead_port;

const DAY: i64 = 86_400;
const JUMPS: [i64; 6] = [-3_650 * DAY, -DAY, -3_600, 3_600, DAY, 3_650 * DAY];

/// How often a synchronisation is due.
const EVERY: Duration = Duration::from_hours(1);

/// A site whose upstream is dead: each attempt is in its history.
struct Site {
    upstream: Upstream,
    tasks: Tasks,
}

impl Site {
    fn start(dir: &Path, clock: &Clock) -> Self {
        let tasks = Tasks::new();
        let catalog = Catalog::open(catalog::Config::new(dir.join("catalog")), clock.clone()).unwrap();
        let limiter = Limiter::new(Rate::Unlimited, clock, &tasks);
        let link = LinkConfig { proxy: ProxySetting::Direct, ..LinkConfig::default() };
        let client = LinkClient::new(link.clone(), &limiter, &Meter::new(clock), clock, &tasks).unwrap();
        let config = Config {
            url: format!("http://127.0.0.1:{}", dead_port()),
            products: Vec::new(),
            classifications: Vec::new(),
            languages: vec!["en".to_owned()],
            schedule: Schedule { every: Some(EVERY), ..Schedule::on_demand() },
            account_name: Some("branch.example.invalid".to_owned()),
            token: None,
            mode: Mode::Autonomous,
            content_from: ContentFrom::Upstream,
            cost: tailwater::upstream::USUAL_COST,
            sources: Vec::new(),
            peer: PeerUse::Off,
            dir: dir.join("tmp"),
            link,
        };
        let upstream = Upstream::new(config, catalog, client, clock.clone(), tasks.clone()).unwrap();
        upstream.start_schedule();
        Self { upstream, tasks }
    }

    fn attempts(&self) -> usize {
        self.upstream.history().len()
    }

    /// Lets so many minutes pass, or fewer when `until` is so.
    async fn pass(&self, clock: &Clock, minutes: u32, until: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..minutes {
            if until(self) {
                return true;
            }
            tokio::time::sleep(Duration::from_mins(1)).await;
            clock.advance(Duration::from_mins(1));
        }
        until(self)
    }
}

#[tokio::test(start_paused = true)]
async fn synchronisations_go_on_within_their_usual_time() {
    for jump in JUMPS {
        for at_start in [true, false] {
            let what = format!("{jump} s, at start {at_start}");
            let (dir, clock) =
                (tempfile::tempdir().unwrap(), Clock::manual("2026-11-30T12:00:00Z".parse().unwrap()));
            let mut site = Site::start(dir.path(), &clock);
            assert!(
                site.pass(&clock, 5, |site| site.attempts() > 0).await,
                "{what}: the first comes at once"
            );
            let to = clock.now() + SignedDuration::from_secs(jump);
            if at_start {
                site.tasks.shut_down(Duration::from_secs(10)).await;
                drop(site);
                clock.set(to);
                site = Site::start(dir.path(), &clock);
            } else {
                clock.set(to);
            }
            let before = site.attempts();
            // an interval, and the minutes in which an attempt may fail
            let went_on = site.pass(&clock, 70, |site| site.attempts() > before).await;
            assert!(went_on, "{what}: nothing happens any more");
            let next: Option<Timestamp> = *site.upstream.next_run().borrow();
            let latest = clock.now() + SignedDuration::from_mins(65);
            assert!(next.is_none_or(|next| next <= latest), "{what}: {next:?}");
            site.tasks.shut_down(Duration::from_secs(10)).await;
        }
    }
}
