//! Computers in memory and in the index: who called, in which groups they are, what they reported.
//!
//! An identity is provisional, and in memory only, until its first scan makes it a member of the fleet; where there is no
//! room for another member, or too many come from one place, it stays provisional and is answered all the same.
//!
//! **Invariant:** what an administrator says of group membership is journaled and durable when a call returns; contact
//! times, reports, and groups that agents ask for are written without waiting, since agents send them again. A move is
//! of no concern to other computers: it makes no snapshot and no change number. It never grows beyond its limits, and no
//! member that came back ever goes because of newcomers.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::catalog::computers::identity::changes;
use crate::catalog::computers::provisional::Provisional;
use crate::catalog::computers::succession::Names;
use crate::catalog::decisions::decided::{Decisions, entries};
use crate::catalog::error::CatalogError;
use crate::catalog::storage::log::{Op, Store, lock};
use crate::catalog::storage::record;
use crate::catalog::storage::record::key;
use crate::catalog::texts::wanted;
use crate::catalog::values::computer::{Caller, Computer, ComputerInfo, Status};
use crate::catalog::values::counts::Counts;
use crate::catalog::values::counts::{Of, Said, words_of};
use crate::domain::{ClientText, ComputerId, GroupId, Limit, Subnet, UpdateId, limits};
use crate::kv::{Batch, Kv};
use crate::runtime::{Allowance, Clock, LogThrottle, RateLimiter, RateLimits, is_recent};

/// How exact the time of last contact is kept.
pub(in crate::catalog) const CONTACT_GRAIN: SignedDuration = SignedDuration::from_secs(60);
/// The longest text of a registration that is kept, in characters.
const MAX_TEXT: usize = 256;
/// The most of `DeviceAttributes` that is kept, in characters.
const MAX_ATTRIBUTES: usize = 4_096;
/// The most groups that a computer can ask for or be in.
const MAX_GROUPS: usize = 64;
/// The most computers that are moved together.
pub const MAX_MOVED: usize = 20_000;
/// Where the fleet has so many members, of what it may have, newcomers are held to the slower rate.
const ROOMY: usize = 2;
/// Members that are looked for at once when there is no room: one in so many.
const GO_TOGETHER: usize = 100;
/// Addresses and subnets whose rates are known apart.
const RATED: usize = 10_000;

/// New members while there is room: a site of a thousand behind one address gets in at once, one of ten thousand in 90
/// minutes; whoever waits is answered meanwhile.
const ROOMY_RATE: RateLimits = RateLimits {
    total: None,
    per_subnet: Some(Allowance { burst: 2_000, interval: Duration::from_millis(300) }),
    per_address: Some(Allowance { burst: 1_000, interval: Duration::from_millis(600) }),
    entries: RATED,
};
/// New members once half of the places are taken.
const FULLER_RATE: RateLimits = RateLimits {
    total: Some(Allowance { burst: 5_000, interval: Duration::from_millis(100) }),
    per_subnet: Some(Allowance { burst: 200, interval: Duration::from_secs(3) }),
    per_address: Some(Allowance { burst: 100, interval: Duration::from_secs(6) }),
    entries: RATED,
};

pub(in crate::catalog) const LIMITS: &[Limit] = limits![
    key "agents.max_computers" in "computers": "Computers that are kept" => "the longest silent of those that never came back go; else it is answered and not kept",
    key "agents.max_state" in "bytes": "What is kept of what agents say" => "those that never came back go, then events; then it is not kept",
    MAX_MOVED in "computers": "Computers moved together" => "none is moved: 400",
    MAX_GROUPS in "groups": "Groups that a computer asks for or is in" => "the rest is left out",
    MAX_TEXT in "characters": "A text of a registration" => "it is cut",
    MAX_ATTRIBUTES in "characters": "`DeviceAttributes`" => "they are cut",
    RATED in "addresses": "Addresses whose rate of new computers is known apart, and as many subnets" => "they share one rate",
];

