//! The egress limiter: what this server sends to agents and downstream servers, in all, to one client and to one subnet.
//!
//! **Invariant:** no lane carries more than its rate beyond 10 ms and one quantum, and clients that wait take turns, one
//! quantum each, however many connections they have. Without any rate there is no lane and nothing to lock. It never
//! limits what comes from upstream.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;

use super::rates::EgressRates;
use super::scheduler::Scheduler;
use tailwater_runtime::{Clock, Tasks};

/// The shortest sleep of the dispatcher, as on the link.
const SHORTEST_SLEEP: Duration = Duration::from_millis(2);

/// What egress does now.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct EgressStatus {
    /// As configured.
    #[serde(flatten)]
    pub rates: EgressRates,
    /// Addresses that are connected.
    pub clients: usize,
    /// Of these, with something to send that waits for its turn.
    pub waiting: usize,
    /// Bytes sent since start, headers and TLS included.
    pub sent: u64,
}

/// The limiter of what is sent. Cheap to clone; clones share the rates.
#[derive(Clone)]
pub struct EgressLimiter(Arc<Shared>);

struct Shared {
    rates: EgressRates,
    state: Mutex<Scheduler>,
    changed: Notify,
    clock: Clock,
}

impl EgressLimiter {
    /// A limiter with these rates; `None` when none of them limits anything. The dispatcher runs until shutdown, and what
    /// is sent afterwards is not throttled.
    pub fn new(rates: EgressRates, clock: &Clock, tasks: &Tasks) -> Option<Self> {
        if rates == EgressRates::default() {
            return None;
        }
        let (state, clock) = (Mutex::new(Scheduler::new(&rates)), clock.clone());
        let shared = Arc::new(Shared { rates, state, changed: Notify::new(), clock });
        let (worker, stopping) = (Arc::clone(&shared), tasks.stopping());
        tasks.spawn("egress-dispatcher", async move {
            tokio::select! {
                () = dispatch(&worker) => {}
                () = stopping.cancelled() => {}
            }
            let wake = worker.state().close();
            wake.into_iter().for_each(Waker::wake);
        });
        Some(Self(shared))
    }

    /// The lane of a connection from this address, until it is dropped.
    pub fn lane(&self, address: IpAddr) -> EgressLane {
        let address = address.to_canonical();
        let id = self.0.state().open(address, &self.0.rates);
        EgressLane { shared: Arc::clone(&self.0), id, credit: 0 }
    }

