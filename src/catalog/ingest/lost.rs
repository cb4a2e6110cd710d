//! What was passed over as damaged: from then on it is missing, which is noted, shown, and mended by the next
//! synchronisation that compares everything with the upstream.
//!
//! **Invariant:** a note is kept until such a synchronisation has ended, whatever happens between; what is damaged in
//! one block is counted once. It never removes anything from a segment.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::catalog::error::CatalogError;
use crate::catalog::ingest::staging::Staging;
use crate::catalog::storage::log::Store;
use crate::catalog::storage::record;
use crate::catalog::storage::record::key;
use crate::domain::{UpdateId, UpdateIdentity};
use crate::kv::{Batch, Kv, MAX_BATCH};

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

/// The same as the index keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Note {
    pub since: i64,
    /// Blocks that cannot be read, with how many revisions they have.
    pub blocks: Vec<(u64, u64)>,
    pub stretches: u64,
    pub decisions: u64,
}

impl Note {
    pub(in crate::catalog) fn load(kv: &Kv) -> Result<Self, CatalogError> {
        kv.get(key::LOST)?.map_or_else(|| Ok(Self::default()), |value| record::decode('x', &value))
    }

    /// Whether everything must be compared with the upstream.
    fn needs_listing(&self) -> bool {
        !self.blocks.is_empty() || self.stretches > 0
    }
}

/// What is missing and has no name any more.
#[derive(Debug, Clone)]
pub struct Unnamed(Note);

/// A block as the index has it: where it lies and, since that is noted, how many revisions are in it.
pub(in crate::catalog) fn decode_block_entry(
    value: &[u8],
) -> Result<(record::Location, Option<u32>), CatalogError> {
    match record::decode::<(record::Location, u32)>('m', value) {
        Ok((place, count)) => Ok((place, Some(count))),
        Err(_short) => record::decode('m', value).map(|place| (place, None)),
    }
}

impl Store {
    fn note(&self) -> std::sync::MutexGuard<'_, Note> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes blocks that cannot be read. That it cannot be written down, as on a full disk, stops nothing: they are
    /// found again with the next opening.
    pub(in crate::catalog) fn note_damaged(&self, blocks: &[(u64, Option<u32>)]) {
        let mut note = self.note();
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
            note.since = self.clock.now().as_second();
        }
        note.blocks.extend(new);
        if let Err(error) = self.write_note(&note) {
            tracing::error!(%error, "the missing updates could not be noted");
        }
    }

    fn write_note(&self, note: &Note) -> Result<(), CatalogError> {
        let mut batch = Batch::default();
        if *note == Note::default() {
            batch.remove(key::LOST);
        } else {
            batch.put(key::LOST, record::encode(note)?);
        }
        self.kv.apply(&batch)?;
        Ok(self.kv.flush()?)
    }

    fn lost(&self) -> Option<Lost> {
        let note = self.note();
        let since = Timestamp::from_second(note.since).unwrap_or(Timestamp::UNIX_EPOCH);
        let age = self.clock.now().duration_since(since).abs();
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
        let mut note = self.note();
        // first the entries: what is still noted is only asked for once more
        for blocks in before.blocks.chunks(MAX_BATCH) {
            let mut batch = Batch::default();
            for (number, _) in blocks {
                batch.remove(key::block(*number));
            }
            self.kv.apply(&batch)?;
        }
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

impl Catalog {
    /// What is missing because it was damaged on the disk, if anything is. What is damaged and known by name is told
    /// by [`Catalog::damaged`].
    pub fn lost(&self) -> Option<Lost> {
        self.0.lost()
    }
}

impl Staging {
    /// What is missing and has no name any more, so that everything must be compared with the upstream; none when
    /// nothing is.
    pub fn unnamed(&self) -> Option<Unnamed> {
        let note = self.0.note();
        note.needs_listing().then(|| Unnamed(note.clone()))
    }

    /// Everything was compared with the upstream since [`Staging::unnamed`] said this: what was missing is active, or
    /// known by name.
    pub fn is_complete_again(&self, before: &Unnamed) -> Result<(), CatalogError> {
        self.0.found_again(&before.0)
    }

    /// Everything that active revisions name: members of bundles, and prerequisites.
    pub fn named(&self) -> (Vec<UpdateIdentity>, Vec<UpdateId>) {
        let snapshot = self.0.snapshot();
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
