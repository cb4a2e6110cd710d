//! Which bytes of one file to ask for next. Pure: no time, no input or output.
//!
//! **Invariant:** a run that is handed out overlaps neither a held piece nor another run that is under way.
//! Of those who want equally urgent pieces nobody gets a second run before the others had one. It never plans further
//! ahead of a reader than [`AHEAD`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::partial_pieces::PartialPieces;
use tailwater_content::{PIECE, SparseFile};
use tailwater_domain::{ByteRange, Class, Limit, Requester, limits};

/// Pieces asked for in one request at most: 1 MiB, what Delivery Optimization asks for, and what is still
/// fetched after the last reader left.
const WINDOW: u64 = 16;

/// Pieces asked for in one request at least, on the slowest link.
const LEAST_WINDOW: u64 = 2;

/// How long one request may keep a slow link busy.
const WINDOW_SECONDS: u64 = 2;

/// Pieces fetched ahead of where a reader is: 4 MiB fill a link of 300 Mbit/s and 100 ms, and bound what is
/// fetched for a reader who leaves.
pub(super) const AHEAD: u64 = 64;

/// Requesters remembered for their turns; more than wait for one file at once anywhere.
const MAX_SERVED: usize = 4_096;

/// Pieces of a run that nobody wants any more and that are fetched all the same: breaking off would lose about as
/// much of what is on its way.
const SMALL_REST: u64 = 2;

pub(super) const LIMITS: &[Limit] = limits![
    WINDOW in "pieces": "Pieces in one request" => "they are asked for in further requests",
    AHEAD in "pieces": "Pieces fetched ahead of a reader" => "they wait until it comes nearer",
    MAX_SERVED in "requesters": "Requesters whose turns are remembered for a file" => "all turns count as new",
];

// not a limit: SMALL_REST: a run is finished rather than cut

/// A whole file is taken from a source without ranges when no more than this part of it is held already.
const SMALL_WASTE: u64 = 16;

/// Whose turn it is: class, runs under way for the requester, when they had one last, and runs under way for the same
/// demand. The least goes first.
type Rank = (Class, usize, u64, usize);

/// Nobody comes before this.
const FIRST: Rank = (Class::Interactive, 0, 0, 0);

/// Pieces to ask for in one request at a rate in bytes a second (`None`: no limit), so that on a slow link
/// nobody waits long behind another's window.
pub(super) fn window(rate: Option<u64>) -> u64 {
    rate.map_or(WINDOW, |rate| (rate.saturating_mul(WINDOW_SECONDS) / PIECE).clamp(LEAST_WINDOW, WINDOW))
}

/// A run of pieces, `start..end`, that one request fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) class: Class,
    /// Whose demand it meets.
    pub(super) requester: Requester,
    /// Which demand.
    demand: u64,
}

impl Run {
    /// The bytes of the run in a file of `size`.
    pub(super) fn bytes(&self, size: u64) -> ByteRange {
        ByteRange { start: self.start * PIECE, end: (self.end * PIECE).min(size) }
    }
}

/// How somebody wants bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand {
    pub(super) class: Class,
    pub(super) requester: Requester,
    /// Whether a reader moves through the range; a background demand is not held to [`AHEAD`].
    pub(super) reader: bool,
}

impl Demand {
    /// This server's own, in the background.
    pub(super) fn own(class: Class) -> Self {
        Self { class, requester: Requester::Own, reader: false }
    }
}

/// Somebody's demand for a range of the file.
#[derive(Debug, Clone, Copy)]
struct Interest {
    first: u64,
    /// The first piece that is still of interest.
    next: u64,
    /// One past the last piece.
    end: u64,
    demand: Demand,
}

/// Which pieces are there; a seam for tests.
pub(super) trait Held {
    fn holds(&self, piece: u64) -> bool;

    /// Whether the beginning of a piece is there; a run does not run into it, so that only its rest is asked for.
    fn has_begun(&self, _piece: u64) -> bool {
        false
    }
}

/// What is held of a file, and what has begun.
pub(super) struct InStore<'a> {
    pub(super) file: &'a SparseFile,
    pub(super) partial_pieces: &'a PartialPieces,
}

impl Held for InStore<'_> {
    fn holds(&self, piece: u64) -> bool {
        self.file.holds_piece(piece)
    }

    fn has_begun(&self, piece: u64) -> bool {
        self.partial_pieces.has(piece)
    }
}

/// What is wanted of a file, and what is under way.
#[derive(Debug, Default)]
pub(super) struct Plan {
    interests: BTreeMap<u64, Interest>,
    last_id: u64,
    under_way: Vec<(u64, Run)>,
    /// When each requester had a run last, counted in runs.
    served: HashMap<Requester, u64>,
    raised: Option<Class>,
    /// Pieces fetched before a reader, where they are less than [`AHEAD`].
    window: Option<u64>,
}

impl Plan {
    /// Adds a demand and returns its number.
    pub(super) fn add(&mut self, range: ByteRange, demand: Demand) -> u64 {
        self.last_id += 1;
        let (first, end) = (range.start / PIECE, range.end.div_ceil(PIECE));
        self.interests.insert(self.last_id, Interest { first, next: first, end, demand });
        self.last_id
    }

