//! Activating: everything that is staged becomes visible in one step, or waits for an administrator.
//!
//! **Invariant:** one batch of the index makes a generation active, after the log tells of it and before a snapshot shows
//! it. What would take away too much is kept as it is until somebody releases it. It never fetches what is missing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::load;
use super::staging::Staging;
use crate::decisions::decided::Decisions;
use crate::error::CatalogError;
use crate::snapshot::root::Snapshot;
use crate::storage::record::{self, ActivationRecord, Active, Generation, Journal, key};
use crate::storage::segment::frame::Kind;
use tailwater_domain::{Limit, RevisionId, UpdateIdentity, limits};
use tailwater_kv::{KvError, MAX_BATCH, Op};

/// The most settings that change with an activation: all of it must fit one batch.
const MAX_SETTINGS: usize = MAX_BATCH - 8;
/// Fewer updates than this may go without asking anybody, whatever share they are.
const HOLD_AT_LEAST: usize = 100;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_SETTINGS in "settings": "Settings that change with an activation" => "an error; nothing is changed",
    HOLD_AT_LEAST in "updates": "Updates that may go without asking anybody, whatever share they are" => "the activation is held for an administrator",
];

// not a limit: HOLD_AT_LEAST: which removals are held

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
    /// It would take away too much; see [`crate::Catalog::release_held`].
    Held(Held),
}

impl Staging {
    /// Makes everything staged visible in one step, with a new snapshot. Blocks.
    pub fn activate(&self, activation: Activation) -> Result<Activated, CatalogError> {
        let (ingest, log) = (&*self.0, self.0.storage().log());
        let changing = ingest.current().change();
        let appender = log.appender();
        let (ticket, watermark) = (appender.ticket(), log.ids().next_block());
        drop(appender);
        log.settle(ticket)?;
        let before = changing.snapshot();
        let draft = log.ids().draft();
        let withdraw: Vec<u32> = activation
            .withdraw
            .iter()
            .filter_map(|identity| {
                let staged = self.staged_now(identity).map(|staged| staged.id);
                staged.or_else(|| before.world().find(identity))
            })
            .collect();
        let active = Active { generation: before.generation() + 1, watermark, change: draft.change() };
        let (world, damaged) = load::graph(log, active, &withdraw)?;
        ingest.note_damaged(&damaged);
        let world = Arc::new(world);
        let decisions = Arc::new(self.without_healed(&before, watermark));
        let view = ingest.current().view(&world, &decisions);
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
        log.ids().commit(draft);
        self.remove_healed(&before, &decisions)?;
        changing.publish(world, decisions);
        ingest.unstage_below(watermark);
        Ok(Activated::Done(summary))
    }

    fn too_much(&self, gone: usize, offered: usize) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let share = gone as f64 / offered.max(1) as f64;
        gone >= HOLD_AT_LEAST && share > self.0.config().hold_above_share
    }

    fn hold(&self, activation: Activation, gone: usize, offered: usize) -> Result<Activated, CatalogError> {
        let held = Held { activation, would_remove: gone, offered, since: self.0.now() };
        self.0.storage().apply_durably(&[(key::HELD.to_vec(), Some(record::encode(&held)?))])?;
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
            return Err(KvError::BatchTooLarge(settings.len()).into());
        }
        let storage = self.0.storage();
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
        let next = storage.lineage().next(active.change, storage.clock().now(), [&content[..], &numbers[..]]);
        let mut encoder = storage.log().codec().encoder()?;
        encoder.record(&mut bytes, Kind::Activation, &content)?;
        encoder.record(&mut marks, Kind::Journal, &Journal { ops: next.ops.clone() }.encode(true)?)?;
        ops.extend(next.ops);
        let mut log = storage.log().appender();
        log.make_room((bytes.len() + marks.len()) as u64)?;
        log.append(&bytes)?;
        log.append(&marks)?;
        let ticket = log.push(ops);
        drop(log);
        storage.log().settle(ticket)?;
        storage.lineage().commit(next.place);
        Ok(())
    }

    /// The staged revisions that become active with their numbers, as bytes.
    fn numbers_below(&self, watermark: u64) -> Result<Vec<u8>, CatalogError> {
        let staged = self.0.staged();
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
        let mut all: Vec<u32> = match self.0.storage().kv().get(&key::withdrawn(watermark))? {
            Some(bytes) => record::decode('w', &bytes)?,
            None => Vec::new(),
        };
        all.extend_from_slice(more);
        all.sort_unstable();
        all.dedup();
        record::encode(&all)
    }

    /// The decisions without the damaged revisions that were stored again.
    fn without_healed(&self, before: &Snapshot, watermark: u64) -> Decisions {
        let mut decisions = (*before.view().decisions).clone();
        let staged = self.0.staged();
        let healed =
            |identity: &UpdateIdentity| staged.get(identity).is_some_and(|one| one.block < watermark);
        decisions.damaged.retain(|_, damage| !healed(&damage.identity));
        decisions
    }

    fn remove_healed(&self, before: &Snapshot, after: &Decisions) -> Result<(), CatalogError> {
        let healed: Vec<u32> = before
            .view()
            .decisions
            .damaged
            .keys()
            .filter(|id| !after.damaged.contains_key(id))
            .copied()
            .collect();
        let gone: Vec<Op> = healed.iter().map(|id| (key::damaged(RevisionId(*id)), None)).collect();
        Ok(self.0.storage().kv().apply_all(&gone)?)
    }
}
