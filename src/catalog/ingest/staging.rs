//! The way in: revisions are stored, then activated together.
//!
//! **Invariant:** when [`Staging::store`] returns, what it was given is durable; nobody sees it before
//! [`Staging::activate`]. Staging outlives its process: what was stored and not activated is still held
//! after a restart.

use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use crate::catalog::error::CatalogError;
use crate::catalog::ingest::prepare;
use crate::catalog::ingest::prepare::Prepared;
use crate::catalog::snapshot::view::View;
use crate::catalog::storage::log::{Log, Op, Staged, Store, lock};
use crate::catalog::storage::manifest::{BLOCK_BYTES, Manifest, encode_block};
use crate::catalog::storage::record;
use crate::catalog::storage::record::{ActivationRecord, Active, Generation, Journal, key};
use crate::catalog::storage::segment::codec::Encoder;
use crate::catalog::storage::segment::frame::Kind;
use crate::catalog::values::facts::StoredFacts;
use crate::catalog::values::part::NewRevision;
use crate::domain::{Limit, RevisionId, UpdateIdentity, limits};
use crate::kv::{Batch, MAX_BATCH};

/// How many manifests go into one block, which closes by bytes as well ([`BLOCK_BYTES`]).
const BLOCK: usize = 100;
/// What is limited here.
pub(in crate::catalog) const LIMITS: &[Limit] = limits![
    BLOCK in "updates": "Updates that are stored together" => "the next block begins",
    MAX_SETTINGS in "settings": "Settings that change with an activation" => "an error; nothing is changed",
    HOLD_AT_LEAST in "updates": "Updates that may go without asking anybody, whatever share they are" => "the activation is held for an administrator",
];
/// The most settings that change with an activation: all of it must fit one batch.
const MAX_SETTINGS: usize = MAX_BATCH - 8;
/// Fewer updates than this may go without asking anybody, whatever share they are.
const HOLD_AT_LEAST: usize = 100;

// not a limit: HOLD_AT_LEAST: which removals are held

/// The way into the store; see [`crate::catalog::Catalog::staging`]. Cheap to clone.
#[derive(Clone)]
pub struct Staging(pub(in crate::catalog) Arc<Store>);

/// What came of revisions that were to be stored.
#[derive(Debug)]
pub struct Stored {
    /// Their numbers, in their order; 0 for what was refused.
    pub numbers: Vec<RevisionId>,
    /// Those that cannot be stored, and why.
    pub refused: Vec<(UpdateIdentity, CatalogError)>,
}

/// What becomes visible with an activation, beside everything that is staged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// Settings that change in the same batch (anchors and the like); `None` removes.
    pub settings: Vec<(String, Option<Vec<u8>>)>,
    /// Revisions, active or staged, that go because upstream no longer has them or they are no longer
    /// selected. Their numbers stay theirs should they come back.
    pub withdraw: Vec<UpdateIdentity>,
    /// Activates even what would otherwise be held for an administrator.
    pub force: bool,
}

/// What an activation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of the generation, from 1.
    pub generation: u64,
    /// Revisions that became visible.
    pub added: usize,
    /// Revisions that were withdrawn.
    pub withdrawn: usize,
    /// Updates offered before that no longer are.
    pub no_longer_offered: usize,
    /// Revisions in the catalog now.
    pub revisions: usize,
}

/// An activation that waits for an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What would be activated.
    pub activation: Activation,
    /// Updates that would no longer be offered.
    pub would_remove: usize,
    /// Updates offered now.
    pub offered: usize,
    /// Since when.
    pub since: jiff::Timestamp,
}

/// How an activation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activated {
    /// It is visible.
    Done(Summary),
    /// It would take away too much; see [`crate::catalog::Catalog::release_held`].
    Held(Held),
}

impl Staging {
    fn staged_now(&self, identity: &UpdateIdentity) -> Option<Staged> {
        self.0.staged.read().unwrap_or_else(PoisonError::into_inner).get(identity).cloned()
    }

    /// Whether this revision needs no fetching: active or staged, and not damaged.
    pub fn holds(&self, identity: &UpdateIdentity) -> bool {
        match self.staged_now(identity) {
            Some(staged) if staged.damaged => return false,
            Some(staged) if self.0.is_durable(staged.ticket) => return true,
            _ => {}
        }
        let snapshot = self.0.snapshot();
        let active = snapshot.world().find(identity);
        active.is_some_and(|id| !snapshot.view().decisions.damaged.contains_key(&id))
    }

