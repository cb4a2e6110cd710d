//! The worker that learns: requests that were answered become what classes of computers used.
//!
//! **Invariant:** nobody waits for it: a request beyond [`super::MAX_WAITING`] is counted and passed over. What it
//! learned is on disk within [`SAVE_EVERY`]. It never learns from a file that no update names.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::callers::SERVERS;
use super::layout::Layout;
use super::{Handle, NeedsError, locked, store};
use tailwater_domain::{ByteRange, Limit, Requester, Sha1Digest, UpdateId, limits};
use tailwater_runtime::{Ageing, Tasks};

/// Requests learned from in one step.
const BATCH: usize = 2_048;

/// How long requests are gathered: agents ask for a file in pieces.
const GATHER: Duration = Duration::from_millis(500);

/// How often what was learned is written down.
const SAVE_EVERY: Duration = Duration::from_secs(3);

/// After how many times it is looked what crossed for approvals: each minute.
const FOLLOW: u32 = 20;

/// Files whose releases are remembered between two changes of the catalog.
const MAX_OWNERS: usize = 8_192;

pub(super) const LIMITS: &[Limit] = limits![
    BATCH in "requests": "Requests learned from in one step" => "they wait for the next",
    MAX_OWNERS in "files": "Files whose releases are remembered" => "all are looked up again",
];

// not a limit: SAVE_EVERY, FOLLOW: how often is written

/// A request for a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) by: Requester,
    pub(super) sha1: Sha1Digest,
    pub(super) range: ByteRange,
}

/// Where files belong, as long as the catalog stays what it is.
#[derive(Default)]
struct Owners {
    snapshot: u64,
    known: HashMap<Sha1Digest, Option<(Arc<Layout>, usize)>>,
}

/// What the worker keeps between two steps.
#[derive(Default)]
struct Desk {
    owners: Owners,
    /// The day of the last ageing.
    aged: i32,
    ageing: Option<Ageing>,
    /// Savings since it was last looked what crossed for approvals.
    saved: u32,
}

pub(super) fn start(handle: &Handle, mut receiver: mpsc::Receiver<Asked>, tasks: &Tasks) {
    let (handle, stopping) = (handle.clone(), tasks.stopping());
    tasks.spawn("learn needs", async move {
        let (mut desk, mut batch) = (Desk::default(), Vec::new());
        let mut last_save = handle.0.clock.instant();
        loop {
            tokio::select! {
                _count = receiver.recv_many(&mut batch, BATCH) => {}
                () = handle.0.clock.sleep(SAVE_EVERY) => {}
                () = stopping.cancelled() => break,
            }
            if !batch.is_empty() && batch.len() < BATCH {
                handle.0.clock.sleep(GATHER).await;
                while batch.len() < BATCH
                    && let Ok(more) = receiver.try_recv()
                {
                    batch.push(more);
                }
            }
            let save = last_save.elapsed() >= SAVE_EVERY;
            desk = step(&handle, std::mem::take(&mut batch), desk, save).await;
            if save {
                last_save = handle.0.clock.instant();
            }
        }
        receiver.close();
        while let Ok(more) = receiver.try_recv() {
            batch.push(more);
        }
        desk.saved = FOLLOW;
        step(&handle, batch, desk, true).await;
    });
}

async fn step(handle: &Handle, batch: Vec<Asked>, mut desk: Desk, save: bool) -> Desk {
    let work = handle.clone();
    let done = tokio::task::spawn_blocking(move || {
        if let Err(error) = work.learn(&batch, &mut desk) {
            tracing::warn!(%error, "what computers need cannot be learned now");
        }
        if save && let Err(error) = work.save(&mut desk) {
            tracing::warn!(%error, "what was learned of needs cannot be stored");
        }
        desk
    });
    done.await.unwrap_or_default()
}

