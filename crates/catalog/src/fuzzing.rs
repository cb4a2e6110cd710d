//! What `fuzz/` reaches of this room: records of segments and of the index, and dumps. **Invariant:** it is never part
//! of the product.

use crate::storage::segment::codec::Codec;
use crate::storage::segment::frame;
use crate::storage::{manifest, record};
use crate::values::computer::{Computer, Event, Status};
use crate::values::server::Server;
use tailwater_kv::Kv;

/// Reads bytes as a record of a segment, as such a record with a right checksum, and as what either can hold.
pub fn records(data: &[u8]) {
    if let Ok((header, payload)) = frame::check(data, 0, 0) {
        let _ = Codec::default().decode(&header, payload);
    }
    let mut sealed = data.to_vec();
    if let Some(header) = frame::Header::read(data) {
        let end = frame::HEADER + header.stored;
        if let Some(checked) = data.get(4..end) {
            sealed[..4].copy_from_slice(&crc32fast::hash(checked).to_le_bytes());
            if let Ok((header, payload)) = frame::check(&sealed, 0, 0) {
                let _ = Codec::default().decode(&header, payload);
            }
        }
    }
    let _ = manifest::decode_block(data);
    let _ = record::Journal::decode(data);
    let _ = record::decode::<record::ActivationRecord>('a', data);
    let _ = record::decode::<record::Location>('m', data);
    let _ = record::decode::<record::Generation>('g', data);
    let _ = record::decode::<Computer>('c', data);
    let _ = record::decode::<Status>('t', data);
    let _ = record::decode::<Event>('e', data);
    let _ = record::decode::<Server>('S', data);
    let _ = Kv::memory().load(&mut &*data);
}
