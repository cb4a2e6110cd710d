//! The rate of the link, kept to the byte: one dispatcher, and a lane for each stream that takes turns.
//!
//! **Invariant:** while a rate is set, bytes taken never exceed it beyond 10 ms and one quantum. Without a
//! limit a lane costs one atomic load. It never waits on governor itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::budget::Budget;
use super::cap::Cap;
use super::dispatch::{Dispatch, LaneId, Turn};
use super::shape::Shape;
use super::{Class, LinkError, Purpose};
use crate::domain::Rate;
use crate::runtime::{Clock, Tasks};

/// A grant unused for this long goes back: a slow reader must not collect a burst.
const CREDIT_LIFE: Duration = Duration::from_millis(50);

/// The shortest sleep of the dispatcher: shorter ones would only burn CPU, the quota's slack of 10 ms covers
/// it.
const SHORTEST_NAP: Duration = Duration::from_millis(2);

/// The one limiter of a link. Cheap to clone; clones share the rate.
#[derive(Clone)]
pub struct Limiter(Arc<Shared>);

struct Shared {
    /// There is a rate or a budget.
    limited: AtomicBool,
    budget: Option<Budget>,
    rate: Mutex<Rate>,
    dispatch: Mutex<Dispatch>,
    /// Someone waits, or the rate or the budget changed.
    changed: Arc<Notify>,
    clock: Clock,
}

/// What the limiter does now.
#[derive(Debug, Clone, Serialize)]
pub struct LimiterStatus {
    /// The rate in force.
    pub rate: Rate,
    /// Streams that wait for their turn, by class, most urgent first.
    pub waiting: Vec<(Class, usize)>,
    /// Transfers that may be open at once.
    pub max_transfers: usize,
}

impl Shared {
    fn dispatch(&self) -> MutexGuard<'_, Dispatch> {
        self.dispatch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unused bytes go to the next who asks.
    fn give_back(&self, class: Class, bytes: u64) {
        let mut dispatch = self.dispatch();
        dispatch.give_back(class, bytes);
        if !dispatch.is_idle() {
            drop(dispatch);
            self.changed.notify_one();
        }
    }
}

impl Limiter {
    /// A limiter at this rate; its dispatcher runs until shutdown.
    pub fn new(rate: Rate, clock: &Clock, tasks: &Tasks) -> Self {
        Self::with_budget(rate, None, clock, tasks)
    }

    /// The same on a link that has a budget beside its rate.
    pub fn with_budget(rate: Rate, budget: Option<Budget>, clock: &Clock, tasks: &Tasks) -> Self {
        let changed = Arc::new(Notify::new());
        if let Some(budget) = &budget {
            budget.start(&changed, tasks);
        }
        let shared = Arc::new(Shared {
            limited: AtomicBool::new(rate != Rate::Unlimited || budget.is_some()),
            rate: Mutex::new(rate),
            dispatch: Mutex::new(Dispatch::new(rate, budget.clone())),
            budget,
            changed,
            clock: clock.clone(),
        });
        let (worker, stopping) = (Arc::clone(&shared), tasks.stopping());
        tasks.spawn("link-dispatcher", async move {
            tokio::select! {
                () = dispatch(&worker) => {}
                () = stopping.cancelled() => {}
            }
            let mut wake = Vec::new();
            worker.dispatch().shut(&mut wake);
            wake.into_iter().for_each(std::task::Waker::wake);
        });
        Self(shared)
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        *self.0.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the rate of everything that runs, from the next turn on.
    pub fn set_rate(&self, rate: Rate) {
        let mut current = self.0.rate.lock().unwrap_or_else(PoisonError::into_inner);
        if *current == rate {
            return;
        }
        *current = rate;
        let capped = self.0.dispatch().set_rate(rate);
        let limited = rate != Rate::Unlimited || self.0.budget.is_some() || capped;
        self.0.limited.store(limited, Ordering::Release);
        self.0.changed.notify_one();
    }

    /// How many transfers may be open at once at this rate: more would only cut the link into slices.
    pub fn max_transfers(&self) -> usize {
        self.shape().transfers
    }

    /// What it does now.
    pub fn status(&self) -> LimiterStatus {
        let rate = self.rate();
        let dispatch = self.0.dispatch();
        let waiting = Class::ALL.into_iter().zip(dispatch.waiting()).collect();
        drop(dispatch);
        LimiterStatus { rate, waiting, max_transfers: self.max_transfers() }
    }

    /// A lane for one stream: of a class alone it is this server's own.
    pub fn lane(&self, purpose: impl Into<Purpose>) -> Lane {
        let purpose = purpose.into();
        let id = self.0.dispatch().open(purpose);
        let credit_at = self.0.clock.instant();
        Lane { shared: Arc::clone(&self.0), id, class: purpose.class, credit: 0, credit_at }
    }

    /// Holds every class that is not exempt to a rate of its own below the link's, from the next turn on, whatever the
    /// link's rate is. `peak` is what connections are made for, both in bytes a second.
    pub(super) fn hold_back(&self, exempt: &[Class], bytes_per_second: u64, peak: u64) {
        let cap = Cap::new(exempt, bytes_per_second, self.0.clock.instant());
        self.0.dispatch().hold_back(cap, peak);
        self.0.limited.store(true, Ordering::Release);
        self.0.changed.notify_one();
    }

    /// Changes what [`Limiter::hold_back`] set.
    pub(super) fn change_cap(&self, bytes_per_second: u64, peak: u64) {
        self.0.dispatch().change_cap(bytes_per_second, peak);
        self.0.changed.notify_one();
    }

    /// The budget, where there is one.
    pub fn budget(&self) -> Option<&Budget> {
        self.0.budget.as_ref()
    }

    /// Until when the budget lets a class take nothing; `None` while it may.
    pub fn spent_until(&self, class: Class) -> Option<Timestamp> {
        self.0.budget.as_ref()?.spent_until(class)
    }

    pub(super) fn shape(&self) -> Shape {
        let shape = self.0.dispatch().shape;
        self.0.budget.as_ref().map_or(shape, |budget| shape.with_budget(budget.left()))
    }

    pub(super) fn is_limited(&self) -> bool {
        self.0.limited.load(Ordering::Acquire)
    }

    /// Unused bytes go to the next who asks.
    pub(super) fn give_back(&self, class: Class, bytes: u64) {
        self.0.give_back(class, bytes);
    }
}

/// Serves lanes in turn for as long as it is polled.
async fn dispatch(shared: &Shared) {
    let mut wake = Vec::new();
    loop {
        let turn = shared.dispatch().serve(&mut wake);
        wake.drain(..).for_each(std::task::Waker::wake);
        match turn {
            Turn::Idle => shared.changed.notified().await,
            Turn::After(wait) => {
                tokio::select! {
                    () = shared.clock.sleep(wait.max(SHORTEST_NAP)) => {}
                    () = shared.changed.notified() => {}
                }
            }
        }
    }
}

/// One stream's way to the link. Dropping it gives back what it did not use.
pub struct Lane {
    shared: Arc<Shared>,
    id: LaneId,
    class: Class,
    /// Granted and not yet used.
    credit: u64,
    credit_at: Instant,
}

impl Lane {
    /// Lets the stream be for something else from now on.
    pub fn set_purpose(&mut self, purpose: Purpose) {
        self.class = purpose.class;
        self.shared.dispatch().set_purpose(self.id, purpose);
    }

