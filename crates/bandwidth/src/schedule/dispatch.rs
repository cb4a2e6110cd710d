//! Whose turn it is on the link: the most urgent class that waits and may take turns, and within it round robin over
//! requesters, their files and the lanes of each, each turn worth one quantum.
//!
//! **Invariant:** grants never exceed what the quota allowed plus what was given back; a class that waits behind another still
//! gets a turn now and then (see [`super::priority`]), so that nothing of it times out. A class whose gate is shut is passed
//! over, and delays nobody. It never sleeps and never reads from a socket; [`super::limiter`] drives it.

use std::collections::HashMap;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::arrivals::{ArrivalSample, Arrivals};
use super::cap::Cap;
use super::priority::{Pick, Priority};
use super::quota::Quota;
use super::round_robin::{LaneId, QueueKey, RoundRobin};
use super::shape::Shape;
use crate::budget::{Budget, Gate};
use tailwater_domain::{Class, Purpose, Rate};

/// Between two checks of a closed link; a new rate wakes it at once.
const CLOSED_RECHECK: Duration = Duration::from_hours(1);

/// Between two checks of a budget whose rest others were granted; a booking or what they give back wakes it at once.
const BUDGET_RECHECK: Duration = Duration::from_millis(100);

/// One stream.
struct LaneState {
    class: Class,
    key: QueueKey,
    queued: bool,
    /// Granted and not yet fetched.
    granted: u64,
    waker: Option<Waker>,
}

/// What the dispatcher waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nobody waits.
    Idle,
    /// The next in turn can be served after this long.
    After(Duration),
}

/// The state behind the limiter's lock.
pub(super) struct Dispatch {
    rate: Rate,
    quota: Option<Quota>,
    budget: Option<Budget>,
    pub(super) shape: Shape,
    /// Paid for and unused.
    spare: u64,
    /// Crossed the link and not paid for.
    owed: u64,
    arrivals: Arrivals,
    lanes: HashMap<LaneId, LaneState>,
    next_id: LaneId,
    /// Lanes that wait, in the order of their turns, by class.
    queues: [RoundRobin; Class::ALL.len()],
    /// What throttles the classes that yield to other traffic.
    cap: Option<Cap>,
    /// Bytes a second that connections are made for while classes are throttled.
    peak: Option<u64>,
    /// Which class goes next.
    priority: Priority,
    /// The rate is that of a closed link.
    is_closed_rate: bool,
    /// No more grants: the server is stopping.
    pub(super) closed: bool,
}

impl Dispatch {
    pub(super) fn new(rate: Rate, budget: Option<Budget>) -> Self {
        let mut dispatch = Self {
            rate,
            quota: None,
            budget,
            shape: Shape::of(rate),
            spare: 0,
            owed: 0,
            arrivals: Arrivals::default(),
            lanes: HashMap::new(),
            next_id: 0,
            queues: Default::default(),
            cap: None,
            peak: None,
            priority: Priority::default(),
            is_closed_rate: false,
            closed: false,
        };
        dispatch.set_rate(rate);
        dispatch
    }

    /// The next turn already follows the new rate; what was given back under the old one is forgotten. True when some
    /// classes are throttled even without a rate.
    pub(super) fn set_rate(&mut self, rate: Rate) -> bool {
        self.rate = rate;
        self.reshape();
        self.is_closed_rate = rate == Rate::Closed;
        self.quota = rate.bytes_per_second().map(|bytes| Quota::new(bytes, self.shape.quantum));
        (self.spare, self.owed) = (0, 0);
        self.arrivals = Arrivals::default();
        self.cap.is_some()
    }

    pub(super) fn open(&mut self, purpose: Purpose) -> LaneId {
        self.next_id += 1;
        let key = (purpose.requester, purpose.file);
        let state = LaneState { class: purpose.class, key, queued: false, granted: 0, waker: None };
        self.lanes.insert(self.next_id, state);
        self.next_id
    }

