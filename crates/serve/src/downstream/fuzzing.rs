//! What `fuzz/` reaches of this room: cookies and anchors that come back. **Invariant:** it is never part of the product.

use jiff::Timestamp;
use uuid::Uuid;

use super::anchor::Shown;
use super::session::Claims;
use crate::cookie::{Kind, Sealer};
use tailwater_catalog::Place;
use tailwater_catalog::SEAL_KEY;

/// Opens bytes as a cookie or an anchor, and as what a right seal could hold.
pub fn cookies(data: &[u8]) {
    let sealer = Sealer::fixed([7; SEAL_KEY], Uuid::nil());
    let _ = Claims::open(&sealer, Kind::ServerService, data);
    for version in 1..=2 {
        let _ =
            Claims::open(&sealer, Kind::ServerService, &sealer.seal_as(version, Kind::ServerService, data));
    }
    let shown = std::str::from_utf8(data).ok().and_then(Shown::read);
    if let Some(shown) = shown {
        let place = |change| Place { change, mark: 1 };
        let _ = shown.verify(&sealer, Timestamp::UNIX_EPOCH, place, |_| true);
    }
}
