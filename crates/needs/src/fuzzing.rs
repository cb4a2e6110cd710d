//! What `fuzz/` reaches of this room: rows that were kept. **Invariant:** it is never part of the product.

/// Reads bytes as rows of every kind.
pub fn rows(data: &[u8]) {
    super::store::read_any(data);
}
