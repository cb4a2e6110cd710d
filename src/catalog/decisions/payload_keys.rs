//! The keys of encrypted payloads ([MS-WSUSSS] 3.1.1, [MS-WUSP] 2.2.2.2.10): which are held, which are missing.
//!
//! **Invariant:** a revision with an encrypted payload is offered to nobody while its key is missing, and by itself once
//! it came. Keys are journaled like decisions, so that an index rebuilt from the segments has them. They are read by
//! the answers that need them and by nothing that people see.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use crate::catalog::Catalog;
use crate::catalog::decisions::decided::entries;
use crate::catalog::error::CatalogError;
use crate::catalog::ingest::staging::Staging;
use crate::catalog::snapshot::root::Snapshot;
use crate::catalog::storage::log::Store;
use crate::catalog::storage::record;
use crate::catalog::storage::record::key;
use crate::domain::{DecryptionKey, RevisionId, Sha1Digest, UpdateIdentity};
use crate::kv::Kv;

/// Payloads that the upstream was asked about.
pub(in crate::catalog) type Keys = HashMap<Sha1Digest, Kept>;

/// What the upstream said of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::catalog) struct Kept {
    /// None where it has no key for it.
    key: Option<DecryptionKey>,
    /// Change number at which that became known.
    change: u64,
}

/// The payloads of a revision that keys are needed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::catalog) struct Secured {
    pub files: Vec<Sha1Digest>,
    /// They are marked as encrypted: each needs a key. Else the upstream's word that there is none is enough.
    pub marked: bool,
}

impl Secured {
    /// Whether something is missing.
    pub(in crate::catalog) fn lacks(&self, keys: &Keys) -> bool {
        self.files.iter().any(|file| match keys.get(file) {
            None => true,
            Some(kept) => self.marked && kept.key.is_none(),
        })
    }

    /// Change number at which the last of what is known became known.
    pub(in crate::catalog) fn changed_at(&self, keys: &Keys) -> u64 {
        self.files.iter().filter_map(|file| keys.get(file)).map(|kept| kept.change).max().unwrap_or(0)
    }
}

impl Kept {
    /// As the index has it; the key is empty where there is none.
    fn encode(&self) -> Result<Vec<u8>, CatalogError> {
        record::encode(&(self.key.as_ref().map_or(&[][..], DecryptionKey::bytes), self.change))
    }

    fn decode(value: &[u8]) -> Result<Self, CatalogError> {
        let (bytes, change) = record::decode('K', value)?;
        Ok(Self { key: DecryptionKey::new(bytes), change })
    }
}

/// What the index holds.
pub(in crate::catalog) fn load(kv: &Kv) -> Result<Keys, CatalogError> {
    let mut found = Keys::new();
    for (name, value) in entries(kv, b"K")? {
        let Some(sha1) = name.get(1..).and_then(|bytes| bytes.try_into().ok()) else { continue };
        found.insert(Sha1Digest(sha1), Kept::decode(&value)?);
    }
    Ok(found)
}

/// A revision with keys to be asked for, and its payloads that they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedKeys {
    /// Which revision.
    pub identity: UpdateIdentity,
    /// Its payloads. All are marked as encrypted, or any may be.
    pub files: Vec<Sha1Digest>,
}

impl Snapshot {
    /// The keys of a revision's encrypted payloads, in the order of its document; those that are missing too.
    pub fn payload_keys(&self, id: RevisionId) -> Vec<(Sha1Digest, Option<&DecryptionKey>)> {
        let Some(secured) = self.world().secured.get(&id.0) else { return Vec::new() };
        let keys = &self.view().decisions.keys;
        let found =
            secured.files.iter().map(|file| (*file, keys.get(file).and_then(|kept| kept.key.as_ref())));
        found.filter(|(_, key)| secured.marked || key.is_some()).collect()
    }

    /// Whether payloads of this revision are encrypted.
    pub fn is_encrypted(&self, id: RevisionId) -> bool {
        !self.payload_keys(id).is_empty()
    }

    /// Whether keys are missing, so that this revision is withheld.
    pub fn lacks_keys(&self, id: RevisionId) -> bool {
        self.view().lacks_keys(id.0)
    }
}

impl Staging {
    /// The revisions, active or staged, whose keys are missing. What its publisher withdrew needs none.
    pub fn wanted_keys(&self) -> Vec<WantedKeys> {
        let snapshot = self.0.snapshot();
        let keys = &snapshot.view().decisions.keys;
        let world = snapshot.world();
        let active = world.secured.iter().filter_map(|(id, secured)| {
            let rev =
                world.rev(*id).filter(|rev| !rev.has(crate::catalog::snapshot::world::flag::EXPIRED))?;
            Some((world.identity(rev), secured.clone()))
        });
        let mut wanted: HashMap<UpdateIdentity, Secured> = active.collect();
        let staged = self.0.staged.read().unwrap_or_else(PoisonError::into_inner);
        let secured = staged.iter().filter_map(|(identity, one)| Some((*identity, one.secured.clone()?)));
        wanted.extend(secured.map(|(identity, secured)| (identity, (*secured).clone())));
        drop(staged);
        let lacking = wanted.into_iter().filter(|(_, secured)| secured.lacks(keys));
        let mut found: Vec<WantedKeys> =
            lacking.map(|(identity, secured)| WantedKeys { identity, files: secured.files }).collect();
        found.sort_unstable_by_key(|wanted| wanted.identity);
        found
    }
}

impl Catalog {
    /// Keeps keys durably; none says that the upstream has none. What was withheld for them is offered at once. How
    /// many are new or others than before. Blocks.
    pub fn keep_keys(&self, told: Vec<(Sha1Digest, Option<DecryptionKey>)>) -> Result<usize, CatalogError> {
        self.0.keep_keys(told)
    }
}

impl Store {
    fn keep_keys(&self, told: Vec<(Sha1Digest, Option<DecryptionKey>)>) -> Result<usize, CatalogError> {
        self.change(|_, change| {
            let mut keys = Arc::clone(&change.decisions.keys);
            for (sha1, key) in told {
                // a key that is held is not given up for none
                if keys.get(&sha1).is_none_or(|known| key.is_some() && known.key != key) {
                    let kept = Kept { key, change: change.number };
                    change.ops.push((key::payload_key(&sha1), Some(kept.encode()?)));
                    Arc::make_mut(&mut keys).insert(sha1, kept);
                }
            }
            change.decisions.keys = keys;
            Ok(change.ops.len())
        })
    }
}