impl Handle {
    pub(super) fn note(&self, asked: Asked) {
        if let Err(TrySendError::Full(_)) = self.0.asked.try_send(asked) {
            self.0.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn caller(&self, from: IpAddr, class: &str) {
        locked(&self.0.callers).called(from.to_canonical(), class, self.day());
    }

    fn learn(&self, batch: &[Asked], desk: &mut Desk) -> Result<(), NeedsError> {
        let day = self.day();
        let mut ranges: BTreeMap<(Requester, Sha1Digest), Vec<ByteRange>> = BTreeMap::new();
        for asked in batch {
            ranges.entry((asked.by, asked.sha1)).or_default().push(asked.range);
        }
        for ((by, sha1), ranges) in ranges {
            let Some((layout, place)) = self.owner(&sha1, &mut desk.owners)? else { continue };
            let classes = match by {
                Requester::Agent(from) => locked(&self.0.callers).classes(from, day),
                Requester::Server(_) => vec![SERVERS.to_owned()],
                Requester::Own => continue,
            };
            let mut memory = self.memory();
            for class in classes {
                memory.asked(&class, &layout, place, &ranges, day);
            }
            drop(memory);
            self.0.lessons.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The release that a file was asked for as a part of: of those that have it the newest that is approved, else the
    /// newest.
    fn owner(
        &self,
        sha1: &Sha1Digest,
        owners: &mut Owners,
    ) -> Result<Option<(Arc<Layout>, usize)>, NeedsError> {
        let now = *self.0.catalog.subscribe().borrow();
        if owners.snapshot != now || owners.known.len() >= MAX_OWNERS {
            *owners = Owners { snapshot: now, known: HashMap::new() };
        }
        if let Some(known) = owners.known.get(sha1) {
            return Ok(known.clone());
        }
        let approved: HashSet<UpdateId> =
            self.0.catalog.approved_installs().into_iter().map(|install| install.update).collect();
        let mut best = None;
        for update in self.0.catalog.releases_with(sha1) {
            if let Some(release) = self.0.catalog.release_of(&update)? {
                let rank = (approved.contains(&update), release.arrived, release.identity.update);
                best = best.max(Some(rank));
            }
        }
        let layout = best.map(|(.., update)| self.layout(&update)).transpose()?.flatten();
        let found = layout.and_then(|layout| {
            let place = layout.files.iter().position(|placed| placed.file.sha1 == *sha1)?;
            Some((layout, place))
        });
        owners.known.insert(*sha1, found.clone());
        Ok(found)
    }

    /// Writes down what changed, and forgets what is old once a day.
    fn save(&self, desk: &mut Desk) -> Result<(), NeedsError> {
        desk.saved += 1;
        if desk.saved >= FOLLOW {
            desk.saved = 0;
            self.follow_kept()?;
        }
        self.save_kept()?;
        let day = self.day();
        let newest = || self.memory().uses.values().map(|uses| uses.day).max();
        let newest = || Timestamp::from_second(i64::from(newest()?) * 86_400).ok();
        let ageing = desk.ageing.get_or_insert_with(|| Ageing::after(newest()));
        if desk.aged != day && ageing.is_believed(&self.0.clock) {
            desk.aged = day;
            self.memory().age(day);
            locked(&self.0.callers).age(day);
        }
        let rows = {
            let mut memory = self.memory();
            let changed = memory.take_changed();
            let row = |row: super::memory::Row| Ok((row.clone(), store::value_of(&memory, &row)?));
            changed.into_iter().map(row).collect::<Result<Vec<_>, NeedsError>>()?
        };
        let addresses = {
            let mut callers = locked(&self.0.callers);
            let changed = callers.take_changed();
            let row = |address: IpAddr| Ok((address, store::caller_value(&callers, address)?));
            changed.into_iter().map(row).collect::<Result<Vec<_>, NeedsError>>()?
        };
        if rows.is_empty() && addresses.is_empty() {
            return Ok(());
        }
        self.0.disk.save(rows)?;
        self.0.disk.save_callers(addresses)?;
        self.0.disk.flush()
    }
}
