//! Computers of servers below, in memory and in the index ([MS-WSUSSS] 3.1.4.15 to 3.1.4.17).
//!
//! **Invariant:** an agent of ours is never changed by what others say of it; what a call took is durable when it
//! returns. There are never more computers, and never more states of one, than the limits, and no state of an update
//! that the catalog does not know.
//! Deviates: one table holds all computers in the text, so that a roll-up could take an agent over.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use super::descendant_table::DescendantTable;
use super::part::Servers;
use crate::computers::counting::Counting;
use crate::computers::fleet::Fleet;
use crate::computers::news::News;
use crate::computers::succession::replaced;
use crate::config::Config;
use crate::error::CatalogError;
use crate::snapshot::current::Current;
use crate::storage::client_state::ClientState;
use crate::storage::entries::entries;
use crate::storage::lock::{Rank, Ranked, leaf};
use crate::storage::record::{self, key};
use crate::texts::wanted;
use crate::values::computer::Computer;
use crate::values::counts::{CountedState, Origin};
use crate::values::descendant::{Descendant, Row, counted, row_of};
use tailwater_domain::{
    ComputerChange, ComputerId, Limit, RolledComputer, ServerId, StatusReport, UpdateId, limits,
};

/// The most states that are kept of one computer.
const MAX_STATES: usize = 20_000;
/// How many computers that an administrator removed are remembered, so that their servers hear of it.
const MAX_DELETED: usize = 1_000;

pub(crate) const LIMITS: &[Limit] = limits![
    MAX_STATES in "states": "States of one computer of a downstream server" => "the rest is left out",
    MAX_DELETED in "computers": "Removed computers that their servers are to hear of" => "the longest ago is forgotten, and told of again by its server",
];

/// How much longer computers below are waited for: what they say comes by way of their servers, some of them daily.
const PATIENCE: u32 = 2;
// not a limit: PATIENCE: a factor

/// Computers of servers below.
pub(crate) struct Descendants {
    state: Arc<ClientState>,
    config: Arc<Config>,
    fleet: Arc<Fleet>,
    servers: Arc<Servers>,
    current: Arc<Current>,
    counts: Arc<Counting>,
    news: Arc<News>,
    known: DescendantTable,
    deleted: Mutex<VecDeque<ComputerId>>,
    /// Held while they change.
    changing: Ranked<()>,
}

impl Descendants {
    /// The computers in the index.
    pub(crate) fn load(
        state: Arc<ClientState>,
        config: Arc<Config>,
        fleet: Arc<Fleet>,
        servers: Arc<Servers>,
        current: Arc<Current>,
        counts: Arc<Counting>,
        news: Arc<News>,
    ) -> Result<Self, CatalogError> {
        let mut known = HashMap::new();
        for (_, value) in entries(state.kv(), b"r")? {
            let computer: Descendant = record::decode('r', &value)?;
            known.insert(computer.id.clone(), Arc::new(computer));
        }
        let loaded = Self {
            state,
            config,
            fleet,
            servers,
            current,
            counts,
            news,
            known: DescendantTable::default(),
            deleted: Mutex::default(),
            changing: Ranked::new(Rank::Descendants, ()),
        };
        loaded.known.keep(known.into_values().collect());
        Ok(loaded)
    }

    /// Who there is.
    pub(crate) fn known(&self) -> &DescendantTable {
        &self.known
    }

    /// Whether a computer below was set up anew since: another one of its name, heard of later, first came after it was
    /// last heard of, and it is silent since.
    fn is_replaced(&self, one: &Descendant) -> bool {
        let silence = self.config.replace_silent_after.saturating_mul(PATIENCE);
        let silence = jiff::SignedDuration::try_from(silence).unwrap_or(jiff::SignedDuration::MAX);
        let now = self.state.clock().now();
        let others = self.known.names().of(one.name()).into_iter().filter(|id| *id != one.id);
        let mut others = others.filter_map(|id| self.known.get(&id));
        others.any(|other| replaced(one.heard(), other.first_seen, now, silence))
    }

