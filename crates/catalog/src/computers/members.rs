//! The members of the fleet in memory, and who has which name.
//!
//! **Invariant:** names follow the members. A leaf: nothing else is locked meanwhile. It never writes anything.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::names::Names;
use crate::error::CatalogError;
use crate::values::computer::Computer;
use tailwater_domain::{ComputerId, GroupId};
use tailwater_kv::Kv;

/// The members of the fleet.
pub(crate) struct Members {
    known: RwLock<HashMap<ComputerId, Arc<Computer>>>,
    names: Names,
}

impl Members {
    /// The members in the index.
    pub(crate) fn load(kv: &Kv) -> Result<Self, CatalogError> {
        let (mut known, mut failed) = (HashMap::new(), None);
        kv.scan(b"c", |_, value| {
            match Computer::of_record(value) {
                Ok(computer) => {
                    known.insert(computer.id.clone(), Arc::new(computer));
                }
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let all = known.values().map(|computer| (&computer.id, &computer.dns_name[..]));
        let names = Names::load(kv, all)?;
        Ok(Self { known: RwLock::new(known), names })
    }

    /// A member.
    pub(crate) fn get(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// All of them, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Computer>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Computers that are in one of these groups, as they are without.
    pub(crate) fn leaving(&self, gone: &[GroupId]) -> Vec<Computer> {
        let mut left: Vec<Computer> = self
            .all()
            .iter()
            .filter(|computer| computer.groups.iter().any(|group| gone.contains(group)))
            .map(|computer| (**computer).clone())
            .collect();
        for computer in &mut left {
            computer.groups.retain(|group| !gone.contains(group));
        }
        left
    }

    /// Puts a member in the place of its former self.
    pub(crate) fn keep(&self, computer: Computer) -> Arc<Computer> {
        let computer = Arc::new(computer);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(computer.id.clone(), Arc::clone(&computer));
        drop(known);
        let before = before.as_ref().map_or("", |before| &before.dns_name);
        self.names.renamed(&computer.id, before, &computer.dns_name);
        computer
    }

    /// Forgets one; what it was, if it was known.
    pub(crate) fn drop_one(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        let gone = self.known.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(gone) = &gone {
            self.names.renamed(id, &gone.dns_name, "");
        }
        gone
    }

    /// Who has which name.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }
}
