//! What happens to computers once when a store is opened: counts, and what earlier programs kept from anybody goes.
//!
//! **Invariant:** it costs the memory of one computer's report at a time. No computer that lives is lost: it registers again
//! with its next scan.

use std::collections::HashSet;

use super::fleet::Fleet;
use crate::error::CatalogError;
use crate::storage::record::{self, key};
use crate::values::computer::{Computer, Status};
use crate::values::counts::{Counts, Origin};
use tailwater_domain::{ComputerId, UpdateId};

impl Fleet {
    /// Counts what members say, once after the start. Of what is kept of updates that the catalog does not know, which
    /// earlier programs took from anybody, nothing stays, and nothing of members that never came back and said nothing
    /// else: computer by computer, so that it costs the memory of one.
    pub(crate) fn count_members(&self) -> Result<(), CatalogError> {
        let _one = self.changing();
        let (snapshot, mut pruned, mut failed) = (self.current().snapshot(), Vec::new(), None);
        let world = &snapshot.view().world;
        // a catalog that has nothing knows nothing yet
        let is_known = |update: &UpdateId| world.updates.is_empty() || world.update(update).is_some();
        let mut dropped = 0_usize;
        self.state().kv().scan(b"t", |key, value| {
            let id = key.get(1..).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default();
            let id = ComputerId(id.to_owned());
            let mut status: Status = match record::decode('t', value) {
                Ok(status) => status,
                Err(error) => {
                    failed = Some(error);
                    return false;
                }
            };
            let before = status.len();
            status.retain(is_known);
            // a record without its computer counts for nobody
            if self.members().get(&id).is_some() {
                self.counts().ours(&id, &Status::default(), &status);
            }
            if status.len() != before {
                dropped += before - status.len();
                pruned.push(id);
            }
            true
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        for id in &pruned {
            let mut status = self.status(id)?;
            status.retain(is_known);
            let value = if status == Status::default() { None } else { Some(record::encode(&status)?) };
            self.state().put_state((key::status(id), value))?;
        }
        if dropped > 0 {
            tracing::info!(
                computers = pruned.len(),
                states = dropped,
                "removed what computers had reported of updates that are not in the catalog"
            );
        }
        self.drop_made_up(&pruned)
    }

    /// Forgets computers that never scanned, or whose only report was about updates that nobody knows and that never came
    /// back: earlier programs kept them. One that lives registers again with its next scan.
    fn drop_made_up(&self, pruned: &[ComputerId]) -> Result<(), CatalogError> {
        let said_nonsense: HashSet<&ComputerId> = pruned.iter().collect();
        let is_made_up = |one: &Computer| {
            !one.scanned
                || said_nonsense.contains(&one.id)
                    && !one.came_back()
                    && one.groups.is_empty()
                    && one.device_attributes.is_none()
                    && self.counts().all().by(Origin::Ours, &one.id) == Counts::default()
        };
        let gone: Vec<_> = self.members().all().into_iter().filter(|one| is_made_up(one)).collect();
        for one in &gone {
            self.drop_computer(&one.id)?;
        }
        if !gone.is_empty() {
            tracing::info!(count = gone.len(), "removed computers that had registered and never scanned");
        }
        Ok(())
    }
}
