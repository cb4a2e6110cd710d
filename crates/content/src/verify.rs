//! Both digests of a payload in one pass.
//!
//! Where metadata declares no SHA-256, SHA-1 alone decides, and files that share one can be made on purpose (`SHAttered`, 2017).
//! Such files carry the marks of the attack inside, so there the hasher also looks for these: at about a third of the speed of
//! both digests without it.
//!
//! **Invariant:** the bytes that are hashed are those on disk, so that what was lost on the way there is
//! noticed. It never runs on the way out to a client.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;

use rustix::fs::Advice;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::map::read_up_to;
use tailwater_domain::{Sha1Digest, Sha256Digest};

/// Bytes read at once: what fits the processor's second-level cache.
const CHUNK: usize = 256 * 1024;

// not a limit: CHUNK: how much is read at once

/// What the bytes of a payload hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// SHA-1 of the bytes as they are.
    pub sha1: Sha1Digest,
    /// SHA-256.
    pub sha256: Sha256Digest,
    /// Whether they were made to share their SHA-1 with other bytes. Only looked for where SHA-1 decides.
    pub collides: bool,
}

/// Computes the digests of bytes that come in order.
pub struct Hasher {
    sha1: Hash1,
    sha256: Sha256,
}

enum Hash1 {
    Plain(Sha1),
    Watching(Box<sha1_checked::Sha1>),
}

impl Hasher {
    /// Nothing hashed yet; `watching` looks for collisions that were made on purpose, where SHA-1 alone decides.
    pub fn new(watching: bool) -> Self {
        let sha1 = if watching {
            // the digest as everybody else computes it: what is found is said beside it
            let hasher = sha1_checked::Sha1::builder().safe_hash(false).build();
            Hash1::Watching(Box::new(hasher))
        } else {
            Hash1::Plain(Sha1::new())
        };
        Self { sha1, sha256: Sha256::new() }
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.sha1 {
            Hash1::Plain(sha1) => sha1.update(bytes),
            Hash1::Watching(sha1) => sha1_checked::Digest::update(sha1.as_mut(), bytes),
        }
        self.sha256.update(bytes);
    }

    /// The digests of all bytes.
    pub fn finish(self) -> Digests {
        let (sha1, collides) = match self.sha1 {
            Hash1::Plain(sha1) => (sha1.finalize().into(), false),
            Hash1::Watching(sha1) => {
                let result = sha1.try_finalize();
                ((*result.hash()).into(), result.has_collision())
            }
        };
        Digests { sha1: Sha1Digest(sha1), sha256: Sha256Digest(self.sha256.finalize().into()), collides }
    }
}