// not a limit: CONTACT_GRAIN: how exact contact is kept

/// How often new members come.
pub(in crate::catalog) struct Newcomers {
    roomy: RateLimiter,
    fuller: RateLimiter,
    /// Those that had to stay provisional.
    refused: LogThrottle,
    /// Reports of computers that are no members.
    unkept: LogThrottle,
}

impl Newcomers {
    pub(in crate::catalog) fn new(clock: &Clock) -> Self {
        Self {
            roomy: RateLimiter::new(ROOMY_RATE, clock.clone()),
            fuller: RateLimiter::new(FULLER_RATE, clock.clone()),
            refused: LogThrottle::default(),
            unkept: LogThrottle::default(),
        }
    }
}

/// What became of computers that asked to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FleetCounts {
    /// In memory only, until they scan and there is room.
    pub provisional: usize,
    /// How often one that scanned had to stay provisional, since this process began.
    pub not_kept: u64,
    /// How many reports of provisional computers were passed over, since this process began.
    pub reports_not_kept: u64,
}

/// All computers.
#[derive(Default)]
pub(in crate::catalog) struct Computers {
    pub known: RwLock<HashMap<ComputerId, Arc<Computer>>>,
    /// Those that did not scan yet.
    pub provisional: Provisional,
    /// What all computers say, those of servers below too.
    pub said: RwLock<Said>,
    /// Who has which name.
    pub names: Names,
    /// Held while computers change.
    pub changing: Mutex<()>,
}

/// What of a text is kept: without what cannot be shown, at most so many characters.
pub(in crate::catalog) fn cut(text: &str, limit: usize) -> String {
    ClientText::of(text, limit).into_string()
}

