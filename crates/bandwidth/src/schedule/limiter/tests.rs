//! Promises of the limiter: the rate, whose turn it is, and who is throttled.

use std::sync::atomic::AtomicU64;

use super::*;
use tailwater_domain::Requester;

const MBIT: u64 = 125_000;

struct Link {
    limiter: Limiter,
    tasks: Tasks,
    taken: Vec<Arc<AtomicU64>>,
}

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

impl Link {
    /// One greedy stream for each entry, that asks for so many bytes at a time.
    fn with_streams(text: &str, wants: &[u64]) -> Self {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let limiter = Limiter::new(rate(text), &clock, &tasks);
        let mut link = Self { limiter, tasks, taken: Vec::new() };
        for &want in wants {
            let taken = Arc::new(AtomicU64::new(0));
            link.taken.push(Arc::clone(&taken));
            let mut lane = link.limiter.lane(Class::Normal);
            link.tasks.spawn("stream", async move {
                while let Ok(bytes) = lane.take(want).await {
                    taken.fetch_add(bytes, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
        }
        link
    }

    fn total(&self) -> u64 {
        self.taken.iter().map(|taken| taken.load(Ordering::Relaxed)).sum()
    }

    async fn total_after(&self, seconds: u64) -> u64 {
        let before = self.total();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.total() - before
    }
}

#[tokio::test(start_paused = true)]
async fn streams_together_get_the_rate_and_never_more() {
    for (text, bytes_per_second) in
        [("1 Mbit/s", MBIT), ("8 Mbit/s", 8 * MBIT), ("100 Mbit/s", 100 * MBIT), ("1 Gbit/s", 1000 * MBIT)]
    {
        let link = Link::with_streams(text, &[1 << 20; 9]);
        let whole = link.total_after(20).await;
        let due = bytes_per_second * 20;
        // of low rates more is kept back
        assert!(whole * 100 >= due * 96 && whole <= due, "{text}: {whole} of {due}");
        for _ in 0..20 {
            let second = link.total_after(1).await;
            assert!(second * 100 <= bytes_per_second * 105, "{text}: {second} in a second");
        }
        assert!(link.tasks.shut_down(Duration::from_secs(1)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn the_urgent_go_first_and_nobody_starves() {
    let link = Link::with_streams("4 Mbit/s", &[1 << 16; 6]);
    assert!(link.total_after(5).await * 100 >= MBIT * 20 * 97);
    let asked = Arc::new(AtomicU64::new(0));
    let (counts, mut lane) = (Arc::clone(&asked), link.limiter.lane(Class::Interactive));
    let agent = link.tasks.spawn("agent", async move {
        while let Ok(bytes) = lane.take(1 << 16).await {
            counts.fetch_add(bytes, Ordering::Relaxed);
        }
    });
    let others = link.total_after(10).await;
    let agents = asked.load(Ordering::Relaxed);
    assert!(agents * 100 >= MBIT * 40 * 93, "{agents} of {}", MBIT * 40);
    assert!(others * 100 >= MBIT * 40 * 2, "{others} of {}", MBIT * 40);
    agent.abort();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(link.total_after(1).await * 100 >= MBIT * 4 * 95, "what is left is used at once");
    assert!(link.tasks.shut_down(Duration::from_secs(1)).await);
}

#[tokio::test(start_paused = true)]
async fn every_stream_gets_its_turn_however_much_it_asks_for() {
    let mut wants = vec![1 << 20; 16];
    wants.extend([1_000; 16]);
    let link = Link::with_streams("100 Mbit/s", &wants);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let shares: Vec<u64> = link.taken.iter().map(|taken| taken.load(Ordering::Relaxed)).collect();
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    assert!(least * 100 >= most * 95, "{least} of {most}");
    assert!(link.tasks.shut_down(Duration::from_secs(1)).await);
}

#[tokio::test(start_paused = true)]
async fn a_new_rate_is_in_force_at_once() {
    let link = Link::with_streams("8 Mbit/s", &[1 << 16; 8]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (text, bytes_per_second) in [("1 Mbit/s", MBIT), ("100 Mbit/s", 100 * MBIT), ("64 kbit/s", 8_000)] {
        link.limiter.set_rate(rate(text));
        // a turn of the old rate may be under way
        tokio::time::sleep(Duration::from_millis(100)).await;
        let second = link.total_after(4).await;
        let due = bytes_per_second * 4;
        assert!(second * 100 >= due * 90 && second * 100 <= due * 105, "{text}: {second} of {due}");
    }
    link.limiter.set_rate(Rate::Unlimited);
    tokio::task::yield_now().await;
    let lane = &mut link.limiter.lane(Class::Interactive);
    assert_eq!(lane.take(u64::MAX).await.unwrap(), u64::MAX);
    link.limiter.set_rate(rate("1 Mbit/s"));
    assert!(link.tasks.shut_down(Duration::from_secs(1)).await);
}

#[tokio::test(start_paused = true)]
async fn requesters_are_equals_however_many_streams_they_open() {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let limiter = Limiter::new(rate("8 Mbit/s"), &clock, &tasks);
    let taken: Vec<Arc<AtomicU64>> = (0..8).map(|_| Arc::default()).collect();
    for (agent, taken) in (0_u8..).zip(&taken) {
        for _ in 0..if agent == 0 { 50 } else { 1 } {
            let requester = Requester::Agent(std::net::IpAddr::from([10, 0, 0, agent]));
            let purpose = Purpose { class: Class::Interactive, requester, file: None };
            let (mut lane, taken) = (limiter.lane(purpose), Arc::clone(taken));
            tasks.spawn("stream", async move {
                while let Ok(bytes) = lane.take(1 << 16).await {
                    taken.fetch_add(bytes, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
        }
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let shares: Vec<u64> = taken.iter().map(|taken| taken.load(Ordering::Relaxed)).collect();
    let whole: u64 = shares.iter().sum();
    assert!(shares.iter().all(|share| (12..=13).contains(&(share * 100 / whole))), "{shares:?}");
    assert!(tasks.shut_down(Duration::from_secs(1)).await);
}

#[tokio::test(start_paused = true)]
async fn what_yields_is_held_back_and_the_exempt_are_not() {
    for link in ["unlimited", "8 Mbit/s"] {
        let link = Link::with_streams(link, &[1 << 16; 4]);
        link.limiter.throttle(&[Class::Interactive], MBIT, 8 * MBIT);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let second = link.total_after(10).await;
        assert!((MBIT * 95 / 10..=MBIT * 105 / 10).contains(&second), "{second} of {}", 10 * MBIT);
        let mut lane = link.limiter.lane(Class::Interactive);
        let (start, mut got) = (link.limiter.0.clock.instant(), 0);
        while got < MBIT * 4 {
            got += lane.take(1 << 16).await.unwrap();
        }
        let took = start.elapsed();
        assert!(took < Duration::from_millis(620), "an agent's half second of the link took {took:?}");
        drop(lane);
        link.limiter.change_cap(4 * MBIT, 8 * MBIT);
        let more = link.total_after(5).await;
        assert!((MBIT * 19..=MBIT * 21).contains(&more), "{more} of {}", 20 * MBIT);
        assert!(link.tasks.shut_down(Duration::from_secs(1)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_does_not_use_the_others_get() {
    let link = Link::with_streams("8 Mbit/s", &[1 << 16; 2]);
    let mut idler = link.limiter.lane(Class::Metadata);
    link.tasks.spawn("idler", async move {
        while let Ok(bytes) = idler.take(4_096).await {
            idler.give_back(bytes - 10);
            idler.release();
        }
    });
    let whole = link.total_after(10).await;
    // what the idler has in its 32 turns is a twentieth of another's turn
    assert!(whole * 100 >= 8 * MBIT * 10 * 95, "{whole}");
    assert!(link.tasks.shut_down(Duration::from_secs(1)).await);
}
