//! Payloads that need no disk: every byte follows from a key and its place.

use std::sync::OnceLock;

use sha1::Digest as _;

use tailwater_domain::{Sha1Digest, Sha256Digest};

/// Bytes made at a time.
const BLOCK: usize = 64 * 1024;

/// A generated file.
pub(super) struct Payload {
    pub(super) name: String,
    pub(super) size: u64,
    /// `PatchingType`, where it has one.
    pub(super) patching: Option<&'static str>,
    key: u64,
    digests: OnceLock<(Sha1Digest, Sha256Digest)>,
}

/// A number that looks random and follows from `value`.
pub(super) fn mixed(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Payload {
    pub(super) fn new(name: String, size: u64, key: u64, patching: Option<&'static str>) -> Self {
        Self { name, size: size.max(1), patching, key, digests: OnceLock::new() }
    }

    /// Fills `out` with what stands at `offset`.
    pub(super) fn fill(&self, offset: u64, out: &mut [u8]) {
        let word = |index: u64| mixed(self.key ^ mixed(index)).to_le_bytes();
        let skip = usize::try_from(offset % 8).unwrap_or(0);
        let mut index = offset / 8;
        let (head, body) = out.split_at_mut(out.len().min((8 - skip) % 8));
        if !head.is_empty() {
            head.copy_from_slice(&word(index)[skip..skip + head.len()]);
            index += 1;
        }
        for chunk in body.chunks_mut(8) {
            chunk.copy_from_slice(&word(index)[..chunk.len()]);
            index += 1;
        }
    }

    /// Its digests; made on first use, which takes about a second a gigabyte.
    pub(super) fn digests(&self) -> (Sha1Digest, Sha256Digest) {
        *self.digests.get_or_init(|| {
            let (mut sha1, mut sha256) = (sha1::Sha1::new(), sha2::Sha256::new());
            let mut block = vec![0; BLOCK];
            let mut offset = 0;
            while offset < self.size {
                let part = usize::try_from(self.size - offset).unwrap_or(BLOCK).min(BLOCK);
                self.fill(offset, &mut block[..part]);
                sha1.update(&block[..part]);
                sha256.update(&block[..part]);
                offset += part as u64;
            }
            (Sha1Digest(sha1.finalize().into()), Sha256Digest(sha256.finalize().into()))
        })
    }

    /// `.cab`, or nothing.
    pub(super) fn extension(&self) -> &str {
        self.name.rfind('.').map_or("", |dot| &self.name[dot..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_is_a_part_of_the_whole() {
        let payload = Payload::new("a.cab".to_owned(), 1_000, 7, None);
        let mut whole = vec![0; 1_000];
        payload.fill(0, &mut whole);
        for (from, to) in [(0, 1), (1, 9), (5, 999), (8, 16), (13, 14), (3, 5), (999, 1_000)] {
            let mut part = vec![0; to - from];
            payload.fill(from as u64, &mut part);
            assert_eq!(part, whole[from..to], "{from}..{to}");
        }
        assert_eq!(payload.digests().0.0, <[u8; 20]>::from(sha1::Sha1::digest(&whole)));
    }
}