    /// What it does now.
    pub fn status(&self) -> EgressStatus {
        let state = self.0.state();
        let (clients, waiting) = state.clients();
        EgressStatus { rates: self.0.rates, clients, waiting, sent: state.sent }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Scheduler> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn dispatch(shared: &Shared) {
    let mut wake = Vec::new();
    loop {
        let next = shared.state().serve(shared.clock.instant(), &mut wake);
        wake.drain(..).for_each(Waker::wake);
        match next {
            None => shared.changed.notified().await,
            Some(wait) => {
                tokio::select! {
                    () = shared.clock.sleep(wait.max(SHORTEST_SLEEP)) => {}
                    () = shared.changed.notified() => {}
                }
            }
        }
    }
}

/// One connection's share of egress. Dropping it gives back what it did not use.
pub struct EgressLane {
    shared: Arc<Shared>,
    id: u64,
    credit: u64,
}

impl EgressLane {
    /// Grants between 1 and `want` bytes when it is this connection's turn; [`EgressLane::sent`] tells what became of them.
    pub fn poll_take(&mut self, cx: &mut Context<'_>, want: usize) -> Poll<usize> {
        if self.credit == 0 {
            let mut state = self.shared.state();
            if state.closed {
                return Poll::Ready(want);
            }
            let Some(granted) = state.ask(self.id, cx.waker()) else {
                drop(state);
                self.shared.changed.notify_one();
                return Poll::Pending;
            };
            self.credit = granted;
        }
        Poll::Ready(usize::try_from(self.credit).unwrap_or(want).min(want))
    }

    /// So many bytes went; `all` says that there is nothing more to send for now, so that others may have the rest.
    pub fn sent(&mut self, bytes: usize, all: bool) {
        self.credit = self.credit.saturating_sub(bytes as u64);
        let mut state = self.shared.state();
        state.sent += bytes as u64;
        if all {
            let credit = std::mem::take(&mut self.credit);
            state.give_back(self.id, credit);
        }
    }
}

impl Drop for EgressLane {
    fn drop(&mut self) {
        self.shared.state().shut(self.id, self.credit);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Net {
        egress: EgressLimiter,
        tasks: Tasks,
        sent: Vec<Arc<AtomicU64>>,
    }

    fn rates(rate: &str, per_client: &str, per_subnet: &str) -> EgressRates {
        let read = |text: &str| text.parse().unwrap();
        EgressRates { rate: read(rate), per_client: read(per_client), per_subnet: read(per_subnet) }
    }

    impl Net {
        /// Clients that always have something to send: their address and how many connections they have.
        fn of(rates: EgressRates, clients: &[(&str, usize)]) -> Self {
            let (clock, tasks) = (Clock::system(), Tasks::new());
            let egress = EgressLimiter::new(rates, &clock, &tasks).unwrap();
            let mut net = Self { egress, tasks, sent: Vec::new() };
            for (address, connections) in clients {
                let sent = Arc::new(AtomicU64::new(0));
                for _ in 0..*connections {
                    let (mut lane, sent) = (net.egress.lane(address.parse().unwrap()), Arc::clone(&sent));
                    let stopping = net.tasks.stopping();
                    net.tasks.spawn("client", async move {
                        while !stopping.is_cancelled() {
                            let bytes = std::future::poll_fn(|cx| lane.poll_take(cx, 1 << 20)).await;
                            lane.sent(bytes, false);
                            sent.fetch_add(bytes as u64, Ordering::Relaxed);
                            tokio::task::yield_now().await;
                        }
                    });
                }
                net.sent.push(sent);
            }
            net
        }

        /// Megabits a second of each over 20 seconds.
        async fn measure(&self) -> Vec<f64> {
            let before: Vec<u64> = self.sent.iter().map(|sent| sent.load(Ordering::Relaxed)).collect();
            tokio::time::sleep(Duration::from_secs(20)).await;
            let now = self.sent.iter().map(|sent| sent.load(Ordering::Relaxed));
            #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
            now.zip(before).map(|(now, before)| (now - before) as f64 * 8.0 / 20e6).collect()
        }
    }

    fn near(measured: &[f64], wanted: &[f64]) {
        for (measured, wanted) in measured.iter().zip(wanted) {
            assert!(
                *measured <= wanted * 1.02 && *measured >= wanted * 0.93,
                "{measured} instead of {wanted} Mbit/s"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_share_alike_however_many_connections_they_have() {
        let net = Net::of(
            rates("30 Mbit/s", "unlimited", "unlimited"),
            &[("10.0.0.1", 1), ("10.0.0.2", 9), ("10.9.0.3", 2)],
        );
        near(&net.measure().await, &[10.0, 10.0, 10.0]);
        assert_eq!((net.egress.status().clients, net.egress.status().waiting), (3, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn each_level_holds_and_what_one_leaves_others_have() {
        let net = Net::of(
            rates("20 Mbit/s", "8 Mbit/s", "10 Mbit/s"),
            &[("10.0.0.1", 4), ("10.0.0.2", 1), ("10.9.0.3", 2)],
        );
        near(&net.measure().await, &[5.0, 5.0, 8.0]);
        let many: Vec<(String, usize)> = (1..=40).map(|host| (format!("10.1.0.{host}"), 1)).collect();
        let many: Vec<(&str, usize)> = many.iter().map(|(host, count)| (host.as_str(), *count)).collect();
        let net = Net::of(rates("unlimited", "unlimited", "20 Mbit/s"), &many);
        near(&net.measure().await, &[0.5; 40]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_used_goes_to_others_and_a_stop_holds_nothing_up() {
        let net = Net::of(rates("8 Mbit/s", "unlimited", "unlimited"), &[("10.0.0.1", 1)]);
        let mut quiet = net.egress.lane("fd00::1".parse().unwrap());
        for _ in 0..100 {
            let bytes = std::future::poll_fn(|cx| quiet.poll_take(cx, 10)).await;
            quiet.sent(bytes, true);
        }
        near(&net.measure().await, &[8.0]);
        drop(quiet);
        assert_eq!(net.egress.status().clients, 1);
        net.tasks.stopping().cancel();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut late = net.egress.lane("10.0.0.9".parse().unwrap());
        assert_eq!(std::future::poll_fn(|cx| late.poll_take(cx, 5_000_000)).await, 5_000_000);
        assert!(EgressLimiter::new(EgressRates::default(), &Clock::system(), &net.tasks).is_none());
    }
}
