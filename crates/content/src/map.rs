//! The map beside a payload: a header that says what the file is, and 16 bytes of hash for each piece.
//!
//! **Invariant:** an entry of zeros means the piece is missing; any other entry is the truncated BLAKE3 of
//! the piece's bytes. A header whose checksum is wrong makes the whole map worthless. It never says where
//! bytes came from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use tailwater_domain::{Limit, Sha1Digest, Sha256Digest, limits};

/// Bytes in a piece, the unit of what is held; a file's last piece may be shorter.
pub const PIECE: u64 = 64 * 1024;

/// Bytes of hash kept for a piece.
pub(super) const HASH: usize = 16;

/// What a piece is known by: the first 16 bytes of its BLAKE3.
pub type PieceHash = [u8; HASH];

/// Where the entries begin.
const HEADER: usize = 128;

const MAGIC: &[u8; 8] = b"TWPIECES";
const VERSION: u32 = 1;

const HAS_SHA256: u8 = 1;
const VERIFIED: u8 = 2;

/// Entries read at once when a map is opened.
const READ_AT_ONCE: usize = 16 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    READ_AT_ONCE in "entries": "Entries of a piece map read at once" => "they are read in further steps",
];

// not a limit: PIECE: the unit of what is held

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) sha1: Sha1Digest,
    pub(super) sha256: Option<Sha256Digest>,
    pub(super) size: u64,
    pub(super) verified: bool,
}

/// The hash of a piece, never all zeros in practice (1 in 2^128).
pub fn hash(piece: &[u8]) -> PieceHash {
    let mut short = [0; HASH];
    short.copy_from_slice(&blake3::hash(piece).as_bytes()[..HASH]);
    short
}

/// How many pieces a file of `size` bytes has.
pub(super) fn pieces(size: u64) -> u64 {
    size.div_ceil(PIECE)
}