    /// The reader is at `offset` now.
    pub(super) fn moved(&mut self, id: u64, offset: u64) {
        if let Some(interest) = self.interests.get_mut(&id) {
            interest.next = offset / PIECE;
        }
    }

    /// The file was dropped and begins anew: its readers end, and what background demands had passed is missing again.
    pub(super) fn restart(&mut self) {
        self.interests.retain(|_, interest| !interest.demand.reader);
        for interest in self.interests.values_mut() {
            interest.next = interest.first;
        }
    }

    /// Withdraws a demand.
    pub(super) fn remove(&mut self, id: u64) {
        self.interests.remove(&id);
    }

    /// Fetches only so many pieces before each reader; `None` for as many as there may be.
    pub(super) fn hold_to(&mut self, window: Option<u64>) {
        self.window = window;
    }

    fn ahead(&self) -> u64 {
        self.window.unwrap_or(AHEAD).min(AHEAD)
    }

    /// One past the last piece that is fetched for a demand now.
    fn reach_of(&self, interest: &Interest) -> u64 {
        if interest.demand.reader { interest.end.min(interest.next + self.ahead()) } else { interest.end }
    }

    /// Where readers are: the next piece of each and one past its last.
    pub(super) fn places(&self) -> Vec<(u64, u64)> {
        let readers = self.interests.values().filter(|interest| interest.demand.reader);
        readers.map(|interest| (interest.next, interest.end)).collect()
    }

    /// Bytes of the runs under way, of a file of `size`; what comes unasked makes room as it comes.
    pub(super) fn bytes_under_way(&self, size: u64) -> u64 {
        let longest = WINDOW + WINDOW / 2;
        self.under_way.iter().map(|(_, run)| run.bytes(size).len().min(longest * PIECE)).sum()
    }

    /// Gives every demand, present and to come, at least this class.
    pub(super) fn raise(&mut self, class: Class) {
        self.raised = Some(class);
    }

    /// How many runs are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Whether there is anything to hand out.
    pub(super) fn has_work(&mut self, held: &impl Held) -> bool {
        self.peek(held).is_some()
    }

    /// Whether nobody wants anything.
    pub(super) fn is_idle(&self) -> bool {
        self.interests.is_empty()
    }

    /// The most urgent class that is wanted.
    pub(super) fn class(&self) -> Option<Class> {
        self.interests.values().map(|interest| interest.demand.class).chain(self.raised).min()
    }

    fn is_under_way(&self, piece: u64) -> bool {
        self.under_way.iter().any(|(_, run)| (run.start..run.end).contains(&piece))
    }

    /// How many places of the file readers are at: those who read the same part together are one.
    pub(super) fn spots(&self) -> usize {
        let readers = self.interests.values().filter(|interest| interest.demand.reader);
        readers.map(|interest| interest.next / AHEAD).collect::<BTreeSet<_>>().len()
    }

    /// How many readers move through parts of it.
    pub(super) fn readers(&self) -> usize {
        self.interests.values().filter(|interest| interest.demand.reader).count()
    }

    /// Whether so little is left of a run from `piece` on, or somebody still wants some of it, that it goes on.
    pub(super) fn goes_on(&self, piece: u64, end: u64) -> bool {
        let wanted = |interest: &Interest| interest.next < end && piece < interest.end;
        end.saturating_sub(piece) <= SMALL_REST || self.interests.values().any(wanted)
    }

    /// Whether a file that comes whole, for the run `id`, would mostly bring what is held or under way elsewhere: of
    /// `pieces`, those before the last one missing.
    pub(super) fn is_waste(&self, id: u64, held: &impl Held, pieces: u64) -> bool {
        let elsewhere = |piece: u64| {
            let others = self.under_way.iter().filter(|(other, _)| *other != id);
            others.clone().any(|(_, run)| (run.start..run.end).contains(&piece))
        };
        let last = (0..pieces).rev().find(|piece| !held.holds(*piece)).map_or(0, |piece| piece + 1);
        let useless = (0..last).filter(|piece| held.holds(*piece) || elsewhere(*piece)).count() as u64;
        useless > last / SMALL_WASTE
    }

    /// Takes the next run out, under a number for [`Plan::ended`]: the most urgent class first, then the requester who
    /// has the fewest under way and waits longest, then the demand that came first.
    pub(super) fn next(&mut self, held: &impl Held, window: u64) -> Option<(u64, Run)> {
        let run = self.best(held, window)?;
        let id = self.begin(run);
        if self.served.len() >= MAX_SERVED {
            self.served.clear();
        }
        self.served.insert(run.requester, id);
        Some((id, run))
    }

    /// The run that [`Plan::next`] would hand out now.
    pub(super) fn peek(&mut self, held: &impl Held) -> Option<Run> {
        self.best(held, LEAST_WINDOW)
    }

