//! One computer, one record ([MS-WUSP] 2.2.2.1.1).
//!
//! A computer that is set up anew keeps its name and comes with another identity. When the former identity has fallen
//! silent, the newer one takes its record over, groups included. Two computers that both live keep a record each.
//!
//! **Invariant:** an identity is replaced only by one that first came after it was last heard of, and only once it was
//! silent for longer than a living agent ever is. One that comes back after all gets a record and its groups again, and
//! from then on the two are known to be two. Nothing of another name is ever touched.

use std::sync::Arc;

use jiff::Timestamp;

use super::fleet::{CONTACT_GRAIN, Fleet};
use crate::error::CatalogError;
use crate::storage::record::{self, key};
use crate::values::computer::{Computer, Status};
use tailwater_kv::Op;

/// How long ago an identity was heard of, and when the other first was: whether the other took its place.
pub(crate) fn replaced(
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

impl Fleet {
    /// A new record for an identity that was replaced and came back: with the groups it had, and as old as the one that
    /// replaced it, so that the two are two from now on.
    pub(crate) fn came_back(&self, computer: &mut Computer) -> Result<(), CatalogError> {
        let Some(other) = self.members().names().no_longer_former(&computer.id) else { return Ok(()) };
        self.state().put_state((key::former(&computer.id), None))?;
        if let Some(other) = self.members().get(&other) {
            tracing::warn!(computer = %computer.id, other = %other.id, name = %other.dns_name,
                "a computer that another one seemed to have replaced is back: two have this name");
            computer.groups.clone_from(&other.groups);
            computer.first_seen = other.first_seen.min(computer.first_seen);
        }
        Ok(())
    }

    /// Lets a computer take over the records of its own former identities. The caller holds `changing`.
    pub(crate) fn succeed(&self, computer: Arc<Computer>) -> Result<Arc<Computer>, CatalogError> {
        let silence = self.config().replace_silent_after;
        let silence = jiff::SignedDuration::try_from(silence).unwrap_or(jiff::SignedDuration::MAX);
        if computer.dns_name.is_empty() || self.members().names().count(&computer.dns_name) < 2 {
            return Ok(computer);
        }
        let now = self.state().clock().now();
        let others = self.members().names().of(&computer.dns_name);
        let others = others.iter().filter(|id| **id != computer.id);
        let mut gone: Vec<Arc<Computer>> = others
            .filter_map(|id| self.members().get(id))
            .filter(|other| replaced(other.last_contact, computer.first_seen, now, silence))
            .collect();
        // the last that was heard of says in which groups the computer is
        gone.sort_unstable_by_key(|other| std::cmp::Reverse((other.last_contact, other.id.clone())));
        let Some(latest) = gone.first() else { return Ok(computer) };
        if self.state().disk().report().is_some() {
            // what must be durable waits for the next call on a disk that takes something
            return Ok(computer);
        }
        let mut heir = (*computer).clone();
        if heir.groups.is_empty() && !self.config().client_side_targeting {
            heir.groups.clone_from(&latest.groups);
        }
        let mut ops: Vec<Op> = vec![(key::computer(&heir.id), Some(heir.record()?))];
        let known_as = record::encode(&heir.id)?;
        for other in &gone {
            ops.push((key::computer(&other.id), None));
            if self.members().names().note_former(&other.id, &heir.id) {
                ops.push((key::former(&other.id), Some(known_as.clone())));
            }
        }
        self.state().journal(ops)?;
        for other in &gone {
            tracing::info!(name = %other.dns_name, former = %other.id, now = %heir.id,
                "a computer that was set up anew takes over its record and groups");
            self.members().drop_one(&other.id);
            self.counts().ours(&other.id, &self.status(&other.id)?, &Status::default());
            self.drop_rows(&other.id)?;
        }
        Ok(self.members().keep(heir))
    }
}
