//! What is known of files that pass through the store without being kept whole, so that no reader ends with a wrong one.
//!
//! Of such a file all bytes are never there together. So they are hashed in order as they pass, each piece's hash is
//! remembered so that what is fetched again for a slower reader is the same, and the last piece is withheld until the
//! digests match. Who reads the file from its beginning notices nothing. A range that ends before the last piece is sent
//! unverified: what is promised is that nobody has all of a wrong file, and that who resumes after a lie begins anew.
//!
//! **Invariant:** the last piece is given out only when the pieces that were given out under this version of the file have
//! the declared digests together. It never fetches anything: [`super::proving`] does, where somebody asks for the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::Instant;

use super::shared::locked;
use tailwater_content::{ContentError, Hasher, PIECE, PieceHash, SparseFile, piece_hash};
use tailwater_domain::{FileDeclaration, Limit, Sha1Digest, limits};

/// Files of which this is known at once; more than pass at once through any store.
const MAX_PASSAGES: usize = 64;

/// Pieces of all of them: files of 64 GiB together, 16 MiB of hashes. One that is larger is known alone.
const MAX_PIECES: u64 = 1 << 20;

/// Hashes that are allocated together, when the first of them is known.
const BLOCK: usize = 512;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_PASSAGES in "files": "Files larger than the store that are hashed at once as they pass" => "the one asked for longest ago gets another entity tag and begins anew",
    MAX_PIECES in "pieces of 64 KiB": "Pieces of such files whose hashes are remembered" => "the file asked for longest ago gets another entity tag and begins anew",
];

// not a limit: BLOCK: how hashes are allocated

/// How far the bytes of a file were hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// So many pieces from the beginning on, not all.
    Open(u64),
    /// All, and the digests match.
    Right,
    /// They do not, or a piece came twice and was another one. With the SHA-1 that was found, where one was.
    Wrong(Option<Sha1Digest>),
    /// SHA-1 alone decides, and the bytes were made to collide.
    Collides,
}

/// What to do with a piece that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Keep it.
    Fits,
    /// It is not what it is known to be: refuse it alone.
    Damaged,
    /// Another one came in its place before, and it is not known which is right.
    Contradicts,
}

/// Hashes by piece; zeros where none is known.
#[derive(Default)]
struct Hashes(HashMap<u64, Box<[PieceHash; BLOCK]>>);

impl Hashes {
    /// The hash that is known of a piece, which is this one from now on where none was.
    fn get_or_set(&mut self, piece: u64, hash: PieceHash) -> PieceHash {
        let block =
            self.0.entry(piece / BLOCK as u64).or_insert_with(|| Box::new([PieceHash::default(); BLOCK]));
        let known = usize::try_from(piece % BLOCK as u64).ok().and_then(|at| block.get_mut(at));
        let Some(known) = known else { return hash };
        if *known == PieceHash::default() {
            *known = hash;
        }
        *known
    }
}

/// One file that passes through.
pub(super) struct Passage {
    declaration: FileDeclaration,
    /// Which version of the file it is about: what comes of an earlier one says nothing of it.
    version: u32,
    state: Mutex<Progress>,
}

struct Progress {
    /// `None` when all was hashed.
    hasher: Option<Hasher>,
    hashes: Hashes,
    outcome: Outcome,
    /// Somebody fetches what is missing of the proof.
    is_proving: bool,
}

impl Passage {
    fn new(declaration: FileDeclaration, version: u32) -> Self {
        let progress = Progress {
            hasher: Some(Hasher::new(declaration.sha256.is_none())),
            hashes: Hashes::default(),
            outcome: Outcome::Open(0),
            is_proving: false,
        };
        Self { declaration, version, state: Mutex::new(progress) }
    }

    fn pieces(&self) -> u64 {
        self.declaration.size.div_ceil(PIECE)
    }

    /// Notes a piece that came.
    pub(super) fn arrived(&self, piece: u64, hash: PieceHash) -> Arrival {
        let mut state = locked(&self.state);
        let known = state.hashes.get_or_set(piece, hash);
        match state.outcome {
            _ if known == hash => Arrival::Fits,
            Outcome::Right => Arrival::Damaged,
            _ => Arrival::Contradicts,
        }
    }

