//! What a source says of the pieces it sends: their hashes, so that a piece that was damaged on its way is refused when
//! it comes and asked for again by itself.
//!
//! **Invariant:** a claim only ever delays a piece. One that comes twice with the same bytes is taken whatever is
//! claimed of it, and nothing more is believed for this file: its digests decide in the end. Pure.

use std::collections::HashMap;

use http::HeaderMap;

use tailwater_content::PieceHash;
use tailwater_domain::{Limit, limits};
use tailwater_wire::peer::{PIECES_HEADER, decode_hashes};

/// Refused pieces that are remembered; a further one is taken, and the digests decide.
const MOST_REFUSED: usize = 4_096;

pub(super) const LIMITS: &[Limit] = limits![
    MOST_REFUSED in "pieces": "Refused pieces that are remembered" => "it is taken, the memory begins anew, and the digests decide",
];

/// The claims of one answer.
#[derive(Debug, Default)]
pub(super) struct Claims {
    first: u64,
    hashes: Vec<PieceHash>,
}

impl Claims {
    /// Of an answer that brings pieces `first..end`; none when it does not say it of exactly these.
    pub(super) fn read(headers: &HeaderMap, first: u64, end: u64) -> Self {
        let hashes = headers.get(PIECES_HEADER).and_then(|value| decode_hashes(value.to_str().ok()?));
        let hashes = hashes.filter(|hashes| hashes.len() as u64 == end.saturating_sub(first));
        Self { first, hashes: hashes.unwrap_or_default() }
    }

    /// What is claimed of a piece. Zeros are no hash: they stand for a piece that is not held.
    pub(super) fn of(&self, piece: u64) -> Option<PieceHash> {
        let place = usize::try_from(piece.checked_sub(self.first)?).ok()?;
        self.hashes.get(place).copied().filter(|hash| hash != &PieceHash::default())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

/// What became of the claims about one file.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    refuted: bool,
    refused: HashMap<u64, PieceHash>,
}

impl Doubts {
    /// Whether to take a piece whose bytes have this hash.
    pub(super) fn takes(&mut self, piece: u64, hash: PieceHash, claim: Option<PieceHash>) -> bool {
        if self.refuted || claim.is_none_or(|claim| claim == hash) {
            self.refused.remove(&piece);
            return true;
        }
        let again = self.refused.get(&piece) == Some(&hash);
        if again || self.refused.len() >= MOST_REFUSED {
            self.refuted = true;
            self.refused = HashMap::new();
            return true;
        }
        self.refused.insert(piece, hash);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_wire::peer::encode_hashes;

    #[test]
    fn a_claim_is_read_for_exactly_what_comes() {
        let mut headers = HeaderMap::new();
        let hashes = [[7; 16], [0; 16], [9; 16]];
        headers.insert(PIECES_HEADER, encode_hashes(&hashes).unwrap().parse().unwrap());
        let claims = Claims::read(&headers, 4, 7);
        assert_eq!((claims.of(4), claims.of(5), claims.of(6)), (Some([7; 16]), None, Some([9; 16])));
        assert_eq!((claims.of(3), claims.of(7)), (None, None));
        assert!(Claims::read(&headers, 4, 8).is_empty() && Claims::read(&HeaderMap::new(), 4, 7).is_empty());
    }

    #[test]
    fn a_damaged_piece_is_refused_and_a_wrong_claim_refutes_itself() {
        let mut doubts = Doubts::default();
        assert!(doubts.takes(1, [1; 16], Some([1; 16])) && doubts.takes(2, [2; 16], None));
        assert!(!doubts.takes(3, [9; 16], Some([3; 16])), "damaged");
        assert!(doubts.takes(3, [3; 16], Some([3; 16])), "whole");
        assert!(!doubts.takes(4, [8; 16], Some([4; 16])), "damaged");
        assert!(!doubts.takes(4, [9; 16], Some([4; 16])), "damaged otherwise");
        assert!(doubts.takes(4, [9; 16], Some([4; 16])), "twice the same: the claim is wrong");
        assert!(doubts.takes(5, [5; 16], Some([6; 16])), "and nothing more is believed");
    }
}
