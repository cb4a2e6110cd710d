//! Whose turn it is on the link: the most urgent class that waits, and within it deficit round robin over lanes,
//! each turn worth one quantum.
//!
//! **Invariant:** grants never exceed what the quota allowed plus what was given back; a class that waits behind
//! another still gets one turn in [`TURNS_FOR_OTHERS`], so that nothing of it times out. It never sleeps and never
//! looks at a socket; [`super::limiter`] drives it.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;
use std::time::Duration;

use super::Class;
use super::budget::{Budget, Gate};
use super::quota::Quota;
use super::shape::Shape;
use crate::domain::Rate;

/// One turn in so many goes to a class behind the most urgent one.
const TURNS_FOR_OTHERS: u32 = 16;

/// Between two looks at a closed link; a new rate is told at once.
const BARRED: Duration = Duration::from_hours(1);

/// Between two looks at a budget that others hold; a booking or what they give back is told at once.
const SHORT: Duration = Duration::from_millis(100);

/// The name of a lane.
pub(super) type LaneId = u64;

/// One stream's place.
struct LaneState {
    class: Class,
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
    quota: Option<Quota>,
    budget: Option<Budget>,
    pub(super) shape: Shape,
    /// Paid for and unused.
    spare: u64,
    lanes: HashMap<LaneId, LaneState>,
    next_id: LaneId,
    /// Lanes that wait, in the order of their turns, by class.
    rings: [VecDeque<LaneId>; Class::ALL.len()],
    /// Turns given.
    turns: u32,
    /// The rate is that of a closed link.
    barred: bool,
    /// No more grants: the server is stopping.
    pub(super) closed: bool,
}

impl Dispatch {
    pub(super) fn new(rate: Rate, budget: Option<Budget>) -> Self {
        let mut dispatch = Self {
            quota: None,
            budget,
            shape: Shape::of(rate),
            spare: 0,
            lanes: HashMap::new(),
            next_id: 0,
            rings: Default::default(),
            turns: 0,
            barred: false,
            closed: false,
        };
        dispatch.set_rate(rate);
        dispatch
    }

    /// The next turn already follows the new rate; what was given back under the old one is forgotten.
    pub(super) fn set_rate(&mut self, rate: Rate) {
        self.shape = Shape::of(rate);
        self.barred = rate == Rate::Closed;
        self.quota = rate.bytes_per_second().map(|bytes| Quota::new(bytes, self.shape.quantum));
        self.spare = 0;
    }

    pub(super) fn open(&mut self, class: Class) -> LaneId {
        self.next_id += 1;
        let state = LaneState { class, queued: false, granted: 0, waker: None };
        self.lanes.insert(self.next_id, state);
        self.next_id
    }