    fn best(&mut self, held: &impl Held, window: u64) -> Option<Run> {
        let mut best: Option<(Rank, Run)> = None;
        let ids: Vec<u64> = self.interests.keys().copied().collect();
        for id in ids {
            let Some(interest) = self.interests.get(&id).copied() else { continue };
            if best.is_some_and(|(best, _)| best == FIRST) {
                break;
            }
            let rank = self.rank(id, interest.demand);
            if best.is_some_and(|(best, _)| best <= rank) {
                continue;
            }
            let reader = interest.demand.reader;
            let limit = self.reach_of(&interest);
            let mut start = interest.next;
            while start < limit && held.holds(start) {
                start += 1;
            }
            if !reader && let Some(interest) = self.interests.get_mut(&id) {
                interest.next = start;
            }
            while start < limit && (held.holds(start) || self.is_under_way(start)) {
                start += 1;
            }
            // what is ahead of a reader by a sliver is asked for with what follows it, once the reader has moved on
            let sliver = limit < interest.end
                && limit - start.min(limit) < (WINDOW / 2).min(self.ahead() / 2)
                && start > interest.next;
            if start < limit && !sliver {
                let end = self.run_end(held, start, self.reach(limit, rank.0), window);
                let requester = interest.demand.requester;
                best = Some((rank, Run { start, end, class: rank.0, requester, demand: id }));
            }
        }
        best.map(|(_, run)| run)
    }

    fn rank(&self, id: u64, demand: Demand) -> Rank {
        let class = self.raised.map_or(demand.class, |raised| raised.min(demand.class));
        let theirs = self.under_way.iter().filter(|(_, run)| run.requester == demand.requester).count();
        let mine = self.under_way.iter().filter(|(_, run)| run.demand == id).count();
        (class, theirs, self.served.get(&demand.requester).copied().unwrap_or(0), mine)
    }

    /// Where a demand that ends at `limit` is followed by others at least as urgent, so that one request does for them.
    fn reach(&self, limit: u64, class: Class) -> u64 {
        let next = |interest: &&Interest| {
            interest.next <= limit && interest.demand.class <= class && interest.demand.reader
        };
        let ends = self.interests.values().filter(next).map(|other| self.reach_of(other));
        ends.fold(limit, u64::max)
    }

    /// A run may be half a window longer when that ends it: a last small request would cost a round trip.
    fn run_end(&self, held: &impl Held, start: u64, limit: u64, window: u64) -> u64 {
        let longest = window + window / 2;
        let fresh = |piece: u64| piece == start || !held.has_begun(piece);
        let free = |piece: &u64| !held.holds(*piece) && !self.is_under_way(*piece) && fresh(*piece);
        let gap = (start..limit.min(start + longest + 1)).take_while(free).count() as u64;
        if gap <= longest { start + gap } else { start + window }
    }

    fn begin(&mut self, run: Run) -> u64 {
        self.last_id += 1;
        self.under_way.push((self.last_id, run));
        self.last_id
    }

    /// A source sends the whole file whatever is asked: the run `id` takes every missing piece of it, those under way
    /// elsewhere too, because they may not come. The answer says for each piece whether it is that run's.
    pub(super) fn widen(&mut self, id: u64, held: &impl Held, pieces: u64) -> Vec<bool> {
        if let Some((_, run)) = self.under_way.iter_mut().find(|(under_way, _)| *under_way == id) {
            (run.start, run.end) = (0, pieces);
        }
        (0..pieces).map(|piece| !held.holds(piece)).collect()
    }

    /// An answer brings pieces `first..end`, more than the run `id` asked for: it takes those that join it, are missing
    /// and wanted, and under way nowhere else. The answer is what the run has now.
    pub(super) fn stretch(
        &mut self,
        id: u64,
        held: &impl Held,
        (first, end): (u64, u64),
    ) -> Option<(u64, u64)> {
        let own = self.under_way.iter().position(|(under_way, _)| *under_way == id)?;
        let joins = |piece: u64| {
            let wanted = |interest: &Interest| (interest.next..self.reach_of(interest)).contains(&piece);
            let free = !held.holds(piece) && !held.has_begun(piece) && !self.is_under_way(piece);
            free && self.interests.values().any(wanted)
        };
        let run = self.under_way.get(own)?.1;
        let before = (first..run.start).rev().take_while(|piece| joins(*piece)).count() as u64;
        let behind = (run.end..end.max(run.end)).take_while(|piece| joins(*piece)).count() as u64;
        let (_, run) = self.under_way.get_mut(own)?;
        (run.start, run.end) = (run.start - before, run.end + behind);
        Some((run.start, run.end))
    }

    /// Whether some run covers more than a window: the whole file is on its way.
    pub(super) fn is_whole_under_way(&self) -> bool {
        self.under_way.iter().any(|(_, run)| run.end - run.start > WINDOW * 2)
    }

    /// The run is over; what of it is not held is missing again.
    pub(super) fn ended(&mut self, id: u64) {
        self.under_way.retain(|(under_way, _)| *under_way != id);
    }
}

#[cfg(test)]
mod tests;