/// Reads `size` bytes and computes their digests; `watching` as for [`Hasher::new`].
pub(super) fn digests(data: &File, size: u64, watching: bool) -> io::Result<Digests> {
    let _ = rustix::fs::fadvise(data, 0, NonZeroU64::new(size), Advice::Sequential);
    let mut hasher = Hasher::new(watching);
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < size {
        let want = usize::try_from(size - offset).unwrap_or(CHUNK).min(CHUNK);
        let got = read_up_to(data, &mut buffer[..want], offset)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&buffer[..got]);
        offset += got as u64;
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::{Config, Store, Verdict};
    use tailwater_domain::{ByteCount, ByteRange, FileDeclaration};
    use tailwater_runtime::Clock;

    /// The two beginnings of the `SHAttered` files, 320 bytes each: with whatever follows, both have one SHA-1.
    fn shattered() -> [Vec<u8>; 2] {
        const HEAD: &str = "255044462d312e330a25e2e3cfd30a0a0a312030206f626a0a3c3c2f57696474682032203020522f4865696768742033\
            203020522f547970652034203020522f537562747970652035203020522f46696c7465722036203020522f436f6c6f72\
            53706163652037203020522f4c656e6774682038203020522f42697473506572436f6d706f6e656e7420383e3e0a7374\
            7265616d0affd8fffe00245348412d3120697320646561642121212121852fec092339759c39b1a1c63c4c97e1fffe01";
        const FIRST: &str = "7346dc9166b67e118f029ab621b2560ff9ca67cca8c7f85ba84c79030c2b3de218f86db3a90901d5df45c14f26fedfb3\
            dc38e96ac22fe7bd728f0e45bce046d23c570feb141398bb552ef5a0a82be331fea48037b8b5d71f0e332edf93ac3500\
            eb4ddc0decc1a864790c782c76215660dd309791d06bd0af3f98cda4bc4629b1";
        const SECOND: &str = "7f46dc93a6b67e013b029aaa1db2560b45ca67d688c7f84b8c4c791fe02b3df614f86db1690901c56b45c1530afedfb7\
            6038e972722fe7ad728f0e4904e046c230570fe9d41398abe12ef5bc942be33542a4802d98b5d70f2a332ec37fac3514\
            e74ddc0f2cc1a874cd0c78305a21566461309789606bd0bf3f98cda8044629a1";
        let bytes = |text: &str| -> Vec<u8> {
            (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
        };
        [FIRST, SECOND].map(|blocks| [bytes(HEAD), bytes(blocks)].concat())
    }

    fn hash(bytes: &[u8], watching: bool, step: usize) -> Digests {
        let mut hasher = Hasher::new(watching);
        bytes.chunks(step).for_each(|chunk| hasher.update(chunk));
        hasher.finish()
    }

    #[test]
    fn both_digests_are_those_of_the_standard() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        for watching in [false, true] {
            let found = digests(&file, 3, watching).unwrap();
            assert_eq!(found.sha1.hex(), "A9993E364706816ABA3E25717850C26C9CD0D89D");
            let sha256 = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
            assert_eq!((found.sha256.hex(), found.collides), (sha256.to_owned(), false));
            assert!(digests(&file, 4, watching).is_err());
        }
    }

    #[test]
    fn a_payload_that_collides_is_kept_only_where_sha256_tells_it_apart() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { dir: dir.path().to_owned(), max_size: None, min_free: ByteCount(0) };
        let store = Store::open(config, Clock::system()).unwrap();
        let [first, second] = shattered();
        let Digests { sha1, sha256, .. } = hash(&first, false, 64);
        let declared = |sha256| FileDeclaration {
            sha1,
            sha256,
            size: 320,
            name: "shattered.cab".to_owned(),
            patching: None,
        };
        let brought = |sha256, bytes: &[u8]| {
            let file = store.prepare(&declared(sha256)).unwrap();
            store.write_piece(&file, 0, bytes).unwrap();
            assert!(!file.holds(ByteRange { start: 0, end: 320 }), "held back until it is known");
            store.finish(&file).unwrap()
        };
        assert_eq!(brought(None, &first), Verdict::Collision);
        assert_eq!(brought(None, &second), Verdict::Collision);
        assert!(store.status(&sha1).is_none_or(|status| status.held == 0), "nothing of it stays");
        assert_eq!(brought(Some(sha256), &second), Verdict::Mismatch { found: sha1 });
        assert_eq!(brought(Some(sha256), &first), Verdict::Verified);
    }

    #[test]
    fn a_last_use_by_a_clock_that_was_ahead_keeps_no_file() {
        const DAY: i64 = 86_400;
        for jump in [-3_650 * DAY, -DAY, -3_600, 3_600, DAY, 3_650 * DAY] {
            for at_start in [true, false] {
                let dir = tempfile::tempdir().unwrap();
                let config = Config {
                    dir: dir.path().to_owned(),
                    max_size: Some(ByteCount(3 * 1024 * 1024)),
                    min_free: ByteCount(0),
                };
                let clock = Clock::manual("2026-11-30T12:00:00Z".parse().unwrap());
                let mut store = Store::open(config.clone(), clock.clone()).unwrap();
                let keep = |store: &Store, seed: u8| {
                    let bytes = vec![seed; 1024 * 1024 + 4096];
                    let Digests { sha1, sha256, .. } = hash(&bytes, false, 65_536);
                    let (sha256, size) = (Some(sha256), bytes.len() as u64);
                    let file = FileDeclaration { sha1, sha256, size, name: String::new(), patching: None };
                    let room = store.make_room(size).unwrap();
                    let file = store.prepare(&file).unwrap();
                    for (index, piece) in (0..).zip(bytes.chunks(65_536)) {
                        store.write_piece(&file, index, piece).unwrap();
                    }
                    drop(room);
                    assert_eq!(store.finish(&file).unwrap(), Verdict::Verified);
                    sha1
                };
                let first = keep(&store, 1);
                let now = clock.now() + jiff::SignedDuration::from_secs(jump);
                if at_start {
                    store.close().unwrap();
                    drop(store);
                    clock.set(now);
                    store = Store::open(config, clock.clone()).unwrap();
                } else {
                    clock.set(now);
                    store.sync().unwrap();
                }
                clock.advance(std::time::Duration::from_secs(5));
                let second = keep(&store, 2);
                clock.advance(std::time::Duration::from_secs(5));
                keep(&store, 3);
                assert!(
                    store.status(&first).is_none(),
                    "{jump} s, at start {at_start}: the first was used first"
                );
                assert!(store.status(&second).is_some(), "{jump} s, at start {at_start}");
                assert!(!store.usage().full);
            }
        }
    }

    #[test]
    fn what_was_made_to_collide_is_seen_however_it_comes() {
        let [first, second] = shattered();
        assert_ne!(first, second);
        for tail in [Vec::new(), b"x".to_vec(), vec![7; 100_000]] {
            let [one, two] = [&first, &second].map(|head| [&head[..], &tail].concat());
            for step in [1, 63, 64, 65, 320, 65_536] {
                let [plain, other] = [&one, &two].map(|bytes| hash(bytes, false, step));
                assert_eq!(plain.sha1, other.sha1, "they do collide");
                assert_ne!(plain.sha256, other.sha256);
                assert!(!plain.collides);
                for (bytes, plain) in [(&one, plain), (&two, other)] {
                    let seen = hash(bytes, true, step);
                    assert_eq!((seen.sha1, seen.sha256), (plain.sha1, plain.sha256), "nothing else changes");
                    assert!(seen.collides, "{} bytes in steps of {step}", bytes.len());
                }
            }
        }
        // one block apart, or cut short, they are as good as any
        for innocent in [first[..256].to_vec(), first[1..].to_vec(), vec![0; 1_000_000]] {
            assert!(!hash(&innocent, true, 4096).collides);
        }
    }
}
