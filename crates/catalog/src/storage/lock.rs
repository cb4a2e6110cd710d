//! The locks of this room that may be taken while another one is held, in their one order.
//!
//! **Invariant:** a lock is only taken while locks before it in [`Rank`] are held; in debug builds everything else ends the
//! thread where it happens. Locks that are not listed here are leaves: nothing is locked while one of them is held.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a lock guards, in the order in which locks are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Agents of this server change.
    Computers,
    /// Computers of servers below change.
    Descendants,
    /// What servers took and is not written yet.
    Taken,
    /// Permissions that wait for their server.
    Invitations,
    /// Servers below change.
    Servers,
    /// What computers installed is added up.
    Activity,
    /// Decisions or the generation change.
    Decisions,
    /// What is missing because of damage is noted.
    Damage,
    /// What was appended is made durable.
    Settling,
    /// The end of the log.
    Log,
}

#[cfg(debug_assertions)]
thread_local! {
    /// The ranks of the locks that this thread holds.
    static TAKEN: std::cell::RefCell<Vec<Rank>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// A lock with a place in the order.
#[derive(Debug)]
pub(crate) struct Ranked<T> {
    #[cfg(debug_assertions)]
    rank: Rank,
    inner: Mutex<T>,
}

/// A lock that is held.
pub(crate) struct Guard<'a, T> {
    #[cfg(debug_assertions)]
    rank: Rank,
    inner: MutexGuard<'a, T>,
}

impl<T> Ranked<T> {
    /// A lock of this rank.
    pub(crate) fn new(rank: Rank, value: T) -> Self {
        #[cfg(not(debug_assertions))]
        let _ = rank;
        Self {
            #[cfg(debug_assertions)]
            rank,
            inner: Mutex::new(value),
        }
    }

    /// Takes the lock. What a thread that panicked left behind is taken as it is.
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        #[cfg(debug_assertions)]
        TAKEN.with_borrow_mut(|taken| {
            let before = taken.iter().max();
            debug_assert!(
                before.is_none_or(|before| *before < self.rank),
                "{:?} is locked while {taken:?} are",
                self.rank
            );
            taken.push(self.rank);
        });
        Guard {
            #[cfg(debug_assertions)]
            rank: self.rank,
            inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(debug_assertions)]
impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        TAKEN.with_borrow_mut(|taken| {
            if let Some(at) = taken.iter().rposition(|rank| *rank == self.rank) {
                taken.remove(at);
            }
        });
    }
}

/// Takes a leaf: a lock while which nothing else is locked.
pub(crate) fn leaf<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// the order is asserted in debug builds alone
#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn locks_are_taken_in_their_order_and_in_no_other() {
        let (first, last) = (Ranked::new(Rank::Computers, 1), Ranked::new(Rank::Log, 2));
        {
            let (a, b) = (first.lock(), last.lock());
            assert_eq!((*a, *b), (1, 2));
        }
        let wrong = std::thread::scope(|scope| {
            let turned_round = scope.spawn(|| {
                let _b = last.lock();
                drop(first.lock());
            });
            let twice = scope.spawn(|| {
                let _a = first.lock();
                drop(Ranked::new(Rank::Computers, 0).lock());
            });
            (turned_round.join().is_err(), twice.join().is_err())
        });
        assert_eq!(wrong, (true, true));
        drop(first.lock());
    }
}