    pub(super) fn set_purpose(&mut self, lane: LaneId, purpose: Purpose) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        let now = (purpose.class, (purpose.requester, purpose.file));
        let before = (state.class, state.key);
        (state.class, state.key) = now;
        if state.queued && before != now {
            self.queues[before.0.index()].remove(before.1, lane);
            self.queues[now.0.index()].push(now.1, lane);
        }
    }

    /// Ends a lane.
    pub(super) fn close(&mut self, lane: LaneId) {
        if let Some(state) = self.lanes.remove(&lane) {
            if state.queued {
                self.queues[state.class.index()].remove(state.key, lane);
            }
            self.give_back(state.class, state.granted);
        }
    }

    /// A lane no longer waits for its turn.
    pub(super) fn withdraw(&mut self, lane: LaneId) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        if std::mem::take(&mut state.queued) {
            self.queues[state.class.index()].remove(state.key, lane);
        }
        let (class, unused) = (state.class, std::mem::take(&mut state.granted));
        self.give_back(class, unused);
    }

    /// Throttles the classes that yield to other traffic.
    pub(super) fn throttle(&mut self, cap: Cap, peak: u64) {
        self.cap = Some(cap);
        self.peak = Some(peak);
        self.reshape();
    }

    /// Changes what yielding classes are throttled to.
    pub(super) fn change_cap(&mut self, bytes_per_second: u64, peak: u64) {
        if let Some(cap) = &mut self.cap {
            cap.set(bytes_per_second, Instant::now());
            self.peak = Some(peak);
            self.reshape();
        }
    }

    fn reshape(&mut self) {
        self.shape = match self.peak {
            Some(peak) => Shape::yielding(self.rate, peak),
            None => Shape::of(self.rate),
        };
    }

    /// What was granted to the lane; otherwise it is queued. Nobody is served without queueing,
    /// not even when nobody else waits: whoever asks fastest would get the most.
    pub(super) fn ask(&mut self, lane: LaneId, waker: &Waker) -> Option<u64> {
        let state = self.lanes.get_mut(&lane)?;
        if state.granted > 0 {
            return Some(std::mem::take(&mut state.granted));
        }
        if !state.queued {
            state.queued = true;
            self.queues[state.class.index()].push(state.key, lane);
        }
        if !state.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        None
    }

    /// Whether a lane can get nothing because the budget is spent; it then no longer waits.
    pub(super) fn refuses(&mut self, lane: LaneId) -> bool {
        let Some(budget) = &self.budget else { return false };
        let Some(state) = self.lanes.get_mut(&lane) else { return false };
        let refuses = state.granted == 0 && budget.gates()[state.class.index()] == Gate::Spent;
        if refuses && std::mem::take(&mut state.queued) {
            self.queues[state.class.index()].remove(state.key, lane);
        }
        refuses
    }

    /// A sample of the connections.
    pub(super) fn arrived(&mut self, sample: ArrivalSample) {
        if let Some(rate) = self.rate.bytes_per_second() {
            self.arrivals.note(sample, rate, Instant::now());
        }
    }

    /// Bytes crossed the link that nobody paid for.
    pub(super) fn charge(&mut self, bytes: u64) {
        if self.quota.is_some() {
            self.owed = self.owed.saturating_add(bytes).min(self.shape.most_owed());
        }
    }

    /// Keeps unused bytes for the next who asks.
    pub(super) fn give_back(&mut self, class: Class, bytes: u64) {
        if let Some(budget) = &self.budget {
            budget.give_back(bytes);
        }
        if let Some(cap) = self.cap.as_mut().filter(|cap| cap.applies_to(class)) {
            cap.give_back(bytes);
        }
        self.spare = self.spare.saturating_add(bytes).min(self.shape.spare_limit);
    }

    /// Serves the queues as far as the quota allows; wakes whom it served.
    pub(super) fn serve(&mut self, wake: &mut Vec<Waker>) -> Turn {
        loop {
            let gates = self.gates(wake);
            let pick = match self.next(&gates) {
                Ok(Some(pick)) => pick,
                Ok(None) => return Turn::Idle,
                Err(wait) => return Turn::After(wait),
            };
            let Gate::Open(most) = gates[pick.class.index()] else { return Turn::After(BUDGET_RECHECK) };
            let quantum = self.turn_bytes(pick.class).min(most);
            if let Err(wait) = self.pay(pick.class, quantum) {
                return Turn::After(wait);
            }
            if let Some(budget) = &self.budget {
                budget.take(quantum);
            }
            self.priority.count(pick);
            let lane = self.queues[pick.class.index()].pop();
            if let Some(lane) = lane
                && let Some(state) = self.lanes.get_mut(&lane)
            {
                state.queued = false;
                state.granted += quantum;
                wake.extend(state.waker.take());
            }
        }
    }

    /// What the budget lets each class do; wakes whom it lets do nothing, so that they see it.
    fn gates(&mut self, wake: &mut Vec<Waker>) -> [Gate; Class::ALL.len()] {
        let Some(budget) = &self.budget else { return [Gate::Open(u64::MAX); Class::ALL.len()] };
        let gates = budget.gates();
        if self.queues.iter().zip(&gates).any(|(queue, gate)| !queue.is_empty() && *gate == Gate::Wait) {
            budget.note_demand();
        }
        for (queue, _) in self.queues.iter_mut().zip(&gates).filter(|(_, gate)| **gate == Gate::Spent) {
            while let Some(lane) = queue.pop() {
                let Some(state) = self.lanes.get_mut(&lane) else { continue };
                state.queued = false;
                wake.extend(state.waker.take());
            }
        }
        gates
    }

    /// Wakes everybody, so that they see that nothing more is granted.
    pub(super) fn shut(&mut self, wake: &mut Vec<Waker>) {
        self.closed = true;
        wake.extend(self.lanes.values_mut().filter_map(|state| state.waker.take()));
    }

    /// How many lanes wait, most urgent class first.
    pub(super) fn waiting(&self) -> [usize; Class::ALL.len()] {
        let mut waiting = [0; Class::ALL.len()];
        for state in self.lanes.values().filter(|state| state.queued) {
            waiting[state.class.index()] += 1;
        }
        waiting
    }

    /// Whether this lane is the only one of its class that waits: the dispatcher may be asleep, or sleep until another
    /// class may take turns.
    pub(super) fn leads(&self, lane: LaneId) -> bool {
        self.lanes.get(&lane).is_some_and(|state| self.queues[state.class.index()].is_only(lane))
    }

    /// Whether nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.queues.iter().all(RoundRobin::is_empty)
    }

    /// The class whose turn it is; `None` when nobody waits, and when to try again where all who wait are throttled.
    fn next(&mut self, gates: &[Gate; Class::ALL.len()]) -> Result<Option<Pick>, Duration> {
        let (mut ready, mut soonest) = ([false; Class::ALL.len()], None::<Duration>);
        for class in Class::ALL {
            if self.queues[class.index()].is_empty() {
                continue;
            }
            match self.gate(class, gates[class.index()]) {
                Ok(()) => ready[class.index()] = true,
                Err(wait) => soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait))),
            }
        }
        match (self.priority.pick(ready), soonest) {
            (None, Some(wait)) => Err(wait),
            (pick, _) => Ok(pick),
        }
    }

    /// Whether a class may take turns at all now; otherwise when to try again.
    fn gate(&mut self, class: Class, budget: Gate) -> Result<(), Duration> {
        if !matches!(budget, Gate::Open(_)) {
            return Err(BUDGET_RECHECK);
        }
        match &mut self.cap {
            Some(cap) if cap.applies_to(class) => cap.allows(cap.quantum(), Instant::now()),
            _ => Ok(()),
        }
    }

    /// One turn's worth. Without a limit any number does; a mebibyte keeps credits small when one comes, and 64 KiB
    /// what a budget has granted and is still in flight.
    fn turn_bytes(&self, class: Class) -> u64 {
        let capped = self.cap.as_ref().filter(|cap| cap.applies_to(class)).map_or(u64::MAX, Cap::quantum);
        self.shape.quantum.min(capped).min(if self.budget.is_some() { 1 << 16 } else { 1 << 20 })
    }

    /// Pays for `bytes` out of what is spare and what the quota allows.
    fn pay(&mut self, class: Class, bytes: u64) -> Result<(), Duration> {
        if self.is_closed_rate {
            return Err(CLOSED_RECHECK);
        }
        if let Some(quota) = &self.quota {
            let rate = self.rate.bytes_per_second().unwrap_or(u64::MAX);
            if let Some(wait) = self.arrivals.must_wait(bytes, rate, Instant::now()) {
                return Err(wait);
            }
            // in portions, so that none is larger than the burst of the quota
            while self.owed > 0 {
                let part = self.owed.min(self.shape.quantum);
                if self.spare < part {
                    self.spare += quota.take(part - self.spare)?;
                }
                self.spare = self.spare.saturating_sub(part);
                self.owed -= part;
            }
            if self.spare < bytes {
                self.spare += quota.take(bytes - self.spare)?;
            }
            self.spare = self.spare.saturating_sub(bytes);
            self.arrivals.grant(bytes);
        }
        if let Some(cap) = self.cap.as_mut().filter(|cap| cap.applies_to(class)) {
            cap.spend(bytes);
        }
        Ok(())
    }
}