    /// Whether this revision is staged and not active.
    pub(in crate::catalog) fn is_staged(&self, identity: &UpdateIdentity) -> bool {
        self.staged_now(identity).is_some()
    }

    /// Every revision that is active, staged ones excluded. For telling what upstream no longer lists.
    pub fn active(&self) -> Vec<UpdateIdentity> {
        let snapshot = self.0.snapshot();
        let world = snapshot.world();
        let revisions = world.updates.iter().flat_map(|update| world.revisions(update));
        revisions.map(|(_, rev)| world.identity(rev)).collect()
    }

    /// Every revision that is staged and not active.
    pub fn staged(&self) -> Vec<UpdateIdentity> {
        self.0.staged.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// What a staged or active revision is stored as; for pulling in what bundles and prerequisites name. None where it
    /// is damaged: from then on it is not held.
    pub fn facts(&self, identity: &UpdateIdentity) -> Result<Option<Arc<StoredFacts>>, CatalogError> {
        let staged = self.staged_now(identity);
        let snapshot = self.0.snapshot();
        let active = || snapshot.world().find(identity).and_then(|id| snapshot.facts_part(id));
        let Some(part) = staged.as_ref().map(|staged| staged.facts).or_else(active) else { return Ok(None) };
        match self.0.read_facts(&part) {
            Err(CatalogError::Damaged { .. }) => {
                if staged.is_some() {
                    self.0.doubt_staged(identity);
                }
                Ok(None)
            }
            facts => facts.map(Some),
        }
    }

    /// Stores revisions durably. A revision that is held already is passed over. Concurrent calls share
    /// their syncs; best given 25 to 100 at once. Blocks.
    ///
    /// Answers with the numbers in the order of `revisions`.
    ///
    /// # Errors
    /// When the store fails, or for the first revision that is refused; the others are stored.
    pub fn store(&self, revisions: Vec<NewRevision>) -> Result<Vec<RevisionId>, CatalogError> {
        let stored = self.store_each(revisions, false)?;
        match stored.refused.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(stored.numbers),
        }
    }

    /// Stores revisions durably, each for itself: what is wrong with one (too large, unreadable, a fault of the
    /// program) refuses that one. A revision that is held already is passed over, unless it is to be stored `again`
    /// because more of its texts is wanted: then it keeps its number, and nobody hears of it as news.
    ///
    /// # Errors
    /// When the store itself fails, such as on a full disk.
    pub fn store_each(&self, revisions: Vec<NewRevision>, again: bool) -> Result<Stored, CatalogError> {
        let identities: Vec<UpdateIdentity> =
            revisions.iter().map(|revision| revision.facts.identity).collect();
        let mut wanted = revisions;
        wanted.retain(|revision| again || !self.holds(&revision.facts.identity));
        let (mut ticket, mut refused) = (0, Vec::new());
        if !wanted.is_empty() {
            let prepared = prepare::prepare(&self.0, wanted)?;
            refused = prepared.refused;
            ticket = self.append(prepared.prepared, again, &mut refused)?;
        }
        self.0.settle(ticket)?;
        let snapshot = self.0.snapshot();
        let number = |identity| {
            let staged = self.staged_now(identity).map(|staged| staged.id);
            RevisionId(staged.or_else(|| snapshot.world().find(identity)).unwrap_or(0))
        };
        Ok(Stored { numbers: identities.iter().map(number).collect(), refused })
    }

