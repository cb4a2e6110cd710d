//! One record of a segment: twelve bytes of header, then the payload.
//!
//! `crc32 of what follows (4) · payload length (3) · raw length (3) · kind (1) · dictionary (1) · payload`,
//! numbers in little endian.
//!
//! **Invariant:** a record whose checksum does not match is never handed out. It never holds more than
//! [`MAX_RAW`] bytes of text; larger texts are several records in a row.

use crate::error::CatalogError;
use crate::values::part::FRAME_BYTES;
use tailwater_domain::{Limit, limits};

/// Bytes of the header.
pub(crate) const HEADER: usize = 12;
/// The most raw bytes in one record that is not part of a large text: a block of manifests may exceed a
/// frame, but must fit the 24 bits of its length. More is an error before anything is written.
pub(crate) const MAX_RAW: usize = (1 << 24) - 1;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_RAW in "bytes": "A record of a segment" => "it is refused before it is written",
];

const _: () = assert!((FRAME_BYTES as usize) < MAX_RAW, "a frame's length fits its header");

/// The payload is the text itself.
pub(crate) const STORED: u8 = 255;
/// The payload was compressed without a dictionary.
pub(crate) const PLAIN: u8 = 0;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A dictionary: its number, then its bytes.
    Dictionary = 1,
    /// What the index must know of several revisions.
    Manifest = 2,
    /// A generation became active.
    Activation = 3,
    /// Decisions of administrators, as index operations.
    Journal = 4,
    /// A text, or a frame of one.
    Text = 5,
}

impl Kind {
    pub(super) fn of(byte: u8) -> Option<Self> {
        [Self::Dictionary, Self::Manifest, Self::Activation, Self::Journal, Self::Text]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A record's header, read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    crc: u32,
    pub stored: usize,
    pub raw: usize,
    pub kind: u8,
    pub dictionary: u8,
}

fn u24(bytes: &[u8]) -> usize {
    bytes.iter().take(3).rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

impl Header {
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let crc = u32::from_le_bytes(*header.first_chunk()?);
        Some(Self {
            crc,
            stored: u24(&header[4..7]),
            raw: u24(&header[7..10]),
            kind: header[10],
            dictionary: header[11],
        })
    }
}

/// Checks a record whose length the index knows. Early versions wrote longer ones than their header can say: what the
/// header lacks is then the upper bits of the length.
pub(crate) fn check_whole(record: &[u8], segment: u32, offset: u64) -> Result<(Header, &[u8]), CatalogError> {
    let damaged = CatalogError::Damaged { segment, offset };
    let (Some(mut header), Some(payload)) = (Header::read(record), record.get(HEADER..)) else {
        return Err(damaged);
    };
    if payload.len() & MAX_RAW != header.stored || crc32fast::hash(&record[4..]) != header.crc {
        return Err(damaged);
    }
    header.stored = payload.len();
    Ok((header, payload))
}

/// Checks a whole record and gives its header and payload.
pub(crate) fn check(record: &[u8], segment: u32, offset: u64) -> Result<(Header, &[u8]), CatalogError> {
    let damaged = CatalogError::Damaged { segment, offset };
    let Some(header) = Header::read(record) else { return Err(damaged) };
    let end = HEADER + header.stored;
    match record.get(4..end) {
        Some(checked) if crc32fast::hash(checked) == header.crc => Ok((header, &record[HEADER..end])),
        _ => Err(damaged),
    }
}

/// Appends a record to `out`.
///
/// # Errors
/// When a length does not fit the 24 bits that the header has for it; `out` is as it was.
pub(super) fn write(
    out: &mut Vec<u8>,
    kind: Kind,
    dictionary: u8,
    raw: usize,
    payload: &[u8],
) -> Result<(), CatalogError> {
    let longest = raw.max(payload.len());
    if longest > MAX_RAW {
        return Err(CatalogError::RecordTooLarge { len: longest as u64, limit: MAX_RAW as u64 });
    }
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&payload.len().to_le_bytes()[..3]);
    out.extend_from_slice(&raw.to_le_bytes()[..3]);
    out.extend_from_slice(&[kind as u8, dictionary]);
    out.extend_from_slice(payload);
    let crc = crc32fast::hash(&out[at + 4..]);
    out[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_was_written_and_any_flipped_bit_is_noticed() {
        let mut record = Vec::new();
        write(&mut record, Kind::Text, STORED, 5, b"hello").unwrap();
        let (header, payload) = check(&record, 1, 0).unwrap();
        assert_eq!((header.raw, header.kind, header.dictionary, payload), (5, 5, STORED, &b"hello"[..]));
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bad, 1, 0).is_err(), "bit {bit}");
        }
        for len in 0..record.len() {
            assert!(check(&record[..len], 1, 0).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn lengths_beyond_the_header_are_errors_and_write_nothing() {
        for (raw, stored, fits) in [
            (0, 0, true),
            (MAX_RAW - 1, 1, true),
            (MAX_RAW, MAX_RAW, true),
            (MAX_RAW + 1, 1, false),
            (1, MAX_RAW + 1, false),
            (usize::MAX, 1, false),
        ] {
            let mut out = b"before".to_vec();
            let written = write(&mut out, Kind::Manifest, PLAIN, raw, &vec![7; stored]);
            assert_eq!(written.is_ok(), fits, "{raw} {stored}");
            if fits {
                let (header, payload) = check(&out[6..], 1, 0).unwrap();
                assert_eq!((header.raw, header.stored, payload.len()), (raw, stored, stored));
            } else {
                assert!(matches!(written, Err(CatalogError::RecordTooLarge { .. })));
                assert_eq!(out, b"before");
            }
        }
    }
}
