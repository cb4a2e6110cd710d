//! One computer, one record ([MS-WUSP] 2.2.2.1.1).
//!
//! A computer that is set up anew keeps its name and comes with another identity. When the former identity has fallen
//! silent, the newer one takes its record over, groups included. Two computers that both live keep a record each.
//!
//! **Invariant:** an identity is replaced only by one that first came after it was last heard of, and only once it was
//! silent for longer than a living agent ever is. One that comes back after all gets a record and its groups again, and
//! from then on the two are known to be two. Nothing of another name is ever touched.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

use crate::catalog::computers::members::CONTACT_GRAIN;
use crate::catalog::decisions::decided::entries;
use crate::catalog::error::CatalogError;
use crate::catalog::storage::log::{Op, Store};
use crate::catalog::storage::record;
use crate::catalog::storage::record::key;
use crate::catalog::values::computer::{Computer, Status};
use crate::domain::{ComputerId, ComputerName, Limit, limits};
use crate::kv::Kv;

/// Replaced identities that are remembered, so that one that comes back is known.
const MAX_FORMER: usize = 10_000;

pub(in crate::catalog) const LIMITS: &[Limit] = limits![
    MAX_FORMER in "computers": "Replaced identities remembered" => "it is not remembered, and counts as new",
];

/// Identities by name, and identities that were replaced with those that replaced them.
#[derive(Default)]
pub(in crate::catalog) struct Names {
    of: RwLock<HashMap<String, Vec<ComputerId>>>,
    former: RwLock<HashMap<ComputerId, ComputerId>>,
}

impl Names {
    pub(in crate::catalog) fn load<'a>(
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
    pub(in crate::catalog) fn renamed(&self, id: &ComputerId, before: &str, after: &str) {
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
    pub(in crate::catalog) fn of(&self, name: &str) -> Vec<ComputerId> {
        let of = self.of.read().unwrap_or_else(PoisonError::into_inner);
        of.get(&ComputerName::folded(name)).cloned().unwrap_or_default()
    }

    /// How many have this name.
    pub(in crate::catalog) fn count(&self, name: &str) -> usize {
        let of = self.of.read().unwrap_or_else(PoisonError::into_inner);
        of.get(&ComputerName::folded(name)).map_or(0, Vec::len)
    }
}

/// How long ago an identity was heard of, and when the other first was: whether the other took its place.
pub(in crate::catalog) fn replaced(
    last_heard: Timestamp,
    other_first: Timestamp,
    now: Timestamp,
    silence: jiff::SignedDuration,
) -> bool {
    // what a clock noted that was ahead counts as now
    let (last_heard, other_first) = (last_heard.min(now), other_first.min(now));
    // contacts are known to a minute
    other_first.duration_since(last_heard) > CONTACT_GRAIN && now.duration_since(last_heard) >= silence
}

impl Store {
    /// A new record for an identity that was replaced and came back: with the groups it had, and as old as the one that
    /// replaced it, so that the two are two from now on.
    pub(in crate::catalog) fn came_back(&self, computer: &mut Computer) -> Result<(), CatalogError> {
        let names = &self.computers.names;
        let former = names.former.write().unwrap_or_else(PoisonError::into_inner).remove(&computer.id);
        let Some(other) = former else { return Ok(()) };
        self.put((key::former(&computer.id), None))?;
        if let Some(other) = self.computers.get(&other) {
            tracing::warn!(computer = %computer.id, other = %other.id, name = %other.dns_name,
                "a computer that another one seemed to have replaced is back: two have this name");
            computer.groups.clone_from(&other.groups);
            computer.first_seen = other.first_seen.min(computer.first_seen);
        }
        Ok(())
    }

    /// Lets a computer take over the records of its own former identities. The caller holds `changing`.
    pub(in crate::catalog) fn succeed(&self, computer: Arc<Computer>) -> Result<Arc<Computer>, CatalogError> {
        let silence = self.config.replace_silent_after;
        let silence = jiff::SignedDuration::try_from(silence).unwrap_or(jiff::SignedDuration::MAX);
        if computer.dns_name.is_empty() || self.computers.names.count(&computer.dns_name) < 2 {
            return Ok(computer);
        }
        let now = self.clock.now();
        let others = self.computers.names.of(&computer.dns_name);
        let others = others.iter().filter(|id| **id != computer.id);
        let mut gone: Vec<Arc<Computer>> = others
            .filter_map(|id| self.computers.get(id))
            .filter(|other| replaced(other.last_contact, computer.first_seen, now, silence))
            .collect();
        // the last that was heard of says in which groups the computer is
        gone.sort_unstable_by_key(|other| std::cmp::Reverse((other.last_contact, other.id.clone())));
        let Some(latest) = gone.first() else { return Ok(computer) };
        if self.config.disk.report().is_some() {
            // what must be durable waits for the next call on a disk that takes something
            return Ok(computer);
        }
        let mut heir = (*computer).clone();
        if heir.groups.is_empty() && !self.config.client_side_targeting {
            heir.groups.clone_from(&latest.groups);
        }
        let mut ops: Vec<Op> = vec![(key::computer(&heir.id), Some(heir.record()?))];
        let known_as = record::encode(&heir.id)?;
        let mut former = self.computers.names.former.write().unwrap_or_else(PoisonError::into_inner);
        for other in &gone {
            ops.push((key::computer(&other.id), None));
            if former.len() < MAX_FORMER {
                former.insert(other.id.clone(), heir.id.clone());
                ops.push((key::former(&other.id), Some(known_as.clone())));
            }
        }
        drop(former);
        self.account(&ops)?;
        self.journal(ops)?;
        for other in &gone {
            tracing::info!(name = %other.dns_name, former = %other.id, now = %heir.id,
                "a computer that was set up anew takes over its record and groups");
            self.computers.drop_one(&other.id);
            self.computers.count(&other.id, &self.status(&other.id)?, &Status::default());
            self.drop_rows(&other.id)?;
        }
        Ok(self.computers.keep(heir))
    }
}
