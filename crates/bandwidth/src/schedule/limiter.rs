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

use super::arrivals::ArrivalSample;
use super::cap::Cap;
use super::dispatch::{Dispatch, Turn};
use super::round_robin::LaneId;
use super::shape::Shape;
use crate::LinkError;
use crate::budget::Budget;
use tailwater_domain::{Class, Limit, Purpose, Rate, limits};
use tailwater_runtime::{Clock, Tasks};

/// A grant unused for this long goes back: a slow reader must not collect a burst.
const CREDIT_LIFE: Duration = Duration::from_millis(50);

pub(super) const LIMITS: &[Limit] = limits![
    CREDIT_LIFE: "The time a grant may be unused" => "it goes back",
];

/// The shortest sleep of the dispatcher: shorter ones would only burn CPU, the quota's slack of 10 ms covers
/// it.
const SHORTEST_SLEEP: Duration = Duration::from_millis(2);

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

    /// Throttles every class that is not exempt to a rate of its own below the link's, from the next turn on, whatever the
    /// link's rate is. `peak` is what connections are made for, both in bytes a second.
    pub(crate) fn throttle(&self, exempt: &[Class], bytes_per_second: u64, peak: u64) {
        let cap = Cap::new(exempt, bytes_per_second, self.0.clock.instant());
        self.0.dispatch().throttle(cap, peak);
        self.0.limited.store(true, Ordering::Release);
        self.0.changed.notify_one();
    }

    /// Changes what [`Limiter::throttle`] set.
    pub(crate) fn change_cap(&self, bytes_per_second: u64, peak: u64) {
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

    pub(crate) fn shape(&self) -> Shape {
        let shape = self.0.dispatch().shape;
        self.0.budget.as_ref().map_or(shape, |budget| shape.with_budget(budget.left()))
    }

    /// A sample of the connections of a client.
    pub(crate) fn arrived(&self, sample: ArrivalSample) {
        if self.is_limited() {
            self.0.dispatch().arrived(sample);
        }
    }

    /// Bytes crossed the link that nobody asked for: they are paid before anything else is granted.
    pub(crate) fn charge(&self, bytes: u64) {
        if let Some(budget) = &self.0.budget {
            budget.received_beside(bytes);
        }
        if self.is_limited() {
            self.0.dispatch().charge(bytes);
        }
    }

    pub(crate) fn is_limited(&self) -> bool {
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
                    () = shared.clock.sleep(wait.max(SHORTEST_SLEEP)) => {}
                    () = shared.changed.notified() => {}
                }
            }
        }
    }
}

/// What one stream takes its turns by. Dropping it gives back what it did not use.
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
                // behind others nobody has to be woken: the dispatcher is at work
                let wakes = dispatch.leads(self.id);
                drop(dispatch);
                if wakes {
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

    /// Bytes that were granted, to this lane or in advance, arrived.
    pub(crate) fn received(&self, bytes: u64) {
        if let Some(budget) = &self.shared.budget {
            budget.received(bytes);
        }
    }

    /// Bytes arrived that nobody reads.
    pub(crate) fn received_beside(&self, bytes: u64) {
        if let Some(budget) = &self.shared.budget {
            budget.received_beside(bytes);
        }
    }

    /// Lets others have what this lane was granted and has not used: nothing is there to be read.
    pub fn release(&mut self) {
        if self.credit > 0 {
            let bytes = std::mem::take(&mut self.credit);
            self.shared.give_back(self.class, bytes);
        }
    }

    /// Leaves the queue: nothing is wanted any more.
    pub(crate) fn withdraw(&mut self) {
        self.shared.dispatch().withdraw(self.id);
        self.release();
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
mod tests;
