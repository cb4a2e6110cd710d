//! Who may have an exchange open: a bounded number of places, shared like turns on the link.
//!
//! **Invariant:** of those who wait, the most urgent class goes first, then the requester with the fewest places, then
//! the file with the fewest. What an agent waits for never waits for the end of what can wait, and messages wait for
//! neither. An agent without a place gets one before the rate's number of them is respected, up to [`MOST`]: a
//! newcomer does not wait for the end of another's long answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::round_robin::Party;
use crate::LinkError;
use tailwater_domain::{Class, Limit, Purpose, Requester, limits};

/// Exchanges of agents, or of what is fetched ahead, at once at most, whatever the rate.
const MOST: usize = 64;

/// Metadata exchanges open at once.
const MAX_METADATA: usize = 16;

pub(super) const LIMITS: &[Limit] = limits![
    MOST in "exchanges": "Exchanges with upstreams of one class at once" => "they wait for a place",
    MAX_METADATA in "exchanges": "Metadata exchanges at once" => "they wait for a place",
];

/// Exchanges that do not wait for each other's places.
#[derive(Debug, Clone, Copy)]
enum Group {
    Agents,
    Messages,
    Ahead,
}

impl Group {
    fn of(class: Class) -> Self {
        match class {
            Class::Interactive => Self::Agents,
            Class::Metadata => Self::Messages,
            Class::Deadline | Class::Security | Class::Normal | Class::Background => Self::Ahead,
        }
    }
}

/// Places that are taken.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_requester: HashMap<Requester, usize>,
    by_party: HashMap<Party, usize>,
}

/// Someone who waits.
struct Ticket {
    purpose: Purpose,
    place: oneshot::Sender<Place>,
}

#[derive(Default)]
struct State {
    /// How many the rate allowed when somebody asked last.
    most: usize,
    taken: [Taken; 3],
    /// In the order of their coming.
    waiting: [Vec<Ticket>; 3],
}

/// All places of one link. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Places(Arc<Mutex<State>>);

/// The right to have one exchange open. Dropping it lets the next one in.
#[derive(Debug)]
pub struct Place {
    places: Places,
    group: Group,
    party: Party,
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Places")
    }
}

impl Places {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place; `most` is how many the rate in force allows. Whoever stops waiting leaves the line.
    pub(crate) async fn take(&self, purpose: Purpose, most: usize) -> Result<Place, LinkError> {
        let (place, taken) = oneshot::channel();
        let group = Group::of(purpose.class);
        {
            let mut state = self.state();
            state.most = most;
            state.waiting[group as usize].push(Ticket { purpose, place });
        }
        self.let_in(group);
        taken.await.map_err(|_gone| LinkError::Stopping)
    }

    /// Places taken for payloads.
    pub(crate) fn transfers(&self) -> usize {
        let state = self.state();
        state.taken[Group::Agents as usize].all + state.taken[Group::Ahead as usize].all
    }

    /// Gives places to those whose turn it is.
    fn let_in(&self, group: Group) {
        loop {
            let next = self.state().next(group);
            let Some(Ticket { purpose, place }) = next else { return };
            let party = (purpose.requester, purpose.file);
            // one that left meanwhile gives its place back as it is dropped here
            let _left = place.send(Place { places: self.clone(), group, party });
        }
    }
}

impl State {
    /// The ticket that may enter now, if any; its place is counted.
    fn next(&mut self, group: Group) -> Option<Ticket> {
        let waiting = &mut self.waiting[group as usize];
        let taken = &mut self.taken[group as usize];
        let most = match group {
            Group::Messages => MAX_METADATA,
            Group::Agents | Group::Ahead => self.most.clamp(1, MOST),
        };
        waiting.retain(|ticket| !ticket.place.is_closed());
        let (place, rank) = waiting
            .iter()
            .map(|ticket| taken.rank(ticket.purpose))
            .enumerate()
            .min_by_key(|(place, rank)| (*rank, *place))?;
        let newcomer = matches!(group, Group::Agents) && rank.1 == 0 && taken.all < MOST;
        if taken.all >= most && !newcomer {
            return None;
        }
        let ticket = waiting.remove(place);
        let party = (ticket.purpose.requester, ticket.purpose.file);
        taken.all += 1;
        *taken.by_requester.entry(party.0).or_default() += 1;
        *taken.by_party.entry(party).or_default() += 1;
        Some(ticket)
    }
}

impl Taken {
    fn rank(&self, purpose: Purpose) -> (Class, usize, usize) {
        let party = (purpose.requester, purpose.file);
        let of_requester = self.by_requester.get(&party.0).copied().unwrap_or(0);
        (purpose.class, of_requester, self.by_party.get(&party).copied().unwrap_or(0))
    }

