//! Keys of encrypted payloads that came from the upstream ([MS-WSUSSS] 3.1.4.18).
//!
//! **Invariant:** keys are journaled like decisions, so that an index rebuilt from the segments has them; what was withheld
//! for one is offered by itself once it came. A key that is known is never given up for none.

use std::sync::Arc;

use super::decider::Decider;
use crate::error::CatalogError;
use crate::storage::record::key;
use crate::values::payload_key::PayloadKey;
use tailwater_domain::{DecryptionKey, Sha1Digest};

impl Decider {
    pub(crate) fn keep_keys(
        &self,
        told: Vec<(Sha1Digest, Option<DecryptionKey>)>,
    ) -> Result<usize, CatalogError> {
        self.changes().run(|_, change| {
            let mut keys = Arc::clone(&change.decisions.keys);
            for (sha1, key) in told {
                // a key that is held is not given up for none
                if keys.get(&sha1).is_none_or(|known| key.is_some() && known.key != key) {
                    let known = PayloadKey { key, change: change.number() };
                    change.ops.push((key::payload_key(&sha1), Some(known.encode()?)));
                    Arc::make_mut(&mut keys).insert(sha1, known);
                }
            }
            change.decisions.keys = keys;
            Ok(change.ops.len())
        })
    }
}
