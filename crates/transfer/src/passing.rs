//! A file that the store cannot keep whole is passed through to its readers: what was sent goes, so that what comes next
//! has room.
//!
//! The rule: such a file has a bounded part of the store, shared by its readers as a window before each. What no reader
//! comes to any more goes first, then what is furthest before the next reader who comes to it. Nobody waits for a slower
//! reader: a slow one asks again for what a fast one had passed and left behind.
//!
//! **Invariant:** what is within a reader's window stays, so that it is not fetched in vain. It never takes a piece from
//! another file.

use std::sync::Arc;

use super::fault::Fault;
use super::flow::Flow;
use super::plan::AHEAD;
use super::shared::locked;
use tailwater_content::{ContentError, PIECE, Room, SparseFile};

/// Pieces before a reader at least: the one it reads and the next.
const LEAST_WINDOW: u64 = 2;

/// Released at a time beyond the need, as a part of what the file may have: so that it is not looked for piece by piece.
const SLACK_PART: u64 = 16;

/// How often somebody who brings more than its reader took looks whether it took some.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

/// Pieces fetched before each of so many readers, in a file of which at most `limit` bytes are held.
pub(super) fn ahead(limit: u64, readers: usize) -> u64 {
    let share = limit / PIECE / 2 / (readers.max(1) as u64);
    share.clamp(LEAST_WINDOW, AHEAD)
}

/// Which of the `held` pieces go so that `wanted` more have room, where readers (their next piece and one past their
/// last) keep a window each.
fn spare(readers: &[(u64, u64)], held: Vec<u64>, window: u64, wanted: usize) -> Vec<u64> {
    let distance = |piece: u64| {
        let comes = readers.iter().filter(|(next, end)| (*next..*end).contains(&piece));
        comes.map(|(next, _)| piece - next).min().unwrap_or(u64::MAX)
    };
    let mut spare: Vec<(u64, u64)> =
        held.into_iter().map(|piece| (distance(piece), piece)).filter(|(far, _)| *far >= window).collect();
    // of those that nobody comes to, the first in the file went out first
    spare.sort_unstable_by_key(|(far, piece)| (std::cmp::Reverse(*far), *piece));
    spare.into_iter().take(wanted).map(|(_, piece)| piece).collect()
}

impl Flow {
    /// Bytes that may be held of this file at a time; `None` when it can be kept whole.
    pub(super) fn limit(&self) -> Option<u64> {
        self.shared.store.window(self.declaration.size)
    }

    /// Makes room for bytes of this file that are about to come.
    pub(super) async fn room(self: &Arc<Self>, file: &Arc<SparseFile>, bytes: u64) -> Result<Room, Fault> {
        if let Some(limit) = self.limit() {
            let coming = locked(&self.state).plan.bytes_under_way(self.declaration.size).max(bytes);
            let over = (file.held() + coming).saturating_sub(limit);
            if over > 0 {
                self.release(file, over.max(limit / SLACK_PART)).await?;
            }
        }
        let made = self.make_room(bytes).await;
        if self.limit().is_some() && matches!(made, Err(ContentError::NoRoom { .. })) {
            self.release(file, bytes).await?;
            return Ok(self.make_room(bytes).await?);
        }
        Ok(made?)
    }

    async fn make_room(&self, bytes: u64) -> Result<Room, ContentError> {
        let store = self.shared.store.clone();
        let made = tokio::task::spawn_blocking(move || store.make_room(bytes)).await;
        made.unwrap_or(Err(ContentError::Dropped { sha1: self.sha1() }))
    }

    /// Releases so many bytes of what is of the least use to its readers, or what there is of it.
    async fn release(self: &Arc<Self>, file: &Arc<SparseFile>, bytes: u64) -> Result<(), Fault> {
        let Some(limit) = self.limit() else { return Ok(()) };
        let readers = {
            let mut state = locked(&self.state);
            if state.verifying {
                return Ok(());
            }
            // what the store can hold changes with the disk
            let readers = state.plan.places();
            state.plan.hold_to(Some(ahead(limit, readers.len())));
            readers
        };
        let (flow, held) = (Arc::clone(self), Arc::clone(file));
        let wanted = usize::try_from(bytes.div_ceil(PIECE)).unwrap_or(usize::MAX);
        let released = tokio::task::spawn_blocking(move || {
            super::proving::watch_now(&flow.shared, &flow.declaration, &held)?;
            let pieces = held.held_pieces();
            // what goes was hashed, where what is before it was
            let passage = flow.shared.passages.of(&held);
            let outcome = passage.map(|passage| passage.advance(&held));
            let pieces = spare(&readers, pieces, ahead(limit, readers.len()), wanted);
            flow.shared.store.release(&held, &pieces)?;
            Ok::<_, ContentError>(outcome)
        });
        if let Some(outcome) = released.await.map_err(|_join| Fault::Stopping)?? {
            self.passed(file, outcome).await;
        }
        Ok(())
    }

    /// Waits while `piece` is further before every reader than their windows reach, where a source brings more than it was
    /// asked for. False when nobody reads the file any more.
    pub(super) async fn comes_to(&self, piece: u64) -> bool {
        let Some(limit) = self.limit() else { return true };
        let stopping = self.shared.tasks.stopping();
        loop {
            let places = locked(&self.state).plan.places();
            if places.is_empty() || stopping.is_cancelled() {
                return false;
            }
            let window = ahead(limit, places.len());
            // what comes with it must be within the window as well
            let near = |(next, end): &(u64, u64)| piece < (*next + window / 2).min(*end);
            if places.iter().any(near) {
                return true;
            }
            if places.iter().all(|(_, end)| piece >= *end) {
                return false;
            }
            tokio::select! {
                () = self.wanted.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = stopping.cancelled() => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_goes_first_and_then_what_is_furthest_from_its_reader() {
        // one reader at 10: what is behind it, the first first; its window stays
        assert_eq!(spare(&[(10, 100)], (0..30).collect(), 4, 3), [0, 1, 2]);
        assert_eq!(spare(&[(10, 100)], (10..16).collect(), 4, 9), [15, 14]);
        // a slow one at 10 and a fast one at 50: what the fast one left behind is far from the slow one
        assert_eq!(spare(&[(10, 100), (50, 100)], (5..60).collect(), 4, 7), [5, 6, 7, 8, 9, 49, 48]);
        // a reader of a part needs nothing beyond it
        assert_eq!(spare(&[(10, 12)], (9..20).collect(), 4, 20), [9, 12, 13, 14, 15, 16, 17, 18, 19]);
        // nobody reads
        assert_eq!(spare(&[], vec![3, 1, 2], 4, 2), [1, 2]);
    }

    #[test]
    fn the_windows_of_all_readers_have_half_of_what_the_file_may_have() {
        let mib = 1 << 20;
        let table = [
            (0, 1, 2),
            (mib, 1, 8),
            (4 * mib, 5, 6),
            (4 * mib, 100, 2),
            (1 << 30, 1, AHEAD),
            (1 << 30, 0, AHEAD),
        ];
        for (limit, readers, pieces) in table {
            assert_eq!(ahead(limit, readers), pieces, "{limit} {readers}");
        }
    }
}