/// The length of piece `index` of a file of `size` bytes; 0 beyond its end.
pub(super) fn piece_len(size: u64, index: u64) -> u64 {
    size.saturating_sub(index.saturating_mul(PIECE)).min(PIECE)
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut raw = [0; HEADER];
        raw[..8].copy_from_slice(MAGIC);
        raw[8..12].copy_from_slice(&VERSION.to_le_bytes());
        raw[16..24].copy_from_slice(&self.size.to_le_bytes());
        raw[24..44].copy_from_slice(&self.sha1.0);
        if let Some(sha256) = self.sha256 {
            raw[44] |= HAS_SHA256;
            raw[48..80].copy_from_slice(&sha256.0);
        }
        if self.verified {
            raw[44] |= VERIFIED;
        }
        let sum = crc32fast::hash(&raw[..124]);
        raw[124..].copy_from_slice(&sum.to_le_bytes());
        raw
    }

    fn decode(raw: &[u8; HEADER]) -> Option<Self> {
        let sum = crc32fast::hash(&raw[..124]);
        let version = u32::from_le_bytes(raw[8..12].try_into().ok()?);
        if &raw[..8] != MAGIC || version != VERSION || raw[124..] != sum.to_le_bytes() {
            return None;
        }
        let sha256 = raw[48..80].try_into().ok().map(Sha256Digest)?;
        Some(Self {
            sha1: raw[24..44].try_into().ok().map(Sha1Digest)?,
            sha256: (raw[44] & HAS_SHA256 != 0).then_some(sha256),
            size: u64::from_le_bytes(raw[16..24].try_into().ok()?),
            verified: raw[44] & VERIFIED != 0,
        })
    }

    /// Reads the header; `None` when the map is damaged or of another kind.
    pub(super) fn read(map: &File) -> io::Result<Option<Self>> {
        let mut raw = [0; HEADER];
        match map.read_exact_at(&mut raw, 0) {
            Ok(()) => Ok(Self::decode(&raw)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the header in place.
    pub(super) fn write(&self, map: &File) -> io::Result<()> {
        map.write_all_at(&self.encode(), 0)
    }
}

/// Writes the entry of one piece.
pub(super) fn write_entry(map: &File, index: u64, entry: [u8; HASH]) -> io::Result<()> {
    map.write_all_at(&entry, HEADER as u64 + index * HASH as u64)
}

/// Reads the entries `first..end`.
pub(super) fn read_entries(map: &File, first: u64, end: u64) -> io::Result<Vec<PieceHash>> {
    let count = usize::try_from(end.saturating_sub(first)).unwrap_or_default();
    let mut entries = vec![[0; HASH]; count];
    map.read_exact_at(entries.as_flattened_mut(), HEADER as u64 + first * HASH as u64)?;
    Ok(entries)
}

/// Calls `each` with every piece that is held, in order.
pub(super) fn each_held(map: &File, size: u64, mut each: impl FnMut(u64, [u8; HASH])) -> io::Result<()> {
    let mut raw = vec![0; READ_AT_ONCE * HASH];
    let mut index = 0;
    let count = pieces(size);
    while index < count {
        let got = read_up_to(map, &mut raw, HEADER as u64 + index * HASH as u64)?;
        for entry in raw[..got].chunks_exact(HASH).take(usize::try_from(count - index).unwrap_or(usize::MAX))
        {
            if entry.iter().any(|&byte| byte != 0) {
                let mut hash = [0; HASH];
                hash.copy_from_slice(entry);
                each(index, hash);
            }
            index += 1;
        }
        if got < raw.len() {
            break;
        }
    }
    Ok(())
}

/// Fills as much of `buffer` as the file has from `offset`.
pub(super) fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Reads bytes as a header, and as one whose checksum is right.
#[cfg(fuzzing)]
pub(super) fn read_any(bytes: &[u8]) {
    let Some(mut raw) = bytes.first_chunk::<HEADER>().copied() else { return };
    let _ = Header::decode(&raw);
    raw[..8].copy_from_slice(MAGIC);
    raw[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let sum = crc32fast::hash(&raw[..124]);
    raw[124..].copy_from_slice(&sum.to_le_bytes());
    let Some(header) = Header::decode(&raw) else { return };
    let last = pieces(header.size).saturating_sub(1);
    assert!(piece_len(header.size, last) <= PIECE && piece_len(header.size, last + 1) == 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            sha1: Sha1Digest([7; 20]),
            sha256: Some(Sha256Digest([9; 32])),
            size: 3 * PIECE + 1,
            verified: false,
        }
    }

    #[test]
    fn a_header_reads_back_and_a_damaged_one_does_not() {
        let file = tempfile::tempfile().unwrap();
        header().write(&file).unwrap();
        assert_eq!(Header::read(&file).unwrap(), Some(header()));
        file.write_all_at(&[1], 20).unwrap();
        assert_eq!(Header::read(&file).unwrap(), None);
    }

    #[test]
    fn only_written_entries_count_as_held() {
        let file = tempfile::tempfile().unwrap();
        header().write(&file).unwrap();
        write_entry(&file, 1, hash(b"one")).unwrap();
        write_entry(&file, 3, hash(b"three")).unwrap();
        let mut held = Vec::new();
        each_held(&file, header().size, |index, entry| held.push((index, entry))).unwrap();
        assert_eq!(held, vec![(1, hash(b"one")), (3, hash(b"three"))]);
    }

    #[test]
    fn the_last_piece_is_as_long_as_what_is_left() {
        let table = [(0, 0, 0), (1, 1, 1), (PIECE, 1, PIECE), (PIECE + 1, 2, 1), (3 * PIECE, 3, PIECE)];
        for (size, count, last) in table {
            assert_eq!(pieces(size), count, "{size}");
            assert_eq!(piece_len(size, count.saturating_sub(1)), last, "{size}");
        }
        assert_eq!(piece_len(10, 5), 0);
    }
}
