//! Both digests of a payload in one pass.
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
use crate::domain::{Sha1Digest, Sha256Digest};

/// Bytes read at once: what fits the processor's second-level cache.
const CHUNK: usize = 256 * 1024;

// not a limit: CHUNK: how much is read at once

/// Reads `size` bytes and computes SHA-1 and SHA-256.
pub(super) fn digests(data: &File, size: u64) -> io::Result<(Sha1Digest, Sha256Digest)> {
    let _ = rustix::fs::fadvise(data, 0, NonZeroU64::new(size), Advice::Sequential);
    let (mut sha1, mut sha256) = (Sha1::new(), Sha256::new());
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < size {
        let want = usize::try_from(size - offset).unwrap_or(CHUNK).min(CHUNK);
        let got = read_up_to(data, &mut buffer[..want], offset)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sha1.update(&buffer[..got]);
        sha256.update(&buffer[..got]);
        offset += got as u64;
    }
    Ok((Sha1Digest(sha1.finalize().into()), Sha256Digest(sha256.finalize().into())))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn both_digests_are_those_of_the_standard() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        let (sha1, sha256) = digests(&file, 3).unwrap();
        assert_eq!(sha1.hex(), "A9993E364706816ABA3E25717850C26C9CD0D89D");
        assert_eq!(sha256.hex(), "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD");
        assert!(digests(&file, 4).is_err());
    }
}