    /// Appends texts and manifests to the log. Gives the ticket by which they are settled.
    fn append(
        &self,
        prepared: Vec<Prepared>,
        again: bool,
        refused: &mut Vec<(UpdateIdentity, CatalogError)>,
    ) -> Result<u64, CatalogError> {
        let store = &*self.0;
        let snapshot = store.snapshot();
        let mut encoder = store.codec.encoder()?;
        let mut log = store.log();
        let (mut block, mut bytes): (Vec<Manifest>, usize) = (Vec::new(), 0);
        for one in prepared {
            let identity = one.manifest.identity;
            // somebody else may have appended it meanwhile
            let before = self.staged_now(&identity);
            if before.as_ref().is_some_and(|staged| !staged.damaged)
                || block.iter().any(|manifest| manifest.identity == identity)
            {
                continue;
            }
            let mut manifest = match prepare::append(store, &mut log, &mut encoder, one) {
                Ok(manifest) => manifest,
                // what was written of it is named by nothing
                Err(
                    error @ (CatalogError::PartInput { .. }
                    | CatalogError::PartTooLarge { .. }
                    | CatalogError::Revision { .. }),
                ) => {
                    refused.push((identity, error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let world = snapshot.world();
            let known = before.map(|staged| staged.id).or_else(|| world.find(&identity));
            let known = known.or_else(|| world.retired.get(&identity).copied());
            manifest.id = known.unwrap_or(log.next_id);
            if let Some(before) = world.find(&identity).and_then(|id| world.rev(id)).filter(|_| again) {
                manifest.arrived = i64::from(before.arrived);
                if let Some(cut) = &mut manifest.cut {
                    cut.again = true;
                }
            }
            let len = manifest.encoded_len()?;
            if block.len() == BLOCK || bytes + len > BLOCK_BYTES {
                self.close(&mut log, &mut encoder, std::mem::take(&mut block))?;
                bytes = 0;
            }
            log.next_id = log.next_id.max(manifest.id + 1);
            bytes += len;
            block.push(manifest);
        }
        self.close(&mut log, &mut encoder, block)?;
        Ok(log.ticket())
    }

    /// Appends a block of manifests, from when on they are staged.
    fn close(
        &self,
        log: &mut Log,
        encoder: &mut Encoder<'_>,
        block: Vec<Manifest>,
    ) -> Result<(), CatalogError> {
        if block.is_empty() {
            return Ok(());
        }
        let store = &*self.0;
        let mut bytes = Vec::new();
        encoder.record(&mut bytes, Kind::Manifest, &encode_block(&block)?)?;
        log.writer.make_room(&store.segments, bytes.len() as u64)?;
        let place = log.writer.append(&store.segments, &bytes)?;
        let number = log.next_block;
        // how many there are (at most a hundred) is for the case that the block cannot be read any more
        let entry = (place, u32::try_from(block.len()).unwrap_or(u32::MAX));
        let ticket = log.push(vec![(key::block(number), Some(record::encode(&entry)?))]);
        log.next_block += 1;
        let entries = block.into_iter().map(|manifest| (manifest.identity, manifest.staged(number, ticket)));
        store.staged.write().unwrap_or_else(PoisonError::into_inner).extend(entries);
        Ok(())
    }

    /// Makes everything staged visible in one step, with a new snapshot. Blocks.
    pub fn activate(&self, activation: Activation) -> Result<Activated, CatalogError> {
        let store = &*self.0;
        let _one = lock(&store.changing);
        let log = store.log();
        let (ticket, watermark) = (log.ticket(), log.next_block);
        drop(log);
        store.settle(ticket)?;
        let before = store.snapshot();
        let withdraw: Vec<u32> = activation
            .withdraw
            .iter()
            .filter_map(|identity| {
                let staged = self.staged_now(identity).map(|staged| staged.id);
                staged.or_else(|| before.world().find(identity))
            })
            .collect();
        let active =
            Active { generation: before.generation() + 1, watermark, change: before.change_number() + 1 };
        let world = Arc::new(store.world(active, &withdraw)?);
        let decisions = Arc::new(self.without_healed(&before, watermark));
        let view = View::new(Arc::clone(&world), Arc::clone(&decisions), store.config.offer);
        let (offered, gone) = (before.view().offered_count(), before.view().offered_only_here(&view));
        if !activation.force && self.too_much(gone, offered) {
            return self.hold(activation, gone, offered);
        }
        let withdrawn = withdraw.iter().filter(|id| before.world().rev(**id).is_some()).count();
        let summary = Summary {
            generation: active.generation,
            added: (world.count + withdrawn).saturating_sub(before.world().count),
            withdrawn,
            no_longer_offered: gone,
            revisions: world.count,
        };
        self.write(active, withdraw, activation.settings)?;
        self.remove_healed(&before, &decisions)?;
        store.publish(world, decisions);
        let mut staged = store.staged.write().unwrap_or_else(PoisonError::into_inner);
        staged.retain(|_, staged| staged.block >= watermark);
        staged.shrink_to_fit();
        Ok(Activated::Done(summary))
    }

    fn too_much(&self, gone: usize, offered: usize) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let share = gone as f64 / offered.max(1) as f64;
        gone >= HOLD_AT_LEAST && share > self.0.config.hold_above_share
    }

    fn hold(&self, activation: Activation, gone: usize, offered: usize) -> Result<Activated, CatalogError> {
        let held = Held { activation, would_remove: gone, offered, since: self.0.clock.now() };
        let mut batch = Batch::default();
        batch.put(key::HELD, record::encode(&held)?);
        self.0.kv.apply(&batch)?;
        self.0.kv.flush()?;
        Ok(Activated::Held(held))
    }

    /// The one batch that makes a generation active, after the log tells of it.
    fn write(
        &self,
        active: Active,
        withdrawn: Vec<u32>,
        settings: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<(), CatalogError> {
        if settings.len() > MAX_SETTINGS {
            return Err(crate::kv::KvError::BatchTooLarge(settings.len()).into());
        }
        let store = &*self.0;
        let generation = Generation { watermark: active.watermark, change: active.change };
        let mut ops: Vec<Op> = vec![
            (key::ACTIVE.to_vec(), Some(record::encode(&active)?)),
            (key::generation(active.generation), Some(record::encode(&generation)?)),
            (key::HELD.to_vec(), None),
        ];
        if !withdrawn.is_empty() {
            ops.push((
                key::withdrawn(active.watermark),
                Some(self.all_withdrawn(active.watermark, &withdrawn)?),
            ));
        }
        ops.extend(settings.into_iter().map(|(name, value)| (key::setting(&name), value)));
        let (mut bytes, mut marks) = (Vec::new(), Vec::new());
        let content = record::encode(&ActivationRecord { active, withdrawn })?;
        let numbers = self.numbers_below(active.watermark)?;
        let next = store.lineage.next(active.change, store.clock.now(), [&content[..], &numbers[..]]);
        let mut encoder = store.codec.encoder()?;
        encoder.record(&mut bytes, Kind::Activation, &content)?;
        encoder.record(&mut marks, Kind::Journal, &Journal { ops: next.ops.clone() }.encode(true)?)?;
        ops.extend(next.ops);
        let mut log = store.log();
        log.writer.make_room(&store.segments, (bytes.len() + marks.len()) as u64)?;
        log.writer.append(&store.segments, &bytes)?;
        log.writer.append(&store.segments, &marks)?;
        let ticket = log.push(ops);
        drop(log);
        store.settle(ticket)?;
        store.lineage.commit(next.place);
        Ok(())
    }

    /// The staged revisions that become active with their numbers, as bytes.
    fn numbers_below(&self, watermark: u64) -> Result<Vec<u8>, CatalogError> {
        let staged = self.0.staged.read().unwrap_or_else(PoisonError::into_inner);
        let mut numbers: Vec<(u32, UpdateIdentity)> = staged
            .iter()
            .filter(|(_, staged)| staged.block < watermark)
            .map(|(identity, staged)| (staged.id, *identity))
            .collect();
        numbers.sort_unstable();
        record::encode(&numbers)
    }

    /// What is withdrawn at this watermark, by this activation and by earlier ones that added nothing.
    fn all_withdrawn(&self, watermark: u64, more: &[u32]) -> Result<Vec<u8>, CatalogError> {
        let mut all: Vec<u32> = match self.0.kv.get(&key::withdrawn(watermark))? {
            Some(bytes) => record::decode('w', &bytes)?,
            None => Vec::new(),
        };
        all.extend_from_slice(more);
        all.sort_unstable();
        all.dedup();
        record::encode(&all)
    }

    /// The decisions without the damaged revisions that were stored again.
    fn without_healed(
        &self,
        before: &crate::catalog::snapshot::root::Snapshot,
        watermark: u64,
    ) -> crate::catalog::decisions::decided::Decisions {
        let mut decisions = (*before.view().decisions).clone();
        let staged = self.0.staged.read().unwrap_or_else(PoisonError::into_inner);
        let healed =
            |identity: &UpdateIdentity| staged.get(identity).is_some_and(|one| one.block < watermark);
        decisions.damaged.retain(|_, damage| !healed(&damage.identity));
        decisions
    }

    fn remove_healed(
        &self,
        before: &crate::catalog::snapshot::root::Snapshot,
        after: &crate::catalog::decisions::decided::Decisions,
    ) -> Result<(), CatalogError> {
        let healed: Vec<u32> = before
            .view()
            .decisions
            .damaged
            .keys()
            .filter(|id| !after.damaged.contains_key(id))
            .copied()
            .collect();
        for ids in healed.chunks(MAX_BATCH) {
            let mut batch = Batch::default();
            for id in ids {
                batch.remove(key::damaged(RevisionId(*id)));
            }
            self.0.kv.apply(&batch)?;
        }
        Ok(())
    }
}
