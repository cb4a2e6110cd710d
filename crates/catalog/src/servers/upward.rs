//! What there is to tell the upstream of computers, and what it was told ([MS-WSUSSS] 3.2.4.5).
//!
//! **Invariant:** what was told is written down when the upstream took it, so that a kill costs one request again at
//! most; another upstream, or one that lost everything, was told nothing. Reading changes nothing.

use std::collections::HashMap;
use std::hash::Hasher as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::rollup::Branches;
use crate::error::CatalogError;
use crate::storage::record;
use crate::storage::record::key;
use crate::values::computer::Status;
use crate::values::descendant::{Row, details_of};
use tailwater_domain::{
    ComputerId, RolledComputer, ServerId, StatusReport, Summarization, SyncResult, UpdateId, UpdateStatus,
};
use tailwater_kv::Op;

/// What the upstream was told of a computer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ReportedState {
    /// In which epoch: another upstream begins another one.
    epoch: u32,
    /// Of its row without details.
    row: u64,
    /// Of its details; none when they are wanted again.
    details: Option<u64>,
    /// The number of the last report.
    number: i32,
    /// Whether a report was taken at all.
    reported: bool,
    /// What it says of updates, sorted.
    states: Vec<(Uuid, u8)>,
    /// The upstream does not want to hear of it before it calls again.
    unwanted: bool,
}

