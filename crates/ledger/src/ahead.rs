//! Which fetched bytes nobody was served yet: spans of each file. Pure.
//!
//! **Invariant:** a byte is ahead from the moment it is stored until it leaves for the first time or is dropped, so it
//! is counted as fetched at most once for each time it crossed the link. What exceeds a limit counts as wasted when it
//! comes and as avoided when it leaves, so that the sums hold.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use tailwater_domain::{ByteRange, Limit, Sha1Digest, limits};

/// Files with bytes ahead; a site's whole queue fits.
const MAX_FILES: usize = 65_536;

/// Spans of one file: more are made only by clients that read every other bit of it.
const MAX_SPANS: usize = 8_192;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_FILES in "files": "Files with bytes fetched ahead that are told apart" => "what is fetched of it does not count as ahead",
    MAX_SPANS in "spans": "Spans of one file fetched ahead" => "what is fetched there does not count as ahead",
];

/// Bytes ahead of everyone who asked.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ahead {
    files: HashMap<[u8; 20], Spans>,
    total: u64,
}

/// Spans by their first byte, apart from each other.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// Takes a range out; says how much of it was there.
    fn take(&mut self, range: ByteRange) -> u64 {
        let mut taken = 0;
        let first = self.0.range(..range.start).next_back().map_or(range.start, |(start, _)| *start);
        let touched: Vec<(u64, u64)> =
            self.0.range(first..range.end).map(|(start, end)| (*start, *end)).collect();
        for (start, end) in touched {
            let (from, to) = (start.max(range.start), end.min(range.end));
            if from >= to {
                continue;
            }
            taken += to - from;
            self.0.remove(&start);
            if start < from {
                self.0.insert(start, from);
            }
            if to < end {
                self.0.insert(to, end);
            }
        }
        taken
    }

    /// Puts a range in that is not there.
    fn put(&mut self, range: ByteRange) {
        let ByteRange { mut start, mut end } = range;
        if let Some((&before, &its_end)) = self.0.range(..start).next_back()
            && its_end == start
        {
            start = before;
        }
        if let Some(next) = self.0.remove(&end) {
            end = next;
        }
        self.0.insert(start, end);
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }
}

impl Ahead {
    /// Bytes that nobody had yet.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Bytes were stored. Says how many of them count as wasted: those that were ahead already crossed the link twice for
    /// nothing, and those that exceed a limit are not followed.
    pub(super) fn stored(&mut self, sha1: Sha1Digest, range: ByteRange) -> u64 {
        if self.files.len() >= MAX_FILES && !self.files.contains_key(&sha1.0) {
            return range.len();
        }
        let spans = self.files.entry(sha1.0).or_default();
        let twice = spans.take(range);
        if spans.0.len() >= MAX_SPANS {
            self.total -= twice;
            return range.len();
        }
        spans.put(range);
        self.total += range.len() - twice;
        twice
    }

    /// Bytes left. Says how many of them did for the first time.
    pub(super) fn served(&mut self, sha1: Sha1Digest, range: ByteRange) -> u64 {
        let Some(spans) = self.files.get_mut(&sha1.0) else { return 0 };
        let first = spans.take(range);
        if spans.0.is_empty() {
            self.files.remove(&sha1.0);
        }
        self.total -= first;
        first
    }

    /// A file is gone. Says how much of it nobody had.
    pub(super) fn dropped(&mut self, sha1: Sha1Digest) -> u64 {
        let lost = self.files.remove(&sha1.0).map_or(0, |spans| spans.len());
        self.total -= lost;
        lost
    }

    /// The files with bytes ahead.
    pub(super) fn files(&self) -> Vec<Sha1Digest> {
        self.files.keys().map(|digest| Sha1Digest(*digest)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange { start, end }
    }

    #[test]
    fn a_byte_leaves_for_the_first_time_once() {
        let (mut ahead, file) = (Ahead::default(), Sha1Digest([7; 20]));
        for piece in [0, 2, 1] {
            assert_eq!(ahead.stored(file, range(piece * 100, piece * 100 + 100)), 0);
        }
        assert_eq!((ahead.total(), ahead.files[&file.0].0.len()), (300, 1));
        let table = [((50, 150), 100), ((0, 100), 50), ((0, 300), 150), ((0, 300), 0)];
        for ((start, end), first) in table {
            assert_eq!(ahead.served(file, range(start, end)), first, "{start}..{end}");
        }
        assert_eq!(ahead, Ahead::default());
    }

    #[test]
    fn what_nobody_had_is_known_when_a_file_goes() {
        let (mut ahead, file) = (Ahead::default(), Sha1Digest([7; 20]));
        ahead.stored(file, range(0, 1000));
        ahead.served(file, range(100, 200));
        assert_eq!(ahead.stored(file, range(100, 300)), 100);
        assert_eq!((ahead.dropped(file), ahead.total(), ahead.dropped(file)), (1000, 0, 0));
    }

    #[test]
    fn beyond_a_limit_the_sums_hold() {
        let (mut ahead, file) = (Ahead::default(), Sha1Digest([7; 20]));
        let (mut payload, mut wasted, mut fetched) = (0, 0, 0);
        for piece in 0..2 * MAX_SPANS as u64 {
            let at = piece * 65_536;
            wasted += ahead.stored(file, range(at, at + 65_536));
            fetched += ahead.served(file, range(at + 1_000, at + 2_000));
            payload += 65_536;
            assert_eq!(payload, fetched + wasted + ahead.total(), "piece {piece}");
        }
        assert!(wasted > 0 && ahead.files[&file.0].0.len() <= MAX_SPANS + 2);
    }

    #[test]
    fn spans_agree_with_a_map_of_bytes() {
        let (mut ahead, file) = (Ahead::default(), Sha1Digest([7; 20]));
        let mut bytes = [false; 512];
        let mut dice = 12345_u64;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        for _ in 0..5_000 {
            let start = roll(511);
            let end = start + 1 + roll(512 - start - 1).min(60);
            let (from, to) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
            let known = bytes[from..to].iter().filter(|byte| **byte).count() as u64;
            let stored = roll(2) == 0;
            let found = if stored {
                ahead.stored(file, range(start, end))
            } else {
                ahead.served(file, range(start, end))
            };
            assert_eq!(found, known, "{start}..{end}");
            bytes[from..to].fill(stored);
            assert_eq!(ahead.total(), bytes.iter().filter(|byte| **byte).count() as u64);
        }
    }
}
