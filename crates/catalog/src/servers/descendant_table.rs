//! Computers of servers below in memory, and who has which name.
//!
//! **Invariant:** names follow the computers. A leaf: nothing else is locked meanwhile. It never writes anything.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::computers::names::Names;
use crate::values::descendant::Descendant;
use tailwater_domain::ComputerId;

/// Computers of servers below.
#[derive(Default)]
pub(crate) struct DescendantTable {
    known: RwLock<HashMap<ComputerId, Arc<Descendant>>>,
    names: Names,
}

impl DescendantTable {
    /// Who has which name.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// A computer below.
    pub(crate) fn get(&self, id: &ComputerId) -> Option<Arc<Descendant>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All of them, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Descendant>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Forgets one; what it was, if it was known.
    pub(crate) fn drop_one(&self, id: &ComputerId) -> Option<Arc<Descendant>> {
        let gone = self.known.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(gone) = &gone {
            self.names.renamed(id, gone.name(), "");
        }
        gone
    }

    /// Puts computers in the place of their former selves.
    pub(super) fn keep(&self, computers: Vec<Arc<Descendant>>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for one in computers {
            let before = known.insert(one.id.clone(), Arc::clone(&one));
            self.names.renamed(&one.id, before.as_ref().map_or("", |before| before.name()), one.name());
        }
    }
}