/// A number that tells values apart, the same over restarts of one version of the program.
fn fingerprint(value: &impl std::hash::Hash) -> u64 {
    struct Blake(blake3::Hasher);
    impl std::hash::Hasher for Blake {
        fn finish(&self) -> u64 {
            self.0.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut hasher = Blake(blake3::Hasher::new());
    value.hash(&mut hasher);
    hasher.finish()
}

/// What a computer says, and since when, as far as that is told.
struct Says {
    states: Vec<Row>,
    effective_detection: Option<Timestamp>,
}

impl Branches {
    /// All computers that are told of: ours, and those of servers below that are no agents of ours.
    pub(crate) fn told_computers(&self) -> Vec<ComputerId> {
        let mut ids: Vec<ComputerId> =
            self.fleet().members().all().into_iter().map(|one| one.id.clone()).collect();
        let below = self.descendants().known().all().into_iter();
        ids.extend(
            below.filter(|one| self.fleet().members().get(&one.id).is_none()).map(|one| one.id.clone()),
        );
        ids.sort_unstable();
        ids
    }

    fn told(&self, epoch: u32, id: &ComputerId) -> Result<ReportedState, CatalogError> {
        let kept: Option<ReportedState> =
            self.state().kv().get(&key::told(id))?.map(|value| record::decode('u', &value)).transpose()?;
        Ok(kept
            .filter(|kept| kept.epoch == epoch)
            .unwrap_or(ReportedState { epoch, ..ReportedState::default() }))
    }

    /// The row of a computer, with details.
    fn row_to_tell(&self, ours: ServerId, id: &ComputerId) -> Result<Option<RolledComputer>, CatalogError> {
        let Some(computer) = self.fleet().members().get(id) else {
            // whose server is gone has nobody above it who knows its chain
            let below = self
                .descendants()
                .known()
                .get(id)
                .filter(|one| self.servers().known().get(&one.parent).is_some());
            return Ok(below.map(|one| one.told()));
        };
        let status = self.fleet().status(id)?;
        Ok(Some(RolledComputer {
            id: id.clone(),
            last_sync: Some(computer.last_contact),
            last_result: SyncResult::Succeeded,
            last_reboot: None,
            last_status: status.reported_at,
            last_inventory: None,
            parent: ours,
            details: Some(details_of(&computer)),
        }))
    }

    /// The rows of those of `ids` that changed since they were told; details only where they did.
    pub(crate) fn computers_to_tell(
        &self,
        epoch: u32,
        ours: ServerId,
        ids: &[ComputerId],
    ) -> Result<Vec<RolledComputer>, CatalogError> {
        let mut rows = Vec::new();
        for id in ids {
            let Some(mut row) = self.row_to_tell(ours, id)? else { continue };
            let told = self.told(epoch, id)?;
            let details = row.details.take();
            let print = fingerprint(&row);
            if told.row == print && (told.unwanted || told.details == details.as_ref().map(fingerprint)) {
                continue;
            }
            row.details = details.filter(|details| told.details != Some(fingerprint(details)));
            rows.push(row);
        }
        Ok(rows)
    }

    /// The upstream took these rows; of those in `again` it wants the details, those in `unwanted` it does not want.
    pub(crate) fn computers_told(
        &self,
        epoch: u32,
        rows: Vec<RolledComputer>,
        again: &[ComputerId],
        unwanted: &[ComputerId],
    ) -> Result<(), CatalogError> {
        let mut ops: Vec<Op> = Vec::new();
        for mut row in rows {
            let mut told = self.told(epoch, &row.id)?;
            let details = row.details.take();
            told.row = fingerprint(&row);
            told.details = details.as_ref().map(fingerprint).or(told.details);
            if again.contains(&row.id) {
                told.details = None;
            }
            told.unwanted = unwanted.contains(&row.id);
            if told.unwanted {
                told = ReportedState { epoch, row: told.row, unwanted: true, ..ReportedState::default() };
            }
            ops.push((key::told(&row.id), Some(record::encode(&told)?)));
        }
        self.state().put_reported(&ops)?;
        for id in unwanted {
            self.descendants().forget_descendant(id)?;
        }
        Ok(())
    }

    fn says(&self, syncs: &[Timestamp], id: &ComputerId) -> Result<Option<Says>, CatalogError> {
        let Some(computer) = self.fleet().members().get(id) else {
            let Some(below) = self.descendants().known().get(id).filter(|below| below.number > 0) else {
                return Ok(None);
            };
            let effective_detection = below.effective_detection;
            return Ok(Some(Says { states: self.descendants().states(id)?, effective_detection }));
        };
        let status = self.fleet().status(id)?;
        let Some(reported_at) = status.reported_at else { return Ok(None) };
        let changed = computer.last_report.unwrap_or(reported_at).max(reported_at);
        let effective_detection = syncs.iter().copied().filter(|sync| *sync <= reported_at).max();
        Ok(Some(Says { states: states_of(&status, changed), effective_detection }))
    }

    /// Of those of `ids` that say something else than was told: the number of the last report.
    pub(crate) fn statuses_to_tell(
        &self,
        epoch: u32,
        ids: &[ComputerId],
        every: bool,
    ) -> Result<Vec<(ComputerId, i32)>, CatalogError> {
        let mut numbers = Vec::new();
        for id in ids {
            let told = self.told(epoch, id)?;
            if told.unwanted || told.details.is_none() {
                continue;
            }
            let Some(says) = self.says(&[], id)? else { continue };
            if every
                || !told.reported
                || says
                    .states
                    .iter()
                    .filter(|row| row.1 != 0)
                    .map(|row| (row.0, row.1))
                    .ne(told.states.iter().copied())
            {
                numbers.push((id.clone(), told.number));
            }
        }
        Ok(numbers)
    }

    /// What to tell of a computer: everything when it was never told or when `full` is wanted, else what changed.
    /// `None` when there is nothing to tell. `syncs` are the times at which this server synchronised.
    pub(crate) fn status_to_tell(
        &self,
        epoch: u32,
        syncs: &[Timestamp],
        id: &ComputerId,
        full: bool,
    ) -> Result<Option<StatusReport>, CatalogError> {
        let (told, says) = (self.told(epoch, id)?, self.says(syncs, id)?);
        let Some(says) = says else { return Ok(None) };
        let full = full || !told.reported;
        let before: HashMap<Uuid, u8> = told.states.iter().copied().collect();
        let mut updates: Vec<UpdateStatus> = says
            .states
            .iter()
            .filter(|row| if full { row.1 != 0 } else { before.get(&row.0).copied().unwrap_or(0) != row.1 })
            .map(crate::values::descendant::status_of)
            .collect();
        if !full {
            let changed = updates
                .iter()
                .map(|status| status.changed)
                .max()
                .unwrap_or_else(|| self.state().clock().now());
            let gone = told.states.iter().filter(|(id, _)| !says.states.iter().any(|row| row.0 == *id));
            let state = Summarization::NotApplicable;
            updates.extend(gone.map(|(id, _)| UpdateStatus { update: UpdateId(*id), state, changed }));
            if updates.is_empty() {
                return Ok(None);
            }
        }
        let number = told.number.checked_add(1).unwrap_or(1);
        let effective_detection = says.effective_detection;
        Ok(Some(StatusReport { computer: id.clone(), effective_detection, number, full, updates }))
    }

    /// The upstream took these reports.
    pub(crate) fn statuses_told(&self, epoch: u32, reports: &[StatusReport]) -> Result<(), CatalogError> {
        let mut ops: Vec<Op> = Vec::new();
        for report in reports {
            let mut told = self.told(epoch, &report.computer)?;
            let mut states: HashMap<Uuid, u8> = HashMap::new();
            if !report.full {
                states.extend(told.states.iter().copied());
            }
            for status in &report.updates {
                let (id, state, _) = crate::values::descendant::row_of(status);
                if state == 0 {
                    states.remove(&id);
                } else {
                    states.insert(id, state);
                }
            }
            told.states = states.into_iter().collect();
            told.states.sort_unstable();
            told.number = report.number;
            told.reported = true;
            ops.push((key::told(&report.computer), Some(record::encode(&told)?)));
        }
        self.state().put_reported(&ops)
    }
}

/// What an agent of ours reported, row by row, sorted.
fn states_of(status: &Status, changed: Timestamp) -> Vec<Row> {
    let second = changed.as_second();
    let mut rows: HashMap<Uuid, u8> = HashMap::new();
    rows.extend(status.needed.iter().map(|id| (id.0, 2)));
    rows.extend(status.installed.iter().map(|id| (id.0, 4)));
    rows.extend(status.failed.iter().map(|failure| (failure.update.0, 5)));
    let mut rows: Vec<Row> = rows.into_iter().map(|(id, state)| (id, state, second)).collect();
    rows.sort_unstable();
    rows
}
