//! Who may have an exchange open: a bounded number of slots, shared like turns on the link.
//!
//! **Invariant:** of those who wait, the most urgent class goes first, then the requester with the fewest slots, then
//! the file with the fewest. What an agent waits for never waits for the end of what can wait, and metadata waits for
//! neither. An agent without a slot gets one before the rate's number of them is respected, up to [`MOST`]: a
//! newcomer does not wait for the end of another's long answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::round_robin::QueueKey;
use crate::LinkError;
use tailwater_domain::{Class, Limit, Purpose, Requester, limits};

/// Exchanges of agents, or of what is prefetched, at once at most, whatever the rate.
const MOST: usize = 64;

/// Metadata exchanges open at once.
const MAX_METADATA: usize = 16;

pub(super) const LIMITS: &[Limit] = limits![
    MOST in "exchanges": "Exchanges with upstreams of one class at once" => "they wait for a slot",
    MAX_METADATA in "exchanges": "Metadata exchanges at once" => "they wait for a slot",
];

/// Exchanges that do not wait for each other's slots.
#[derive(Debug, Clone, Copy)]
enum Group {
    Agents,
    Metadata,
    Prefetch,
}

impl Group {
    fn of(class: Class) -> Self {
        match class {
            Class::Interactive => Self::Agents,
            Class::Metadata => Self::Metadata,
            Class::Deadline | Class::Security | Class::Normal | Class::Background => Self::Prefetch,
        }
    }
}

/// Slots that are taken.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_requester: HashMap<Requester, usize>,
    by_key: HashMap<QueueKey, usize>,
}

/// Someone who waits.
struct Ticket {
    purpose: Purpose,
    slot: oneshot::Sender<ExchangeSlot>,
}

#[derive(Default)]
struct SlotState {
    /// How many the rate allowed when somebody asked last.
    most: usize,
    taken: [Taken; 3],
    /// In the order of arrival.
    waiting: [Vec<Ticket>; 3],
}

/// All slots of one link. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct ExchangeSlots(Arc<Mutex<SlotState>>);

/// The right to have one exchange open. Dropping it lets the next one in.
#[derive(Debug)]
pub struct ExchangeSlot {
    slots: ExchangeSlots,
    group: Group,
    key: QueueKey,
}

impl std::fmt::Debug for ExchangeSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExchangeSlots")
    }
}

impl ExchangeSlots {
    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a slot; `most` is how many the rate in force allows. Whoever stops waiting leaves the queue.
    pub(crate) async fn take(&self, purpose: Purpose, most: usize) -> Result<ExchangeSlot, LinkError> {
        let (slot, taken) = oneshot::channel();
        let group = Group::of(purpose.class);
        {
            let mut state = self.state();
            state.most = most;
            state.waiting[group as usize].push(Ticket { purpose, slot });
        }
        self.admit(group);
        taken.await.map_err(|_gone| LinkError::Stopping)
    }

    /// Slots taken for payloads.
    pub(crate) fn transfers(&self) -> usize {
        let state = self.state();
        state.taken[Group::Agents as usize].all + state.taken[Group::Prefetch as usize].all
    }

    /// Gives slots to those whose turn it is.
    fn admit(&self, group: Group) {
        loop {
            let next = self.state().next(group);
            let Some(Ticket { purpose, slot }) = next else { return };
            let key = (purpose.requester, purpose.file);
            // one that left meanwhile gives its slot back as it is dropped here
            let _left = slot.send(ExchangeSlot { slots: self.clone(), group, key });
        }
    }
}

impl SlotState {
    /// The ticket that may enter now, if any; its slot is counted.
    fn next(&mut self, group: Group) -> Option<Ticket> {
        let waiting = &mut self.waiting[group as usize];
        let taken = &mut self.taken[group as usize];
        let most = match group {
            Group::Metadata => MAX_METADATA,
            Group::Agents | Group::Prefetch => self.most.clamp(1, MOST),
        };
        waiting.retain(|ticket| !ticket.slot.is_closed());
        let (at, rank) = waiting
            .iter()
            .map(|ticket| taken.rank(ticket.purpose))
            .enumerate()
            .min_by_key(|(at, rank)| (*rank, *at))?;
        let newcomer = matches!(group, Group::Agents) && rank.1 == 0 && taken.all < MOST;
        if taken.all >= most && !newcomer {
            return None;
        }
        let ticket = waiting.remove(at);
        let key = (ticket.purpose.requester, ticket.purpose.file);
        taken.all += 1;
        *taken.by_requester.entry(key.0).or_default() += 1;
        *taken.by_key.entry(key).or_default() += 1;
        Some(ticket)
    }
}

impl Taken {
    fn rank(&self, purpose: Purpose) -> (Class, usize, usize) {
        let key = (purpose.requester, purpose.file);
        let of_requester = self.by_requester.get(&key.0).copied().unwrap_or(0);
        (purpose.class, of_requester, self.by_key.get(&key).copied().unwrap_or(0))
    }

