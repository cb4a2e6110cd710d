//! Turns for work of which only so much may be done at once: making answers, handshakes, transfers.
//!
//! Whoever asks while all places are taken waits in a ring of addresses, and within an address in a ring of askers (a
//! server, say). A place that becomes free goes to the front of both, and whoever had a turn stands at the end again. So
//! the next of another address waits for one turn of each address before it, however many requests those make.
//!
//! **Invariant:** never more turns than places, in all and by address; no wait is longer than the patience, and who waits is bounded in all and
//! by address ([`Shares`]). It never takes a turn back: what holds one must end by itself.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
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
    /// Turns of one address at once.
    pub by_address: usize,
    /// Requests that wait at once, shared by address and subnet.
    pub waiting: u64,
    /// How long one waits.
    pub patience: Duration,
    /// How long an asker whose wait ended keeps its place in the ring, to come again.
    pub kept: Duration,
}

impl TurnLimits {
    /// So many at once, by one address too; 1,024 may wait, and nobody keeps a place.
    pub fn of(places: usize, patience: Duration) -> Self {
        Self { places, by_address: places, waiting: 1_024, patience, kept: Duration::ZERO }
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
    /// Turns by address, where that is bounded.
    holders: HashMap<IpAddr, usize>,
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
pub struct Turn {
    turns: Turns,
    /// Whose it is, where turns of one address are counted.
    address: Option<IpAddr>,
}

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
        let limits =
            TurnLimits { places: limits.places.max(1), by_address: limits.by_address.max(1), ..limits };
        let waiting =
            Shares::new(Limits { least: (limits.waiting / 256).max(1), ..Limits::of(limits.waiting) });
        Self(Arc::new(Inner { limits, clock, waiting, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn that counts for no address, if one is free and nobody waits for it.
    pub fn try_take(&self) -> Option<Turn> {
        let mut state = self.state();
        let is_free = state.running < self.0.limits.places && state.waiting() == 0;
        is_free.then(|| self.begin(&mut state, None))
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

    /// Whether turns of one address are fewer than all.
    fn counts_addresses(&self) -> bool {
        self.0.limits.by_address < self.0.limits.places
    }

    fn begin(&self, state: &mut State, of: Option<IpAddr>) -> Turn {
        state.running += 1;
        state.most = state.most.max(state.running);
        let address = of.filter(|_| self.counts_addresses());
        if let Some(address) = address {
            *state.holders.entry(address).or_default() += 1;
        }
        Turn { turns: self.clone(), address }
    }

    /// Takes a place in the ring, which may be granted at once.
    fn queue(&self, asker: Asker) -> Result<Queued, NoTurn> {
        let asker = Asker { address: asker.address.to_canonical(), ..asker };
        let mut state = self.state();
        let is_free = state.running < self.0.limits.places && !state.has_all(asker.address, &self.0.limits);
        if is_free && state.waiting() == 0 {
            return Ok(Queued::Now(self.begin(&mut state, Some(asker.address))));
        }
        drop(state);
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
            let Some((address, waiting)) = state.next(&self.0.limits) else { break };
            let turn = self.begin(state, Some(address));
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

    /// Whether an address has as many turns as one may have.
    fn has_all(&self, address: IpAddr, limits: &TurnLimits) -> bool {
        self.holders.get(&address).is_some_and(|turns| *turns >= limits.by_address)
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

    /// The first request of the first asker that is here and may have a turn; it and its address go to the end.
    fn next(&mut self, limits: &TurnLimits) -> Option<(IpAddr, Waiting)> {
        let (mut site_at, mut found) = (0, None);
        'ring: for (at, site) in self.ring.iter_mut().enumerate() {
            if self.holders.get(&site.address).is_some_and(|turns| *turns >= limits.by_address) {
                continue;
            }
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
        let address = site.address;
        if let Some(place) = site.askers.remove(place_at).filter(|place| !place.waiting.is_empty()) {
            site.askers.push_back(place);
        }
        if !site.askers.is_empty() {
            self.ring.push_back(site);
        }
        Some((address, waiting))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        state.running = state.running.saturating_sub(1);
        if let Some(address) = self.address
            && let Entry::Occupied(mut held) = state.holders.entry(address)
        {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
        let refused = self.turns.grant(&mut state);
        drop(state);
        drop(refused);
    }
}

#[cfg(test)]
mod tests;
