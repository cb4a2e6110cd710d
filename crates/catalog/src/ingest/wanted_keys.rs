//! The keys of encrypted payloads that are missing and to be asked for ([MS-WSUSSS] 3.1.4.18).
//!
//! **Invariant:** what its publisher withdrew needs no key. It never asks anybody.

use std::collections::HashMap;

use super::staging::Staging;
use crate::snapshot::world::{UNSAID, flag};
use crate::values::payload_key::Secured;
use tailwater_domain::{RevisionId, Sha1Digest, UpdateIdentity};

/// A revision with keys to be asked for, and its payloads that they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedKeys {
    /// Which revision.
    pub identity: UpdateIdentity,
    /// Its payloads. All are marked as encrypted, or any may be.
    pub files: Vec<Sha1Digest>,
}

impl Staging {
    /// The active revisions with payloads that were stored before it was noted which of these are encrypted, by number, those
    /// above `after`. What its publisher withdrew needs no key.
    pub fn unsaid_encryption(&self, after: RevisionId) -> Vec<RevisionId> {
        let snapshot = self.0.current().snapshot();
        let world = snapshot.world();
        let numbered = (0..).zip(&world.revs).skip((after.0 as usize).saturating_add(1));
        let unsaid = numbered.filter(|(id, rev)| {
            rev.has(flag::PRESENT)
                && !rev.has(flag::EXPIRED)
                && rev.kept == UNSAID
                && rev.file_count > 0
                && !world.secured.contains_key(id)
                && !self.is_staged(&world.identity(rev))
        });
        unsaid.map(|(id, _)| RevisionId(id)).collect()
    }

    /// The revisions, active or staged, whose keys are missing. What its publisher withdrew needs none.
    pub fn wanted_keys(&self) -> Vec<WantedKeys> {
        let snapshot = self.0.current().snapshot();
        let keys = &snapshot.view().decisions.keys;
        let world = snapshot.world();
        let active = world.secured.iter().filter_map(|(id, secured)| {
            let rev = world.rev(*id).filter(|rev| !rev.has(flag::EXPIRED))?;
            Some((world.identity(rev), secured.clone()))
        });
        let mut wanted: HashMap<UpdateIdentity, Secured> = active.collect();
        let staged = self.0.staged();
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
