//! The key of an encrypted payload ([MS-WSUSSS] 3.1.1), and which ones a revision needs.
//!
//! **Invariant:** that an upstream has no key for a payload is known as well, and is not the same as not knowing. A key is
//! never part of what is shown.

use std::collections::HashMap;

use crate::error::CatalogError;
use crate::storage::record;
use tailwater_domain::{DecryptionKey, Sha1Digest};

/// Payloads that the upstream was asked about.
pub(crate) type Keys = HashMap<Sha1Digest, PayloadKey>;

/// What the upstream said of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PayloadKey {
    /// None where it has no key for it.
    pub key: Option<DecryptionKey>,
    /// Change number at which that became known.
    pub change: u64,
}

/// The payloads of a revision that keys are needed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secured {
    pub files: Vec<Sha1Digest>,
    /// They are marked as encrypted: each needs a key. Else the upstream's word that there is none is enough.
    pub marked: bool,
}

impl Secured {
    /// Whether something is missing.
    pub(crate) fn lacks(&self, keys: &Keys) -> bool {
        self.files.iter().any(|file| match keys.get(file) {
            None => true,
            Some(known) => self.marked && known.key.is_none(),
        })
    }

    /// Change number at which the last of what is known became known.
    pub(crate) fn changed_at(&self, keys: &Keys) -> u64 {
        self.files.iter().filter_map(|file| keys.get(file)).map(|known| known.change).max().unwrap_or(0)
    }
}

impl PayloadKey {
    /// As the index has it; the key is empty where there is none.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, CatalogError> {
        record::encode(&(self.key.as_ref().map_or(&[][..], DecryptionKey::bytes), self.change))
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, CatalogError> {
        let (bytes, change) = record::decode('K', value)?;
        Ok(Self { key: DecryptionKey::new(bytes), change })
    }
}
