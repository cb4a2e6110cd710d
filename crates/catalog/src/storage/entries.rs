//! Entries of the index of one kind.
//!
//! **Invariant:** they come in the order of their keys. It never decodes one.

use crate::error::CatalogError;
use tailwater_kv::Kv;

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// All entries of a kind.
pub(crate) fn entries(kv: &Kv, prefix: &[u8]) -> Result<Vec<Entry>, CatalogError> {
    let mut found = Vec::new();
    kv.scan(prefix, |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        true
    })?;
    Ok(found)
}