    /// Grants between 1 and `want` bytes when it is this lane's turn.
    ///
    /// # Errors
    /// [`LinkError::Stopping`] at shutdown.
    pub fn poll_take(&mut self, cx: &mut Context<'_>, want: u64) -> Poll<Result<u64, LinkError>> {
        if !self.shared.limited.load(Ordering::Acquire) {
            self.credit = 0;
            return Poll::Ready(Ok(want));
        }
        if self.credit > 0 && self.shared.clock.instant().duration_since(self.credit_at) > CREDIT_LIFE {
            self.release();
        }
        if self.credit == 0 {
            let mut dispatch = self.shared.dispatch();
            if dispatch.closed {
                return Poll::Ready(Err(LinkError::Stopping));
            }
            if dispatch.refuses(self.id) {
                return Poll::Ready(Err(LinkError::Spent { until: None }));
            }
            let Some(granted) = dispatch.ask(self.id, cx.waker()) else {
                // behind others there is nothing to tell: the dispatcher is at work
                let tell = dispatch.leads(self.id);
                drop(dispatch);
                if tell {
                    self.shared.changed.notify_one();
                }
                return Poll::Pending;
            };
            drop(dispatch);
            self.credit = granted;
            self.credit_at = self.shared.clock.instant();
        }
        let taken = want.min(self.credit);
        self.credit -= taken;
        Poll::Ready(Ok(taken))
    }

    /// Waits for this lane's turn, then takes between 1 and `want` bytes.
    ///
    /// # Errors
    /// [`LinkError::Stopping`] at shutdown.
    pub async fn take(&mut self, want: u64) -> Result<u64, LinkError> {
        std::future::poll_fn(|cx| self.poll_take(cx, want)).await
    }

    /// Takes back what was granted and not used; the lane spends it first.
    pub fn give_back(&mut self, bytes: u64) {
        if self.shared.limited.load(Ordering::Acquire) {
            self.credit += bytes;
        }
    }

    /// Bytes that were granted, to this lane or in advance, came.
    pub(super) fn received(&self, bytes: u64) {
        if let Some(budget) = &self.shared.budget {
            budget.received(bytes);
        }
    }

    /// Bytes came that nobody reads.
    pub(super) fn received_beside(&self, bytes: u64) {
        if let Some(budget) = &self.shared.budget {
            budget.received_beside(bytes);
        }
    }

    /// Lets others have what this lane still holds: nothing is there to be read.
    pub fn release(&mut self) {
        if self.credit > 0 {
            let bytes = std::mem::take(&mut self.credit);
            self.shared.give_back(self.class, bytes);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut dispatch = self.shared.dispatch();
        dispatch.give_back(self.class, self.credit);
        dispatch.close(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::bandwidth::Requester;

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
        for (text, bytes_per_second) in [
            ("1 Mbit/s", MBIT),
            ("8 Mbit/s", 8 * MBIT),
            ("100 Mbit/s", 100 * MBIT),
            ("1 Gbit/s", 1000 * MBIT),
        ] {
            let link = Link::with_streams(text, &[1 << 20; 9]);
            let whole = link.total_after(20).await;
            let due = bytes_per_second * 20;
            assert!(whole * 100 >= due * 97 && whole <= due, "{text}: {whole} of {due}");
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
        for (text, bytes_per_second) in [("1 Mbit/s", MBIT), ("100 Mbit/s", 100 * MBIT), ("64 kbit/s", 8_000)]
        {
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
            link.limiter.hold_back(&[Class::Interactive], MBIT, 8 * MBIT);
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
}