    /// Hashes what is held and follows on what was hashed, and gives the last piece out when all is right. Blocking.
    pub(super) fn advance(&self, file: &SparseFile) -> Outcome {
        let mut buffer = Vec::new();
        loop {
            // who looks how far it is waits for one piece at most
            let mut state = locked(&self.state);
            let Outcome::Open(next) = state.outcome else { break };
            if next >= self.pieces() || !file.holds_piece(next) {
                break;
            }
            let len = (self.declaration.size - next * PIECE).min(PIECE);
            buffer.resize(usize::try_from(len).unwrap_or_default(), 0);
            // it may leave meanwhile: then it is hashed when it comes again
            if file.read_piece(&mut buffer, next).unwrap_or_default() != buffer.len() {
                break;
            }
            state.take(&self.declaration, next, &buffer);
        }
        let state = locked(&self.state);
        if state.outcome == Outcome::Right {
            file.give_out();
        }
        state.outcome
    }

    /// Withholds the last piece until all is known to be right.
    pub(super) fn withhold(&self, file: &SparseFile) {
        let state = locked(&self.state);
        if state.outcome != Outcome::Right {
            file.withhold_last();
        }
    }

    /// How far it is.
    #[cfg(test)]
    fn outcome(&self) -> Outcome {
        locked(&self.state).outcome
    }

    /// The first piece that is missing of the proof; `None` when all before the last were hashed.
    pub(super) fn missing(&self) -> Option<u64> {
        match locked(&self.state).outcome {
            Outcome::Open(next) if next + 1 < self.pieces() => Some(next),
            _ => None,
        }
    }

    /// Where its last piece begins: up to there somebody may read without a proof.
    pub(super) fn last_piece(&self) -> u64 {
        self.pieces().saturating_sub(1)
    }

    /// Whether to fetch what is missing of the proof: not when somebody does already. [`Passage::end_proving`] follows.
    pub(super) fn begin_proving(&self) -> bool {
        let begins = self.missing().is_some();
        begins && !std::mem::replace(&mut locked(&self.state).is_proving, true)
    }

    /// Nobody fetches what is missing any more.
    pub(super) fn end_proving(&self) {
        locked(&self.state).is_proving = false;
    }
}

impl Progress {
    /// The next piece, in order.
    fn take(&mut self, declaration: &FileDeclaration, next: u64, bytes: &[u8]) {
        debug_assert_eq!(self.outcome, Outcome::Open(next), "pieces are hashed in order, each once");
        let hash = piece_hash(bytes);
        if self.hashes.get_or_set(next, hash) != hash {
            self.outcome = Outcome::Wrong(None);
            return;
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.outcome = Outcome::Open(next + 1);
        if next + 1 < declaration.size.div_ceil(PIECE) {
            return;
        }
        let Some(found) = self.hasher.take().map(Hasher::finish) else { return };
        let is_right = found.sha1 == declaration.sha1
            && declaration.sha256.is_none_or(|declared| declared == found.sha256);
        self.outcome = match (found.collides, is_right) {
            (true, _) => Outcome::Collides,
            (false, true) => Outcome::Right,
            (false, false) => Outcome::Wrong(Some(found.sha1)),
        };
    }
}

/// One file, and when it was asked for last.
struct Watched {
    passage: Arc<Passage>,
    used: Instant,
}

/// All files that pass through.
#[derive(Default)]
pub(super) struct Passages {
    known: Mutex<HashMap<Sha1Digest, Watched>>,
    /// Held by whoever begins to watch a file.
    beginning: Mutex<()>,
}

impl Passages {
    /// What is known of a file, if it passes through: of this version of it.
    pub(super) fn of(&self, file: &SparseFile) -> Option<Arc<Passage>> {
        let known = locked(&self.known);
        let watched = known.get(file.sha1()).filter(|watched| watched.passage.version == file.version());
        watched.map(|watched| Arc::clone(&watched.passage))
    }

    /// The same for somebody who asks for the file; keeps it known for longer than others.
    pub(super) fn asked(&self, file: &SparseFile, now: Instant) -> Option<Arc<Passage>> {
        let mut all = locked(&self.known);
        let watched = all.get_mut(file.sha1()).filter(|watched| watched.passage.version == file.version())?;
        watched.used = now;
        Some(Arc::clone(&watched.passage))
    }

