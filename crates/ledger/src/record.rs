//! Records with a length and a checksum: what every file of the ledger is made of.
//!
//! **Invariant:** reading stops at the first record that is not whole; what stands before it counts.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tailwater_domain::{Limit, limits};

/// A record is an hour, a day or the spans ahead: a few megabytes at most.
const MAX_RECORD: usize = 64 * 1024 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_RECORD in "bytes": "A record" => "it counts as damaged",
];

/// Writes a record; says how long it is.
pub(super) fn write(out: &mut impl Write, value: &impl Serialize) -> io::Result<u64> {
    let body = postcard::to_stdvec(value).map_err(io::Error::other)?;
    // what could not be read again is not written
    if body.len() > MAX_RECORD {
        return Err(io::Error::other(format!(
            "a record of {} bytes is longer than {MAX_RECORD}",
            body.len()
        )));
    }
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut record = Vec::with_capacity(body.len() + 8);
    record.extend(length.to_le_bytes());
    record.extend(crc32fast::hash(&body).to_le_bytes());
    record.extend(body);
    out.write_all(&record)?;
    Ok(record.len() as u64)
}

/// Reads the next record; `None` at the end, and where a record is torn or damaged.
pub(super) fn read<T: DeserializeOwned>(input: &mut impl Read) -> io::Result<Option<T>> {
    let mut head = [0; 8];
    if !whole(input, &mut head)? {
        return Ok(None);
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = usize::try_from(word(0)).unwrap_or(usize::MAX);
    if length > MAX_RECORD {
        return Ok(None);
    }
    let mut body = vec![0; length];
    if !whole(input, &mut body)? || crc32fast::hash(&body) != word(4) {
        return Ok(None);
    }
    Ok(postcard::from_bytes(&body).ok())
}

fn whole(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
