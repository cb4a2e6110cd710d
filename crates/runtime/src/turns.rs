//! Turns for work of which only so much may be done at once: making answers, handshakes, transfers.
//!
//! Whoever asks while all places are taken waits in a ring of addresses, and within an address in a ring of askers (a
//! server, say). A place that becomes free goes to the front of both, and whoever had a turn stands at the end again. So
//! the next of another address waits for one turn of each address before it, however many requests those make.
//!
//! **Invariant:** never more turns than places; no wait is longer than the patience, and who waits is bounded in all and
//! by address ([`Shares`]). It never takes a turn back: what holds one must end by itself.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Clock, Limits, Share, Shares};
use tailwater_domain::{Limit, limits};

/// Requests of one asker that wait: as many as a tailwater has under way.
const MOST_EACH: usize = 64;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_EACH in "requests": "Requests of one asker that wait for a turn" => "it is told to come again",
];

/// How many turns there are, and how one waits for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnLimits {
    /// Turns at once.
    pub places: usize,
    /// Requests that wait at once, shared by address and subnet.
    pub waiting: u64,
    /// How long one waits.
    pub patience: Duration,
    /// How long an asker whose wait ended keeps its place in the ring, to come again.
    pub kept: Duration,
}

impl TurnLimits {
    /// So many at once; 1,024 may wait, and nobody keeps a place.
    pub fn of(places: usize, patience: Duration) -> Self {
        Self { places, waiting: 1_024, patience, kept: Duration::ZERO }
    }
}

/// Who wants a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Where it asks from.
    pub address: IpAddr,
    /// What tells several of one address apart; 0 where nothing does.
    pub key: u128,
}

impl Asker {
    /// Nothing but an address.
    pub fn at(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), key: 0 }
    }
}

/// There is no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTurn {
    /// Too many wait already.
    #[error("too many wait already")]
    Full,
    /// None became free in time.
    #[error("no turn became free in time")]
    Patience,
}

/// The turns. Cheap to clone.
#[derive(Clone)]
pub struct Turns(Arc<Inner>);

struct Inner {
    limits: TurnLimits,
    clock: Clock,
    waiting: Shares,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    most: usize,
    ring: VecDeque<Site>,
}

/// An address in the ring.
struct Site {
    address: IpAddr,
    askers: VecDeque<Place>,
}

/// An asker's place in the ring of its address.
struct Place {
    key: u128,
    waiting: VecDeque<Waiting>,
    kept_until: Instant,
}

struct Waiting {
    told: oneshot::Sender<Turn>,
    _place: Share,
}

/// A turn; over when dropped.
pub struct Turn(Turns);

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnStatus {
    /// Turns that there may be at once.
    pub places: usize,
    /// Turns taken.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// The most that were ever taken at once.
    pub most: usize,
}

