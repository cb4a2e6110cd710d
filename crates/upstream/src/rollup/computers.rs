//! The part about computers: who they are, and what they have.
//!
//! Invariant: a batch that the upstream took is written down before the next one goes. It never asks more of a busy
//! upstream than the text allows.

use std::collections::HashSet;
use std::time::Duration;

use super::round::{CHUNK, Rollup, synchronised};
use crate::client::chance;
use crate::error::SyncError;
use tailwater_catalog::Epoch;
use tailwater_domain::{ComputerChange, ComputerId, Limit, StatusReport, limits};
use tailwater_wire::server_reporting::{self as wire, RollupConfiguration};

/// Bytes of a request: half a minute of a 64 kbit/s link. One computer's own report may be longer.
const MAX_WEIGHT: usize = 256 * 1024;
/// The same when requests are packed: a tenth of it travels.
const MAX_PACKED_WEIGHT: usize = 1024 * 1024;

pub(super) const LIMITS: &[Limit] = limits![
    MAX_WEIGHT in "bytes": "A request of a roll-up" => "what is left goes into the next one",
    MAX_PACKED_WEIGHT in "bytes": "A request of a roll-up that is compressed" => "what is left goes into the next one",
];

/// How long a busy upstream is left alone ([MS-WSUSSS] note 77): this, and up to four times as long again by chance.
const BUSY_WAIT: Duration = Duration::from_mins(1);
/// How often a busy upstream is asked again.
const BUSY_RETRIES: u32 = 3;

impl Rollup {
    pub(super) async fn tell_computers(
        &self,
        configuration: &RollupConfiguration,
        epoch: Epoch,
        ids: &[ComputerId],
    ) -> Result<usize, SyncError> {
        let (mut told, mut again) = (0, Vec::new());
        for some in ids.chunks(CHUNK) {
            told += self.tell_some_computers(configuration, epoch, some.to_vec(), &mut again).await?;
        }
        // those of which the upstream wants the details, once more
        let wanted = std::mem::take(&mut again);
        for some in wanted.chunks(CHUNK) {
            told += self.tell_some_computers(configuration, epoch, some.to_vec(), &mut again).await?;
        }
        Ok(told)
    }

    async fn tell_some_computers(
        &self,
        configuration: &RollupConfiguration,
        epoch: Epoch,
        ids: Vec<ComputerId>,
        again: &mut Vec<ComputerId>,
    ) -> Result<usize, SyncError> {
        let ours = self.ours;
        let rows = self.ask(move |catalog| catalog.computers_to_tell(epoch, ours, &ids)).await?;
        let told = rows.len();
        for some in self.batches(rows, configuration.max_computers, wire::computer_weight) {
            let request = wire::rollup_computers(self.clock.now(), &some);
            let changes = self.session.report(&request, wire::read_computers_answer).await?;
            let (details, unwanted): (Vec<_>, Vec<_>) =
                changes.into_iter().partition(|(_, change)| *change == ComputerChange::NewParent);
            let plain =
                |list: Vec<(ComputerId, ComputerChange)>| list.into_iter().map(|(id, _)| id).collect();
            let (details, unwanted): (Vec<ComputerId>, Vec<ComputerId>) = (plain(details), plain(unwanted));
            again.extend(details.iter().cloned());
            self.ask(move |catalog| catalog.computers_told(epoch, some, &details, &unwanted)).await?;
        }
        Ok(told)
    }

    pub(super) async fn tell_statuses(
        &self,
        configuration: &RollupConfiguration,
        epoch: Epoch,
        ids: &[ComputerId],
        every: bool,
    ) -> Result<usize, SyncError> {
        let syncs = self.ask(|catalog| Ok(synchronised(catalog))).await?;
        let mut told = 0;
        for some in ids.chunks(CHUNK.min(configuration.max_numbers)) {
            let some = some.to_vec();
            let numbers = self.ask(move |catalog| catalog.statuses_to_tell(epoch, &some, every)).await?;
            if numbers.is_empty() {
                continue;
            }
            let request = wire::get_out_of_sync(self.ours, &numbers);
            let lost = self.session.report(&request, wire::read_out_of_sync).await?;
            let (lost, syncs): (HashSet<ComputerId>, _) = (lost.into_iter().collect(), syncs.clone());
            let reports = self
                .ask(move |catalog| {
                    let report = |(id, _): &(ComputerId, i32)| {
                        catalog.status_to_tell(epoch, &syncs, id, lost.contains(id)).transpose()
                    };
                    numbers.iter().filter_map(report).collect::<Result<Vec<_>, _>>()
                })
                .await?;
            told += reports.len();
            for some in self.batches(reports, configuration.max_statuses, wire::status_weight) {
                self.tell_status(&some).await?;
                self.ask(move |catalog| catalog.statuses_told(epoch, &some)).await?;
            }
        }
        Ok(told)
    }

    /// Until the upstream takes it, with pauses while it is busy.
    async fn tell_status(&self, reports: &[StatusReport]) -> Result<(), SyncError> {
        for _ in 0..=BUSY_RETRIES {
            let request = wire::rollup_status(self.clock.now(), self.ours, reports);
            if self.session.report(&request, wire::read_status_answer).await? {
                return Ok(());
            }
            tokio::select! {
                () = self.clock.sleep(BUSY_WAIT.mul_f64(1.0 + 4.0 * chance())) => {}
                () = self.stopping.cancelled() => return Err(SyncError::Cancelled),
            }
        }
        Err(SyncError::Busy)
    }

    fn batches<T>(&self, rows: Vec<T>, most: usize, weight: fn(&T) -> usize) -> Vec<Vec<T>> {
        let limit = if self.session.packing().is_on() { MAX_PACKED_WEIGHT } else { MAX_WEIGHT };
        let (mut batches, mut heavy): (Vec<Vec<T>>, usize) = (Vec::new(), 0);
        for row in rows {
            let more = weight(&row);
            if let Some(last) = batches.last_mut().filter(|last| last.len() < most && heavy + more <= limit) {
                heavy += more;
                last.push(row);
            } else {
                heavy = more;
                batches.push(vec![row]);
            }
        }
        batches
    }
}
