//! What `fuzz/` reaches of this room: cookies that come back. **Invariant:** it is never part of the product.

use uuid::Uuid;

use super::cookie::Claims;
use crate::cookie::{Kind, Sealer};
use tailwater_catalog::SEAL_KEY;

/// Opens bytes as a cookie, and as what a right seal could hold.
pub fn cookies(data: &[u8]) {
    let sealer = Sealer::fixed([7; SEAL_KEY], Uuid::nil());
    let _ = Claims::open(&sealer, Kind::Service, data);
    for version in 1..=2 {
        let _ = Claims::open(&sealer, Kind::Service, &sealer.seal_as(version, Kind::Service, data));
    }
}
