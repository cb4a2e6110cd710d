//! Which keys of encrypted payloads a revision has, and which it lacks.
//!
//! **Invariant:** a revision with an encrypted payload is offered to nobody while its key is missing. Keys are read by the
//! answers that need them and by nothing that people see.

use super::root::Snapshot;
use tailwater_domain::{DecryptionKey, RevisionId, Sha1Digest};

impl Snapshot {
    /// The keys of a revision's encrypted payloads, in the order of its document; those that are missing too.
    pub fn payload_keys(&self, id: RevisionId) -> Vec<(Sha1Digest, Option<&DecryptionKey>)> {
        let Some(secured) = self.world().secured.get(&id.0) else { return Vec::new() };
        let keys = &self.view().decisions.keys;
        let found =
            secured.files.iter().map(|file| (*file, keys.get(file).and_then(|known| known.key.as_ref())));
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
