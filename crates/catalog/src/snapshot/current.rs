//! The snapshot in force, and the one place where another one takes its place.
//!
//! **Invariant:** whoever publishes holds the lock of changes, so that each snapshot follows from the one before it:
//! sequence numbers grow by one, generations and change numbers never fall. Readers take no lock. It never makes anything
//! durable: what is published is.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::root::Snapshot;
use super::view::View;
use super::world::World;
use crate::config::OfferPolicy;
use crate::decisions::decided::Decisions;
use crate::storage::lock::{Guard, Rank, Ranked};

/// The snapshot in force.
pub(crate) struct Current {
    snapshot: ArcSwap<Snapshot>,
    announce: watch::Sender<u64>,
    changing: Ranked<()>,
    offer: OfferPolicy,
    remembered_answers: usize,
}

/// The right to publish: held by one at a time.
pub(crate) struct Changing<'a> {
    current: &'a Current,
    _one: Guard<'a, ()>,
}

impl Current {
    /// Begins with what a store held when it was opened.
    pub(crate) fn new(
        graph: Arc<World>,
        decisions: Arc<Decisions>,
        offer: OfferPolicy,
        remembered_answers: usize,
    ) -> Self {
        let snapshot = Snapshot::new(View::new(graph, decisions, offer), 1, remembered_answers);
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            announce: watch::Sender::new(1),
            changing: Ranked::new(Rank::Decisions, ()),
            offer,
            remembered_answers,
        }
    }

    /// The snapshot in force now. Takes no lock.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Tells of every new snapshot by its sequence number.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.announce.subscribe()
    }

    /// Waits until nobody else changes decisions or the generation, and keeps others from it.
    pub(crate) fn change(&self) -> Changing<'_> {
        Changing { current: self, _one: self.changing.lock() }
    }

    /// What a snapshot would be with this generation and these decisions.
    pub(crate) fn view(&self, graph: &Arc<World>, decisions: &Arc<Decisions>) -> View {
        View::new(Arc::clone(graph), Arc::clone(decisions), self.offer)
    }
}

impl Changing<'_> {
    /// The snapshot in force, which nobody else replaces meanwhile.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.snapshot()
    }

    /// Puts a new snapshot in force, whose parts are durable.
    pub(crate) fn publish(&self, graph: Arc<World>, decisions: Arc<Decisions>) {
        let current = self.current;
        let before = current.snapshot.load();
        let view = View::new(graph, decisions, current.offer);
        let next = Snapshot::new(view, before.sequence() + 1, current.remembered_answers);
        debug_assert!(next.generation() >= before.generation(), "a generation never falls");
        debug_assert!(next.change_number() >= before.change_number(), "a change number never falls");
        let sequence = next.sequence();
        current.snapshot.store(Arc::new(next));
        current.announce.send_replace(sequence);
    }
}