    /// Forgets the former identities of computers that were just heard of. The caller holds `changing`.
    fn drop_replaced(&self, heard: &[ComputerId]) -> Result<(), CatalogError> {
        for id in heard {
            let Some(one) = self.known.get(id).filter(|one| !one.name().is_empty()) else { continue };
            if self.known.names().count(one.name()) < 2 {
                continue;
            }
            for other in self.known.names().of(one.name()) {
                let Some(other) = self.known.get(&other).filter(|other| self.is_replaced(other)) else {
                    continue;
                };
                tracing::info!(name = other.name(), former = %other.id, now = %one.id,
                    "a computer below was set up anew: its former record goes");
                self.count_states(&other.id, &self.states(&other.id)?, &[]);
                let ops = [key::descendant(&other.id), key::states(&other.id), key::told(&other.id)];
                self.state.put_states_durably(&ops.map(|key| (key, None)))?;
                self.known.drop_one(&other.id);
            }
        }
        Ok(())
    }

    /// Counts what all computers below say, once after the start.
    pub(crate) fn count_descendants(&self) -> Result<(), CatalogError> {
        let mut failed = None;
        self.state.kv().scan(b"R", |key, value| {
            let id = key.get(1..).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default();
            match record::decode::<Vec<Row>>('R', value) {
                Ok(rows) => self.count_states(&ComputerId(id.to_owned()), &[], &rows),
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn count_states(&self, id: &ComputerId, before: &[Row], after: &[Row]) {
        let words = |rows: &[Row]| -> Vec<CountedState> {
            rows.iter().map(|row| (UpdateId(row.0), counted(row.1))).collect()
        };
        self.counts.change(Origin::Below, id, &words(before), &words(after));
    }

    /// What a computer below says, by update.
    pub(crate) fn states(&self, id: &ComputerId) -> Result<Vec<Row>, CatalogError> {
        wanted()?;
        match self.state.kv().get(&key::states(id))? {
            Some(value) => record::decode('R', &value),
            None => Ok(Vec::new()),
        }
    }

    /// [MS-WSUSSS] 3.1.4.15: gives what the sender must do about which computer.
    pub(crate) fn roll_up_computers(
        &self,
        rows: Vec<RolledComputer>,
    ) -> Result<Vec<(ComputerId, ComputerChange)>, CatalogError> {
        if let Some(row) = rows.iter().find(|row| self.servers.known().get(&row.parent).is_none()) {
            return Err(CatalogError::UnknownServer(row.parent.to_string()));
        }
        let _one = self.changing.lock();
        let (now, mut room) =
            (self.state.clock().now(), self.config.max_descendants.saturating_sub(self.known.len()));
        let deleted: HashSet<ComputerId> = leaf(&self.deleted).iter().cloned().collect();
        let (mut changes, mut kept, mut ops) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for mut row in rows {
            // a clock down there that is ahead, or one here that was, would hide what is said from then on
            row.last_sync = row.last_sync.map(|at| at.min(now));
            let ours = self.fleet.members().get(&row.id);
            let is_older = |own: &Computer| row.last_sync <= Some(own.last_contact.min(now));
            if !seen.insert(row.id.clone()) || ours.is_some_and(|own| is_older(&own)) {
                continue;
            }
            if deleted.contains(&row.id) {
                changes.push((row.id, ComputerChange::Deleted));
                continue;
            }
            let before = self.known.get(&row.id);
            if before.as_ref().is_some_and(|before| before.last_sync.map(|at| at.min(now)) > row.last_sync) {
                continue;
            }
            if before.is_none() {
                room = room
                    .checked_sub(1)
                    .ok_or(CatalogError::TooManyComputers { limit: self.config.max_descendants })?;
            }
            let new_parent = before.as_ref().is_none_or(|before| before.parent != row.parent);
            if new_parent && row.details.is_none() {
                changes.push((row.id.clone(), ComputerChange::NewParent));
            }
            let after = Descendant::updated(before.as_deref(), row, now);
            if before.as_deref() != Some(&after) {
                ops.push((key::descendant(&after.id), Some(record::encode(&after)?)));
                kept.push(Arc::new(after));
            }
        }
        self.state.put_states_durably(&ops)?;
        let heard: Vec<ComputerId> = kept.iter().map(|one| one.id.clone()).collect();
        self.known.keep(kept);
        self.drop_replaced(&heard)?;
        for id in &heard {
            self.news.note(id);
        }
        let told: HashSet<&ComputerId> = changes
            .iter()
            .filter(|(_, change)| *change == ComputerChange::Deleted)
            .map(|(id, _)| id)
            .collect();
        leaf(&self.deleted).retain(|id| !told.contains(id));
        Ok(changes)
    }

    /// [MS-WSUSSS] 3.1.4.16: computers whose last number is another one than the sender says.
    pub(crate) fn out_of_sync(&self, parent: &ServerId, numbers: &[(ComputerId, i32)]) -> Vec<ComputerId> {
        if self.servers.known().get(parent).is_none() {
            return Vec::new();
        }
        let below = self.servers.known().below(parent);
        let differs = |(id, number): &&(ComputerId, i32)| {
            let known = self.known.get(id);
            known.is_some_and(|known| below.contains(&known.parent) && known.number != *number)
        };
        numbers.iter().filter(differs).map(|(id, _)| id.clone()).collect()
    }

    /// [MS-WSUSSS] 3.1.4.17. Computers that are not known below the sender are ignored.
    pub(crate) fn roll_up_status(
        &self,
        parent: &ServerId,
        reports: Vec<StatusReport>,
    ) -> Result<(), CatalogError> {
        let below = self.servers.known().below(parent);
        let _one = self.changing.lock();
        let (mut kept, mut ops) = (HashMap::new(), Vec::new());
        let (mut counted, snapshot) = (Vec::new(), self.current.snapshot());
        for report in reports {
            let known = kept.get(&report.computer).cloned().or_else(|| self.known.get(&report.computer));
            let Some(known) = known.filter(|known| below.contains(&known.parent)) else { continue };
            let before = self.states(&known.id)?;
            let after = merged(&before, &report, |update| snapshot.view().world.update(update).is_some());
            let mut computer = (*known).clone();
            computer.number = report.number;
            computer.effective_detection = report.effective_detection;
            ops.push((key::descendant(&computer.id), Some(record::encode(&computer)?)));
            if after != before {
                ops.push((key::states(&computer.id), Some(record::encode(&after)?)));
                counted.push((computer.id.clone(), before, after));
            }
            kept.insert(computer.id.clone(), Arc::new(computer));
        }
        self.state.put_states_durably(&ops)?;
        for (id, before, after) in &counted {
            self.count_states(id, before, after);
        }
        for id in kept.keys() {
            self.news.note(id);
        }
        self.known.keep(kept.into_values().collect());
        Ok(())
    }

    /// Forgets a computer below; its server is told when it speaks of it next.
    pub(crate) fn forget_descendant(&self, id: &ComputerId) -> Result<bool, CatalogError> {
        let _one = self.changing.lock();
        if self.known.drop_one(id).is_none() {
            return Ok(false);
        }
        self.count_states(id, &self.states(id)?, &[]);
        let keys = [key::descendant(id), key::states(id), key::told(id)];
        self.state.put_states_durably(&keys.map(|key| (key, None)))?;
        let mut deleted = leaf(&self.deleted);
        if deleted.len() >= MAX_DELETED {
            deleted.pop_front();
        }
        deleted.push_back(id.clone());
        Ok(true)
    }
}

/// What a computer says after a report: everything anew when it is full, else update by update, the older of two words
/// left out. What does not concern a computer is only kept where something else was known before.
fn merged(before: &[Row], report: &StatusReport, is_known: impl Fn(&UpdateId) -> bool) -> Vec<Row> {
    let mut rows: HashMap<_, Row> = HashMap::new();
    if !report.full {
        rows.extend(before.iter().map(|row| (row.0, *row)));
    }
    for status in report.updates.iter().filter(|status| is_known(&status.update)) {
        let row = row_of(status);
        let known = rows.get(&row.0);
        if known.is_some_and(|known| known.2 > row.2) || (known.is_none() && row.1 == 0) {
            continue;
        }
        if known.is_some() || rows.len() < MAX_STATES {
            rows.insert(row.0, row);
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_unstable();
    rows
}