    fn free(&mut self, key: QueueKey) {
        self.all = self.all.saturating_sub(1);
        let left = |count: &mut usize| {
            *count = count.saturating_sub(1);
            *count == 0
        };
        if self.by_requester.get_mut(&key.0).is_some_and(left) {
            self.by_requester.remove(&key.0);
        }
        if self.by_key.get_mut(&key).is_some_and(left) {
            self.by_key.remove(&key);
        }
    }
}

impl Drop for ExchangeSlot {
    fn drop(&mut self) {
        self.slots.state().taken[self.group as usize].free(self.key);
        self.slots.admit(self.group);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use tailwater_domain::{Requester, Sha1Digest};

    /// One who asks for a slot, of two that the rate allows.
    struct Asker {
        waiting: Pin<Box<dyn Future<Output = Result<ExchangeSlot, LinkError>>>>,
        slot: Option<ExchangeSlot>,
    }

    impl Asker {
        fn new(slots: &ExchangeSlots, class: Class, last: u8, file: u8) -> Self {
            Self::at_a_rate_for(2, slots, class, last, file)
        }

        fn at_a_rate_for(most: usize, slots: &ExchangeSlots, class: Class, last: u8, file: u8) -> Self {
            let requester = Requester::Agent(std::net::IpAddr::from([10, 0, 0, last]));
            let purpose = Purpose { class, requester, file: Some(Sha1Digest([file; 20])) };
            let slots = slots.clone();
            let waiting = Box::pin(async move { slots.take(purpose, most).await });
            let mut asker = Self { waiting, slot: None };
            asker.is_in();
            asker
        }

        fn is_in(&mut self) -> bool {
            if self.slot.is_none()
                && let Poll::Ready(slot) = self.waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                self.slot = slot.ok();
            }
            self.slot.is_some()
        }
    }

    #[test]
    fn the_urgent_and_those_with_less_go_first() {
        let slots = ExchangeSlots::default();
        let mut first = Asker::new(&slots, Class::Normal, 1, 1);
        let mut second = Asker::new(&slots, Class::Normal, 1, 1);
        let mut same_file = Asker::new(&slots, Class::Normal, 1, 1);
        let mut other_file = Asker::new(&slots, Class::Normal, 1, 2);
        let mut other = Asker::new(&slots, Class::Normal, 2, 1);
        let mut urgent = Asker::new(&slots, Class::Security, 1, 1);
        let mut message = Asker::new(&slots, Class::Metadata, 1, 1);
        assert!(first.is_in() && second.is_in() && !same_file.is_in() && message.is_in());
        drop(first);
        assert!(urgent.is_in() && !other.is_in());
        drop(second);
        assert!(other.is_in() && !other_file.is_in());
        drop(other);
        assert!(other_file.is_in() && !same_file.is_in());
        drop(other_file);
        assert!(same_file.is_in());
    }

    #[test]
    fn an_agent_without_a_place_does_not_wait_for_others_answers() {
        let slots = ExchangeSlots::default();
        let mut greedy: Vec<_> = (0..50).map(|n| Asker::new(&slots, Class::Interactive, 1, n)).collect();
        assert_eq!(greedy.iter_mut().filter_map(|asker| asker.is_in().then_some(())).count(), 2);
        let mut newcomers: Vec<_> =
            (0..70).map(|n| Asker::new(&slots, Class::Interactive, 2 + n, 0)).collect();
        let inside = newcomers.iter_mut().filter_map(|asker| asker.is_in().then_some(())).count();
        assert_eq!(inside, MOST - 2, "as many as there are slots at all");
        let left = newcomers.drain(..10).count();
        let inside = newcomers.iter_mut().filter_map(|asker| asker.is_in().then_some(())).count();
        assert_eq!(inside, 70 - left, "the others without a slot came in, not the greedy one");
        assert_eq!(greedy.iter_mut().filter_map(|asker| asker.is_in().then_some(())).count(), 2);
    }

    #[test]
    fn a_lower_rate_has_fewer_places_though_there_are_always_some_who_wait() {
        let slots = ExchangeSlots::default();
        let mut askers: Vec<_> =
            (0..20).map(|n| Asker::at_a_rate_for(8, &slots, Class::Normal, n, 1)).collect();
        let inside =
            |askers: &mut Vec<Asker>| askers.iter_mut().filter_map(|a| a.is_in().then_some(())).count();
        assert_eq!(inside(&mut askers), 8);
        let last = Asker::new(&slots, Class::Normal, 20, 1);
        askers.push(last);
        for left in [7, 6, 5, 4, 3, 2, 2, 2] {
            let first = askers.iter_mut().position(Asker::is_in).unwrap();
            drop(askers.remove(first));
            assert_eq!(inside(&mut askers), left);
        }
    }

    #[test]
    fn who_stops_waiting_takes_no_place() {
        let slots = ExchangeSlots::default();
        let _one = Asker::new(&slots, Class::Normal, 1, 1);
        let two = Asker::new(&slots, Class::Normal, 2, 1);
        let gone = Asker::new(&slots, Class::Normal, 3, 1);
        let mut last = Asker::new(&slots, Class::Normal, 4, 1);
        drop(gone);
        drop(two);
        assert!(last.is_in());
    }
}