    fn free(&mut self, party: Party) {
        self.all = self.all.saturating_sub(1);
        let left = |count: &mut usize| {
            *count = count.saturating_sub(1);
            *count == 0
        };
        if self.by_requester.get_mut(&party.0).is_some_and(left) {
            self.by_requester.remove(&party.0);
        }
        if self.by_party.get_mut(&party).is_some_and(left) {
            self.by_party.remove(&party);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().taken[self.group as usize].free(self.party);
        self.places.let_in(self.group);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use tailwater_domain::{Requester, Sha1Digest};

    /// One who asks for a place, of two that the rate allows.
    struct Asker {
        waiting: Pin<Box<dyn Future<Output = Result<Place, LinkError>>>>,
        place: Option<Place>,
    }

    impl Asker {
        fn new(places: &Places, class: Class, last: u8, file: u8) -> Self {
            Self::at_a_rate_for(2, places, class, last, file)
        }

        fn at_a_rate_for(most: usize, places: &Places, class: Class, last: u8, file: u8) -> Self {
            let requester = Requester::Agent(std::net::IpAddr::from([10, 0, 0, last]));
            let purpose = Purpose { class, requester, file: Some(Sha1Digest([file; 20])) };
            let places = places.clone();
            let waiting = Box::pin(async move { places.take(purpose, most).await });
            let mut asker = Self { waiting, place: None };
            asker.is_in();
            asker
        }

        fn is_in(&mut self) -> bool {
            if self.place.is_none()
                && let Poll::Ready(place) =
                    self.waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                self.place = place.ok();
            }
            self.place.is_some()
        }
    }

    #[test]
    fn the_urgent_and_those_with_less_go_first() {
        let places = Places::default();
        let mut first = Asker::new(&places, Class::Normal, 1, 1);
        let mut second = Asker::new(&places, Class::Normal, 1, 1);
        let mut same_file = Asker::new(&places, Class::Normal, 1, 1);
        let mut other_file = Asker::new(&places, Class::Normal, 1, 2);
        let mut other = Asker::new(&places, Class::Normal, 2, 1);
        let mut urgent = Asker::new(&places, Class::Security, 1, 1);
        let mut message = Asker::new(&places, Class::Metadata, 1, 1);
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
        let places = Places::default();
        let mut greedy: Vec<_> = (0..50).map(|n| Asker::new(&places, Class::Interactive, 1, n)).collect();
        assert_eq!(greedy.iter_mut().filter_map(|asker| asker.is_in().then_some(())).count(), 2);
        let mut newcomers: Vec<_> =
            (0..70).map(|n| Asker::new(&places, Class::Interactive, 2 + n, 0)).collect();
        let inside = newcomers.iter_mut().filter_map(|asker| asker.is_in().then_some(())).count();
        assert_eq!(inside, MOST - 2, "as many as there are places at all");
        let left = newcomers.drain(..10).count();
        let inside = newcomers.iter_mut().filter_map(|asker| asker.is_in().then_some(())).count();
        assert_eq!(inside, 70 - left, "the others without a place came in, not the greedy one");
        assert_eq!(greedy.iter_mut().filter_map(|asker| asker.is_in().then_some(())).count(), 2);
    }

    #[test]
    fn a_lower_rate_has_fewer_places_though_there_are_always_some_who_wait() {
        let places = Places::default();
        let mut askers: Vec<_> =
            (0..20).map(|n| Asker::at_a_rate_for(8, &places, Class::Normal, n, 1)).collect();
        let inside =
            |askers: &mut Vec<Asker>| askers.iter_mut().filter_map(|a| a.is_in().then_some(())).count();
        assert_eq!(inside(&mut askers), 8);
        let last = Asker::new(&places, Class::Normal, 20, 1);
        askers.push(last);
        for left in [7, 6, 5, 4, 3, 2, 2, 2] {
            let first = askers.iter_mut().position(Asker::is_in).unwrap();
            drop(askers.remove(first));
            assert_eq!(inside(&mut askers), left);
        }
    }

    #[test]
    fn who_stops_waiting_takes_no_place() {
        let places = Places::default();
        let _one = Asker::new(&places, Class::Normal, 1, 1);
        let two = Asker::new(&places, Class::Normal, 2, 1);
        let gone = Asker::new(&places, Class::Normal, 3, 1);
        let mut last = Asker::new(&places, Class::Normal, 4, 1);
        drop(gone);
        drop(two);
        assert!(last.is_in());
    }
}
