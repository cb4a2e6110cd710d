//! Promises of a budget at work.

use jiff::tz::TimeZone;

use super::*;
use crate::{Limiter, WhenSpent};
use tailwater_domain::{ByteCount, Rate};

const MB: u64 = 1_000_000;

struct Site {
    folder: tempfile::TempDir,
    clock: Clock,
    daily: u64,
}

impl Site {
    fn new(daily: u64) -> Self {
        let clock = Clock::manual("2026-11-22T12:00:00Z".parse().unwrap());
        Self { folder: tempfile::tempdir().unwrap(), clock, daily }
    }

    fn open(&self) -> Budget {
        let config = BudgetConfig {
            daily: Some(ByteCount(self.daily)),
            monthly: None,
            reserve: 100,
            urgent: vec![Class::Interactive],
            when_spent: WhenSpent::Closed,
            zone: TimeZone::UTC,
        };
        Budget::open(config, &self.folder.path().join("budget"), &self.clock).unwrap()
    }

    fn link(&self, tasks: &Tasks) -> (Limiter, Budget) {
        let budget = self.open();
        (Limiter::with_budget(Rate::Unlimited, Some(budget.clone()), &self.clock, tasks), budget)
    }
}

/// Takes and receives until the budget ends; says how much.
async fn drain(limiter: &Limiter, class: Class, most: u64) -> u64 {
    let mut lane = limiter.lane(class);
    let mut taken = 0;
    while taken < most {
        match lane.take((most - taken).min(50_000)).await {
            Ok(bytes) => {
                lane.received(bytes);
                taken += bytes;
            }
            Err(LinkError::Spent { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    taken
}

#[tokio::test]
async fn the_reserve_stays_for_the_urgent_and_then_nothing_passes() {
    let (site, tasks) = (Site::new(10 * MB), Tasks::new());
    let (limiter, budget) = site.link(&tasks);
    let normal = drain(&limiter, Class::Normal, u64::MAX).await;
    assert!((9 * MB - 2 * 65_536..=9 * MB).contains(&normal), "{normal}");
    assert_eq!(budget.status().standing, Standing::Urgent);
    let all = normal + drain(&limiter, Class::Interactive, u64::MAX).await;
    assert!((10 * MB - 2 * 65_536..=10 * MB).contains(&all), "{all}");
    assert_eq!(budget.status().standing, Standing::Spent);
    site.clock.advance(Duration::from_hours(12));
    assert_eq!(drain(&limiter, Class::Normal, MB).await, MB, "midnight renews it");
}

#[tokio::test]
async fn a_kill_counts_at_most_a_block_too_much_and_never_too_little() {
    let site = Site::new(100 * MB);
    let mut received = 0;
    for round in 1..=4_u64 {
        let tasks = Tasks::new();
        let (limiter, budget) = site.link(&tasks);
        received += drain(&limiter, Class::Normal, 3 * MB).await;
        // nothing is closed in order: what counts is what stands on the disk now
        let kept = site.open().status().daily.unwrap().spent;
        let most = received + round * 2 * budget.status().block;
        assert!((received..=most).contains(&kept), "{kept} of {received} at most {most}");
        tasks.shut_down(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn an_orderly_stop_keeps_the_exact_number() {
    let (site, tasks) = (Site::new(100 * MB), Tasks::new());
    let (limiter, _budget) = site.link(&tasks);
    let received = drain(&limiter, Class::Normal, 3 * MB).await;
    drop(limiter);
    assert!(tasks.shut_down(Duration::from_secs(5)).await);
    assert_eq!(site.open().status().daily.unwrap().spent, received);
}

#[tokio::test]
async fn a_clock_that_is_set_back_gives_no_day_twice() {
    let site = Site::new(10 * MB);
    {
        let tasks = Tasks::new();
        let (limiter, _budget) = site.link(&tasks);
        drain(&limiter, Class::Interactive, u64::MAX).await;
        tasks.shut_down(Duration::from_secs(5)).await;
    }
    for wrong in ["2026-11-21T12:00:00Z", "1970-01-01T00:00:00Z"] {
        let behind = Site { clock: Clock::manual(wrong.parse().unwrap()), ..Site::new(10 * MB) };
        std::fs::copy(site.folder.path().join("budget"), behind.folder.path().join("budget")).unwrap();
        let tasks = Tasks::new();
        let (limiter, _budget) = behind.link(&tasks);
        assert_eq!(drain(&limiter, Class::Interactive, u64::MAX).await, 0, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_far_ahead_is_believed_a_day_later() {
    let (site, tasks) = (Site::new(10 * MB), Tasks::new());
    let budget = site.open();
    budget.received_beside(MB);
    site.clock.advance(Duration::from_hours(24 * 365));
    budget.received_beside(4 * MB);
    assert_eq!(budget.status().date.to_string(), "2027-11-22");
    let back = Clock::manual("2026-11-22T13:00:00Z".parse().unwrap());
    let later = Budget(Arc::new(SharedBudget { clock: back.clone(), ..Arc::into_inner(budget.0).unwrap() }));
    assert_eq!(later.status().date.to_string(), "2027-11-22");
    tokio::time::advance(Duration::from_hours(24)).await;
    let status = later.status();
    assert_eq!((status.date.to_string().as_str(), status.daily.unwrap().spent), ("2026-11-22", 5 * MB));
    drop(tasks);
}

#[tokio::test]
async fn after_a_pause_there_is_more_to_book() {
    let (site, tasks) = (Site::new(100 * MB), Tasks::new());
    let (limiter, budget) = site.link(&tasks);
    assert_eq!(drain(&limiter, Class::Normal, MB).await, MB);
    for pause in 1..3 {
        // as if nothing had moved for long
        let moved = budget.0.state().activity;
        budget.0.state().last_activity = (moved, Instant::now().checked_sub(IDLE).unwrap());
        // the budget's own task may be writing an earlier booking still
        let exact = async {
            loop {
                budget.book(false).await;
                if site.open().status().daily.unwrap().spent == pause * MB {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_mins(1), exact).await;
        assert!(found.is_ok(), "the account is exact after a pause");
        assert_eq!(drain(&limiter, Class::Normal, MB).await, MB);
    }
}

#[tokio::test]
async fn what_is_granted_and_unused_comes_back() {
    let (site, tasks) = (Site::new(10 * MB), Tasks::new());
    let (limiter, budget) = site.link(&tasks);
    let mut lane = limiter.lane(Class::Normal);
    let taken = lane.take(10_000).await.unwrap();
    lane.give_back(taken);
    drop(lane);
    let outstanding = budget.0.state().outstanding;
    assert_eq!((outstanding, budget.status().daily.unwrap().spent), (0, 0));
}