impl Turns {
    /// None is taken.
    pub fn new(limits: TurnLimits, clock: Clock) -> Self {
        let limits = TurnLimits { places: limits.places.max(1), ..limits };
        let waiting =
            Shares::new(Limits { least: (limits.waiting / 256).max(1), ..Limits::of(limits.waiting) });
        Self(Arc::new(Inner { limits, clock, waiting, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn, if one is free and nobody waits for it.
    pub fn try_take(&self) -> Option<Turn> {
        let mut state = self.state();
        (state.running < self.0.limits.places && state.waiting() == 0).then(|| self.begin(&mut state))
    }

    /// Turns that there may be at once.
    pub fn places(&self) -> usize {
        self.0.limits.places
    }

    /// Whether none is free.
    pub fn are_all_taken(&self) -> bool {
        self.state().running >= self.0.limits.places
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// When too many wait already, or none came in time.
    pub async fn take(&self, asker: Asker) -> Result<Turn, NoTurn> {
        let granted = match self.queue(asker)? {
            Queued::Now(turn) => return Ok(turn),
            Queued::Later(granted) => granted,
        };
        tokio::select! {
            biased;
            turn = granted => turn.map_err(|_gone| NoTurn::Patience),
            () = self.0.clock.sleep(self.0.limits.patience) => Err(NoTurn::Patience),
        }
    }

    fn begin(&self, state: &mut State) -> Turn {
        state.running += 1;
        state.most = state.most.max(state.running);
        Turn(self.clone())
    }

    /// Takes a place in the ring, which may be granted at once.
    fn queue(&self, asker: Asker) -> Result<Queued, NoTurn> {
        if let Some(turn) = self.try_take() {
            return Ok(Queued::Now(turn));
        }
        let place = self.0.waiting.try_take(asker.address, 1).map_err(|_refused| NoTurn::Full)?;
        let (told, granted) = oneshot::channel();
        let now = self.0.clock.instant();
        let mut state = self.state();
        state.forget(now);
        let own = state.place(asker, now);
        own.kept_until = now + self.0.limits.patience + self.0.limits.kept;
        if own.waiting.len() >= MOST_EACH {
            return Err(NoTurn::Full);
        }
        own.waiting.push_back(Waiting { told, _place: place });
        let refused = self.grant(&mut state);
        drop(state);
        drop(refused);
        Ok(Queued::Later(granted))
    }

    /// Gives free turns to those at the front. What comes back was for somebody who had just left, and must be dropped
    /// without the lock.
    fn grant(&self, state: &mut State) -> Vec<Turn> {
        let mut refused = Vec::new();
        while state.running < self.0.limits.places {
            let Some(waiting) = state.next() else { break };
            let turn = self.begin(state);
            if let Err(turn) = waiting.told.send(turn) {
                refused.push(turn);
            }
        }
        refused
    }

    /// What goes on.
    pub fn status(&self) -> TurnStatus {
        let state = self.state();
        TurnStatus {
            places: self.0.limits.places,
            running: state.running,
            waiting: state.waiting(),
            most: state.most,
        }
    }
}

enum Queued {
    Now(Turn),
    Later(oneshot::Receiver<Turn>),
}

impl State {
    fn waiting(&self) -> usize {
        let places = self.ring.iter().flat_map(|site| &site.askers);
        places.flat_map(|place| &place.waiting).filter(|waiting| !waiting.told.is_closed()).count()
    }

    /// Those who left, and places that were kept long enough.
    fn forget(&mut self, now: Instant) {
        for site in &mut self.ring {
            for place in &mut site.askers {
                place.waiting.retain(|waiting| !waiting.told.is_closed());
            }
            site.askers.retain(|place| !place.waiting.is_empty() || place.kept_until > now);
        }
        self.ring.retain(|site| !site.askers.is_empty());
    }

    fn place(&mut self, asker: Asker, now: Instant) -> &mut Place {
        let at = self.ring.iter().position(|site| site.address == asker.address).unwrap_or_else(|| {
            self.ring.push_back(Site { address: asker.address, askers: VecDeque::new() });
            self.ring.len() - 1
        });
        let askers = &mut self.ring[at].askers;
        let at = askers.iter().position(|place| place.key == asker.key).unwrap_or_else(|| {
            askers.push_back(Place { key: asker.key, waiting: VecDeque::new(), kept_until: now });
            askers.len() - 1
        });
        &mut askers[at]
    }

    /// The first request of the first asker that is here; it and its address go to the end.
    fn next(&mut self) -> Option<Waiting> {
        let (mut site_at, mut found) = (0, None);
        'ring: for (at, site) in self.ring.iter_mut().enumerate() {
            for (place_at, place) in site.askers.iter_mut().enumerate() {
                while let Some(waiting) = place.waiting.pop_front() {
                    if !waiting.told.is_closed() {
                        (site_at, found) = (at, Some((place_at, waiting)));
                        break 'ring;
                    }
                }
            }
        }
        let (place_at, waiting) = found?;
        let mut site = self.ring.remove(site_at)?;
        if let Some(place) = site.askers.remove(place_at).filter(|place| !place.waiting.is_empty()) {
            site.askers.push_back(place);
        }
        if !site.askers.is_empty() {
            self.ring.push_back(site);
        }
        Some(waiting)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running = state.running.saturating_sub(1);
        let refused = self.0.grant(&mut state);
        drop(state);
        drop(refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tasks;

    const PATIENCE: Duration = Duration::from_secs(25);

    fn asker(host: u8, key: u128) -> Asker {
        Asker { address: IpAddr::from([10, 0, host, 1]), key }
    }

    /// Who is served, in which order, when these ask one after the other and one place comes free.
    async fn order(asked: &[Asker]) -> Vec<Asker> {
        let turns = Turns::new(TurnLimits::of(1, PATIENCE), Clock::system());
        let first = turns.take(asker(99, 0)).await.unwrap();
        let tasks = Tasks::new();
        let (order, mut served) = tokio::sync::mpsc::channel(64);
        for asker in asked.iter().copied() {
            let (turns, order) = (turns.clone(), order.clone());
            tasks.spawn("asker", async move {
                let turn = turns.take(asker).await.unwrap();
                order.send(asker).await.unwrap();
                drop(turn);
            });
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.status(), TurnStatus { places: 1, running: 1, waiting: asked.len(), most: 1 });
        drop((first, order));
        let mut seen = Vec::new();
        while let Some(asker) = served.recv().await {
            seen.push(asker);
        }
        assert_eq!(turns.status(), TurnStatus { places: 1, running: 0, waiting: 0, most: 1 });
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_take_turns_and_within_them_askers() {
        let [a, b, c, d] = [asker(1, 1), asker(1, 2), asker(2, 1), asker(3, 1)];
        assert_eq!(order(&[a, a, a, b, c, d]).await, [a, c, d, b, a, a]);
        assert_eq!(order(&[a, b, a, b, c, c]).await, [a, c, b, c, a, b]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_and_who_waits_is_bounded_by_address() {
        let limits = TurnLimits { waiting: 16, ..TurnLimits::of(1, PATIENCE) };
        let turns = Turns::new(limits, Clock::system());
        let busy = turns.take(asker(1, 0)).await.unwrap();
        assert!(turns.try_take().is_none());
        let tasks = Tasks::new();
        let waits = |asker| {
            let turns = turns.clone();
            tasks.spawn("asker", async move { turns.take(asker).await.map(drop) })
        };
        let mut greedy: Vec<_> = (0..16).map(|key| waits(asker(1, key))).collect();
        tokio::task::yield_now().await;
        let honest = waits(asker(2, 0));
        tokio::task::yield_now().await;
        assert_eq!(turns.status().waiting, 9, "half of the places to wait, and one");
        assert_eq!(greedy.pop().unwrap().await.unwrap(), Err(NoTurn::Full));
        let began = Instant::now();
        assert_eq!(greedy.remove(0).await.unwrap(), Err(NoTurn::Patience));
        assert_eq!(began.elapsed(), PATIENCE);
        assert_eq!(honest.await.unwrap(), Err(NoTurn::Patience));
        drop(busy);
        assert!(turns.try_take().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_again_has_kept_its_place() {
        let limits = TurnLimits { kept: Duration::from_mins(1), ..TurnLimits::of(1, PATIENCE) };
        let turns = Turns::new(limits, Clock::system());
        let busy = turns.take(asker(1, 0)).await.unwrap();
        assert_eq!(turns.take(asker(2, 0)).await.err(), Some(NoTurn::Patience));
        let tasks = Tasks::new();
        let late = {
            let turns = turns.clone();
            tasks.spawn("late", async move { turns.take(asker(3, 0)).await.map(drop) })
        };
        tokio::task::yield_now().await;
        let back = {
            let turns = turns.clone();
            tasks.spawn("back", async move { turns.take(asker(2, 0)).await })
        };
        tokio::task::yield_now().await;
        drop(busy);
        let turn = back.await.unwrap().unwrap();
        assert!(!late.is_finished(), "the one that came first is first");
        drop(turn);
        late.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_while_waiting_costs_nobody_a_turn() {
        let turns = Turns::new(TurnLimits::of(1, PATIENCE), Clock::system());
        let busy = turns.take(asker(1, 0)).await.unwrap();
        for host in 2..50 {
            let waited = tokio::time::timeout(Duration::from_millis(1), turns.take(asker(host, 0))).await;
            assert!(waited.is_err());
        }
        assert_eq!(turns.status().waiting, 0);
        drop(busy);
        assert!(turns.take(asker(99, 0)).await.is_ok());
    }
}
