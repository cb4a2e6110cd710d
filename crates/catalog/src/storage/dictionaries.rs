//! Dictionaries that texts are compressed with: read when a store is opened, each from its record or from its copy.
//!
//! **Invariant:** a dictionary that cannot be read keeps its number, so that no other one is ever taken for it. What lacks
//! one is missing, and nothing else.

use super::record::{self, Location, key};
use super::segment::Segments;
use super::segment::codec::Codec;
use super::segment::frame::Kind;
use crate::error::CatalogError;
use tailwater_kv::{Batch, Kv};

pub(crate) fn load_dictionaries(kv: &Kv, segments: &Segments, codec: &Codec) -> Result<(), CatalogError> {
    let mut places = Vec::new();
    kv.scan(b"z", |key, value| {
        places.push((key.get(1).copied(), record::decode::<Location>('z', value)));
        true
    })?;
    for (number, place) in places {
        let Some(number) = number else { continue };
        // whatever becomes of it: its number is taken
        codec.reserve(number);
        let copy = kv.get(&key::dictionary_copy(number))?;
        match segments.record(Kind::Dictionary, place?, codec) {
            Ok(content) => {
                codec.add(number, content.get(1..).unwrap_or_default());
                if copy.is_none() {
                    keep_copy(kv, number, &content);
                }
            }
            Err(error @ CatalogError::Damaged { .. }) => {
                if let Some(content) = copy.as_deref().and_then(checked_copy) {
                    tracing::warn!(number, %error, "a dictionary is damaged; its copy is used");
                    codec.add(number, content.get(1..).unwrap_or_default());
                } else {
                    tracing::error!(number, %error, "a dictionary is damaged: what needs it is missing");
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A copy of a dictionary for the index: a checksum, and the content of its record.
pub(crate) fn copy_of(content: &[u8]) -> Vec<u8> {
    let mut copy = crc32fast::hash(content).to_le_bytes().to_vec();
    copy.extend_from_slice(content);
    copy
}

fn checked_copy(copy: &[u8]) -> Option<&[u8]> {
    let (crc, content) = copy.split_first_chunk()?;
    (crc32fast::hash(content) == u32::from_le_bytes(*crc)).then_some(content)
}

/// Earlier versions kept no copy. That there is none yet stops nothing.
fn keep_copy(kv: &Kv, number: u8, content: &[u8]) {
    let mut batch = Batch::default();
    batch.put(key::dictionary_copy(number), copy_of(content));
    if let Err(error) = kv.apply(&batch) {
        tracing::warn!(number, %error, "a dictionary could not be copied into the index");
    }
}