    /// Lets one at a time begin to watch a file: what the store notes and what is known here belong together.
    pub(super) fn beginning(&self) -> MutexGuard<'_, ()> {
        locked(&self.beginning)
    }

    /// Begins to watch a file. What is held of it may have been given out already; it is hashed like what comes.
    ///
    /// # Errors
    /// When the hashes of what is held cannot be read.
    pub(super) fn begin(
        &self,
        declaration: &FileDeclaration,
        file: &SparseFile,
        now: Instant,
    ) -> Result<(), ContentError> {
        let passage = Arc::new(Passage::new(declaration.clone(), file.version()));
        passage.withhold(file);
        for piece in file.held_pieces() {
            for hash in file.piece_hashes(piece, piece + 1)? {
                // one that is just being released has none
                if hash != PieceHash::default() {
                    locked(&passage.state).hashes.get_or_set(piece, hash);
                }
            }
        }
        let mut all = locked(&self.known);
        let pieces =
            |all: &HashMap<Sha1Digest, Watched>| all.values().map(|one| one.passage.pieces()).sum::<u64>();
        while all.len() >= MAX_PASSAGES || (!all.is_empty() && pieces(&all) + passage.pieces() > MAX_PIECES) {
            let oldest = all.iter().min_by_key(|(_, watched)| watched.used).map(|(sha1, _)| *sha1);
            oldest.and_then(|sha1| all.remove(&sha1));
        }
        all.insert(declaration.sha1, Watched { passage, used: now });
        Ok(())
    }

    /// Everything begins anew: the bytes were wrong.
    pub(super) fn forget(&self, file: &SparseFile) {
        let mut known = locked(&self.known);
        if known.get(file.sha1()).is_some_and(|watched| watched.passage.version == file.version()) {
            known.remove(file.sha1());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha1::Digest as _;

    fn declaration(bytes: &[u8]) -> FileDeclaration {
        let sha1 = Sha1Digest(sha1::Sha1::digest(bytes).into());
        FileDeclaration { sha1, sha256: None, size: bytes.len() as u64, name: String::new(), patching: None }
    }

    fn feed(passage: &Passage, bytes: &[u8]) -> Outcome {
        for (piece, bytes) in (0..).zip(bytes.chunks(65_536)) {
            let mut state = locked(&passage.state);
            if state.outcome == Outcome::Open(piece) {
                state.take(&passage.declaration, piece, bytes);
            }
        }
        passage.outcome()
    }

    #[test]
    fn the_digests_decide_and_then_each_piece_is_known() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let mut wrong = bytes.clone();
        wrong[100_000] ^= 1;
        let passage = Passage::new(declaration(&bytes), 0);
        assert_eq!((passage.missing(), passage.last_piece()), (Some(0), 3));
        assert_eq!(feed(&passage, &bytes[..131_072]), Outcome::Open(2));
        assert_eq!(feed(&passage, &bytes), Outcome::Right);
        assert_eq!(passage.arrived(1, piece_hash(&bytes[65_536..131_072])), Arrival::Fits);
        assert_eq!(passage.arrived(1, piece_hash(&wrong[65_536..131_072])), Arrival::Damaged);
        let passage = Passage::new(declaration(&bytes), 0);
        assert!(
            matches!(feed(&passage, &wrong), Outcome::Wrong(Some(found)) if found != declaration(&bytes).sha1)
        );
    }

    #[test]
    fn a_piece_that_comes_twice_must_be_the_same() {
        let bytes = vec![7; 200_000];
        let passage = Passage::new(declaration(&bytes), 0);
        assert_eq!(passage.arrived(2, [1; 16]), Arrival::Fits);
        assert_eq!(
            (passage.arrived(2, [1; 16]), passage.arrived(2, [2; 16])),
            (Arrival::Fits, Arrival::Contradicts)
        );
        // nor is one hashed that is not the one which was given out
        assert_eq!(feed(&passage, &bytes), Outcome::Wrong(None));
    }

    #[test]
    fn one_at_a_time_fetches_what_is_missing() {
        let passage = Passage::new(declaration(&vec![7; 200_000]), 0);
        assert!(passage.begin_proving() && !passage.begin_proving());
        passage.end_proving();
        assert!(passage.begin_proving());
        passage.end_proving();
        feed(&passage, &vec![7; 196_608]);
        assert!(!passage.begin_proving(), "only the last is missing");
    }
}
