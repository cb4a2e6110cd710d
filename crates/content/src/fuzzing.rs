//! What `fuzz/` reaches of this room: heads of piece maps. **Invariant:** it is never part of the product.

/// Reads bytes as the head of a piece map.
pub fn map(data: &[u8]) {
    super::map::read_any(data);
}
