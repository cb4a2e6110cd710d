//! What was passed over as damaged: from then on it is missing, which is noted, shown, and mended by the next
//! synchronisation that compares everything with the upstream.
//!
//! **Invariant:** a note is kept until such a synchronisation has ended, whatever happens between; what is damaged in
//! one block is counted once. It never removes anything from a segment.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::part::Ingest;
use super::staging::Staging;
use crate::error::CatalogError;
use crate::storage::damage::Note;
use crate::storage::record;
use crate::storage::record::key;
use tailwater_domain::{UpdateId, UpdateIdentity};
use tailwater_kv::Op;

/// Lost decisions are shown for so long: nothing can bring them back, and whoever decides has seen it by then.
const SHOWN: SignedDuration = SignedDuration::from_hours(30 * 24);
// not a limit: SHOWN: how long something is shown
/// The most revisions of a block that does not say how many it has.
const OF_A_BLOCK: u64 = 100;

/// What is missing because it was damaged on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Since when, as far as is known.
    pub since: Timestamp,
    /// Revisions that were in blocks which cannot be read, at most.
    pub revisions: u64,
    /// Stretches of segments that could not be read while the index was made from them.
    pub stretches: u64,
    /// Of these, records of decisions: what they said must be decided again.
    pub decisions: u64,
}

/// What is missing and has no name any more.
#[derive(Debug, Clone)]
pub struct Unnamed(Note);

impl Ingest {
    /// Notes blocks that cannot be read. That it cannot be written down, as on a full disk, stops nothing: they are
    /// found again with the next opening.
    pub(crate) fn note_damaged(&self, blocks: &[(u64, Option<u32>)]) {
        let mut note = self.damage();
        let known: BTreeSet<u64> = note.blocks.iter().map(|(number, _)| *number).collect();
        let new = blocks.iter().filter(|(number, _)| !known.contains(number));
        let new: Vec<(u64, u64)> =
            new.map(|(number, count)| (*number, count.map_or(OF_A_BLOCK, u64::from))).collect();
        if new.is_empty() {
            return;
        }
        let revisions: u64 = new.iter().map(|(_, count)| count).sum();
        tracing::error!(
            blocks = new.len(),
            revisions,
            "updates are missing because what was stored of them is damaged; the next synchronisation fetches them again"
        );
        if !note.needs_listing() {
            note.since = self.now().as_second();
        }
        note.blocks.extend(new);
        if let Err(error) = self.write_note(&note) {
            tracing::error!(%error, "the missing updates could not be noted");
        }
    }

    fn write_note(&self, note: &Note) -> Result<(), CatalogError> {
        let value = if *note == Note::default() { None } else { Some(record::encode(note)?) };
        self.storage().apply_durably(&[(key::LOST.to_vec(), value)])
    }

    /// What is missing, if anything is.
    pub(crate) fn lost(&self) -> Option<Lost> {
        let note = self.damage();
        let since = Timestamp::from_second(note.since).unwrap_or(Timestamp::UNIX_EPOCH);
        let age = self.now().duration_since(since).abs();
        let decisions = if age < SHOWN { note.decisions } else { 0 };
        let revisions = note.blocks.iter().map(|(_, count)| count).sum();
        (note.needs_listing() || decisions > 0).then_some(Lost {
            since,
            revisions,
            stretches: note.stretches,
            decisions,
        })
    }

    fn found_again(&self, before: &Note) -> Result<(), CatalogError> {
        let mut note = self.damage();
        // first the entries: what is still noted is only asked for once more
        let gone: Vec<Op> = before.blocks.iter().map(|(number, _)| (key::block(*number), None)).collect();
        self.storage().kv().apply_all(&gone)?;
        let mut rest = note.clone();
        // what was noticed since is still missing
        rest.blocks.retain(|block| !before.blocks.contains(block));
        rest.stretches = rest.stretches.saturating_sub(before.stretches);
        if !rest.needs_listing() && rest.decisions == 0 {
            rest = Note::default();
        }
        self.write_note(&rest)?;
        *note = rest;
        tracing::info!(
            "everything was compared with the upstream: what was missing because of damage is here again"
        );
        Ok(())
    }
}

impl Staging {
    /// What is missing and has no name any more, so that everything must be compared with the upstream; none when
    /// nothing is.
    pub fn unnamed(&self) -> Option<Unnamed> {
        let note = self.0.damage();
        note.needs_listing().then(|| Unnamed(note.clone()))
    }

    /// Everything was compared with the upstream since [`Staging::unnamed`] said this: what was missing is active, or
    /// known by name.
    pub fn is_complete_again(&self, before: &Unnamed) -> Result<(), CatalogError> {
        self.0.found_again(&before.0)
    }

    /// Everything that active revisions name: members of bundles, and prerequisites.
    pub fn named(&self) -> (Vec<UpdateIdentity>, Vec<UpdateId>) {
        let snapshot = self.0.current().snapshot();
        let world = snapshot.world();
        let (mut members, mut needed) = (BTreeSet::new(), BTreeSet::new());
        for update in &world.updates {
            for (_, rev) in world.revisions(update) {
                needed.extend(world.named_by(rev).map(|index| world.updates[index as usize].id));
                members.extend(world.children(rev).iter().map(|child| UpdateIdentity {
                    update: world.updates[child.update as usize].id,
                    revision: child.number,
                }));
            }
        }
        (members.into_iter().collect(), needed.into_iter().collect())
    }
}
