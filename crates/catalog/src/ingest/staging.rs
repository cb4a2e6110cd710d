//! The way in: revisions are stored, then activated together.
//!
//! **Invariant:** when [`Staging::store`] returns, what it was given is durable; nobody sees it before
//! [`Staging::activate`]. Staging outlives its process: what was stored and not activated is still held
//! after a restart.

use std::sync::Arc;

use super::part::Ingest;
use crate::error::CatalogError;
use crate::ingest::prepare;
use crate::ingest::prepare::Prepared;
use crate::storage::log::Appender;
use crate::storage::manifest::{BLOCK_BYTES, Manifest, encode_block};
use crate::storage::record;
use crate::storage::record::key;
use crate::storage::segment::codec::Encoder;
use crate::storage::segment::frame::Kind;
use crate::storage::staged::Staged;
use crate::values::facts::StoredFacts;
use crate::values::part::NewRevision;
use tailwater_domain::{Limit, RevisionId, UpdateIdentity, limits};

/// How many manifests go into one block, which closes by bytes as well ([`BLOCK_BYTES`]).
const BLOCK: usize = 100;
/// What is limited here.
pub(crate) const LIMITS: &[Limit] = limits![
    BLOCK in "updates": "Updates that are stored together" => "the next block begins",
];
/// The way into the store; see [`crate::Catalog::staging`]. Cheap to clone.
#[derive(Clone)]
pub struct Staging(pub(crate) Arc<Ingest>);

/// What came of revisions that were to be stored.
#[derive(Debug)]
pub struct Stored {
    /// Their numbers, in their order; 0 for what was refused.
    pub numbers: Vec<RevisionId>,
    /// Those that cannot be stored, and why.
    pub refused: Vec<(UpdateIdentity, CatalogError)>,
}

impl Staging {
    pub(super) fn staged_now(&self, identity: &UpdateIdentity) -> Option<Staged> {
        self.0.staged().get(identity).cloned()
    }

    /// Whether this revision needs no fetching: active or staged, and not damaged.
    pub fn holds(&self, identity: &UpdateIdentity) -> bool {
        match self.staged_now(identity) {
            Some(staged) if staged.damaged => return false,
            Some(staged) if self.0.storage().log().is_durable(staged.ticket) => return true,
            _ => {}
        }
        let snapshot = self.0.current().snapshot();
        let active = snapshot.world().find(identity);
        active.is_some_and(|id| !snapshot.view().decisions.damaged.contains_key(&id))
    }

    /// Whether this revision is staged and not active.
    pub(crate) fn is_staged(&self, identity: &UpdateIdentity) -> bool {
        self.staged_now(identity).is_some()
    }

    /// Every revision that is active, staged ones excluded. For telling what upstream no longer lists.
    pub fn active(&self) -> Vec<UpdateIdentity> {
        let snapshot = self.0.current().snapshot();
        let world = snapshot.world();
        let revisions = world.updates.iter().flat_map(|update| world.revisions(update));
        revisions.map(|(_, rev)| world.identity(rev)).collect()
    }

    /// Every revision that is staged and not active.
    pub fn staged(&self) -> Vec<UpdateIdentity> {
        self.0.staged().keys().copied().collect()
    }

    /// What a staged or active revision is stored as; for pulling in what bundles and prerequisites name. None where it
    /// is damaged: from then on it is not held.
    pub fn facts(&self, identity: &UpdateIdentity) -> Result<Option<Arc<StoredFacts>>, CatalogError> {
        let staged = self.staged_now(identity);
        let snapshot = self.0.current().snapshot();
        let active = || snapshot.world().find(identity).and_then(|id| snapshot.facts_part(id));
        let Some(part) = staged.as_ref().map(|staged| staged.facts).or_else(active) else { return Ok(None) };
        match self.0.texts().read_facts(&part) {
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
            let prepared = prepare::prepare(self.0.storage(), wanted)?;
            refused = prepared.refused;
            ticket = self.append(prepared.prepared, again, &mut refused)?;
        }
        self.0.storage().log().settle(ticket)?;
        let snapshot = self.0.current().snapshot();
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
        let snapshot = self.0.current().snapshot();
        let storage = self.0.storage().log();
        let (mut encoder, ids) = (storage.codec().encoder()?, storage.ids());
        let mut log = storage.appender();
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
            let mut manifest = match prepare::append(&mut log, &mut encoder, one) {
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
            manifest.id = known.unwrap_or_else(|| ids.revision());
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
            bytes += len;
            block.push(manifest);
        }
        self.close(&mut log, &mut encoder, block)?;
        Ok(log.ticket())
    }

    /// Appends a block of manifests, from when on they are staged.
    fn close(
        &self,
        log: &mut Appender<'_>,
        encoder: &mut Encoder<'_>,
        block: Vec<Manifest>,
    ) -> Result<(), CatalogError> {
        if block.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        encoder.record(&mut bytes, Kind::Manifest, &encode_block(&block)?)?;
        log.make_room(bytes.len() as u64)?;
        let place = log.append(&bytes)?;
        let number = self.0.storage().log().ids().block();
        // how many there are (at most a hundred) is for the case that the block cannot be read any more
        let entry = (place, u32::try_from(block.len()).unwrap_or(u32::MAX));
        let ticket = log.push(vec![(key::block(number), Some(record::encode(&entry)?))]);
        let entries = block.into_iter().map(|manifest| (manifest.identity, manifest.staged(number, ticket)));
        self.0.stage(entries);
        Ok(())
    }
}