    pub(super) fn set_class(&mut self, lane: LaneId, class: Class) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        let before = std::mem::replace(&mut state.class, class);
        if state.queued && before != class {
            self.rings[before.index()].retain(|other| *other != lane);
            self.rings[class.index()].push_back(lane);
        }
    }

    /// Ends a lane; its place in the ring is skipped when its turn comes.
    pub(super) fn close(&mut self, lane: LaneId) {
        if let Some(state) = self.lanes.remove(&lane) {
            self.give_back(state.granted);
        }
    }

    /// What was granted to the lane; otherwise puts it into the ring. Nobody is served outside the ring,
    /// not even when it is empty: whoever asks fastest would get the most.
    pub(super) fn ask(&mut self, lane: LaneId, waker: &Waker) -> Option<u64> {
        let state = self.lanes.get_mut(&lane)?;
        if state.granted > 0 {
            return Some(std::mem::take(&mut state.granted));
        }
        if !state.queued {
            state.queued = true;
            self.rings[state.class.index()].push_back(lane);
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
            self.rings[state.class.index()].retain(|other| *other != lane);
        }
        refuses
    }

    /// Keeps unused bytes for the next who asks.
    pub(super) fn give_back(&mut self, bytes: u64) {
        if let Some(budget) = &self.budget {
            budget.give_back(bytes);
        }
        self.spare = self.spare.saturating_add(bytes).min(self.shape.spare_limit);
    }

    /// Serves the ring as far as the quota allows; wakes whom it served.
    pub(super) fn serve(&mut self, wake: &mut Vec<Waker>) -> Turn {
        loop {
            let gates = self.gates(wake);
            let Some((ring, lane)) = self.next(&gates) else { break };
            let Gate::Open(most) = gates[ring] else { break };
            let quantum = self.portion().min(most);
            if let Err(wait) = self.afford(quantum) {
                return Turn::After(wait);
            }
            if let Some(budget) = &self.budget {
                budget.take(quantum);
            }
            self.rings[ring].pop_front();
            self.turns = self.turns.wrapping_add(1);
            if let Some(state) = self.lanes.get_mut(&lane) {
                state.queued = false;
                state.granted += quantum;
                wake.extend(state.waker.take());
            }
        }
        if self.is_idle() { Turn::Idle } else { Turn::After(SHORT) }
    }

    /// What the budget lets each class do; wakes whom it lets do nothing, so that they see it.
    fn gates(&mut self, wake: &mut Vec<Waker>) -> [Gate; Class::ALL.len()] {
        let Some(budget) = &self.budget else { return [Gate::Open(u64::MAX); Class::ALL.len()] };
        let gates = budget.gates();
        if self.rings.iter().zip(&gates).any(|(ring, gate)| !ring.is_empty() && *gate == Gate::Wait) {
            budget.awaited();
        }
        for (ring, _) in self.rings.iter_mut().zip(&gates).filter(|(_, gate)| **gate == Gate::Spent) {
            for lane in ring.drain(..) {
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

    /// Whether nobody waits before this lane: then the dispatcher may be asleep.
    pub(super) fn leads(&self, lane: LaneId) -> bool {
        let mut waiting = self.rings.iter().flatten();
        waiting.next() == Some(&lane) && waiting.next().is_none()
    }

    /// Whether nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.rings.iter().all(VecDeque::is_empty)
    }

    /// The lane whose turn it is, and its ring.
    fn next(&mut self, gates: &[Gate; Class::ALL.len()]) -> Option<(usize, LaneId)> {
        let Self { rings, lanes, .. } = self;
        for ring in rings.iter_mut() {
            while ring.front().is_some_and(|lane| !lanes.contains_key(lane)) {
                ring.pop_front();
            }
        }
        let may = |ring: &usize| !rings[*ring].is_empty() && matches!(gates[*ring], Gate::Open(_));
        let mut waiting = (0..rings.len()).filter(may);
        let first = waiting.next()?;
        let others: Vec<usize> = waiting.collect();
        let round = self.turns / TURNS_FOR_OTHERS;
        let ring = match others.len() {
            0 => first,
            _ if self.turns % TURNS_FOR_OTHERS != TURNS_FOR_OTHERS - 1 => first,
            count => others[round as usize % count],
        };
        rings[ring].front().map(|lane| (ring, *lane))
    }

    /// One turn's worth. Without a limit any number does; a mebibyte keeps credits small when one comes, and 64 KiB
    /// what a budget has granted and not seen yet.
    fn portion(&self) -> u64 {
        self.shape.quantum.min(if self.budget.is_some() { 1 << 16 } else { 1 << 20 })
    }

    /// Pays for `bytes` out of what is spare and what the quota allows.
    fn afford(&mut self, bytes: u64) -> Result<(), Duration> {
        if self.barred {
            return Err(BARRED);
        }
        let Some(quota) = &self.quota else { return Ok(()) };
        if self.spare < bytes {
            self.spare += quota.take(bytes - self.spare)?;
        }
        self.spare = self.spare.saturating_sub(bytes);
        Ok(())
    }
}
