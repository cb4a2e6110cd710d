//! The engine-neutral form of an index: every entry in key order, then how many there were.
//!
//! **Invariant:** a dump that was cut short or altered is refused. It never holds texts: those are in the
//! segment files, which need no conversion.

use std::io::{Read, Write};

use super::batch::{Batch, MAX_BATCH, MAX_ENTRY};
use super::error::KvError;
use super::store::Kv;

const MAGIC: &[u8; 8] = b"TWDUMP01";

fn field(out: &mut impl Write, hash: &mut crc32fast::Hasher, bytes: &[u8]) -> std::io::Result<()> {
    let len = u32::try_from(bytes.len()).map_err(|_e| std::io::ErrorKind::InvalidData)?.to_le_bytes();
    hash.update(&len);
    hash.update(bytes);
    out.write_all(&len)?;
    out.write_all(bytes)
}

fn read_field(input: &mut impl Read, hash: &mut crc32fast::Hasher) -> std::io::Result<Option<Vec<u8>>> {
    let mut len = [0; 4];
    input.read_exact(&mut len)?;
    if len == [u8::MAX; 4] {
        return Ok(None);
    }
    let wanted = u32::from_le_bytes(len) as usize;
    // guards against allocating what a damaged dump claims
    if wanted > MAX_ENTRY {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; wanted];
    input.read_exact(&mut bytes)?;
    hash.update(&len);
    hash.update(&bytes);
    Ok(Some(bytes))
}

impl Kv {
    /// Writes every entry. Returns how many.
    pub fn dump(&self, out: &mut impl Write) -> Result<u64, KvError> {
        let mut hash = crc32fast::Hasher::new();
        let mut records = 0;
        let mut outcome = out.write_all(MAGIC);
        self.scan(b"", |key, value| {
            if outcome.is_ok() {
                outcome = field(out, &mut hash, key).and_then(|()| field(out, &mut hash, value));
                records += 1;
            }
            outcome.is_ok()
        })?;
        outcome
            .and_then(|()| out.write_all(&[u8::MAX; 4]))
            .and_then(|()| out.write_all(&hash.finalize().to_le_bytes()))
            .and_then(|()| out.flush())
            .map_err(|source| KvError::Dump { records, source })?;
        Ok(records)
    }

    /// Adds every entry of a dump and flushes. Returns how many. A damaged dump leaves what was read of it:
    /// load into an empty store.
    pub fn load(&self, input: &mut impl Read) -> Result<u64, KvError> {
        let mut records = 0;
        let fail = |records, source| KvError::Dump { records, source };
        let mut magic = [0; 8];
        input.read_exact(&mut magic).map_err(|source| fail(0, source))?;
        if &magic != MAGIC {
            return Err(fail(0, std::io::ErrorKind::InvalidData.into()));
        }
        let mut hash = crc32fast::Hasher::new();
        let mut batch = Batch::default();
        while let Some(key) = read_field(input, &mut hash).map_err(|source| fail(records, source))? {
            let value = read_field(input, &mut hash)
                .and_then(|value| value.ok_or_else(|| std::io::ErrorKind::InvalidData.into()))
                .map_err(|source| fail(records, source))?;
            batch.put(key, value);
            records += 1;
            if batch.len() == MAX_BATCH {
                self.apply(&std::mem::take(&mut batch))?;
            }
        }
        let mut crc = [0; 4];
        input.read_exact(&mut crc).map_err(|source| fail(records, source))?;
        if u32::from_le_bytes(crc) != hash.finalize() {
            return Err(fail(records, std::io::ErrorKind::InvalidData.into()));
        }
        self.apply(&batch)?;
        self.flush()?;
        Ok(records)
    }
}
