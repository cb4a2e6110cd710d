//! What is least worth keeping.
//!
//! The rule: what is left of a file that cannot be kept whole goes first, then what was used longest ago. A small verified file counts as used thirty days later
//! than it was, because dropping it frees next to nothing and costs a round trip on the link. What is being
//! read or fetched is not asked about at all.
//!
//! **Invariant:** no more is dropped than is needed and a small slack. It never looks at names or updates.

use tailwater_domain::Sha1Digest;

/// A verified file up to this size is small.
const SMALL: u64 = 1024 * 1024;

// not a limit: SMALL: what goes first when room is needed

/// How much younger a small verified file counts.
const SMALL_BONUS_MS: i64 = 30 * 24 * 3600 * 1000;

/// Dropped beyond the need at most, so that a full store is not searched again for each run that is fetched.
const SLACK: u64 = 64 * 1024 * 1024;

/// The same as a part of what may be held.
const SLACK_PART: u64 = 64;

/// The part of the store that files which cannot be kept whole may have: the other half is for all others.
const WINDOW_PART: u64 = 2;

/// A file that may be dropped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) sha1: Sha1Digest,
    pub(super) size: u64,
    pub(super) held: u64,
    pub(super) verified: bool,
    pub(super) last_use_ms: i64,
}

impl Candidate {
    fn worth(&self) -> i64 {
        let small = self.verified && self.size <= SMALL;
        self.last_use_ms.saturating_add(if small { SMALL_BONUS_MS } else { 0 })
    }
}

/// Puts candidates in the order in which they are dropped; `capacity` is what the store can hold.
pub(super) fn order(candidates: &mut [Candidate], capacity: u64) {
    candidates.sort_unstable_by_key(|candidate| {
        (candidate.verified || candidate.size <= capacity, candidate.worth(), candidate.sha1)
    });
}

/// What the store could hold if everything in it went.
pub(super) fn capacity(held: u64, max_size: Option<u64>, free: u64, min_free: u64) -> u64 {
    held.saturating_add(free.saturating_sub(min_free)).min(max_size.unwrap_or(u64::MAX))
}

/// How much is held at a time of a file of `size` that cannot be kept whole; `None` when it can.
pub(super) fn window(size: u64, capacity: u64) -> Option<u64> {
    (size > capacity).then_some(capacity / WINDOW_PART)
}

/// How much to drop beyond the need.
pub(super) fn slack(max_size: Option<u64>) -> u64 {
    max_size.map_or(SLACK, |max| SLACK.min(max / SLACK_PART))
}

/// How many bytes must go so that `wanted` more fit: by what may be held, and by what must stay free.
pub(super) fn excess(held: u64, wanted: u64, max_size: Option<u64>, free: u64, min_free: u64) -> u64 {
    let over_size = max_size.map_or(0, |max| held.saturating_add(wanted).saturating_sub(max));
    let under_free = min_free.saturating_add(wanted).saturating_sub(free);
    over_size.max(under_free)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(n: u8, size: u64, verified: bool, last_use_ms: i64) -> Candidate {
        Candidate { sha1: Sha1Digest([n; 20]), size, held: size, verified, last_use_ms }
    }

    #[test]
    fn the_longest_unused_goes_first_and_small_verified_files_later() {
        let day = 24 * 3600 * 1000;
        let mut candidates = [
            candidate(1, 1 << 30, true, 10 * day),
            candidate(2, 1000, true, day),
            candidate(3, 1 << 30, false, 5 * day),
            candidate(4, 1000, false, 7 * day),
        ];
        order(&mut candidates, u64::MAX);
        assert_eq!(candidates.map(|candidate| candidate.sha1.0[0]), [3, 4, 1, 2]);
    }

    #[test]
    fn what_is_left_of_a_file_that_cannot_be_kept_goes_before_all() {
        let mut candidates =
            [candidate(1, 500, true, 1), candidate(2, 5_000, false, 9), candidate(3, 5_000, true, 5)];
        order(&mut candidates, 1_000);
        assert_eq!(candidates.map(|candidate| candidate.sha1.0[0]), [2, 1, 3]);
        assert_eq!((window(1_000, 1_000), window(1_001, 1_000)), (None, Some(500)));
        let table =
            [((100, None, 1_000, 50), 1_050), ((100, Some(300), 1_000, 50), 300), ((100, None, 20, 50), 100)];
        for ((held, max, free, min_free), expected) in table {
            assert_eq!(capacity(held, max, free, min_free), expected, "{held} {max:?} {free}");
        }
    }

    #[test]
    fn the_tighter_of_both_limits_counts() {
        let table = [
            ((100, 10, None, 1_000, 50), 0),
            ((100, 10, Some(100), 1_000, 50), 10),
            ((100, 10, None, 55, 50), 5),
            ((100, 10, Some(105), 20, 50), 40),
        ];
        for ((held, wanted, max, free, min_free), expected) in table {
            assert_eq!(excess(held, wanted, max, free, min_free), expected, "{held} {wanted}");
        }
    }
}
