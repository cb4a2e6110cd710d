//! Which identities have which name, and which were replaced by which.
//!
//! **Invariant:** names are compared as people read them. A leaf: nothing else is locked meanwhile. It never decides who
//! replaces whom.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::error::CatalogError;
use crate::storage::entries::entries;
use crate::storage::record::{self, key};
use tailwater_domain::{ComputerId, ComputerName, Limit, limits};
use tailwater_kv::Kv;

/// Replaced identities that are remembered, so that one that comes back is known.
const MAX_FORMER: usize = 10_000;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_FORMER in "computers": "Replaced identities remembered" => "it is not remembered, and counts as new",
];

/// Identities by name, and identities that were replaced with those that replaced them.
#[derive(Default)]
pub(crate) struct Names {
    of: RwLock<HashMap<String, Vec<ComputerId>>>,
    former: RwLock<HashMap<ComputerId, ComputerId>>,
}

impl Names {
    pub(crate) fn load<'a>(
        kv: &Kv,
        computers: impl Iterator<Item = (&'a ComputerId, &'a str)>,
    ) -> Result<Self, CatalogError> {
        let names = Self::default();
        for (id, name) in computers {
            names.renamed(id, "", name);
        }
        let mut former = names.former.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in entries(kv, key::FORMER)? {
            let Some(id) = key.get(1..).and_then(|id| std::str::from_utf8(id).ok()) else { continue };
            former.insert(ComputerId(id.to_owned()), record::decode('f', &value)?);
        }
        drop(former);
        Ok(names)
    }

    /// A computer has another name than before; empty is none.
    pub(crate) fn renamed(&self, id: &ComputerId, before: &str, after: &str) {
        let (before, after) = (ComputerName::folded(before), ComputerName::folded(after));
        let mut of = self.of.write().unwrap_or_else(PoisonError::into_inner);
        if before != after
            && let Some(ids) = of.get_mut(&before)
        {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                of.remove(&before);
            }
        }
        if !after.is_empty() {
            let ids = of.entry(after).or_default();
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
    }

    /// Those of this name.
    pub(crate) fn of(&self, name: &str) -> Vec<ComputerId> {
        let of = self.of.read().unwrap_or_else(PoisonError::into_inner);
        of.get(&ComputerName::folded(name)).cloned().unwrap_or_default()
    }

    /// How many have this name.
    pub(crate) fn count(&self, name: &str) -> usize {
        let of = self.of.read().unwrap_or_else(PoisonError::into_inner);
        of.get(&ComputerName::folded(name)).map_or(0, Vec::len)
    }

    /// The identity that replaced this one, which is not remembered as replaced any more.
    pub(super) fn no_longer_former(&self, id: &ComputerId) -> Option<ComputerId> {
        self.former.write().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    /// Remembers that an identity was replaced; false when there are too many.
    pub(super) fn note_former(&self, id: &ComputerId, heir: &ComputerId) -> bool {
        let mut former = self.former.write().unwrap_or_else(PoisonError::into_inner);
        let has_room = former.len() < MAX_FORMER;
        if has_room {
            former.insert(id.clone(), heir.clone());
        }
        has_room
    }
}