impl Computers {
    pub(in crate::catalog) fn load(kv: &Kv) -> Result<Self, CatalogError> {
        let (mut known, mut failed) = (HashMap::new(), None);
        kv.scan(b"c", |_, value| {
            match Computer::of_record(value) {
                Ok(computer) => {
                    known.insert(computer.id.clone(), Arc::new(computer));
                }
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let all = known.values().map(|computer| (&computer.id, &computer.dns_name[..]));
        let names = Names::load(kv, all)?;
        Ok(Self { known: RwLock::new(known), names, ..Self::default() })
    }

    pub(in crate::catalog) fn get(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// A member, or one that is provisional.
    pub(in crate::catalog) fn any(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        self.get(id).or_else(|| self.provisional.get(id))
    }

    pub(in crate::catalog) fn len(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(in crate::catalog) fn all(&self) -> Vec<Arc<Computer>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Computers that are in one of these groups, as they are without.
    pub(in crate::catalog) fn leaving(&self, gone: &[GroupId]) -> Vec<Computer> {
        let mut left: Vec<Computer> = self
            .all()
            .iter()
            .filter(|computer| computer.groups.iter().any(|group| gone.contains(group)))
            .map(|computer| (**computer).clone())
            .collect();
        for computer in &mut left {
            computer.groups.retain(|group| !gone.contains(group));
        }
        left
    }

    pub(in crate::catalog) fn keep(&self, computer: Computer) -> Arc<Computer> {
        let computer = Arc::new(computer);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(computer.id.clone(), Arc::clone(&computer));
        drop(known);
        let before = before.as_ref().map_or("", |before| &before.dns_name);
        self.names.renamed(&computer.id, before, &computer.dns_name);
        computer
    }

    /// Forgets one; what it was, if it was known.
    pub(in crate::catalog) fn drop_one(&self, id: &ComputerId) -> Option<Arc<Computer>> {
        let gone = self.known.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(gone) = &gone {
            self.names.renamed(id, &gone.dns_name, "");
        }
        gone
    }

    /// Counts what a computer says now instead of what it said before.
    pub(in crate::catalog) fn count(&self, id: &ComputerId, before: &Status, after: &Status) {
        let mut said = self.said.write().unwrap_or_else(PoisonError::into_inner);
        said.change(Of::Us, id, &words_of(before), &words_of(after));
    }

    /// What all computers say.
    pub(in crate::catalog) fn said(&self) -> RwLockReadGuard<'_, Said> {
        self.said.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::catalog) fn counts_of(&self, update: &UpdateId) -> Counts {
        self.said().of_update(update)
    }
}

/// The groups a computer asked for that exist.
fn requested(decisions: &Decisions, names: &[String]) -> Vec<GroupId> {
    let wanted = |name: &str| names.iter().any(|other| other.to_lowercase() == name.to_lowercase());
    let mut found: Vec<GroupId> = decisions
        .groups
        .values()
        .filter(|group| group.id != GroupId::ALL_COMPUTERS && wanted(&group.name))
        .map(|group| group.id)
        .collect();
    found.sort_unstable();
    if found.len() > 1 {
        found.retain(|id| *id != GroupId::UNASSIGNED_COMPUTERS);
    }
    found
}

impl Store {
    /// Changes a computer, making it when unknown and `make` allows, without waiting for the disk. One that is no member
    /// is changed in memory only.
    fn alter(
        &self,
        id: &ComputerId,
        caller: &Caller,
        make: bool,
        work: impl FnOnce(&mut Computer),
    ) -> Result<Arc<Computer>, CatalogError> {
        if ComputerId::parse(&id.0).as_ref() != Ok(id) {
            return Err(CatalogError::ComputerName);
        }
        let _one = lock(&self.computers.changing);
        let now = self.clock.now();
        let Some(before) = self.computers.get(id) else {
            let known = self.computers.provisional.get(id);
            let mut computer = match known {
                Some(known) => (*known).clone(),
                None if !make => return Err(CatalogError::UnknownComputer(id.clone())),
                None => Computer::new(id, now),
            };
            work(&mut computer);
            calls_from(&mut computer, caller);
            return Ok(self.computers.provisional.put(computer, caller));
        };
        let mut computer = (*before).clone();
        work(&mut computer);
        let changes = changes(&before, &computer, caller, now);
        calls_from(&mut computer, caller);
        self.note_changes(id, changes)?;
        if *before != computer {
            self.put_state((key::computer(id), Some(computer.record()?)))?;
            self.news.note(id);
        }
        self.succeed(self.computers.keep(computer))
    }

    /// Makes a computer that scanned a member of the fleet, where there is room.
    fn establish(
        &self,
        id: &ComputerId,
        caller: &Caller,
        attributes: Option<&str>,
    ) -> Result<(), CatalogError> {
        let _one = lock(&self.computers.changing);
        let Some(known) = self.computers.provisional.get(id) else { return Ok(()) };
        let mut computer = (*known).clone();
        touch(&mut computer, self.clock.now());
        if let Some(attributes) = attributes {
            computer.device_attributes = Some(cut(attributes, MAX_ATTRIBUTES));
        }
        calls_from(&mut computer, caller);
        computer.scanned = true;
        let mut why = self.refuses_member(caller)?;
        if why.is_none() {
            self.came_back(&mut computer)?;
            let kept = self.put_state((key::computer(id), Some(computer.record()?)))?;
            why = (!kept).then_some("max_state");
        }
        if let Some(why) = why {
            if let Some(count) = self.newcomers.refused.note(self.clock.instant()) {
                tracing::warn!(computer = %id, name = known.dns_name, why, since_the_last_line = count,
                    "a new computer is answered and not kept");
            }
            computer.scanned = false;
            self.computers.provisional.put(computer, caller);
            return Ok(());
        }
        self.computers.provisional.remove(id);
        self.news.note(id);
        self.succeed(self.computers.keep(computer)).map(|_| ())
    }

    /// Why there is no place for another member now; nothing when there is.
    fn refuses_member(&self, caller: &Caller) -> Result<Option<&'static str>, CatalogError> {
        let limit = self.config.max_computers;
        let members = self.computers.len();
        if members >= limit && !self.make_room_for_computer(limit)? {
            return Ok(Some("max_computers"));
        }
        let rate = if members < limit / ROOMY { &self.newcomers.roomy } else { &self.newcomers.fuller };
        let too_often = caller.address.is_some_and(|address| rate.try_take(address).is_err());
        Ok(too_often.then_some("too many new computers from one place"))
    }

    /// Members that never came back, silent for longer than a living agent is; the longest silent first.
    pub(in crate::catalog) fn never_came_back(&self) -> Vec<Arc<Computer>> {
        let silence =
            SignedDuration::try_from(self.config.replace_silent_after).unwrap_or(SignedDuration::MAX);
        let now = self.clock.now();
        let mut gone = self.computers.all();
        gone.retain(|one| {
            // where an administrator put it somewhere, somebody knows it
            let assigned = !self.config.client_side_targeting && !one.groups.is_empty();
            !one.came_back() && !assigned && now.duration_since(one.last_contact) >= silence
        });
        gone.sort_unstable_by(|a, b| (a.last_contact, &a.id).cmp(&(b.last_contact, &b.id)));
        gone
    }

    /// Lets members go that never came back. Whether there is room afterwards. The caller holds `changing`.
    fn make_room_for_computer(&self, limit: usize) -> Result<bool, CatalogError> {
        let gone = self.never_came_back();
        let count = gone.len().min((limit / GO_TOGETHER).max(1));
        for one in gone.into_iter().take(count) {
            self.drop_computer(&one.id)?;
        }
        if count > 0 {
            tracing::info!(
                count,
                limit,
                "there are as many computers as may be: those that never came back made room"
            );
        }
        Ok(self.computers.len() < limit)
    }

    /// Forgets a member and all that it said, without waiting for the disk. The caller holds `changing`.
    pub(in crate::catalog) fn drop_computer(&self, id: &ComputerId) -> Result<(), CatalogError> {
        if self.computers.drop_one(id).is_none() {
            return Ok(());
        }
        self.computers.count(id, &self.status(id)?, &Status::default());
        self.drop_rows(id)?;
        self.put_state((key::computer(id), None)).map(|_| ())
    }

    /// Removes what a computer said, but not itself.
    pub(in crate::catalog) fn drop_rows(&self, id: &ComputerId) -> Result<(), CatalogError> {
        let mut ops: Vec<Op> =
            entries(&self.kv, &key::events(id))?.into_iter().map(|(key, _)| (key, None)).collect();
        ops.extend([key::status(id), key::identity(id), key::told(id)].map(|key| (key, None)));
        self.put_states(&ops).map(|_| ())
    }

    /// Writes without waiting for the disk; into memory while it takes nothing.
    pub(in crate::catalog) fn put(&self, (key, value): Op) -> Result<(), CatalogError> {
        let mut batch = Batch::default();
        match value {
            Some(value) => batch.put(key, value),
            None => batch.remove(key),
        }
        Ok(self.kv.note(&batch)?)
    }

    pub(in crate::catalog) fn introduce(
        &self,
        caller: &Caller,
        id: &ComputerId,
        dns_name: &str,
        groups: Option<&str>,
    ) -> Result<Arc<Computer>, CatalogError> {
        let names = groups.unwrap_or_default().split(';').map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<String> = names.take(MAX_GROUPS).map(|name| cut(name, MAX_TEXT)).collect();
        let snapshot = self.snapshot();
        let now = self.clock.now();
        self.alter(id, caller, true, |computer| {
            if self.config.client_side_targeting {
                computer.groups = requested(&snapshot.view().decisions, &names);
            }
            computer.requested_groups = names;
            computer.dns_name = cut(dns_name, MAX_TEXT);
            touch(computer, now);
        })
    }

    pub(in crate::catalog) fn register(
        &self,
        caller: &Caller,
        id: &ComputerId,
        info: ComputerInfo,
    ) -> Result<Arc<Computer>, CatalogError> {
        let now = self.clock.now();
        self.alter(id, caller, true, |computer| {
            let info = cut_info(info);
            if !info.dns_name.is_empty() {
                computer.dns_name.clone_from(&info.dns_name);
            }
            computer.info = Some(info);
            touch(computer, now);
        })
    }

    /// A computer scanned: one that is no member becomes one, where there is room.
    pub(in crate::catalog) fn contacted(
        &self,
        caller: &Caller,
        id: &ComputerId,
        attributes: Option<&str>,
    ) -> Result<(), CatalogError> {
        let Some(known) = self.computers.get(id) else { return self.establish(id, caller, attributes) };
        let now = self.clock.now();
        let range = caller.address.map(Subnet::of).or(known.range);
        if known.scanned
            && is_recent(known.last_contact, CONTACT_GRAIN, now)
            && (attributes.is_none() || known.device_attributes.is_some())
            && range == known.range
        {
            return Ok(());
        }
        self.alter(id, caller, false, |computer| {
            computer.scanned = true;
            touch(computer, now);
            if let Some(attributes) = attributes {
                computer.device_attributes = Some(cut(attributes, MAX_ATTRIBUTES));
            }
        })
        .map(|_| ())
    }

    /// A computer reports. Whether it is a member, whose reports are kept.
    pub(in crate::catalog) fn reported(
        &self,
        caller: &Caller,
        id: &ComputerId,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        self.alter(id, caller, false, |computer| {
            touch(computer, now);
            computer.last_report = Some(now);
        })?;
        if self.computers.get(id).is_some() {
            return Ok(true);
        }
        if let Some(count) = self.newcomers.unkept.note(self.clock.instant()) {
            tracing::info!(computer = %id, since_the_last_line = count,
                "a computer that did not scan yet reports: what it says is not kept");
        }
        Ok(false)
    }

    /// Computers that are no members, and what was not kept of them.
    pub(in crate::catalog) fn fleet_counts(&self) -> FleetCounts {
        FleetCounts {
            provisional: self.computers.provisional.len(),
            not_kept: self.newcomers.refused.total(),
            reports_not_kept: self.newcomers.unkept.total(),
        }
    }

    /// Counts what members say, once after the start. Of what is kept of updates that the catalog does not know, which
    /// earlier programs took from anybody, nothing stays, and nothing of members that never came back and said nothing
    /// else: computer by computer, so that it costs the memory of one.
    pub(in crate::catalog) fn count_members(&self) -> Result<(), CatalogError> {
        let _one = lock(&self.computers.changing);
        let (snapshot, mut pruned, mut failed) = (self.snapshot(), Vec::new(), None);
        let world = &snapshot.view().world;
        // a catalog that has nothing knows nothing yet
        let is_known = |update: &UpdateId| world.updates.is_empty() || world.update(update).is_some();
        let mut dropped = 0_usize;
        self.kv.scan(b"t", |key, value| {
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
            if self.computers.get(&id).is_some() {
                self.computers.count(&id, &Status::default(), &status);
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
            self.put_state((key::status(id), value))?;
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
                    && self.computers.said().by(Of::Us, &one.id) == Counts::default()
        };
        let gone: Vec<_> = self.computers.all().into_iter().filter(|one| is_made_up(one)).collect();
        for one in &gone {
            self.drop_computer(&one.id)?;
        }
        if !gone.is_empty() {
            tracing::info!(count = gone.len(), "removed computers that had registered and never scanned");
        }
        Ok(())
    }

    /// Puts computers into these groups, as one change that makes no snapshot.
    pub(in crate::catalog) fn assign(
        &self,
        ids: &[ComputerId],
        groups: &[GroupId],
    ) -> Result<Vec<Arc<Computer>>, CatalogError> {
        if ids.len() > MAX_MOVED {
            return Err(CatalogError::TooManyAtOnce { limit: MAX_MOVED });
        }
        let _one = lock(&self.computers.changing);
        let groups = self.placed(groups)?;
        let known =
            |id: &ComputerId| self.computers.get(id).ok_or_else(|| CatalogError::UnknownComputer(id.clone()));
        let mut found = ids.iter().map(known).collect::<Result<Vec<_>, _>>()?;
        if found.iter().all(|computer| computer.groups == groups) {
            return Ok(found);
        }
        let mut ops: Vec<Op> = Vec::new();
        for computer in found.iter_mut().filter(|computer| computer.groups != groups) {
            let moved = Arc::make_mut(computer);
            moved.groups.clone_from(&groups);
            ops.push((key::computer(&moved.id), Some(moved.record()?)));
        }
        self.journal(ops)?;
        for computer in &found {
            self.news.note(&computer.id);
        }
        Ok(found.into_iter().map(|computer| self.computers.keep(Arc::unwrap_or_clone(computer))).collect())
    }

    /// Groups that exist as they are kept of a computer: sorted, and none for the two that everybody is in.
    fn placed(&self, groups: &[GroupId]) -> Result<Vec<GroupId>, CatalogError> {
        let snapshot = self.snapshot();
        let known = &snapshot.view().decisions.groups;
        if let Some(unknown) = groups.iter().find(|group| !known.contains_key(group)) {
            return Err(CatalogError::UnknownGroup(*unknown));
        }
        let plain = [GroupId::ALL_COMPUTERS, GroupId::UNASSIGNED_COMPUTERS];
        let mut groups: Vec<GroupId> =
            groups.iter().filter(|group| !plain.contains(group)).copied().collect();
        groups.sort_unstable();
        groups.dedup();
        groups.truncate(MAX_GROUPS);
        Ok(groups)
    }

    pub(in crate::catalog) fn forget(&self, id: &ComputerId) -> Result<bool, CatalogError> {
        let _one = lock(&self.computers.changing);
        if self.computers.drop_one(id).is_none() {
            let provisional = self.computers.provisional.remove(id).is_some();
            return Ok(self.forget_descendant(id)? || provisional);
        }
        self.computers.count(id, &self.status(id)?, &Status::default());
        self.drop_rows(id)?;
        self.account(&[(key::computer(id), None)])?;
        self.journal(vec![(key::computer(id), None)])?;
        Ok(true)
    }

    /// What a computer reported.
    pub(in crate::catalog) fn status(&self, id: &ComputerId) -> Result<Status, CatalogError> {
        wanted()?;
        match self.kv.get(&key::status(id))? {
            Some(value) => record::decode('t', &value),
            None => Ok(Status::default()),
        }
    }
}

/// Notes a contact, no more exactly than is written down. A last contact in the future, which a clock that was wrong left
/// behind, is now.
fn touch(computer: &mut Computer, now: Timestamp) {
    if !is_recent(computer.last_contact, CONTACT_GRAIN, now) {
        computer.last_contact = now;
    }
}

/// Notes from where a computer called, and with which certificate.
fn calls_from(computer: &mut Computer, caller: &Caller) {
    let Some(address) = caller.address else { return };
    computer.range = Some(Subnet::of(address));
    computer.certificate = caller.certificate.as_deref().map(|name| cut(name, MAX_TEXT));
}

fn cut_info(mut info: ComputerInfo) -> ComputerInfo {
    let texts = [
        &mut info.dns_name,
        &mut info.locale,
        &mut info.manufacturer,
        &mut info.model,
        &mut info.bios_version,
        &mut info.bios_name,
        &mut info.bios_date,
        &mut info.architecture,
        &mut info.client_version,
        &mut info.os_description,
        &mut info.oem,
        &mut info.device_type,
        &mut info.firmware_version,
        &mut info.mobile_operator,
    ];
    for text in texts {
        *text = cut(text, MAX_TEXT);
    }
    info
}
