//! The other legs: what this server sends to agents and downstream servers, in all, to one client and to one subnet.
//!
//! **Invariant:** no leg carries more than its rate beyond 10 ms and one quantum, and clients that wait take turns, one
//! quantum each, however many connections they have. Without any rate there is no leg and nothing to lock. It never
//! limits what comes from upstream.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;

use super::rates::LegRates;
use super::scheduler::State;
use tailwater_runtime::{Clock, Tasks};

/// The shortest sleep of the dispatcher, as on the link.
const SHORTEST_NAP: Duration = Duration::from_millis(2);

/// What the legs do now.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct LegsStatus {
    /// As configured.
    #[serde(flatten)]
    pub rates: LegRates,
    /// Addresses that are connected.
    pub clients: usize,
    /// Of these, with something to send that waits for its turn.
    pub waiting: usize,
    /// Bytes sent since start, headers and TLS included.
    pub sent: u64,
}

/// The limiter of the other legs. Cheap to clone; clones share the rates.
#[derive(Clone)]
pub struct Legs(Arc<Shared>);

struct Shared {
    rates: LegRates,
    state: Mutex<State>,
    changed: Notify,
    clock: Clock,
}

impl Legs {
    /// Legs with these rates; `None` when none of them limits anything. The dispatcher runs until shutdown, and what
    /// is sent afterwards is not held up.
    pub fn new(rates: LegRates, clock: &Clock, tasks: &Tasks) -> Option<Self> {
        if rates == LegRates::default() {
            return None;
        }
        let (state, clock) = (Mutex::new(State::new(&rates)), clock.clone());
        let shared = Arc::new(Shared { rates, state, changed: Notify::new(), clock });
        let (worker, stopping) = (Arc::clone(&shared), tasks.stopping());
        tasks.spawn("legs-dispatcher", async move {
            tokio::select! {
                () = dispatch(&worker) => {}
                () = stopping.cancelled() => {}
            }
            let wake = worker.state().close();
            wake.into_iter().for_each(Waker::wake);
        });
        Some(Self(shared))
    }

    /// A connection from this address, until it is dropped.
    pub fn leg(&self, address: IpAddr) -> Leg {
        let address = address.to_canonical();
        let id = self.0.state().open(address, &self.0.rates);
        Leg { shared: Arc::clone(&self.0), id, credit: 0 }
    }

    /// What they do now.
    pub fn status(&self) -> LegsStatus {
        let state = self.0.state();
        let (clients, waiting) = state.clients();
        LegsStatus { rates: self.0.rates, clients, waiting, sent: state.sent }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
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
                    () = shared.clock.sleep(wait.max(SHORTEST_NAP)) => {}
                    () = shared.changed.notified() => {}
                }
            }
        }
    }
}

/// One connection's share of its legs. Dropping it gives back what it did not use.
pub struct Leg {
    shared: Arc<Shared>,
    id: u64,
    credit: u64,
}

impl Leg {
    /// Grants between 1 and `want` bytes when it is this connection's turn; [`Leg::sent`] tells what became of them.
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

impl Drop for Leg {
    fn drop(&mut self) {
        self.shared.state().shut(self.id, self.credit);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Net {
        legs: Legs,
        tasks: Tasks,
        sent: Vec<Arc<AtomicU64>>,
    }

    fn rates(rate: &str, per_client: &str, per_subnet: &str) -> LegRates {
        let read = |text: &str| text.parse().unwrap();
        LegRates { rate: read(rate), per_client: read(per_client), per_subnet: read(per_subnet) }
    }

    impl Net {
        /// Clients that always have something to send: their address and how many connections they have.
        fn of(rates: LegRates, clients: &[(&str, usize)]) -> Self {
            let (clock, tasks) = (Clock::system(), Tasks::new());
            let legs = Legs::new(rates, &clock, &tasks).unwrap();
            let mut net = Self { legs, tasks, sent: Vec::new() };
            for (address, connections) in clients {
                let sent = Arc::new(AtomicU64::new(0));
                for _ in 0..*connections {
                    let (mut leg, sent) = (net.legs.leg(address.parse().unwrap()), Arc::clone(&sent));
                    let stopping = net.tasks.stopping();
                    net.tasks.spawn("client", async move {
                        while !stopping.is_cancelled() {
                            let bytes = std::future::poll_fn(|cx| leg.poll_take(cx, 1 << 20)).await;
                            leg.sent(bytes, false);
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
        assert_eq!((net.legs.status().clients, net.legs.status().waiting), (3, 3));
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
        let mut quiet = net.legs.leg("fd00::1".parse().unwrap());
        for _ in 0..100 {
            let bytes = std::future::poll_fn(|cx| quiet.poll_take(cx, 10)).await;
            quiet.sent(bytes, true);
        }
        near(&net.measure().await, &[8.0]);
        drop(quiet);
        assert_eq!(net.legs.status().clients, 1);
        net.tasks.stopping().cancel();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut late = net.legs.leg("10.0.0.9".parse().unwrap());
        assert_eq!(std::future::poll_fn(|cx| late.poll_take(cx, 5_000_000)).await, 5_000_000);
        assert!(Legs::new(LegRates::default(), &Clock::system(), &net.tasks).is_none());
    }
}
