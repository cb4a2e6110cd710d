//! The keys of encrypted payloads that are missing and to be asked for ([MS-WSUSSS] 3.1.4.18).
//!
//! **Invariant:** what its publisher withdrew needs no key. It never asks anybody.

use std::collections::HashMap;

use super::staging::Staging;
use crate::snapshot::world::flag;
use crate::values::payload_key::Secured;
use tailwater_domain::{Sha1Digest, UpdateIdentity};

/// A revision with keys to be asked for, and its payloads that they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedKeys {
    /// Which revision.
    pub identity: UpdateIdentity,
    /// Its payloads. All are marked as encrypted, or any may be.
    pub files: Vec<Sha1Digest>,
}

impl Staging {
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
