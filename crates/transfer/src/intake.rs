//! Whole pieces out of a stream of bytes that begins anywhere in the file.
//!
//! **Invariant:** only whole pieces come out (the file's last may be shorter), each once, and only those
//! that were asked for. It never holds more than the pieces not taken yet and one unfinished one.

use bytes::Bytes;

use tailwater_content::PIECE;

/// A piece with its index.
pub(super) type Piece = (u64, Vec<u8>);

/// Gathers pieces.
pub(super) struct Intake {
    size: u64,
    /// Where the next byte belongs.
    at: u64,
    /// Where the stream ends, whatever else comes.
    end: u64,
    wanted: Wanted,
    /// Bytes that come before the next one and are passed over.
    skip: u64,
    unfinished: Vec<u8>,
    ready: Vec<Piece>,
}

/// Which pieces to keep.
pub(super) enum Wanted {
    /// `start..end`.
    Run(u64, u64),
    /// Those marked.
    Marked(Vec<bool>),
}

impl Wanted {
    fn has(&self, piece: u64) -> bool {
        match self {
            Self::Run(start, end) => (*start..*end).contains(&piece),
            Self::Marked(marks) => {
                usize::try_from(piece).ok().and_then(|piece| marks.get(piece)).is_some_and(|mark| *mark)
            }
        }
    }
}

impl Intake {
    /// For a stream whose first byte belongs at `at`; within a piece, that piece is not among the wanted ones.
    pub(super) fn new(size: u64, at: u64, wanted: Wanted) -> Self {
        Self { size, at, end: size, wanted, skip: 0, unfinished: Vec::new(), ready: Vec::new() }
    }

    /// The same when the first piece has begun with these bytes: the stream brings its rest.
    pub(super) fn resuming(mut self, begun: Vec<u8>) -> Self {
        self.at += begun.len() as u64;
        self.unfinished = begun;
        self
    }

    /// The same when only what is before `end` belongs to the file.
    pub(super) fn until(mut self, end: u64) -> Self {
        self.end = end.min(self.size);
        self
    }

    /// The same when the stream begins so many bytes earlier.
    pub(super) fn skipping(mut self, bytes: u64) -> Self {
        self.skip = bytes;
        self
    }

    /// The piece that is not whole yet, with its beginning; empty when none has begun.
    pub(super) fn unfinished(&mut self) -> Piece {
        let begun = std::mem::take(&mut self.unfinished);
        (self.at.saturating_sub(1) / PIECE, begun)
    }

    /// Takes bytes in; what is beyond the stream's end is left out.
    pub(super) fn push(&mut self, mut bytes: Bytes) {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        drop(bytes.split_to(skipped));
        self.skip -= skipped as u64;
        while !bytes.is_empty() && self.at < self.end {
            let piece = self.at / PIECE;
            let end = ((piece + 1) * PIECE).min(self.size);
            let take = usize::try_from(end.min(self.end) - self.at).unwrap_or(usize::MAX);
            let part = bytes.split_to(take.min(bytes.len()));
            self.at += part.len() as u64;
            if !self.wanted.has(piece) {
                continue;
            }
            let whole = usize::try_from((end - piece * PIECE).min(PIECE)).unwrap_or_default();
            if self.unfinished.capacity() < whole {
                self.unfinished.reserve_exact(whole - self.unfinished.len());
            }
            self.unfinished.extend_from_slice(&part);
            if self.at == end {
                self.ready.push((piece, std::mem::take(&mut self.unfinished)));
            }
        }
    }

    /// Pieces that are whole and not taken yet.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The first of them.
    pub(super) fn first_ready(&self) -> Option<u64> {
        self.ready.first().map(|(piece, _)| *piece)
    }

    /// Takes them.
    pub(super) fn take(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.ready)
    }

    /// Where the next byte belongs.
    pub(super) fn at(&self) -> u64 {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(intake: &mut Intake, from: u64, to: u64, frame: usize) {
        let bytes: Vec<u8> = (from..to).map(|n| u8::try_from(n / PIECE % 251).unwrap()).collect();
        for part in bytes.chunks(frame) {
            intake.push(Bytes::copy_from_slice(part));
        }
    }

    #[test]
    fn frames_of_any_size_become_whole_pieces() {
        let size = 3 * PIECE + 10;
        for frame in [1_000, 65_536, 70_000, 1 << 20] {
            let mut intake = Intake::new(size, PIECE, Wanted::Run(1, 4));
            feed(&mut intake, PIECE, size, frame);
            let pieces: Vec<_> =
                intake.take().into_iter().map(|(index, bytes)| (index, bytes.len())).collect();
            assert_eq!(pieces, [(1, 65_536), (2, 65_536), (3, 10)], "{frame}");
            assert_eq!(intake.at(), size);
        }
    }

    #[test]
    fn a_cut_piece_goes_on_where_it_was_cut() {
        let mut intake = Intake::new(4 * PIECE, PIECE, Wanted::Run(1, 4));
        feed(&mut intake, PIECE, 2 * PIECE + 100, 777);
        assert_eq!(intake.take().len(), 1);
        let (piece, begun) = intake.unfinished();
        assert_eq!((piece, begun.len()), (2, 100));
        let mut intake = Intake::new(4 * PIECE, 2 * PIECE, Wanted::Run(2, 4)).resuming(begun);
        assert_eq!(intake.at(), 2 * PIECE + 100);
        feed(&mut intake, 2 * PIECE + 100, 4 * PIECE, 5_000);
        let pieces: Vec<_> =
            intake.take().into_iter().map(|(at, bytes)| (at, bytes.len(), bytes[50])).collect();
        assert_eq!(pieces, [(2, 65_536, 2), (3, 65_536, 3)]);
        assert!(intake.unfinished().1.is_empty());
    }

    #[test]
    fn a_stream_that_begins_earlier_gives_the_same_pieces() {
        // within a piece before the wanted ones
        let mut intake = Intake::new(4 * PIECE, 100, Wanted::Run(1, 3));
        feed(&mut intake, 100, 4 * PIECE, 9_999);
        assert_eq!(
            intake.take().iter().map(|(at, bytes)| (*at, bytes[0])).collect::<Vec<_>>(),
            [(1, 1), (2, 2)]
        );
        assert!(intake.unfinished().1.is_empty());
        // what is beyond its end is no part of it
        let mut intake = Intake::new(4 * PIECE, 0, Wanted::Run(0, 3)).until(PIECE + 10);
        feed(&mut intake, 0, 2 * PIECE, 9_999);
        assert_eq!((intake.take().len(), intake.at(), intake.unfinished().1.len()), (1, PIECE + 10, 10));
        // within a piece that has begun
        let mut intake =
            Intake::new(4 * PIECE, PIECE, Wanted::Run(1, 2)).resuming(vec![1; 500]).skipping(300);
        feed(&mut intake, PIECE + 200, 2 * PIECE, 7);
        assert_eq!(intake.take(), [(1, vec![1; 65_536])]);
        assert_eq!(intake.at(), 2 * PIECE);
    }

    #[test]
    fn an_unfinished_piece_and_unwanted_ones_do_not_come_out() {
        let mut intake = Intake::new(10 * PIECE, 0, Wanted::Marked(vec![true, false, true, true]));
        feed(&mut intake, 0, 3 * PIECE + 100, 4096);
        assert_eq!(intake.ready(), 2);
        let indexes: Vec<_> = intake.take().into_iter().map(|(index, _)| index).collect();
        assert_eq!(indexes, [0, 2]);
    }
}
